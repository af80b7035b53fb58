"""Gemini's form of OpenAI's chat completions: calls without an index, thinking in the total. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import DONE, Json, call, chunk, completion, counts, events, whole
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_COMPATIBILITY: Final = "Gemini API docs, OpenAI compatibility"
_SIGNED: Final[Json] = {"extra_content": {"google": {"thought_signature": "EjQKMgEMOdbHJChLX75Q"}}}
_UNAVAILABLE: Final[Json] = {
    "error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}
}


def _piece(text: str, usage: Json, finish: str | None = None) -> Json:
    return chunk({"role": "assistant", "content": text}, finish, usage=usage)


ROWS: Final = (
    Row(
        server="Gemini",
        case="whole",
        shape="a completion",
        source=_COMPATIBILITY,
        answer=completion({"content": "Patterns."}, "stop", counts(14, 28)),
        streamed=False,
        usage=Usage(14, 28),
        text="Patterns.",
        finish="stop",
    ),
    Row(
        server="Gemini",
        case="streamed",
        shape="the usage so far in every chunk",
        source=f"{_COMPATIBILITY}: streaming; ogx-ai/ogx#5122",
        answer=events(_piece("One", counts(8, 1)), _piece(" two", counts(8, 5)), _piece(" three", counts(8, 9), "stop"))
        + DONE,
        streamed=True,
        usage=Usage(8, 9),
        text="One two three",
        finish="stop",
    ),
    Row(
        server="Gemini",
        case="tools",
        shape="streamed calls without an index, with signatures, that end with stop",
        source="noho/dayu-agent#45; open-webui/computer#224",
        answer=events(
            chunk(
                {"role": "assistant", "tool_calls": [call("get_weather", '{"location":"Sydney"}', "call-1", **_SIGNED)]}
            ),
            chunk({"role": "assistant", "tool_calls": [call("get_time", '{"location":"Oslo"}', "call-2")]}),
            chunk({"role": "assistant"}, "stop", usage=counts(90, 40)),
        )
        + DONE,
        streamed=True,
        usage=Usage(90, 40),
        tool_calls=(
            ToolCall("get_weather", '{"location":"Sydney"}', "call-1"),
            ToolCall("get_time", '{"location":"Oslo"}', "call-2"),
        ),
        finish="stop",
    ),
    Row(
        server="Gemini",
        case="reasoning",
        shape="thinking that shows in the total only",
        source=f"{_COMPATIBILITY}: thinking; Gemini API docs, Thinking: pricing",
        answer=completion(
            {"content": "Patterns."}, "stop", {"prompt_tokens": 14, "completion_tokens": 28, "total_tokens": 142}
        ),
        streamed=False,
        usage=Usage(14, 128),
        text="Patterns.",
        finish="stop",
    ),
    Row(
        server="Gemini",
        case="error event",
        shape="an error object behind some text",
        source="diegosouzapw/OmniRoute#4177",
        answer=events(_piece("Okay", counts(2_304, 1)), _UNAVAILABLE),
        streamed=True,
        usage=Usage(2_304, 1),
        failed=True,
        text="Okay",
    ),
    Row(
        server="Gemini",
        case="error event",
        shape="an error object that is no event, behind an end",
        source="vercel/ai#5217",
        answer=events(_piece("Okay", counts(2_304, 1)), _piece("", counts(2_301, 1), "stop"))
        + whole(_UNAVAILABLE)
        + b"\n",
        streamed=True,
        usage=Usage(2_301, 1),
        failed=True,
        text="Okay",
        finish="stop",
    ),
)
