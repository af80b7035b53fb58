"""A chat completion in every shape as a message, over HTTP, however it comes and is asked for, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import pytest

from tests.support.gateway.answer_rig import WAYS, Asked, Counts, Json, Outcome, Way, outcomes_of
from tests.support.gateway.answers import DONE, chunks
from tests.support.gateway.corpus.told import message_told
from tests.unit.gateway.formats.anthropic.test_answer_shapes import SHAPES, STREAMS, written

USAGE: Final[Json] = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
EXPECTED: Final = Counts(1_000, 200).nano
SHOWN_THINKING: Final[dict[str, object]] = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A message of a completion in its pieces, which is one piece if it comes whole, and what it says."""

    deltas: Sequence[object]
    blocks: Sequence[object]
    way: Way

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.way in ("streamed", "whole as stream")

    def asked(self) -> Asked:
        """The call."""
        return Asked("translated", self.answer(), self.stream, more=SHOWN_THINKING)

    def answer(self) -> bytes:
        """The bytes: shapes that no encoder writes are bytes already."""
        if self.way in ("whole", "whole as stream"):
            (message,) = self.deltas
            choice = b'{"index":0,"message":%b,"finish_reason":"stop"}' % written(message)
            return b'{"id":"c","choices":[%b],"usage":%b}' % (choice, msgspec.json.encode(USAGE))
        told = [
            b'data: {"id":"c","choices":[{"index":0,"delta":%b,"finish_reason":null}]}\n\n' % written(delta)
            for delta in self.deltas
        ]
        end = chunks("chat", {"index": 0, "delta": {}, "finish_reason": "stop"}, usage=USAGE)
        return b"".join((*told, *end, DONE))


def in_short(left: bytes, *, streamed: bool) -> list[object]:
    """What a client reads: its thinking, its text, its calls with their inputs."""
    told = message_told(left, streamed=streamed)
    calls = [(call.name, msgspec.json.decode(call.arguments or "{}")) for call in told.calls]
    return [*filter(None, (told.thinking, told.text)), *calls]


def of_kinds(blocks: Sequence[object]) -> list[object]:
    """The same of blocks, whose calls may stand between texts."""
    return [*(one for one in blocks if isinstance(one, str)), *(one for one in blocks if not isinstance(one, str))]


CASES: Final = (
    *(Case([message], blocks, way) for message, blocks in SHAPES for way in WAYS),
    *(
        Case(deltas, blocks, way)
        for deltas, blocks in STREAMS
        for way in WAYS
        if way in ("streamed", "stream as whole")
    ),
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Outcome]:
    """What each case came to."""
    told = outcomes_of(tmp_path_factory.mktemp("translation"), [case.asked() for case in CASES])
    return dict(zip(CASES, told, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{written(case.deltas[0]).decode()[:60]} [{case.way}]")
def test_nothing_is_dropped_or_mixed(case: Case, outcomes: dict[Case, Outcome]) -> None:
    """Each text and call arrives, and what was reported is charged to the nano-dollar."""
    outcome = outcomes[case]
    assert outcome.ended, outcome.answer.text
    assert in_short(outcome.answer.content, streamed=case.stream) == of_kinds(case.blocks)
    assert (outcome.charged_nano, outcome.shown_nano, outcome.estimated) == (EXPECTED, EXPECTED, False)
