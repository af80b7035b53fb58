"""Groq: usage in x_groq, times among the counts, errors in named events. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import DONE, Json, call, choiceless, chunk, completion, counts, events, said
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "Groq API reference, Create chat completion"


def _timed(prompt: int, completion_tokens: int, **fields: object) -> Json:
    times: Json = {"queue_time": 0.037, "prompt_time": 0.0006, "completion_time": 0.46, "total_time": 0.464}
    return {**counts(prompt, completion_tokens), **times, **fields}


def _begun() -> Json:
    return chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_01j"})


ROWS: Final = (
    Row(
        server="Groq",
        case="whole",
        shape="a completion with times beside the counts",
        source=_CHAT,
        answer=completion({"content": "Fast."}, "stop", _timed(18, 556), x_groq={"id": "req_01j"}),
        streamed=False,
        usage=Usage(18, 556),
        text="Fast.",
        finish="stop",
    ),
    Row(
        server="Groq",
        case="streamed",
        shape="usage in x_groq of the last chunk alone",
        source=f"{_CHAT}: streaming",
        answer=events(
            _begun(), said("Fast"), said("."), chunk({}, "stop", x_groq={"id": "req_01j", "usage": _timed(18, 2)})
        )
        + DONE,
        streamed=True,
        usage=Usage(18, 2),
        text="Fast.",
        finish="stop",
    ),
    Row(
        server="Groq",
        case="streamed",
        shape="usage in x_groq and in a chunk without choices",
        source=f"{_CHAT}: stream_options",
        answer=events(
            _begun(),
            said("Fast"),
            said("."),
            chunk({}, "stop", x_groq={"id": "req_01j", "usage": _timed(18, 2)}),
            choiceless(usage=_timed(18, 2)),
        )
        + DONE,
        streamed=True,
        usage=Usage(18, 2),
        text="Fast.",
        finish="stop",
    ),
    Row(
        server="Groq",
        case="tools",
        shape="a streamed call that comes whole",
        source="Groq docs, Tool use",
        answer=events(
            _begun(),
            chunk({"tool_calls": [call("get_weather", '{"location":"New York"}', "call_d5wg", index=0)]}),
            chunk({}, "tool_calls", x_groq={"id": "req_01j", "usage": _timed(217, 18)}),
        )
        + DONE,
        streamed=True,
        usage=Usage(217, 18),
        tool_calls=(ToolCall("get_weather", '{"location":"New York"}', "call_d5wg"),),
        finish="tool_calls",
    ),
    Row(
        server="Groq",
        case="cached",
        shape="a prompt read from the cache",
        source="Groq docs, Prompt caching",
        answer=completion(
            {"content": "So."}, "stop", _timed(4_641, 1_817, prompt_tokens_details={"cached_tokens": 4_608})
        ),
        streamed=False,
        usage=Usage(4_641, 1_817, cached_tokens=4_608),
        text="So.",
        finish="stop",
    ),
    Row(
        server="Groq",
        case="reasoning",
        shape="reasoning beside the content",
        source="Groq docs, Reasoning: reasoning_format parsed",
        answer=completion(
            {"content": "Three.", "reasoning": "Count the r's."},
            "stop",
            _timed(28, 90, completion_tokens_details={"reasoning_tokens": 70}),
        ),
        streamed=False,
        usage=Usage(28, 90, reasoning_tokens=70),
        text="Three.",
        reasoning="Count the r's.",
        finish="stop",
    ),
    Row(
        server="Groq",
        case="error event",
        shape="an event named error behind some text",
        source="sashabaranov/go-openai#1057",
        answer=events(_begun(), said("Half"))
        + b'event: error\ndata: {"error":{"message":"Invalid tool_call: tool \\"x\\" does not exist.",'
        b'"type":"invalid_request_error","code":"tool_use_failed","status_code":400}}\n\n',
        streamed=True,
        usage=None,
        failed=True,
        text="Half",
    ),
)
