"""Seeds: requests, streams and answers of every format, as clients and servers write them."""

import re
from typing import Final

import msgspec

from fuzz.failures import CANARY
from tests.support.gateway.corpus.servers import ROWS

Json = dict[str, object]

# Of a chat completion; the ids of messages, items and calls have other beginnings.
_IDS: Final = re.compile(rb'"id":"(?:chatcmpl|cmpl|gen)-[\w-]*"')

_TOOL: Final[Json] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
_PICTURE: Final = "data:image/png;base64,iVBORw0KGgo="
_USAGE: Final[Json] = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
_CHAT: Final[list[Json]] = [
    {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "stream_options": {"include_usage": True}},
    {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100, "max_completion_tokens": 50, "n": 2},
    {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PICTURE}}]},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "stars"},
        ],
        "tools": [_TOOL],
        "reasoning_effort": "low",
    },
]
_OTHERS: Final[list[Json]] = [
    {"prompt": ["a", "b"], "best_of": 3, "max_tokens": 5, "stream": False, "stream_options": None},
    {"prompt": [[1, 2], [3]]},
    {"input": ["a", "b"], "encoding_format": "float"},
    {"input": "Hi", "store": False, "reasoning": {"effort": "low"}, "max_output_tokens": 10, "stream": True},
    {
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": _PICTURE}, {"type": "input_text"}]},
            {"type": "function_call_output", "call_id": "c", "output": "{}"},
        ],
        "tools": [{"type": "function", "name": "look"}],
    },
]
_MESSAGES: Final[list[Json]] = [
    {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10, "stream": True, "system": "Be kind."},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"q": 1}}]},
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "content": [
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                            }
                        ],
                    },
                    {"type": "document", "source": {"type": "text", "data": "words"}},
                ],
            },
        ],
        "max_tokens": 9_000,
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "stop_sequences": ["end"],
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    },
]
_CHUNKS: Final[list[Json]] = [
    {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "chatcmpl-1", "choices": [{"delta": {"reasoning_content": "hm"}, "finish_reason": None}], "usage": None},
    {"id": "chatcmpl-1", "choices": [{"delta": {"content": 'say "hi"\n'}, "text": "hi"}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": _USAGE},
    {"choices": [], "usage": _USAGE},
]
_MESSAGE_EVENTS: Final[list[Json]] = [
    {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 7, "cache_read_input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "ping"},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}},
    {"type": "message_stop"},
]
_RESPONSE_EVENTS: Final[list[Json]] = [
    {"type": "response.created", "response": {"id": "r", "usage": None}},
    {"type": "response.output_text.delta", "delta": "Hello"},
    {
        "type": "response.completed",
        "response": {"id": "r", "usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}},
    },
]
_FAILURES: Final[list[Json]] = [
    {"error": {"message": "overloaded", "code": 500}},
    {"type": "error", "error": {"type": "overloaded_error"}},
    {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
]


def bodies() -> list[bytes]:
    """Requests."""
    return [msgspec.json.encode({"model": "m", **one}) for one in (*_CHAT, *_OTHERS, *_MESSAGES)]


def streams() -> list[bytes]:
    """Streams: whole ones, one with other line ends, one that reports an error, and those of the corpus."""
    named = [
        b"".join(b"event: %s\ndata: %s\n\n" % (str(one["type"]).encode(), msgspec.json.encode(one)) for one in events)
        for events in (_MESSAGE_EVENTS, _RESPONSE_EVENTS, _FAILURES[1:])
    ]
    chunks = b"".join(b"data: %s\n\n" % msgspec.json.encode(one) for one in _CHUNKS) + b"data: [DONE]\n\n"
    broken = b"data: %s\n\ndata: %s\n\n" % (msgspec.json.encode(_CHUNKS[2]), msgspec.json.encode(_FAILURES[0]))
    recorded = [_with_canaries(row.answer) for row in ROWS if row.media_type == "text/event-stream"]
    return [chunks, chunks.replace(b"\n", b"\r\n"), b": comment\n\n" + broken, *named, *recorded]


def answers() -> list[bytes]:
    """Whole answers, and those of the corpus."""
    message: Json = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": None}
    call: Json = {"id": "c", "function": {"name": "look", "arguments": '{"q":1}'}}
    completion: Json = {"id": "chatcmpl-1", "usage": _USAGE}
    written = [
        msgspec.json.encode(one)
        for one in (
            {**completion, "choices": [{"message": message, "finish_reason": "stop"}]},
            {**completion, "choices": [{"message": {"content": None, "tool_calls": [call]}}]},
            {"type": "message", "content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1}},
            {"id": "r", "status": "completed", "output": [], "usage": {"input_tokens": 9, "output_tokens": 4}},
            {"object": "list", "data": [], "usage": {"prompt_tokens": 2, "total_tokens": 2}},
            _FAILURES[0],
        )
    ]
    return [*written, *(_with_canaries(row.answer) for row in ROWS if row.media_type == "application/json")]


def _with_canaries(answer: bytes) -> bytes:
    """An answer of the corpus with ids that nobody but the operator may see."""
    return _IDS.sub(b'"id":"%b","system_fingerprint":"%b"' % (CANARY.encode(), CANARY.encode()), answer)
