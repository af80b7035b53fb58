"""Failures in the place of an answer or of an event: every shape, in every format, whole and streamed.

The shapes and who reported them:
zai-org/GLM-5#91 (code, msg, success), ding113/claude-code-hub#749 (an Anthropic error), runpod-workers/worker-vllm#57
(`object: error`), milind-soni/OpenMausBot#1200 (`base_resp`), lmstudio-ai/lmstudio-bug-tracker#116 (an error that is a
text), FastAPI's documentation, Handling errors (`detail`), bytedance/deer-flow#1515 (Gemini's list), OpenRouter's
documentation, Errors and debugging (an error beside choices), NousResearch/hermes-agent#68451 (`error_message`),
Cloudflare's API documentation (`errors`), BerriAI/litellm#32086 (a message of nothing).
"""

import msgspec
import pytest

from tests.support.catalog_samples import sample_model
from tests.support.gateway.formats import (
    messages_body,
    read_chat,
    read_completions,
    read_embeddings,
    read_messages,
    read_responses,
    speaking,
)
from tokenbooth.config.upstream_fields import FAILED_FINISH_REASONS
from tokenbooth.gateway.errors import FailedAnswer
from tokenbooth.gateway.formats.base import OutboundRequest
from tokenbooth.gateway.formats.failed_answers import is_failure, says_something
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.settlement.usage import count_answer

ERRORS: list[object] = [
    {"error": {"message": "overloaded", "type": "server_error"}},
    {"error": "overloaded"},
    {"error": {"message": "x"}, "user_id": "user_2bX"},
    {"errors": [{"message": "overloaded"}]},
    {"object": "error", "message": "not found", "code": 404},
    {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    {"code": 500, "msg": "404 NOT_FOUND http://10.1.2.3/x", "success": False},
    {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}, "choices": None},
    {"detail": "Internal Server Error"},
    {"detail": [{"loc": ["body"], "msg": "Field required"}]},
    {"message": "Too many requests"},
    {"error_type": "context_length_exceeded", "error_message": "too long"},
    {"status": 503, "title": "Service Unavailable"},
    [{"error": {"code": 503, "message": "unavailable"}}],
    {"exception": "Overloaded"},
    {"fault": {"faultstring": "Overloaded"}},
    "overloaded",
]
ABSENT: list[object] = [None, "", "null", {}, [], False, 0, {"message": "", "code": None}, [None]]
NOTHING: list[bytes] = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"Internal Server Error",
    b"<html><body>502 Bad Gateway</body></html>",
    b'{"choices":[],"content":[],"output":[],"data":[],"usage":null}',
    b'{"choices":[{}],"content":"","output":"null","data":{},"usage":{"prompt_tokens":0,"input_tokens":0}}',
    b'{"choices":null,"usage":{}}',
]
CHAT_ANSWER: dict[str, object] = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}
WHOLE: dict[str, tuple[OutboundRequest, dict[str, object]]] = {
    "chat": (read_chat(), CHAT_ANSWER),
    "completions": (
        read_completions(b'{"model":"m","prompt":"Hi"}'),
        {**CHAT_ANSWER, "choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]},
    ),
    "embeddings": (
        read_embeddings(b'{"model":"m","input":"Hi"}'),
        {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 7, "total_tokens": 7}},
    ),
    "responses": (
        read_responses(b'{"model":"m","input":"Hi"}'),
        {
            "status": "completed",
            "output": [{"type": "message"}],
            "usage": {"input_tokens": 7, "output_tokens": 2},
        },
    ),
    "messages": (
        read_messages(messages_body()),
        {"type": "message", "content": [{"type": "text"}], "usage": {"input_tokens": 7, "output_tokens": 2}},
    ),
}


def translated() -> OutboundRequest:
    """A message whose upstream speaks chat completions."""
    outbound = read_messages(messages_body(), speaking(sample_model(), "openai.chat")).outbound(
        frozenset(("openai.chat",))
    )
    assert outbound is not None
    return outbound


