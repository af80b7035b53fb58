"""A stream put together to the whole answer that a client asked for."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given

from tests.support.chat_streams import Spoken, chat_streams
from tokenbooth.gateway.chat_answer import decode_lenient, read_completion
from tokenbooth.gateway.openai import reported_usage
from tokenbooth.gateway.stream_as_whole import chat_answer, completion_answer, message_answer, response_answer
from tokenbooth.gateway.translate_answer import whole_completion

Json = dict[str, object]


def stream(*deltas: Json) -> bytes:
    """A stream of these deltas."""
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks) + b"data: [DONE]\n\n"


def message_of(body: bytes) -> Json:
    """The only message of an answer."""
    (choice,) = msgspec.json.decode(chat_answer(body))["choices"]
    message: Json = choice["message"]
    return message


@given(chat_streams())
def test_what_was_streamed_is_said_whole(spoken: Spoken) -> None:
    """In any spelling: no word is lost, and no call is mixed with another one."""
    completion, meant = read_completion(chat_answer(spoken.body)), spoken.meant
    assert completion is not None
    assert completion.choice is not None
    said = completion.choice.message

    assert said.text == meant.text
    assert [(call.name, decode_lenient(call.arguments)) for call in said.calls] == [
        (call.name, call.arguments) for call in meant.calls
    ]
    assert [told.call_id for told in meant.calls if told.call_id] == [
        call.call_id for call, told in zip(said.calls, meant.calls, strict=True) if told.call_id
    ]
    assert completion.choice.finish_reason == meant.finish
    # A character that is cut between two parts of a list is not put together.
    if b'"reasoning.text"' not in spoken.body and b'{"type": "thinking"' not in spoken.body:
        assert said.thought == meant.thought


@pytest.mark.parametrize("first", [0, 1])
def test_calls_are_told_apart_by_their_numbers(first: int) -> None:
    """From whichever number a server counts; only events have them."""
    one, two = first, first + 1
    body = stream(
        {"tool_calls": [{"index": one, "id": "a", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": two, "id": "b", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": one, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": two, "function": {"arguments": '{"x":1}'}}]},
    )

    assert message_of(body)["tool_calls"] == [
        {"id": "a", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "function": {"name": "g", "arguments": '{"x":1}'}},
    ]


def test_an_event_with_half_a_character_is_not_lost() -> None:
    """The other half comes in the next one."""
    event = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n'

    assert message_of(event % b"a\\ud83d" + event % b"\\ude00")["content"] == "a\U0001f600"


def test_texts_and_parts_are_one_content() -> None:
    """A server that writes both loses neither."""
    part = {"type": "image_url", "image_url": {"url": "u"}}

    assert message_of(stream({"content": "a"}, {"content": [part]}, {"content": "b"}))["content"] == [
        {"type": "text", "text": "a"},
        part,
        {"type": "text", "text": "b"},
    ]


_CHAT_END = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_COMPLETION_END = b'data: {"choices":[{"index":0,"text":"Hi","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
_MESSAGE_END = (
    b'data: {"type":"message_start","message":{"role":"assistant"}}\n\n'
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)
_RESPONSE_END = b'data: {"type":"response.completed","response":{"output":[{"type":"message"}]}}\n\n'
_MORE = (
    b'data: {"error":{"message":"too late"}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"more"},"text":"more"}]}\n\n',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"more"}}\n\n',
    b'data: {"type":"response.failed","response":{"error":{"message":"too late"}}}\n\n',
    b'data: {"choices":[{"index":0',
)


@pytest.mark.parametrize("more", _MORE)
@pytest.mark.parametrize(
    ("put_together", "stream"),
    [
        (chat_answer, _CHAT_END),
        (whole_completion, _CHAT_END),
        (completion_answer, _COMPLETION_END),
        (message_answer, _MESSAGE_END),
        (response_answer, _RESPONSE_END),
    ],
)
def test_what_stands_behind_the_end_is_no_part_of_the_answer(
    put_together: Callable[[bytes], bytes], stream: bytes, more: bytes
) -> None:
    """Neither a text, nor an error, nor half an event; as in an answer that is streamed to its client."""
    assert msgspec.json.decode(put_together(stream + more)) == msgspec.json.decode(put_together(stream))


@pytest.mark.parametrize("index", ["[]", "{}", "null", '"0"', "0.5", "true"])
@pytest.mark.parametrize(
    ("put_together", "stream"),
    [
        (chat_answer, _CHAT_END),
        (whole_completion, _CHAT_END),
        (completion_answer, _COMPLETION_END),
        (message_answer, _MESSAGE_END),
    ],
)
def test_an_index_that_is_no_number_is_no_error_of_ours(
    put_together: Callable[[bytes], bytes], stream: bytes, index: str
) -> None:
    """What was said stands in the answer all the same."""
    assert b'"Hi"' in put_together(stream.replace(b'"index":0', b'"index":' + index.encode()))


@pytest.mark.parametrize("place", [b'"usage":%b', b'"x_groq":{"usage":%b}', b'"choices":[{"index":0,"usage":%b}]'])
@pytest.mark.parametrize("put_together", [chat_answer, whole_completion])
def test_a_usage_is_kept_wherever_it_stands(put_together: Callable[[bytes], bytes], place: bytes) -> None:
    """Moonshot tells it in the choice, Groq in an object of its own ("Streaming" in their documentation)."""
    usage = place % b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
    body = _CHAT_END.replace(b"data: [DONE]", b"data: {%b}\n\ndata: [DONE]" % usage)
    reported = reported_usage(put_together(body))
    assert reported is not None
    assert (reported["prompt_tokens"], reported["completion_tokens"]) == (7, 3)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
@pytest.mark.parametrize("put_together", [chat_answer, whole_completion])
def test_an_end_marker_that_is_left_open_is_one(put_together: Callable[[bytes], bytes], end: bytes) -> None:
    """The end of the body ends its event."""
    assert put_together(_CHAT_END.rstrip(b"\n") + end) == put_together(_CHAT_END)
