"""llama.cpp's server: timings, an unended end marker, errors in a field of their own. Only tests import this."""

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
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_README: Final = "llama.cpp HTTP server README"
_TIMINGS: Final[Json] = {"cache_n": 0, "prompt_n": 43, "prompt_ms": 246.082, "predicted_n": 1, "predicted_ms": 0.028}
_TOO_LONG: Final[Json] = {
    "code": 400,
    "message": "the request exceeds the available context size. try increasing the context size",
    "type": "invalid_request_error",
}


ROWS: Final = (
    Row(
        server="llama.cpp",
        case="whole",
        shape="a completion with timings",
        source=f"{_README}: chat completions",
        answer=completion({"content": "Yes."}, "stop", counts(43, 2), timings=_TIMINGS),
        streamed=False,
        usage=Usage(43, 2),
        text="Yes.",
        finish="stop",
    ),
    Row(
        server="llama.cpp",
        case="streamed",
        shape="usage beside the finish reason",
        source="ggml-org/llama.cpp#12137",
        answer=events(
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({}, "length", usage=counts(43, 2), timings=_TIMINGS),
        )
        + DONE,
        streamed=True,
        usage=Usage(43, 2),
        text="Hello",
        finish="length",
    ),
    Row(
        server="llama.cpp",
        case="streamed",
        shape="a null content first, and an end marker without a blank line",
        source="darshi1337/apogee#139",
        answer=events(
            chunk({"role": "assistant", "content": None}),
            said("Hello"),
            chunk({}, "stop"),
            choiceless(usage=counts(43, 2), timings=_TIMINGS),
        )
        + b"data: [DONE]\n",
        streamed=True,
        usage=Usage(43, 2),
        text="Hello",
        finish="stop",
    ),
    Row(
        server="llama.cpp",
        case="streamed",
        shape="pings and an empty event while it reads the prompt",
        source="coddy-project/coddy-agent#106: keep-alives of the stream",
        answer=b": ping\n\n"
        b"data: \n\n"
        + events(chunk({"role": "assistant", "content": None}), said("Hi"), chunk({}, "stop"))
        + b": ping\n\n"
        + events(choiceless(usage=counts(43, 1)))
        + DONE,
        streamed=True,
        usage=Usage(43, 1),
        text="Hi",
        finish="stop",
    ),
    Row(
        server="llama.cpp",
        case="tools",
        shape="a streamed call in pieces",
        source="llama.cpp docs, Function calling",
        answer=events(
            chunk({"role": "assistant", "content": None}),
            chunk({"tool_calls": [call("python", "", "aBc", index=0)]}),
            more_arguments('{"code":'),
            more_arguments('"print(1)"}'),
            chunk({}, "tool_calls"),
            choiceless(usage=counts(150, 20)),
        )
        + DONE,
        streamed=True,
        usage=Usage(150, 20),
        tool_calls=(ToolCall("python", '{"code":"print(1)"}', "aBc"),),
        finish="tool_calls",
    ),
    Row(
        server="llama.cpp",
        case="tools",
        shape="arguments as an object",
        source="ggml-org/llama.cpp#20198",
        answer=completion(
            {
                "content": None,
                "tool_calls": [
                    {"type": "function", "id": "aBc", "function": {"name": "ls", "arguments": {"path": "."}}}
                ],
            },
            "tool_calls",
            counts(150, 20),
        ),
        streamed=False,
        usage=Usage(150, 20),
        tool_calls=(ToolCall("ls", '{"path":"."}', "aBc"),),
        finish="tool_calls",
    ),
    Row(
        server="llama.cpp",
        case="cached",
        shape="a prompt read from the slot's cache",
        source=f"{_README}: timings and context usage",
        answer=completion(
            {"content": "So."},
            "stop",
            counts(600, 3, prompt_tokens_details={"cached_tokens": 560}),
            timings={**_TIMINGS, "cache_n": 560, "prompt_n": 40},
        ),
        streamed=False,
        usage=Usage(600, 3, cached_tokens=560),
        text="So.",
        finish="stop",
    ),
    Row(
        server="llama.cpp",
        case="reasoning",
        shape="streamed reasoning_content",
        source=f"{_README}: reasoning-format",
        answer=events(
            chunk({"role": "assistant", "content": None}),
            chunk({"reasoning_content": "Hm,"}),
            chunk({"reasoning_content": " yes."}),
            said("Yes."),
            chunk({}, "stop"),
            choiceless(usage=counts(20, 8)),
        )
        + DONE,
        streamed=True,
        usage=Usage(20, 8),
        text="Yes.",
        reasoning="Hm, yes.",
        finish="stop",
    ),
    Row(
        server="llama.cpp",
        case="error event",
        shape="a field named error instead of data",
        source="coddy-project/coddy-agent#106",
        answer=events(_TOO_LONG, field=b"error: ") + DONE,
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="llama.cpp",
        case="error event",
        shape="an error object in the data",
        source="ggml-org/llama.cpp#14566; coddy-project/coddy-agent#106",
        answer=events(chunk({"role": "assistant", "content": None}), said("Half"), {"error": _TOO_LONG}),
        streamed=True,
        usage=None,
        failed=True,
        text="Half",
    ),
)
