"""Every row of the corpus over HTTP: what a client gets and pays, as it was asked for, the other way, translated."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec
import pytest

from tests.support.gateway.answer_rig import INPUT, OUTPUT, Asked, Counts, Format, Outcome, outcomes_of
from tests.support.gateway.corpus.rows import Row, Wire
from tests.support.gateway.corpus.servers import ROWS
from tests.support.gateway.corpus.told import Told, chat_told, message_told, response_told, same_calls
from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.config.upstream_table import GENERIC
from tokenbooth.domain.usage import Usage

FORMATS: Final[dict[Wire, Format]] = {
    "openai.chat": "chat",
    "openai.completions": "completions",
    "openai.responses": "responses",
    "anthropic.messages": "messages",
    "openai.embeddings": "embeddings",
}
SHOWN_THINKING: Final[dict[str, object]] = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
STOP_REASONS: Final = {
    "stop": ("end_turn", "tool_use"),
    "length": ("max_tokens",),
    "tool_calls": ("tool_use",),
    "content_filter": ("refusal",),
}
SECRETS: Final = (
    b"10.1.2.3",
    b"user_2bX",
    b"req_",
    b"org-1",
    b"balance",
    b"Kluster",
    b"Nvidia",
    b"Traceback",
    b"Worker",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A row as a client asks for it.

    Attributes:
        row: what the upstream answers.
        form: the client's format.
        stream: whether the client asks for a stream.
    """

    row: Row
    form: Format
    stream: bool

    @property
    def name(self) -> str:
        """What distinguishes it."""
        asked = "as a stream" if self.stream else "as a whole"
        return f"{self.row.name} [{self.form}, {asked}]"

    @property
    def is_other_way(self) -> bool:
        """Whether a stream comes to who asked for none, or the reverse."""
        return self.stream is not self.row.streamed

    def asked(self) -> Asked:
        """The call."""
        kind = self.row.server.lower().replace(" ", "_").replace(".", "_")
        more: dict[str, object] = {}
        if self.form == "translated":
            more = SHOWN_THINKING
        elif "two choices" in self.row.shape:
            more = {"n": 2}
        return Asked(self.form, self.row.answer, self.stream, kind if kind in KINDS else GENERIC, more)


def cases() -> Iterator[Case]:
    """Each row in its own format and translated, each as a stream and as a whole."""
    for row in ROWS:
        forms = [FORMATS[row.wire]]
        if row.wire == "openai.chat" and "two choices" not in row.shape:
            forms.append("translated")
        for form in forms:
            yield Case(row, form, row.streamed)
            if form != "embeddings":
                yield Case(row, form, not row.streamed)


CASES: Final = tuple(cases())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What each case came to."""
    told = outcomes_of(tmp_path_factory.mktemp("corpus"), [case.asked() for case in CASES])
    return dict(zip(CASES, told, strict=True))


def told_to(case: Case, outcome: Outcome) -> Told:
    """What the client reads."""
    read = {"responses": response_told, "messages": message_told, "translated": message_told}.get(case.form, chat_told)
    return read(outcome.answer.content, streamed=case.stream)


def nano_of(usage: Usage) -> int:
    """The price of what a row says was consumed."""
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    output = usage.completion_tokens - usage.reasoning_tokens
    return Counts(fresh, output, usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens).nano


def estimated_nano(row: Row, outcome: Outcome, pieces: int) -> int:
    """Four bytes a token, and no fewer tokens than pieces of text; the prompt as told, if it was."""
    texts = [row.text, row.reasoning, *(call.arguments for call in row.tool_calls)]
    said = sum(len(msgspec.json.encode(text)) - 2 for text in texts)
    prompt = -(-outcome.sent_bytes // 4)
    told = row.prompt_usage
    if told is None:
        return prompt * INPUT + max(-(-said // 4), pieces) * OUTPUT
    output = max(-(-said // 4), pieces, told.completion_tokens)
    return nano_of(told._replace(completion_tokens=output, reasoning_tokens=0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_is_told_and_charged(case: Case, outcomes: dict[Case, Outcome]) -> None:
    """Its text, thoughts, calls and end, or an error; the reported usage to the nano-dollar, or the estimate."""
    row, outcome = case.row, outcomes[case]
    if row.failed:
        said = outcome.answer.content.replace(outcome.answer.headers["x-request-id"].encode(), b"")
        assert not [secret for secret in SECRETS if secret in said]
        check_failure(case, outcome)
        return
    assert outcome.answer.status_code == 200, outcome.answer.text
    assert outcome.is_stream is case.stream
    if case.form != "embeddings":
        check_told(case, told_to(case, outcome))
    expected = row_nano(case, outcome)
    assert outcome.charged_nano == expected
    assert outcome.estimated is (row.usage is None)
    if row.usage is not None or not case.stream:
        assert outcome.shown_nano == expected


def row_nano(case: Case, outcome: Outcome) -> int:
    """What an answer that came to its end costs."""
    if case.row.usage is not None:
        return nano_of(case.row.usage)
    pieces = chat_told(case.row.answer, streamed=True).pieces if case.row.streamed and case.stream else 0
    return estimated_nano(case.row, outcome, pieces)


def check_told(case: Case, told: Told) -> None:
    """The client was told what the row says."""
    row = case.row
    assert told.ended
    assert told.text == row.text
    assert told.thinking == row.reasoning
    assert same_calls(told.calls, row.tool_calls)
    match case.form:
        case "translated":
            assert told.reason in STOP_REASONS.get(row.finish or "stop", ("end_turn",))
        case "responses":
            pass
        case _:
            assert told.reason == row.finish


def check_failure(case: Case, outcome: Outcome) -> None:
    """An error with a status and free, or an error behind what was delivered, which costs what it is."""
    row = case.row
    assert not outcome.ended
    if not outcome.is_stream:
        assert (outcome.answer.status_code, outcome.charged_nano) == (502, None)
        assert case.is_other_way or not (row.text or row.reasoning or row.tool_calls) or not case.stream
        return
    assert outcome.answer.status_code == 200
    assert b"error" in outcome.answer.content
    if row.usage is not None:
        assert outcome.charged_nano == nano_of(row.usage)
        return
    told = told_to(case, outcome)
    assert outcome.charged_nano == estimated_nano(row, outcome, told.pieces)
