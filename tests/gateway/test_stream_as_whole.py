"""Streams as whole answers, for clients that asked for none: nothing of what was said or counted is lost."""

from typing import Any

import msgspec
import pytest

from tokenbooth.gateway.stream_as_whole import chat_answer, message_answer, response_answer

Json = dict[str, Any]


def stream(*events: Json) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(one) + b"\n\n" for one in events)


def chat(*deltas: Json, **last: Any) -> Json:
    """The message of a completion that is told in these pieces."""
    chunks: list[Json] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    message: Json = msgspec.json.decode(chat_answer(stream(*chunks, last)))["choices"][0]["message"]
    return message


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
]


@pytest.mark.parametrize(("deltas", "calls"), CALLS)
def test_pieces_of_calls(deltas: list[Json], calls: list[tuple[str, str]]) -> None:
    """Each call is one, with its whole arguments."""
    told = chat(*deltas)["tool_calls"]
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in told] == calls
    assert not any("index" in call for call in told)


def test_parts_of_a_content_and_a_text() -> None:
    """Mistral sends thoughts as parts and what it says as a text (BerriAI/litellm#16272)."""
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    told = chat({"content": ""}, {"content": [thought]}, {"content": "Hel"}, {"content": "lo"}, {"content": ""})
    assert told["content"][0] == thought
    assert "".join(part["text"] for part in told["content"][1:]) == "Hello"


@pytest.mark.parametrize("nothing", [None, 0, {}, "null", False])
def test_a_later_usage_that_says_nothing(nothing: object) -> None:
    """Of each count the last that says something stands, as in a stream that passes."""
    first = {"input_tokens": 5_000, "cache_read_input_tokens": 70, "output_tokens": 1, "service_tier": "standard"}
    last = {"input_tokens": nothing, "cache_read_input_tokens": nothing, "output_tokens": 9}
    message = msgspec.json.decode(
        message_answer(
            stream(
                {"type": "message_start", "message": {"usage": first}},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
            )
        )
    )
    assert message["usage"] == {**first, "output_tokens": 9}
    chunks = stream(
        {"choices": [{"index": 0, "delta": {"content": "a"}, "usage": {"prompt_tokens": 9, "completion_tokens": 4}}]},
        {"choices": [], "usage": {"prompt_tokens": nothing, "completion_tokens": nothing}},
    )
    assert msgspec.json.decode(chat_answer(chunks))["usage"] == {"prompt_tokens": 9, "completion_tokens": 4}


def test_a_response_from_its_pieces_alone() -> None:
    """Where neither the last event nor one of an item holds them (vercel/ai#17068)."""
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": ""}
    told = msgspec.json.decode(
        response_answer(
            stream(
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
