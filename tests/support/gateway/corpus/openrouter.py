"""OpenRouter: comments while it waits, its own cost, and errors of others inside chunks. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    Json,
    call,
    choiceless,
    chunk,
    completion,
    counts,
    events,
    more_arguments,
    said,
    whole,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_COMMENT: Final = b": OPENROUTER PROCESSING\n\n"
_PAID: Final[Json] = {"cost": 0.000095, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.00008}}
_LIMITED: Final[Json] = {
    "message": "Provider returned error",
    "code": 429,
    "metadata": {"raw": "error code: 1015", "provider_name": "Kluster"},
}


ROWS: Final = (
    Row(
        server="OpenRouter",
        case="whole",
        shape="a completion with its cost and its provider",
        source="OpenRouter docs, Usage accounting",
        answer=completion(
            {"content": "Yes", "refusal": None, "reasoning": None},
            "stop",
            counts(
                194,
                2,
                **_PAID,
                prompt_tokens_details={"cached_tokens": 0, "audio_tokens": 0},
                completion_tokens_details={"reasoning_tokens": 0},
            ),
            provider="OpenAI",
        ),
        streamed=False,
        usage=Usage(194, 2),
        text="Yes",
        finish="stop",
    ),
    Row(
        server="OpenRouter",
        case="streamed",
        shape="comments, and usage in a chunk whose choice is empty",
        source="OpenRouter docs, Streaming; openai/openai-go#227",
        answer=_COMMENT * 2
        + events(
            chunk({"role": "assistant", "content": ""}, provider="OpenAI"),
            chunk({"role": "assistant", "content": "Hi"}, provider="OpenAI"),
            chunk({"role": "assistant", "content": ""}, "stop", provider="OpenAI"),
            chunk({"role": "assistant", "content": ""}, provider="OpenAI", usage=counts(14, 1, **_PAID)),
        )
        + DONE,
        streamed=True,
        usage=Usage(14, 1),
        text="Hi",
        finish="stop",
    ),
    Row(
        server="OpenRouter",
        case="streamed",
        shape="a last chunk without any choice",
        source="Mintplex-Labs/anything-llm#5112",
        answer=events(said("Hi"), chunk({"content": ""}, "stop"), choiceless(usage=counts(14, 1, **_PAID))) + DONE,
        streamed=True,
        usage=Usage(14, 1),
        text="Hi",
        finish="stop",
    ),
    Row(
        server="OpenRouter",
        case="tools",
        shape="a streamed function call",
        source="OpenRouter docs, Tool and function calling",
        answer=_COMMENT
        + events(
            chunk({"role": "assistant", "content": None, "tool_calls": [call("search", "", "toolu_1", index=0)]}),
            more_arguments('{"terms":'),
            more_arguments('["James Joyce"]}'),
            chunk({"role": "assistant", "content": ""}, "tool_calls"),
            chunk({"role": "assistant", "content": ""}, usage=counts(204, 50)),
        )
        + DONE,
        streamed=True,
        usage=Usage(204, 50),
        tool_calls=(ToolCall("search", '{"terms":["James Joyce"]}', "toolu_1"),),
        finish="tool_calls",
    ),
    Row(
        server="OpenRouter",
        case="cached",
        shape="tokens read from and written to a cache, both part of the prompt",
        source="OpenRouter docs, Prompt caching",
        answer=completion(
            {"content": "So."},
            "stop",
            counts(
                10_339,
                60,
                **_PAID,
                cache_discount=0.01,
                prompt_tokens_details={"cached_tokens": 10_000, "cache_write_tokens": 300},
            ),
        ),
        streamed=False,
        usage=Usage(10_339, 60, cached_tokens=10_000, cache_write_tokens=300),
        text="So.",
        finish="stop",
    ),
    Row(
        server="OpenRouter",
        case="reasoning",
        shape="the same thought in reasoning and in reasoning_details",
        source="OpenRouter docs, Reasoning tokens",
        answer=events(
            *(
                chunk(
                    {
                        "role": "assistant",
                        "content": "",
                        "reasoning": text,
                        "reasoning_details": [
                            {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
                        ],
                    }
                )
                for text in ("Compare", " both.")
            ),
            said("9.11"),
            chunk({"role": "assistant", "content": ""}, "stop"),
            choiceless(usage=counts(25, 40, completion_tokens_details={"reasoning_tokens": 33})),
        )
        + DONE,
        streamed=True,
        usage=Usage(25, 40, reasoning_tokens=33),
        text="9.11",
        reasoning="Compare both.",
        finish="stop",
    ),
    Row(
        server="OpenRouter",
        case="error in 200",
        shape="an error object with the account's id and no choices",
        source="Aider-AI/aider#3550",
        answer=whole({"error": _LIMITED, "user_id": "user_2bX"}),
        streamed=False,
        usage=None,
        failed=True,
    ),
    Row(
        server="OpenRouter",
        case="error in 200",
        shape="an error beside an empty choice and zeros",
        source="BerriAI/litellm#8448",
        answer=completion({"content": None}, "stop", counts(0, 0), error=_LIMITED, user_id="user_2bX"),
        streamed=False,
        usage=None,
        failed=True,
        finish="stop",
    ),
    Row(
        server="OpenRouter",
        case="error event",
        shape="an error and a finish reason that is an error, behind some text",
        source="OpenRouter docs, Errors and debugging: mid-stream errors",
        answer=_COMMENT
        + events(
            said("Hel"),
            chunk(
                {"content": ""},
                "error",
                provider="OpenAI",
                error={"code": "server_error", "message": "Provider disconnected unexpectedly"},
            ),
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Hel",
        finish="error",
    ),
    Row(
        server="OpenRouter",
        case="error event",
        shape="an error beside an empty list of choices",
        source="diegosouzapw/OmniRoute#8210",
        answer=_COMMENT * 3
        + events(
            choiceless(
                error={"code": 502, "message": "Worker local total request limit reached (33/32)"}, provider="Nvidia"
            )
        )
        + DONE,
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="OpenRouter",
        case="cut",
        shape="a call whose arguments stop, without a finish reason",
        source="NousResearch/hermes-agent#42314",
        answer=events(
            chunk({"role": "assistant", "content": None, "tool_calls": [call("write", "{", "call_w", index=0)]}),
        ),
        streamed=True,
        usage=None,
        failed=True,
        tool_calls=(ToolCall("write", "{", "call_w"),),
    ),
)
