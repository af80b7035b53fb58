"""LiteLLM's proxy: counts of the cache in two places, failures that look like answers. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.anthropic import block, started, stopped
from tests.support.gateway.corpus.framing import (
    DONE,
    call,
    choiceless,
    chunk,
    completion,
    counts,
    events,
    named_events,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

ROWS: Final = (
    Row(
        server="LiteLLM",
        case="whole",
        shape="a completion with null details",
        source="LiteLLM docs, Output format",
        answer=completion(
            {"content": "Hey!", "tool_calls": None, "function_call": None, "provider_specific_fields": None},
            "stop",
            counts(13, 43, completion_tokens_details=None, prompt_tokens_details=None),
        ),
        streamed=False,
        usage=Usage(13, 43),
        text="Hey!",
        finish="stop",
    ),
    Row(
        server="LiteLLM",
        case="streamed",
        shape="usage beside an empty choice, behind the finish reason",
        source="LiteLLM docs, Usage: streaming usage",
        answer=events(
            chunk({"role": "assistant", "content": "Hey"}),
            said("!"),
            chunk({}, "stop"),
            chunk({}, usage=counts(13, 2, completion_tokens_details=None, prompt_tokens_details=None)),
        )
        + DONE,
        streamed=True,
        usage=Usage(13, 2),
        text="Hey!",
        finish="stop",
    ),
    Row(
        server="LiteLLM",
        case="tools",
        shape="a streamed call whose later pieces have an empty name",
        source="BerriAI/litellm#40040",
        answer=events(
            chunk({"content": ""}),
            chunk({"tool_calls": [call("get_weather", "", "chatcmpl-tool-a1", index=0)]}),
            *(
                chunk({"tool_calls": [{"function": {"arguments": piece, "name": ""}, "type": "function", "index": 0}]})
                for piece in ('{"city": "', 'Paris"}')
            ),
            chunk({}, "tool_calls"),
            choiceless(usage=counts(70, 15)),
        )
        + DONE,
        streamed=True,
        usage=Usage(70, 15),
        tool_calls=(ToolCall("get_weather", '{"city": "Paris"}', "chatcmpl-tool-a1"),),
        finish="tool_calls",
    ),
    Row(
        server="LiteLLM",
        case="tools",
        shape="two calls with empty ids under the same index",
        source="BerriAI/litellm#24095",
        answer=events(
            chunk({"role": "assistant", "tool_calls": [call("one", '{"x":1}', "", index=0)]}),
            chunk({"tool_calls": [call("two", '{"y":2}', "", index=0)]}),
            chunk({}, "tool_calls"),
            choiceless(usage=counts(70, 20)),
        )
        + DONE,
        streamed=True,
        usage=Usage(70, 20),
        tool_calls=(ToolCall("one", '{"x":1}'), ToolCall("two", '{"y":2}')),
        finish="tool_calls",
    ),
    Row(
        server="LiteLLM",
        case="cached",
        shape="reads and writes told twice, both part of the prompt",
        source="LiteLLM docs, Prompt caching",
        answer=completion(
            {"content": "So."},
            "stop",
            counts(
                2_006,
                300,
                prompt_tokens_details={"cached_tokens": 1_920, "cache_creation_tokens": 50},
                completion_tokens_details={"reasoning_tokens": 0},
                cache_creation_input_tokens=50,
                cache_read_input_tokens=1_920,
            ),
        ),
        streamed=False,
        usage=Usage(2_006, 300, cached_tokens=1_920, cache_write_tokens=50),
        text="So.",
        finish="stop",
    ),
    Row(
        server="LiteLLM",
        case="reasoning",
        shape="the same thought in reasoning_content and in thinking_blocks",
        source="LiteLLM docs, Reasoning content",
        answer=completion(
            {
                "content": "Paris.",
                "reasoning_content": "The capital of France.",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "The capital of France.", "signature": "EqoBCkgIARAB"}
                ],
            },
            "stop",
            counts(42, 65, completion_tokens_details={"reasoning_tokens": 30, "text_tokens": 35}),
        ),
        streamed=False,
        usage=Usage(42, 65, reasoning_tokens=30),
        text="Paris.",
        reasoning="The capital of France.",
        finish="stop",
    ),
    Row(
        server="LiteLLM",
        wire="anthropic.messages",
        case="error in 200",
        shape="a failure that looks like an empty message",
        source="BerriAI/litellm#32086",
        answer=named_events(
            started({"input_tokens": 0, "output_tokens": 0}),
            *stopped("end_turn", {"input_tokens": 0, "output_tokens": 0}),
        ),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="LiteLLM",
        case="error event",
        shape="an error object with a trace of the program",
        source="BerriAI/litellm#5175",
        answer=events(
            {
                "error": {
                    "message": "litellm.APIConnectionError: Extra data\nTraceback (most recent call last):\n  File ...",
                    "type": None,
                    "param": None,
                    "code": "500",
                }
            }
        ),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="LiteLLM",
        wire="anthropic.messages",
        case="cut",
        shape="a message that stops in the input of a tool",
        source="BerriAI/litellm#32159",
        answer=named_events(
            started({"input_tokens": 30, "output_tokens": 1}),
            *block(
                {"type": "tool_use", "id": "toolu_bdrk_01", "name": "write", "input": {}},
                {"type": "input_json_delta", "partial_json": '{"text": "the testing of'},
                {"type": "input_json_delta", "partial_json": " s"},
            )[:-1],
        ),
        streamed=True,
        usage=None,
        prompt_usage=Usage(30, 1),
        failed=True,
        tool_calls=(ToolCall("write", '{"text": "the testing of s', "toolu_bdrk_01"),),
    ),
)
