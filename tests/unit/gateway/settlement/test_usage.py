"""From what an upstream said, or did not say, to what is charged."""

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.support.catalog_samples import sample_model
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.json.body import decode_fields
from tokenbooth.gateway.formats.meter import Delivered
from tokenbooth.gateway.formats.openai.chat import ChatRequest, read_chat_request
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.settlement.settle import BilledUsage
from tokenbooth.gateway.settlement.usage import count_answer, count_stream, estimate


def request_of(content: object = "Hello", **fields: object) -> ChatRequest:
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}], **fields})
    return read_chat_request(decode_fields(body, 128), sample_model(), len(body))


def answer(message: dict[str, object], **fields: object) -> bytes:
    return msgspec.json.encode({"choices": [{"message": message}], **fields})


def counted(body: bytes, request: ChatRequest | None = None) -> BilledUsage:
    asked = request or request_of()
    return count_answer(asked, asked.read_answer(body), body, request_id="req_1", upstream="demo")


def test_reported_usage_is_taken() -> None:
    """What the upstream reports is what is charged."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}

    assert counted(answer({"content": "Hi"}, usage=usage)) == BilledUsage(
        Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2), estimated=False
    )


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning", "refusal"])
def test_an_answer_without_usage_is_counted(name: str) -> None:
    """Four bytes a token, of every text that the meter of a stream counts too (40)."""
    request = request_of()

    assert counted(answer({name: "x" * 10}), request) == BilledUsage(
        Usage(prompt_tokens=-(-request.text_bytes // 4), completion_tokens=3), estimated=True
    )


def test_arguments_of_tools_count() -> None:
    """A call of a tool is output."""
    calls = [{"function": {"name": "f", "arguments": "x" * 8}}]

    assert counted(answer({"content": None, "tool_calls": calls})).usage.completion_tokens == 2


def test_the_input_of_custom_tools_counts() -> None:
    """A client that leaves before the end of a custom tool's input pays for what it got of it."""
    calls = [{"type": "custom", "custom": {"name": "f", "input": "x" * 8}}]

    assert counted(answer({"content": None, "tool_calls": calls})).usage.completion_tokens == 2
    meter = ChatMeter(None)
    meter.feed(b"data: " + msgspec.json.encode({"choices": [{"delta": {"tool_calls": calls}}]}) + b"\n\n")
    assert meter.delivered() == Delivered(events=1, text_bytes=8)


def test_impossible_usage_is_counted_and_told() -> None:
    """Negative counts are no bill: the answer is counted, and the operator hears of it (44)."""
    with capture_logs() as logs:
        result = counted(answer({"content": "x" * 8}, usage={"prompt_tokens": -1, "completion_tokens": 5}))

    assert (result.estimated, result.usage.completion_tokens) == (True, 2)
    assert [log["event"] for log in logs] == ["usage_invalid"]


def test_absurd_usage_is_bounded_and_told() -> None:
    """No more than the model can do at all, parts cut with their wholes (44)."""
    usage = {
        "prompt_tokens": 90_000_000,
        "completion_tokens": 80_000_000,
        "prompt_tokens_details": {"cached_tokens": 60_000, "cache_write_tokens": 60_000},
        "completion_tokens_details": {"reasoning_tokens": 70_000_000},
    }
    with capture_logs() as logs:
        result = counted(answer({"content": "x"}, usage=usage), request_of(n=2))

    assert result == BilledUsage(
        Usage(
            prompt_tokens=65_536,
            completion_tokens=2 * 8_192,
            cached_tokens=60_000,
            cache_write_tokens=5_536,
            reasoning_tokens=2 * 8_192,
        ),
        estimated=False,
    )
    assert [log["event"] for log in logs] == ["usage_out_of_bounds"]


def test_a_stream_with_usage() -> None:
    """The usage that came is taken."""
    meter = ChatMeter(None)
    meter.feed(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n')

    assert count_stream(request_of(), meter, request_id="req_1", upstream="demo") == BilledUsage(
        Usage(prompt_tokens=3, completion_tokens=2), estimated=False
    )


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -3}])
def test_a_stream_without_usage(usage: object) -> None:
    """Counted from what was streamed, whether usage was absent or impossible (40)."""
    meter = ChatMeter(None)
    for _ in range(3):
        meter.feed(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
    if usage is not None:
        meter.feed(b"data: " + msgspec.json.encode({"choices": [], "usage": usage}) + b"\n\n")

    result = count_stream(request_of(), meter, request_id="req_1", upstream="demo")

    assert (result.estimated, result.usage.completion_tokens) == (True, 3)


@pytest.mark.parametrize(
    ("delivered", "tokens"),
    [
        (Delivered(events=0, text_bytes=0), 0),
        (Delivered(events=5, text_bytes=5), 5),
        (Delivered(events=1, text_bytes=401), 101),
        (Delivered(events=10**6, text_bytes=10**9), 8_192),
    ],
)
def test_estimated_output(delivered: Delivered, tokens: int) -> None:
    """The larger of events and a quarter of the bytes, within what the model can write."""
    assert estimate(request_of(), delivered).completion_tokens == tokens


def test_an_estimated_prompt_is_within_the_context() -> None:
    """Nobody pays for a longer prompt than the model reads."""
    assert estimate(request_of("x" * 400_000), Delivered(0, 0)).prompt_tokens == 65_536


def test_hanging_up_does_not_make_images_free() -> None:
    """A client that leaves before the usage comes pays for its images, not only for its text (39)."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000}}

    assert estimate(request_of([image] * 10), Delivered(1, 4)).prompt_tokens >= 10 * 1_000


def test_an_answer_that_is_no_json() -> None:
    """The caller has to tell the client that the upstream failed."""
    with pytest.raises(msgspec.DecodeError):
        counted(b"<html>")
