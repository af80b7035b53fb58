"""Errors with a status over HTTP, in each format: a refusal's reason passes, all else is in our words; nothing costs.

What an error says in each shape is tried in test_upstream_errors.py; here it is told in the format of the client.
"""

from typing import Final

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.support.gateway.answer_rig import FORMATS, PLAIN, AnswerRig, Format
from tests.support.gateway.scripted_upstream import Script

SECRET: Final = "http://10.1.2.3/x"
# By the page or report that shows it: the error, and what is told of it.
REASONS: Final[dict[str, tuple[object, str]]] = {
    "OpenAI API reference, Errors": ({"error": {"message": f"n is 0 at {SECRET}"}}, "n is 0 at [removed]"),
    "Anthropic API docs, Errors": ({"type": "error", "error": {"type": "x", "message": "n is 0"}}, "n is 0"),
    "bytedance/deer-flow#1515": ([{"error": {"code": 400, "message": "n is 0"}}], "n is 0"),
    "FastAPI docs, Handling errors": ({"detail": "n is 0"}, "n is 0"),
    "FastAPI docs, Handling errors: a list": ({"detail": [{"loc": ["body", "n"], "msg": "is 0"}]}, "body.n: is 0"),
    "FuzzAnything/PromptFuzz#42": ({"error": {"message": "n is 0", "param": ["a"]}}, "n is 0"),
    "Mistral AI API reference, 422": (
        {"object": "error", "message": {"detail": [{"loc": ["n"], "msg": "is 0"}]}},
        "n: is 0",
    ),
    "Cohere docs, Errors": ({"message": "n is 0"}, "n is 0"),
    "Ollama docs, OpenAI compatibility": ({"error": "n is 0"}, "n is 0"),
    "RFC 9457, Problem details": ({"type": "about:blank", "title": "Bad", "detail": "n is 0"}, "Bad: n is 0"),
    "OpenRouter docs, Errors and debugging": (
        {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"n is 0"}}'}}},
        "n is 0",
    ),
    "nothing that says why": ({"error": {"code": 5}}, "The model's server refused the request."),
}
# Each status that is the operator's matter, and what the customer gets for it.
OTHERS: Final = {
    307: 502,
    401: 502,
    402: 502,
    403: 502,
    404: 502,
    405: 502,
    429: 503,
    500: 502,
    502: 502,
    503: 503,
    504: 504,
    529: 503,
}


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> Format:
    """A format."""
    given: Format = request.param
    return given


@pytest.mark.parametrize(("status", "stream"), [(400, False), (400, True), (413, False), (422, True)])
@pytest.mark.parametrize("source", REASONS)
def test_the_reason_of_a_refusal_is_told(
    answers: AnswerRig, form: Format, source: str, status: int, stream: bool
) -> None:
    """With its status, in the envelope of the format."""
    error, told = REASONS[source]
    script = Script((msgspec.json.encode(error),), status=status, content_type="application/json")
    outcome = answers.ask(form, script, stream=stream)
    body = outcome.answer.json()
    assert (outcome.answer.status_code, body["error"]["message"]) == (status, told)
    assert (body.get("type") == "error") is (form in ("messages", "translated"))
    assert outcome.charged_nano is None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", OTHERS)
def test_what_is_the_operators_is_told_in_our_words(
    answers: AnswerRig, form: Format, status: int, stream: bool
) -> None:
    """And to the operator: one line with whose call it was and a scrubbed reason, and one more in the figure."""
    error = {"error": {"message": f"No such model as up at {SECRET} of acct_12345678"}}
    script = Script((msgspec.json.encode(error),), status=status, content_type="application/json")
    figure = ("at-generic", f"http_{status}")
    before = answers.rig.gateway.failed_attempts().get(figure, 0)
    with capture_logs() as lines:
        outcome = answers.ask(form, script, stream=stream)
    expected = OTHERS[status]
    if form in ("messages", "translated") and expected == 503:
        # The format has a status of its own for it.
        expected = 529
    assert outcome.answer.status_code == expected
    assert outcome.charged_nano is None
    assert not [one for one in ("acct_1", "10.1.2.3", "No such model") if one in outcome.answer.text]
    assert answers.rig.gateway.failed_attempts()[figure] == before + 1
    if before == 0:
        # Repeated ones are folded.
        (line,) = [line for line in lines if line["event"] == "upstream_failed"]
        assert (line["status"], line["model"], line["upstream"]) == (status, PLAIN, "at-generic")
        assert line["account"].startswith("acct_0")
        assert line["key"].startswith("key_")
        assert "acct_12345678" not in str(line)
