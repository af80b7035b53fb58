"""SGLang: its own fields in choices and usage, finish reasons that are empty or never come. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.anthropic import started, stopped, text_block
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
    named_events,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_COMPLETIONS: Final = "SGLang docs, OpenAI-compatible APIs: completions"


def _counts(prompt: int, completion_tokens: int, cached: int | None = None, reasoning: int = 0) -> Json:
    details = None if cached is None else {"cached_tokens": cached}
    return counts(prompt, completion_tokens, prompt_tokens_details=details, reasoning_tokens=reasoning)


def _piece(text: str, finish: str | None = None) -> Json:
    """A chunk that names everything that it has not."""
    delta: Json = {"role": None, "content": text, "reasoning_content": None, "tool_calls": None}
    return chunk(delta, finish, usage=None)


ROWS: Final = (
    Row(
        server="SGLang",
        case="whole",
        shape="a completion with its weights' version",
        source=_COMPLETIONS,
        answer=completion(
            {"content": "Rome.", "reasoning_content": None, "tool_calls": None},
            "stop",
            _counts(37, 3),
            metadata={"weight_version": "default"},
        ),
        streamed=False,
        usage=Usage(37, 3),
        text="Rome.",
        finish="stop",
    ),
    Row(
        server="SGLang",
        case="streamed",
        shape="chunks that name everything that they have not",
        source=f"{_COMPLETIONS}, streaming",
        answer=events(
            chunk({"role": "assistant", "content": ""}, usage=None),
            _piece("Ro"),
            _piece("me."),
            _piece("", "stop"),
            choiceless(usage=_counts(37, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(37, 3),
        text="Rome.",
        finish="stop",
    ),
    Row(
        server="SGLang",
        case="streamed",
        shape="an empty finish reason in every chunk",
        source="sgl-project/sglang#3912",
        answer=events(
            chunk({"role": "assistant"}, "", usage=None),
            _piece("Ro", ""),
            _piece("me.", ""),
            _piece("", "stop"),
            choiceless(usage=_counts(37, 3)),
        )
        + DONE,
        streamed=True,
        usage=Usage(37, 3),
        text="Rome.",
        finish="stop",
    ),
    Row(
        server="SGLang",
        case="streamed",
        shape="an end marker behind a finish reason that never comes",
        source="sgl-project/sglang#4550",
        answer=events(_piece("Offer"), _piece(" help")) + DONE,
        streamed=True,
        usage=None,
        text="Offer help",
    ),
    Row(
        server="SGLang",
        case="tools",
        shape="a streamed call in pieces",
        source="SGLang docs, Tool parser",
        answer=events(
            chunk({"role": "assistant", "content": ""}, usage=None),
            chunk({"tool_calls": [call("get_current_weather", "", "call_a1", index=0)]}),
            more_arguments('{"city": "Boston"'),
            more_arguments(', "state": "MA"}'),
            _piece("", "tool_calls"),
            choiceless(usage=_counts(290, 24)),
        )
        + DONE,
        streamed=True,
        usage=Usage(290, 24),
        tool_calls=(ToolCall("get_current_weather", '{"city": "Boston", "state": "MA"}', "call_a1"),),
        finish="tool_calls",
    ),
    Row(
        server="SGLang",
        case="cached",
        shape="a prompt read from the cache",
        source="SGLang docs, Server arguments: enable-cache-report",
        answer=completion({"content": "So."}, "stop", _counts(1_000, 4, cached=960)),
        streamed=False,
        usage=Usage(1_000, 4, cached_tokens=960),
        text="So.",
        finish="stop",
    ),
    Row(
        server="SGLang",
        wire="anthropic.messages",
        case="streamed",
        shape="a message whose end says that its input was nothing",
        source="sgl-project/sglang#20830; envoyproxy/ai-gateway#1631",
        answer=named_events(
            started({"input_tokens": 5_000, "output_tokens": 0}),
            *text_block("Hello"),
            *stopped("end_turn", {"input_tokens": 0, "output_tokens": 10}),
        ),
        streamed=True,
        usage=Usage(5_000, 10),
        text="Hello",
        finish="end_turn",
    ),
    Row(
        server="SGLang",
        case="reasoning",
        shape="reasoning_tokens at the top of the usage, part of the completion",
        source="SGLang docs, Reasoning parser",
        answer=completion(
            {"content": "4", "reasoning_content": "1 + 3.", "tool_calls": None}, "stop", _counts(18, 130, reasoning=120)
        ),
        streamed=False,
        usage=Usage(18, 130, reasoning_tokens=120),
        text="4",
        reasoning="1 + 3.",
        finish="stop",
    ),
    Row(
        server="SGLang",
        case="error event",
        shape="an error object with an object of its own, and an end marker",
        source="sgl-project/sglang#19357; aaif-goose/goose#8027",
        answer=events(
            said("Half"),
            {
                "error": {
                    "object": "error",
                    "message": "Aborted by scheduler",
                    "type": "InternalServerError",
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
)
