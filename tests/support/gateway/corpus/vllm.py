"""vLLM: usage when it is asked for, errors as events before an end marker. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    Json,
    call,
    choiceless,
    chunk,
    completion,
    events,
    more_arguments,
    said,
    whole,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_SERVER: Final = "vLLM docs, OpenAI-compatible server"


def _counts(prompt: int, completion_tokens: int, details: Json | None = None) -> Json:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": details,
    }


ROWS: Final = (
    Row(
        server="vLLM",
        case="whole",
        shape="a completion with many nulls",
        source=_SERVER,
        answer=completion(
            {"content": "Paris.", "refusal": None, "function_call": None, "tool_calls": [], "reasoning_content": None},
            "stop",
            _counts(36, 3),
            service_tier=None,
            prompt_logprobs=None,
            kv_transfer_params=None,
        ),
        streamed=False,
        usage=Usage(36, 3),
        text="Paris.",
        finish="stop",
    ),
    Row(
        server="vLLM",
        case="streamed",
        shape="usage in a chunk without choices",
        source=f"{_SERVER}: stream_options",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            said("Par"),
            said("is."),
            chunk({"content": ""}, "stop"),
            choiceless(usage=_counts(36, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(36, 3),
        text="Paris.",
        finish="stop",
    ),
    Row(
        server="vLLM",
        case="streamed",
        shape="usage so far in every chunk, and again at the end",
        source=f"{_SERVER}: continuous_usage_stats",
        answer=events(
            chunk({"role": "assistant", "content": ""}, usage=_counts(36, 0)),
            chunk({"content": "Par"}, usage=_counts(36, 1)),
            chunk({"content": "is."}, "stop", usage=_counts(36, 3)),
            choiceless(usage=_counts(36, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(36, 3),
        text="Paris.",
        finish="stop",
    ),
    Row(
        server="vLLM",
        case="tools",
        shape="a streamed call in pieces",
        source="vLLM docs, Tool calling",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"tool_calls": [call("get_weather", "", "chatcmpl-tool-1", index=0)]}),
            more_arguments('{"location": "San'),
            more_arguments(' Francisco"}'),
            chunk({"content": ""}, "tool_calls"),
            choiceless(usage=_counts(210, 19)),
        )
        + DONE,
        streamed=True,
        usage=Usage(210, 19),
        tool_calls=(ToolCall("get_weather", '{"location": "San Francisco"}', "chatcmpl-tool-1"),),
        finish="tool_calls",
    ),
    Row(
        server="vLLM",
        case="cached",
        shape="a prompt read from the prefix cache",
        source="vLLM docs, Engine arguments: enable-prompt-tokens-details",
        answer=completion({"content": "So."}, "stop", _counts(1_000, 4, {"cached_tokens": 992})),
        streamed=False,
        usage=Usage(1_000, 4, cached_tokens=992),
        text="So.",
        finish="stop",
    ),
    Row(
        server="vLLM",
        case="reasoning",
        shape="streamed reasoning_content",
        source="vLLM docs, Reasoning outputs",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "9.8 is"}),
            chunk({"reasoning_content": " larger."}),
            said("9.8"),
            chunk({"content": ""}, "stop"),
            choiceless(usage=_counts(20, 12)),
        )
        + DONE,
        streamed=True,
        usage=Usage(20, 12),
        text="9.8",
        reasoning="9.8 is larger.",
        finish="stop",
    ),
    Row(
        server="vLLM",
        case="reasoning",
        shape="the same thought under two names, without usage",
        source="vllm-project/vllm#34030",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning": "9.8 is", "reasoning_content": "9.8 is"}),
            chunk({"reasoning": " larger.", "reasoning_content": " larger."}),
            said("9.8"),
            chunk({"content": ""}, "stop"),
        )
        + DONE,
        streamed=True,
        usage=None,
        text="9.8",
        reasoning="9.8 is larger.",
        finish="stop",
    ),
    Row(
        server="vLLM",
        case="error event",
        shape="an error object and an end marker",
        source="vllm-project/vllm#42362",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            said("Half"),
            {
                "error": {
                    "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                    "type": "InternalServerError",
                    "param": None,
                    "code": 500,
                }
            },
        )
        + DONE,
        streamed=True,
        usage=None,
        failed=True,
        text="Half",
    ),
    Row(
        server="vLLM",
        case="error event",
        shape="error_type and error_message instead of an error",
        source="NousResearch/hermes-agent#68451",
        answer=events(
            {
                "error_type": "context_length_exceeded",
                "error_message": "This model's maximum context length is 163840 tokens.",
            }
        ),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="vLLM",
        case="cut",
        shape="a finish reason that says that the engine gave up",
        source="vllm-project/vllm#57082",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            said("Half"),
            chunk({"content": ""}, "abort"),
            choiceless(usage=_counts(36, 1)),
        )
        + DONE,
        streamed=True,
        usage=Usage(36, 1),
        failed=True,
        text="Half",
        finish="abort",
    ),
    Row(
        server="vLLM",
        case="cut",
        shape="a stream whose server fails without a word",
        source="intel/ipex-llm#12723",
        answer=events(chunk({"role": "assistant", "content": ""}), said("Half"), said(" an")),
        streamed=True,
        usage=None,
        failed=True,
        text="Half an",
    ),
    Row(
        server="vLLM",
        case="error in 200",
        shape="an object that says that it is an error",
        source="runpod-workers/worker-vllm#57",
        answer=whole(
            {
                "code": 404,
                "message": "The model `a model that does not exist` does not exist.",
                "object": "error",
                "param": None,
                "type": "NotFoundError",
            }
        ),
        streamed=False,
        usage=None,
        failed=True,
    ),
)
