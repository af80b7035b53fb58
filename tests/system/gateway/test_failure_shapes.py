"""Failures in the place of an answer, in every shape that they were seen in, in each format, whole and streamed.

The customer is told in our words and pays nothing, or what was delivered before; the operator sees one failed attempt.
"""

from typing import Final

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.support.gateway.answer_rig import FORMATS, PLAIN, AnswerRig, Format, Json, Outcome
from tests.support.gateway.answers import DONE, PIECES, TEXT, chunks, named
from tests.support.gateway.scripted_upstream import Script

SECRETS: Final = (b"acct_12345678", b"10.1.2.3", b"org-77", b"req_up", b"quota", b"Nvidia")
SAYS: Final = "quota of acct_12345678 (org-77) at http://10.1.2.3/x, request req_up, Nvidia"
# By the page or report that shows it; the last ones are what is left of names and types.
FAILURES: Final[dict[str, object]] = {
    "zai-org/GLM-5#91": {"code": 500, "msg": SAYS, "success": False},
    "ding113/claude-code-hub#749": {"type": "error", "error": {"type": "overloaded_error", "message": SAYS}},
    "OpenAI API reference, Errors": {"error": {"message": SAYS, "type": "server_error", "param": None, "code": None}},
    "OpenRouter docs, Errors": {"error": {"code": 502, "message": SAYS}, "user_id": "acct_12345678"},
    "OpenRouter docs, Errors: beside empty choices": {"choices": [], "error": {"code": 429, "message": SAYS}},
    "LM Studio docs, OpenAI compatibility endpoints: a text": {"error": SAYS},
    "vLLM docs, OpenAI-compatible server": {"object": "error", "message": SAYS, "type": "BadRequest", "code": 400},
    "FastAPI docs, Handling errors": {"detail": SAYS},
    "FastAPI docs, Handling errors: validation": {"detail": [{"loc": ["body"], "msg": SAYS, "type": "x"}]},
    "MiniMax API docs, Error codes": {"base_resp": {"status_code": 1_008, "status_msg": SAYS}, "choices": None},
    "MiniMax API docs, Error codes: alone": {"base_resp": {"status_code": 1_002, "status_msg": SAYS}},
    "Cloudflare API docs, Make API calls": {
        "success": False,
        "errors": [{"code": 7_000, "message": SAYS}],
        "result": None,
    },
    "RFC 9457, Problem details": {"type": "about:blank", "title": SAYS, "status": 503, "detail": SAYS},
    "Amazon API Gateway docs, Gateway responses": {"message": SAYS},
    "a status that is a word": {"status": "error", "message": SAYS, "data": None},
    "an error that only numbers and words tell": {"error": {"code": 1_113}},
    "an error in capitals": {"Error": {"Message": SAYS}},
    "a text": SAYS,
    "a list": [{"error": {"message": SAYS}}],
}
# Nothing that could be in an event.
WHOLE_ONLY: Final[dict[str, bytes]] = {
    "an empty object": b"{}",
    "an empty body": b"",
    "null": b"null",
    "empty choices": b'{"id":"c","choices":[],"usage":null}',
    "null choices": b'{"id":"c","choices":null,"content":null,"output":null,"data":null}',
    "a page": b"<html><body>quota of acct_12345678</body></html>",
    "plain words": b"upstream connect error or disconnect/reset before headers. acct_12345678",
    "half of it": b'{"id":"c","choices":[{"index":0,"message":{"content":"quo',
}


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Format:
    """A format."""
    given: Format = request.param
    return given


def check_failed(answers: AnswerRig, form: Format, script: Script, *, stream: bool) -> None:
    """A status and our words, free; counted once and logged with whose call it was, without secrets."""
    before = sum(answers.rig.gateway.failed_attempts().values())
    with capture_logs() as lines:
        outcome = answers.ask(form, script, stream=stream)
    assert (outcome.answer.status_code, outcome.charged_nano) == (502, None), outcome.answer.text
    assert b"upstream_error" in outcome.answer.content
    assert_no_secrets(outcome)
    assert sum(answers.rig.gateway.failed_attempts().values()) == before + 1
    for line in lines:
        if line["event"] == "upstream_failed":
            assert (line["model"], line["upstream"]) == (PLAIN, "at-generic")
            assert line["account"].startswith("acct_0")
            assert "acct_12345678" not in str(line)


def assert_no_secrets(outcome: Outcome) -> None:
    """Nothing of the upstream's is in the answer or its headers."""
    said = outcome.answer.content + repr(outcome.answer.headers).encode()
    assert [secret for secret in SECRETS if secret in said] == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("source", FAILURES)
def test_in_the_place_of_a_whole_answer(answers: AnswerRig, form: Format, source: str, stream: bool) -> None:
    """Also to a client that asked for a stream."""
    body = msgspec.json.encode(FAILURES[source])
    check_failed(answers, form, Script((body,), content_type="application/json"), stream=stream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", WHOLE_ONLY)
def test_what_is_no_answer(answers: AnswerRig, form: Format, what: str, stream: bool) -> None:
    """An answer has choices, content or usage."""
    check_failed(answers, form, Script((WHOLE_ONLY[what],), content_type="application/json"), stream=stream)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("source", FAILURES)
def test_in_the_place_of_the_first_event(answers: AnswerRig, form: Format, source: str, stream: bool) -> None:
    """Also to a client that asked for none."""
    event = b"data: " + msgspec.json.encode(FAILURES[source]) + b"\n\n"
    check_failed(answers, form, Script((event, DONE)), stream=stream)


def begun(form: Format) -> list[bytes]:
    """The text of an answer, without an end."""
    match form:
        case "responses":
            deltas: list[Json] = [
                {"type": "response.output_text.delta", "item_id": "m", "delta": one} for one in PIECES
            ]
            return [named(one) for one in deltas]
        case "messages":
            block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
            texts = [{"type": "text_delta", "text": one} for one in PIECES]
            return [
                named({"type": "message_start", "message": {"id": "m", "type": "message", "content": []}}),
                named(block),
                *(named({"type": "content_block_delta", "index": 0, "delta": one}) for one in texts),
            ]
        case "completions":
            return chunks(form, *({"index": 0, "text": one} for one in PIECES))
        case _:
            return chunks(form, *({"index": 0, "delta": {"content": one}} for one in PIECES))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("source", FAILURES)
def test_behind_some_text(answers: AnswerRig, form: Format, source: str, stream: bool) -> None:
    """An error event in our words, never a clean end; the text is charged. As a whole answer it is a failure, free."""
    if form == "embeddings":
        # Nothing stands before a failure.
        check_failed(answers, form, Script((b"".join(begun(form)),)), stream=False)
        return
    event = b"data: " + msgspec.json.encode(FAILURES[source]) + b"\n\n"
    script = Script((*begun(form), event, DONE))
    if not stream:
        check_failed(answers, form, script, stream=False)
        return
    outcome = answers.ask(form, script, stream=True)
    assert not outcome.ended
    assert b"error" in outcome.answer.content
    assert_no_secrets(outcome)
    assert outcome.charged_nano == outcome.estimate_nano(len(TEXT), len(PIECES))
