"""A stream put together to the whole answer that a client asked for."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given

from tests.support.gateway.chat_streams import Spoken, chat_streams
from tokenbooth.gateway.formats.anthropic.from_chat import whole_completion
from tokenbooth.gateway.formats.chat_answer import decode_lenient, read_completion
from tokenbooth.gateway.formats.openai.base import read_chat_answer, usage_object
from tokenbooth.gateway.formats.stream_as_whole import chat_answer, completion_answer, message_answer, response_answer

Json = dict[str, object]


def stream(*deltas: Json) -> bytes:
    """A stream of these deltas."""
    chunks = [{"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks) + b"data: [DONE]\n\n"


def message_of(body: bytes, put_together: Callable[[bytes], bytes] = chat_answer) -> Json:
    """The only message of an answer."""
    (choice,) = msgspec.json.decode(put_together(body))["choices"]
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


def events(*data: Json) -> bytes:
    """A stream of any events."""
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(one) for one in data)


def piece(arguments: str, index: int | None = 0, name: str | None = None, call_id: str | None = None) -> Json:
    """One piece of a call."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    given = {} if call_id is None else {"id": call_id}
    return {"tool_calls": [{"index": index, **given, "function": function}]}


# Empty ids under one number: BerriAI/litellm#24095. Without a number: Alishahryar1/free-claude-code#633. Interleaved:
# praxis-proxy/ai#266. The others are what is left of numbers, ids and names that come or don't.
CALLS: list[tuple[list[Json], list[tuple[str, str]]]] = [
    ([piece('{"x"', 0, "f", "a"), piece(":1}", 0)], [("f", '{"x":1}')]),
    ([piece('{"x":1}', 0, "f", ""), piece('{"y":2}', 0, "g", "")], [("f", '{"x":1}'), ("g", '{"y":2}')]),
    ([piece('{"x":1}', 0, "f", ""), piece('{"x":2}', 0, "f", "")], [("f", '{"x":1}'), ("f", '{"x":2}')]),
    ([piece("", 0, "f", "a"), piece("", 1, "g", "b"), piece("{}", 0), piece("[]", 1)], [("f", "{}"), ("g", "[]")]),
    ([piece("{}", 0, "f", "a"), piece("", 0, "g", "b"), piece("{}", 0)], [("f", "{}"), ("g", "{}")]),
    ([piece("", 0, "f", "a"), piece('{"x"', 0, None, "r1"), piece(":1}", 0, None, "r2")], [("f", '{"x":1}')]),
    ([piece('{"x"', None, "f", "a"), piece(":1}", None)], [("f", '{"x":1}')]),
    ([piece('{"x"', 0, "f", "a"), piece(":1}", 0, "f", "a")], [("f", '{"x":1}')]),
    ([piece('{"x":1}', 0, "f", "a"), piece('{"x":2}', 1, "f", "a")], [("f", '{"x":1}'), ("f", '{"x":2}')]),
    ([piece('{"x"', 0, "f", "a"), piece(":1}", 1, None, "a")], [("f", '{"x":1}')]),
    ([piece("", 0, "get_", "a"), piece('{"x"', 0, "weather"), piece(":1}", 0)], [("get_weather", '{"x":1}')]),
    ([piece("", 0, "get", "a"), piece("{}", 0, "get_weather")], [("get_weather", "{}")]),
]


@pytest.mark.parametrize("put_together", [chat_answer, whole_completion])
@pytest.mark.parametrize(("deltas", "calls"), CALLS)
def test_pieces_of_calls(
    deltas: list[Json], calls: list[tuple[str, str]], put_together: Callable[[bytes], bytes]
) -> None:
    """Each call is one, with its whole arguments, whether it stays a completion or becomes a message."""
    told = message_of(stream(*deltas), put_together)["tool_calls"]
    assert isinstance(told, list)
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in told] == calls
    assert not any("index" in call for call in told)


@pytest.mark.parametrize("nothing", [None, 0, {}, "null", False])
def test_a_later_usage_that_says_nothing(nothing: object) -> None:
    """Of each count the last that says something stands, as in a stream that passes."""
    first = {"input_tokens": 5_000, "cache_read_input_tokens": 70, "output_tokens": 1, "service_tier": "standard"}
    last = {"input_tokens": nothing, "cache_read_input_tokens": nothing, "output_tokens": 9}
    message = msgspec.json.decode(
        message_answer(
            events(
                {"type": "message_start", "message": {"usage": first}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
            )
        )
    )
    assert message["usage"] == {**first, "output_tokens": 9}
    chunks = events(
        {"choices": [{"index": 0, "delta": {"content": "a"}, "usage": {"prompt_tokens": 9, "completion_tokens": 4}}]},
        {"choices": [], "usage": {"prompt_tokens": nothing, "completion_tokens": nothing}},
    )
    assert msgspec.json.decode(chat_answer(chunks))["usage"] == {"prompt_tokens": 9, "completion_tokens": 4}


def test_a_response_from_its_pieces_alone() -> None:
    """Where neither the last event nor one of an item holds them (vercel/ai#17068)."""
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    told = msgspec.json.decode(
        response_answer(
            events(
                {"type": "response.output_text.delta", "item_id": "m", "delta": "Hel"},
                {"type": "response.output_text.delta", "item_id": "m", "delta": "lo"},
                {"type": "response.output_item.added", "item": call},
                {"type": "response.function_call_arguments.delta", "item_id": "fc", "delta": "{}"},
                {"type": "response.completed", "response": {"status": "completed"}},
            )
        )
    )
    message, called = told["output"]
    assert message["content"] == [{"type": "output_text", "text": "Hello", "annotations": []}]
    assert called == {**call, "arguments": "{}"}


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
    whole = put_together(body)
    reported = usage_object(read_chat_answer(whole), whole)
    assert reported is not None
    assert (reported["prompt_tokens"], reported["completion_tokens"]) == (7, 3)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
@pytest.mark.parametrize("put_together", [chat_answer, whole_completion])
def test_an_end_marker_that_is_left_open_is_one(put_together: Callable[[bytes], bytes], end: bytes) -> None:
    """The end of the body ends its event."""
    assert put_together(_CHAT_END.rstrip(b"\n") + end) == put_together(_CHAT_END)
