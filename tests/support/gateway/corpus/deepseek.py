"""DeepSeek: chat completions with its own counts of the cache, keep-alives and ends. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    Json,
    call,
    chunk,
    completion,
    counts,
    events,
    more_arguments,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "DeepSeek API docs, Create chat completion"
_THINKING: Final = "DeepSeek API docs, Thinking mode"
_KEEP_ALIVE: Final = b": keep-alive\n\n"


def _counts(prompt: int, completion_tokens: int, hit: int = 0, **fields: object) -> Json:
    return counts(
        prompt,
        completion_tokens,
        prompt_tokens_details={"cached_tokens": hit},
        prompt_cache_hit_tokens=hit,
        prompt_cache_miss_tokens=prompt - hit,
        **fields,
    )


def _thought(text: str) -> Json:
    return chunk({"content": None, "reasoning_content": text})


ROWS: Final = (
    Row(
        server="DeepSeek",
        case="whole",
        shape="a completion",
        source=_CHAT,
        answer=completion({"content": "Hello! How can I help you today?"}, "stop", _counts(16, 10)),
        streamed=False,
        usage=Usage(16, 10),
        text="Hello! How can I help you today?",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="whole",
        shape="empty lines before a body that takes long",
        source="DeepSeek API docs, Rate limit: keep-alives of a request that is not streamed",
        answer=b"\n\n\n" + completion({"content": "Late."}, "stop", _counts(16, 3)),
        streamed=False,
        usage=Usage(16, 3),
        text="Late.",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="streamed",
        shape="usage in the chunk that has the finish reason",
        source=f"{_CHAT}: streaming",
        answer=events(
            chunk({"content": "", "role": "assistant"}),
            said("Hello"),
            said("!"),
            chunk({"content": "", "role": None}, "stop", usage=counts(17, 9)),
        )
        + DONE,
        streamed=True,
        usage=Usage(17, 9),
        text="Hello!",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="streamed",
        shape="comments while it waits",
        source="DeepSeek API docs, Rate limit: keep-alives of a stream",
        answer=_KEEP_ALIVE * 2
        + events(chunk({"content": "", "role": "assistant"}))
        + _KEEP_ALIVE
        + events(said("Hi"), chunk({"content": ""}, "stop", usage=_counts(12, 1)))
        + DONE,
        streamed=True,
        usage=Usage(12, 1),
        text="Hi",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="tools",
        shape="a streamed function call",
        source="DeepSeek API docs, Function calling",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"tool_calls": [call("get_weather", "", "call_0_cc", index=0)]}),
            more_arguments('{"location": '),
            more_arguments('"Hangzhou"}'),
            chunk({"content": ""}, "tool_calls", usage=_counts(165, 20)),
        )
        + DONE,
        streamed=True,
        usage=Usage(165, 20),
        tool_calls=(ToolCall("get_weather", '{"location": "Hangzhou"}', "call_0_cc"),),
        finish="tool_calls",
    ),
    Row(
        server="DeepSeek",
        case="tools",
        shape="thinking before a call",
        source=f"{_THINKING}: tool calls",
        answer=completion(
            {
                "content": "",
                "reasoning_content": "I need the date.",
                "tool_calls": [call("get_date", "{}", "call_00_k", index=0)],
            },
            "tool_calls",
            _counts(300, 44, completion_tokens_details={"reasoning_tokens": 21}),
        ),
        streamed=False,
        usage=Usage(300, 44, reasoning_tokens=21),
        reasoning="I need the date.",
        tool_calls=(ToolCall("get_date", "{}", "call_00_k"),),
        finish="tool_calls",
    ),
    Row(
        server="DeepSeek",
        case="cached",
        shape="hits and misses, without details",
        source="DeepSeek API docs, Context caching",
        answer=completion(
            {"content": "So."},
            "stop",
            counts(1_024, 256, prompt_cache_hit_tokens=960, prompt_cache_miss_tokens=64),
        ),
        streamed=False,
        usage=Usage(1_024, 256, cached_tokens=960),
        text="So.",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="cached",
        shape="the same hits told in both ways",
        source=_CHAT,
        answer=completion({"content": "So."}, "stop", _counts(128, 90, hit=64)),
        streamed=False,
        usage=Usage(128, 90, cached_tokens=64),
        text="So.",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="reasoning",
        shape="whole reasoning_content",
        source=_THINKING,
        answer=completion(
            {"content": "9.8", "reasoning_content": "9.11 is 9 + 0.11."},
            "stop",
            _counts(18, 900, completion_tokens_details={"reasoning_tokens": 700}),
        ),
        streamed=False,
        usage=Usage(18, 900, reasoning_tokens=700),
        text="9.8",
        reasoning="9.11 is 9 + 0.11.",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="reasoning",
        shape="streamed reasoning_content with a null content",
        source=f"{_THINKING}: streaming",
        answer=events(
            chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
            _thought("9.11 is"),
            _thought(" smaller."),
            chunk({"content": "9.8", "reasoning_content": None}),
            chunk(
                {"content": "", "reasoning_content": None},
                "stop",
                usage=_counts(18, 12, completion_tokens_details={"reasoning_tokens": 8}),
            ),
        )
        + DONE,
        streamed=True,
        usage=Usage(18, 12, reasoning_tokens=8),
        text="9.8",
        reasoning="9.11 is smaller.",
        finish="stop",
    ),
    Row(
        server="DeepSeek",
        case="error event",
        shape="an error object without an end marker",
        source="open-octo/octo-agent#910",
        answer=events(
            said("Real content"),
            {"error": {"message": "Service is too busy.", "type": "service_unavailable_error", "code": "busy"}},
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Real content",
    ),
    Row(
        server="DeepSeek",
        case="cut",
        shape="a finish reason that says the server gave up",
        source=f"{_CHAT}: finish_reason insufficient_system_resource",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            said("The first"),
            chunk({"content": ""}, "insufficient_system_resource", usage=_counts(40, 2)),
        )
        + DONE,
        streamed=True,
        usage=Usage(40, 2),
        failed=True,
        text="The first",
        finish="insufficient_system_resource",
    ),
    Row(
        server="DeepSeek",
        case="cut",
        shape="a stream that stops while it thinks",
        source="deepseek-ai/DeepSeek-V3#1608",
        answer=events(
            chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
            _thought("Let me think"),
            _thought(" of"),
        ),
        streamed=True,
        usage=None,
        failed=True,
        reasoning="Let me think of",
    ),
    Row(
        server="DeepSeek",
        case="cut",
        shape="a body that ends in the middle",
        source="deepseek-ai/DeepSeek-V3#1046",
        answer=completion({"content": "A long answer that is cut"}, "stop", _counts(16_375, 900))[:150],
        streamed=False,
        usage=None,
        failed=True,
    ),
)
