"""By what an answer is known to have ended, over HTTP, in each format: only a reason that says something is an end."""

from typing import Final

import pytest

from tests.support.gateway.answer_rig import OF_CHOICES, WRITING, AnswerRig, Asked, Counts, Format, Json
from tests.support.gateway.answers import DONE, PIECES, TEXT, chunks, named
from tests.support.gateway.scripted_upstream import Ending, Script

USAGE: Final[Json] = {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
MESSAGE_USAGE: Final[Json] = {"input_tokens": 1_000, "output_tokens": 200}
REPORTED: Final = Counts(1_000, 200).nano
# ollama/ollama#4357, sgl-project/sglang#3912, adolfousier/opencrabs#1499; null is what OpenAI documents.
NO_REASONS: Final[tuple[object, ...]] = (None, "", "null", "None", " ", False, {})


@pytest.fixture(params=WRITING)
def form(request: pytest.FixtureRequest) -> Format:
    """A format."""
    given: Format = request.param
    return given


def begun(form: Format, reason: object) -> tuple[bytes, ...]:
    """The text of an answer; wherever its format has a reason for the end, there is this one."""
    if form == "responses":
        response = {"id": "r", "status": "in_progress", "output": [], "incomplete_details": reason}
        deltas = [
            {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": one} for one in PIECES
        ]
        return (named({"type": "response.created", "response": response}), *map(named, deltas))
    if form == "messages":
        start = {"id": "m", "type": "message", "content": [], "stop_reason": reason, "usage": {}}
        texts = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}} for one in PIECES
        ]
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return (
            named({"type": "message_start", "message": start}),
            *map(named, (block, *texts)),
            named({"type": "message_delta", "delta": {"stop_reason": reason}}),
        )
    return tuple(chunks(form, *({**one, "finish_reason": reason} for one in said(form))))


def said(form: Format, index: int = 0) -> list[Json]:
    """The text of a choice in its pieces."""
    if form == "completions":
        return [{"index": index, "text": one} for one in PIECES]
    return [{"index": index, "delta": {"content": one}} for one in PIECES]


def end(form: Format, *, marker: bool = True) -> bytes:
    """The end of an answer, with its usage; without the event or the mark that some servers leave out."""
    if form == "responses":
        return named(
            {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [], "usage": USAGE}}
        )
    if form == "messages":
        told = named(
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": MESSAGE_USAGE},
        )
        return told + (named({"type": "message_stop"}) if marker else b"")
    last = {"index": 0, "delta": {}} if form != "completions" else {"index": 0, "text": ""}
    return b"".join(chunks(form, {**last, "finish_reason": "stop"}, usage=USAGE)) + (DONE if marker else b"")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reason", NO_REASONS, ids=repr)
def test_without_an_end_it_is_torn(answers: AnswerRig, form: Format, reason: object, stream: bool) -> None:
    """An error, never a clean end: behind the text, which is charged; as a whole answer with a status, and free."""
    outcome = answers.ask(form, Script(begun(form, reason)), stream=stream)
    assert not outcome.ended
    if stream:
        assert b"error" in outcome.answer.content
        assert outcome.charged_nano == outcome.estimate_nano(len(TEXT), len(PIECES))
    else:
        assert (outcome.answer.status_code, outcome.charged_nano) == (502, None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("marker", [True, False])
@pytest.mark.parametrize("reason", NO_REASONS, ids=repr)
def test_with_its_end_it_is_whole(answers: AnswerRig, form: Format, reason: object, marker: bool, stream: bool) -> None:
    """Whatever stood before it, and also where no mark follows: as reported."""
    outcome = answers.ask(form, Script((*begun(form, reason), end(form, marker=marker))), stream=stream)
    assert outcome.ended, outcome.answer.text
    assert (outcome.charged_nano, outcome.shown_nano, outcome.estimated) == (REPORTED, REPORTED, False)


@pytest.mark.parametrize("reason", NO_REASONS, ids=repr)
def test_leaving_before_the_end_costs_what_came(answers: AnswerRig, form: Format, reason: object) -> None:
    """A reason that says nothing does not let the gateway read on to a usage that the client would pay."""
    script = Script((*begun(form, reason), end(form)), pause_before=len(begun(form, reason)))
    charged = answers.leave(Asked(form, script, stream=True), PIECES[1].encode())
    script.proceed.set()
    assert (charged.charged_nano, charged.estimated) == (charged.estimate_nano(len(TEXT), len(PIECES)), True)


@pytest.mark.parametrize("asked_form", OF_CHOICES[:2])
def test_leaving_behind_the_end_costs_what_is_reported(every_format: AnswerRig, asked_form: Format) -> None:
    """The model has finished; its usage, which these formats tell in another event, is read on."""
    empty: Json = {"text": ""} if asked_form == "completions" else {"delta": {}}
    told = chunks(asked_form, *said(asked_form), {"index": 0, **empty, "finish_reason": "stop"}, usage=USAGE)
    script = Script((*told[:-1], told[-1] + DONE), pause_before=len(told) - 1)
    charged = every_format.leave(Asked(asked_form, script, stream=True), b'"stop"', goes_on=True)
    assert (charged.charged_nano, charged.estimated) == (REPORTED, False)


@pytest.mark.parametrize("ending", ["end", "cut"])
@pytest.mark.parametrize("ended", [(), (0,), (1,), (0, 0), (0, 1), (1, 0)], ids=str)
@pytest.mark.parametrize("asked_form", ["chat", "completions"])
def test_several_choices_end_together(
    every_format: AnswerRig, asked_form: Format, ended: tuple[int, ...], ending: Ending
) -> None:
    """OpenAI API reference, Create chat completion: n. Without the mark an answer is whole when each of them is."""
    empty: Json = {"text": ""} if asked_form == "completions" else {"delta": {}}
    ends = [{"index": index, **empty, "finish_reason": "stop"} for index in ended]
    pieces = chunks(asked_form, *said(asked_form, 0), *said(asked_form, 1), *ends)
    outcome = every_format.ask(asked_form, Script(tuple(pieces), ending), stream=True, n=2)
    is_whole = {0, 1} <= set(ended) and ending == "end"
    assert outcome.ended is is_whole
    assert (b"error" in outcome.answer.content) is not is_whole
    assert outcome.charged_nano == outcome.estimate_nano(2 * len(TEXT), 2 * len(PIECES))
