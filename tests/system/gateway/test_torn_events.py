"""Events whose data is torn, or has halves of characters, over HTTP in each format: an error, or all of the text."""

import json
from typing import Any, Final

import pytest

from tests.support.gateway.answer_rig import WRITING, AnswerRig, Counts, Format, Json
from tests.support.gateway.answers import PIECES, Reports, streamed, whole
from tokenbooth.gateway.formats.sse import split_events

USAGE: Final[Json] = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
MESSAGE_USAGE: Final[Json] = {"input_tokens": 1_000, "output_tokens": 200}
REPORTED: Final = Counts(1_000, 200).nano
# zai-org/GLM-5#66: a chunk that another one runs into; and what else is no JSON.
TORN: Final = (
    b'data: {"choices":[{"index":0,"delta":{"con\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]} and more\n\n',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}\n\n',
    b'data: {"type":"response.output_text.delta","item_id":"m","delta":"x\n\n',
    b'data: {"id":"c","choices":[{"index":0,"text":"xdata: {"id":"c"}\n\n',
)


@pytest.fixture(params=WRITING)
def form(request: pytest.FixtureRequest) -> Format:
    """A format."""
    given: Format = request.param
    return given


def reports(form: Format) -> Reports:
    """A usage where the format has it."""
    return {"first": MESSAGE_USAGE, "last": MESSAGE_USAGE} if form == "messages" else {"last": USAGE}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("torn", TORN)
def test_a_torn_event_is_a_failure(answers: AnswerRig, form: Format, torn: bytes, stream: bool) -> None:
    """Something is missing, although the stream goes on to a clean end: what was delivered before it is charged."""
    events = split_events(streamed(form, reports(form)))
    before = next(number for number, one in enumerate(events) if PIECES[0].encode() in one) + 1
    body = b"".join((*events[:before], torn, *events[before:]))
    outcome = answers.ask(form, body, stream=stream)
    assert not outcome.ended
    if not stream:
        assert (outcome.answer.status_code, outcome.charged_nano) == (502, None)
        return
    assert PIECES[0].encode() in outcome.answer.content
    assert PIECES[1].encode() not in outcome.answer.content
    assert b"error" in outcome.answer.content
    if form == "messages":
        assert outcome.charged_nano == Counts(1_000, 200).nano
    else:
        assert outcome.charged_nano == outcome.estimate_nano(len(PIECES[0]), 1)


def texts_in(said: bytes, *, stream: bool) -> str:
    """Each piece of a text that a client of any format puts together."""
    lines = [line.removeprefix("data: ") for line in said.decode().splitlines() if line.startswith("data: {")]
    found: list[str] = []

    def look(value: Any, name: str = "") -> None:
        if isinstance(value, dict):
            kind = str(value.get("type"))
            if stream and kind.startswith("response.") and not kind.endswith(".delta"):
                # It tells again what the pieces told.
                return
            for inner, one in value.items():
                look(one, inner)
        elif isinstance(value, list):
            for one in value:
                look(one, name)
        elif isinstance(value, str) and name in ("content", "text", "delta"):
            found.append(value)

    for line in lines if stream else [said.decode()]:
        look(json.loads(line))
    return "".join(found)


@pytest.mark.parametrize("stream", [True, False])
def test_two_halves_in_two_events_are_one_character(answers: AnswerRig, form: Format, stream: bool) -> None:
    """elizaOS/eliza#30904. Nothing of the text is lost, and it is charged as reported."""
    body = streamed(form, reports(form))
    if form == "responses":
        # Its last event tells all of it again.
        body = body.replace(f"{PIECES[0]}{PIECES[1]}".encode(), rb"\ud83d\ude00")
    body = body.replace(PIECES[0].encode(), rb"\ud83d").replace(PIECES[1].encode(), rb"\ude00")
    outcome = answers.ask(form, body, stream=stream)
    assert outcome.ended, outcome.answer.text
    text = texts_in(outcome.answer.content, stream=stream)
    assert text.encode("utf-16-le", "surrogatepass").decode("utf-16-le") == "\U0001f600"
    assert (outcome.charged_nano, outcome.shown_nano) == (REPORTED, REPORTED)


@pytest.mark.parametrize("stream", [True, False])
def test_a_half_at_the_end_is_no_failure(answers: AnswerRig, form: Format, stream: bool) -> None:
    """A ceiling may cut an answer inside of a character: the rest of it arrives."""
    text = "".join(PIECES).encode()
    usage = MESSAGE_USAGE if form == "messages" else USAGE
    outcome = answers.ask(form, whole(form, usage).replace(text, rb"Hello \ud83d"), stream=stream)
    assert outcome.ended, outcome.answer.text
    assert texts_in(outcome.answer.content, stream=stream) == "Hello \ufffd"
    assert (outcome.charged_nano, outcome.shown_nano) == (REPORTED, REPORTED)
