"""Anthropic: the messages format. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import Json, named_events, whole
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_STREAMING: Final = "Anthropic API docs, Streaming messages"
_PING: Final[Json] = {"type": "ping"}
_STOP: Final[Json] = {"type": "message_stop"}


def message(content: list[Json], stop_reason: str | None, usage: Json) -> bytes:
    """A whole message."""
    return whole(_message(content, stop_reason, usage))


def started(usage: Json) -> Json:
    """The event that begins a message."""
    return {"type": "message_start", "message": _message([], None, usage)}


def block(content: Json, *deltas: Json, index: int = 0) -> list[Json]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text_block(*texts: str, index: int = 0) -> list[Json]:
    """The events of one block of text."""
    deltas: list[Json] = [{"type": "text_delta", "text": text} for text in texts]
    return block({"type": "text", "text": ""}, *deltas, index=index)


def stopped(stop_reason: str, usage: Json | None) -> list[Json]:
    """The events that end a message."""
    delta: Json = {"stop_reason": stop_reason, "stop_sequence": None}
    end: Json = {"type": "message_delta", "delta": delta}
    return [end if usage is None else {**end, "usage": usage}, _STOP]


def _message(content: list[Json], stop_reason: str | None, usage: Json) -> Json:
    return {
        "id": "msg_1nZdL29xx5MUA1yADyHTEsnR8uuvGzszyY",
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": "m",
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _error(kind: str, text: str) -> Json:
    return {"type": "error", "error": {"details": None, "type": kind, "message": text}, "request_id": "req_011Ce3Hw"}


ROWS: Final = (
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="whole",
        shape="a message",
        source="Anthropic API reference, Messages",
        answer=message(
            [{"type": "text", "text": "Hi! My name is Claude."}],
            "end_turn",
            {"input_tokens": 2_095, "output_tokens": 503},
        ),
        streamed=False,
        usage=Usage(2_095, 503),
        text="Hi! My name is Claude.",
        finish="end_turn",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="streamed",
        shape="a streamed message with a ping",
        source=f"{_STREAMING}: basic streaming request",
        answer=named_events(
            started({"input_tokens": 25, "output_tokens": 1}),
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            _PING,
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "!"}},
            {"type": "content_block_stop", "index": 0},
            *stopped("end_turn", {"output_tokens": 15}),
        ),
        streamed=True,
        usage=Usage(25, 15),
        text="Hello!",
        finish="end_turn",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="tools",
        shape="a whole answer that uses a tool",
        source="Anthropic docs, Tool use",
        answer=message(
            [
                {"type": "text", "text": "I'll check."},
                {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"location": "Rome"}},
            ],
            "tool_use",
            {"input_tokens": 472, "output_tokens": 89},
        ),
        streamed=False,
        usage=Usage(472, 89),
        text="I'll check.",
        tool_calls=(ToolCall("get_weather", '{"location":"Rome"}', "toolu_01"),),
        finish="tool_use",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="tools",
        shape="a streamed tool whose input begins with an empty piece",
        source=f"{_STREAMING}: streaming request with tool use",
        answer=named_events(
            started({"input_tokens": 472, "output_tokens": 2}),
            *text_block("Okay."),
            *block(
                {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {}},
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"location":'},
                {"type": "input_json_delta", "partial_json": ' "San Francisco, CA"}'},
                index=1,
            ),
            *stopped("tool_use", {"output_tokens": 89}),
        ),
        streamed=True,
        usage=Usage(472, 89),
        text="Okay.",
        tool_calls=(ToolCall("get_weather", '{"location": "San Francisco, CA"}', "toolu_01"),),
        finish="tool_use",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="cached",
        shape="reads and writes that stand beside the input",
        source="Anthropic docs, Prompt caching: tracking cache performance",
        answer=message(
            [{"type": "text", "text": "So."}],
            "end_turn",
            {
                "input_tokens": 50,
                "cache_creation_input_tokens": 248,
                "cache_read_input_tokens": 100_000,
                "cache_creation": {"ephemeral_5m_input_tokens": 248, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 503,
                "service_tier": "standard",
            },
        ),
        streamed=False,
        usage=Usage(100_298, 503, cached_tokens=100_000, cache_write_tokens=248),
        text="So.",
        finish="end_turn",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="cached",
        shape="a stream that tells all counts again at its end",
        source=f"{_STREAMING}: usage of message_delta is cumulative; streaming request with web search",
        answer=named_events(
            started(
                {
                    "input_tokens": 2_679,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 512,
                    "output_tokens": 3,
                }
            ),
            *text_block("It is"),
            *stopped(
                "end_turn",
                {
                    "input_tokens": 10_682,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 512,
                    "output_tokens": 510,
                    "server_tool_use": {"web_search_requests": 1},
                },
            ),
        ),
        streamed=True,
        usage=Usage(11_194, 510, cached_tokens=512),
        text="It is",
        finish="end_turn",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="reasoning",
        shape="a whole answer that thought",
        source="Anthropic docs, Extended thinking",
        answer=message(
            [
                {"type": "thinking", "thinking": "Let me analyze this.", "signature": "WaUjzkypQ2mUEVM36O2T"},
                {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
                {"type": "text", "text": "Based on my analysis."},
            ],
            "end_turn",
            {"input_tokens": 43, "output_tokens": 160},
        ),
        streamed=False,
        usage=Usage(43, 160),
        text="Based on my analysis.",
        reasoning="Let me analyze this.",
        finish="end_turn",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="reasoning",
        shape="streamed thinking with a signature",
        source=f"{_STREAMING}: streaming request with extended thinking",
        answer=named_events(
            started({"input_tokens": 43, "output_tokens": 1}),
            *block(
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "I need the GCD"},
                {"type": "thinking_delta", "thinking": " of 1071."},
                {"type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
            ),
            *text_block("It is 21.", index=1),
            *stopped("end_turn", {"output_tokens": 60}),
        ),
        streamed=True,
        usage=Usage(43, 60),
        text="It is 21.",
        reasoning="I need the GCD of 1071.",
        finish="end_turn",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="error in 200",
        shape="an error object in the place of a message",
        source="ding113/claude-code-hub#749",
        answer=whole(_error("overloaded_error", "Overloaded")),
        streamed=False,
        usage=None,
        failed=True,
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="error event",
        shape="an overload before the first event",
        source=f"{_STREAMING}: error events",
        answer=named_events({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="error event",
        shape="an overload in the middle of a text",
        source="karthink/gptel#1512",
        answer=named_events(
            started({"input_tokens": 25, "output_tokens": 1}),
            *text_block("Hel", "lo")[:-1],
            _error("overloaded_error", "Overloaded"),
        ),
        streamed=True,
        usage=None,
        prompt_usage=Usage(25, 1),
        failed=True,
        text="Hello",
    ),
    Row(
        server="Anthropic",
        wire="anthropic.messages",
        case="cut",
        shape="a stream that stops in a block",
        source="openclaw/openclaw#120030",
        answer=named_events(started({"input_tokens": 25, "output_tokens": 1}), *text_block("Hello")[:-1]),
        streamed=True,
        usage=None,
        prompt_usage=Usage(25, 1),
        failed=True,
        text="Hello",
    ),
)