WHOLE["messages, translated"] = (translated(), CHAT_ANSWER)
SAID: dict[str, tuple[bytes, bytes]] = {
    # An event with text, and the events that end the answer.
    "chat": (b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n', b"data: [DONE]\n\n"),
    "completions": (b'data: {"choices":[{"text":"Hi"}]}\n\n', b"data: [DONE]\n\n"),
    "messages, translated": (b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n', b"data: [DONE]\n\n"),
    "messages": (
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ),
    "responses": (
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n',
        b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed"}}\n\n',
    ),
}


def meter_of(name: str) -> Meter:
    """A meter for a stream in this format."""
    return WHOLE[name][0].meter(lambda usage: 0)


def count(outbound: OutboundRequest, body: bytes) -> tuple[int, int]:
    """What a whole answer consumed."""
    usage = count_answer(outbound, outbound.read_answer(body), body, request_id="r", upstream="u").usage
    return usage.prompt_tokens, usage.completion_tokens


@pytest.mark.parametrize("told", ERRORS, ids=repr)
@pytest.mark.parametrize("name", WHOLE)
def test_an_error_in_the_place_of_an_answer_is_a_failure(name: str, told: object) -> None:
    """In no format is it an answer."""
    with pytest.raises((FailedAnswer, msgspec.DecodeError)):
        count(WHOLE[name][0], msgspec.json.encode(told))


@pytest.mark.parametrize("body", NOTHING)
@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_with_nothing_in_it_is_a_failure(name: str, body: bytes) -> None:
    """Values that are absent make no answer, and neither does a text or a page."""
    with pytest.raises((FailedAnswer, msgspec.DecodeError)):
        count(WHOLE[name][0], body)


@pytest.mark.parametrize("name", WHOLE)
def test_an_error_beside_an_answer_is_a_failure(name: str) -> None:
    """Whoever reports an error has failed, whatever else it says."""
    outbound, answer = WHOLE[name]
    with pytest.raises(FailedAnswer):
        count(outbound, msgspec.json.encode({**answer, "error": {"message": "overloaded"}}))


TYPED_FAILURES: list[tuple[str, dict[str, object]]] = [
    ("responses", {"type": "response.error", "code": "secret", "error": {"message": "secret"}}),
    ("responses", {"type": "response.in_progress", "response": {"error": {"message": "secret"}}}),
    ("responses", {"type": "response.output_text.delta", "delta": "", "error": {"message": "secret"}}),
    ("messages", {"type": "content_block_delta", "index": 0, "delta": None, "error": {"message": "secret"}}),
    ("messages", {"type": "message_delta", "delta": {"stop_reason": None}, "error": "secret"}),
    ("messages", {"type": "message_error", "error": {"message": "secret"}}),
    ("messages", {"type": "ping", "error": {"message": "secret"}}),
]


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize(("name", "told"), TYPED_FAILURES)
def test_an_error_in_an_event_of_the_format_fails_the_stream(
    name: str, told: dict[str, object], is_named: bool
) -> None:
    """Whatever its type says; one that says nothing is none, and a tool's error is what was said."""
    said, end = SAID[name]
    failed, fine = meter_of(name), meter_of(name)
    event = b"event: %b\n" % str(told["type"]).encode() if is_named else b""
    assert b"secret" not in failed.feed(said + event + b"data: " + msgspec.json.encode(told) + b"\n\n" + end)
    assert failed.failed
    item = {"type": "response.output_item.done", "item": {"type": "mcp_call", "error": "no such file"}, "error": None}
    block = {"type": "content_block_start", "content_block": {"type": "x", "error": "no such file"}, "error": {}}
    passes = msgspec.json.encode(item if name == "responses" else block)
    assert b"no such file" in fine.feed(said + event + b"data: " + passes + b"\n\n" + end)
    assert (fine.saw_end_marker, fine.failed) == (True, False)


@pytest.mark.parametrize("holder", ["choice", "delta", "message"])
@pytest.mark.parametrize("name", ["chat", "completions", "messages, translated"])
def test_an_error_in_a_choice_is_a_failure(name: str, holder: str) -> None:
    """OpenRouter API reference, `choices`; with an ordinary reason of the end, too. One that says nothing is none."""
    outbound, answer = WHOLE[name]
    for error, fails in (({"code": 502, "message": "overloaded"}, True), (None, False)):
        choice: dict[str, object] = {"index": 0, "finish_reason": "stop", "text": "Hi", "message": {"content": "Hi"}}
        choice |= {"error": error} if holder == "choice" else {holder: {"content": "Hi", "error": error}}
        whole = msgspec.json.encode({**answer, "choices": [choice]})
        meter = meter_of(name)
        meter.feed(b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n")
        assert meter.failed is fails
        if fails:
            with pytest.raises(FailedAnswer):
                count(outbound, whole)
        else:
            assert count(outbound, whole) == (7, 2)


@pytest.mark.parametrize("error", ABSENT, ids=repr)
@pytest.mark.parametrize("name", WHOLE)
def test_an_error_that_says_nothing_is_none(name: str, error: object) -> None:
    """Some servers have the field in every answer."""
    outbound, answer = WHOLE[name]
    output = 0 if name == "embeddings" else 2
    assert count(outbound, msgspec.json.encode({**answer, "error": error})) == (7, output)


@pytest.mark.parametrize("told", ERRORS, ids=repr)
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", SAID)
def test_an_error_in_the_place_of_an_event_fails_the_stream(name: str, before: bool, told: object) -> None:
    """It does not leave, nor what follows; the stream never ends cleanly."""
    said, end = SAID[name]
    meter = meter_of(name)
    left = meter.feed(said) if before else b""
    assert meter.feed(b"data: " + msgspec.json.encode(told) + b"\n\n" + end) == b""
    assert meter.failed
    assert (b"Hi" in left) is before
    assert meter.delivered().events == (1 if before else 0)


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"anything": 1}\n\n',
        b"event: error\ndata: overloaded\n\n",
        b"event:error\r\ndata: {}\r\n\r\n",
        b"data: Internal Server Error\n\n",
        b"data: <html>502</html>\n\n",
        b'error: {"code":400,"message":"too long"}\n\n',
        b'{"error":{"message":"x"}}\n\n',
        b'[{"error":{"message":"x"}}]\n\n',
        b' {"error":{"message":"x"}}\n\n',
        b"<html>502</html>\n\n",
        b'data: {}\n[{"error":{"message":"x"}}]\n\n',
    ],
)
@pytest.mark.parametrize("name", SAID)
def test_an_error_in_another_frame_fails_the_stream(name: str, event: bytes) -> None:
    """By the event's name, as a text, or in a line that is no data."""
    said, end = SAID[name]
    meter = meter_of(name)
    meter.feed(said)
    assert meter.feed(event + end) == b""
    assert meter.failed


@pytest.mark.parametrize("name", SAID)
def test_a_stream_with_nothing_in_it_is_a_failure(name: str) -> None:
    """An end alone is no answer; one behind a text is."""
    said, end = SAID[name]
    empty, full = meter_of(name), meter_of(name)
    empty.feed(end)
    full.feed(said + end)
    assert (empty.saw_end_marker, empty.failed) == (True, True)
    assert (full.saw_end_marker, full.failed) == (True, False)


@pytest.mark.parametrize(
    ("event", "passes"),
    [
        (b": comment\n\n", b""),
        (b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n', b"prompt_filter_results"),
        (
            b'data: {"choices":[{"delta":{"content":"an \\"error\\" and an error"}}],"error":null}\n\n',
            b'{"content":"an \\"error\\" and an error"}',
        ),
        (b'data: {"choices":[{"delta":{}}],"base_resp":{"status_code":0,"status_msg":""}}\n\n', b'{"delta":{}}'),
    ],
)
def test_what_is_no_failure_passes(event: bytes, passes: bytes) -> None:
    """Comments, what servers say beside an answer, and errors that are none."""
    meter = meter_of("chat")
    assert passes in meter.feed(event)
    assert not meter.failed


SPELLINGS = (
    "ERROR",
    "TIMEOUT",
    "timed out",
    "server_error",
    "internal error",
    "internal-error",
    "error: no answer from 10.1.2.3",
    "insufficientSystemResource",
)


@pytest.mark.parametrize("reason", [*FAILED_FINISH_REASONS, *SPELLINGS])
def test_a_finish_reason_that_is_a_failure_is_no_end(reason: str) -> None:
    """What was delivered or told is paid: the usage that follows is read, and the stream fails at its end."""
    ending = b'data: {"choices":[{"delta":{},"finish_reason":"%b"}]}\n\n' % reason.encode()
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":2}}\n\n'
    meter, torn = meter_of("chat"), meter_of("chat")
    assert meter.feed(SAID["chat"][0] + ending + usage + b"data: [DONE]\n\n") == SAID["chat"][0]
    assert meter.failed
    assert meter.usage is not None
    assert (meter.usage.prompt_tokens, meter.usage.completion_tokens) == (40, 2)
    torn.feed(SAID["chat"][0] + ending)
    assert not torn.may_end_without_marker()
    with pytest.raises(FailedAnswer):
        count(read_chat(), msgspec.json.encode({"choices": [{"message": {"content": "H"}, "finish_reason": reason}]}))


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "sensitive"])
def test_every_other_finish_reason_is_an_end(reason: str) -> None:
    """That of a content filter, too."""
    meter = meter_of("chat")
    meter.feed(SAID["chat"][0] + b'data: {"choices":[{"delta":{},"finish_reason":"%b"}]}\n\n' % reason.encode())
    assert meter.may_end_without_marker()
    meter.feed(b"data: [DONE]\n\n")
    assert (meter.saw_end_marker, meter.failed) == (True, False)


@pytest.mark.parametrize("space", [b"", b" ", b"  ", b"\t"])
@pytest.mark.parametrize("name", ["chat", "completions", "messages, translated"])
def test_spaces_hide_no_failed_finish(name: str, space: bytes) -> None:
    """Python's servers write one behind each colon; in a translation, too, the end marker makes no answer of it."""
    meter = meter_of(name)
    ending = b'data: {"choices":[{"delta":{},"finish_reason":%b"timeout"}]}\n\n' % space
    meter.feed(SAID[name][0] + ending)
    assert not meter.may_end_without_marker()
    meter.feed(b"data: [DONE]\n\n")
    assert meter.failed


@pytest.mark.parametrize("rest", [b'{"error":{"message":"x"}}\n', b'error: {"code":400}', b'data: {"error":"x"}'])
def test_an_error_behind_the_last_event_is_seen(rest: bytes) -> None:
    """As a line without an end, behind a reason of the end (vercel/ai#5217)."""
    meter = meter_of("chat")
    meter.feed(SAID["chat"][0] + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n' + rest)
    assert (meter.end_of_body(), meter.failed) == (b"", True)


@pytest.mark.parametrize("told", ABSENT, ids=repr)
def test_absent_values_are_no_failures(told: object) -> None:
    """In an event's place they say nothing."""
    assert not says_something(told)
    assert not is_failure({"error": told})
