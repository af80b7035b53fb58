"""Cohere's form of OpenAI's chat completions. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
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

_COMPATIBILITY: Final = "Cohere docs, Using Cohere models via the OpenAI SDK"


ROWS: Final = (
    Row(
        server="Cohere",
        case="whole",
        shape="a completion",
        source=f"{_COMPATIBILITY}: basic chat completions",
        answer=completion({"content": "Recursion waits."}, "stop", counts(16, 25)),
        streamed=False,
        usage=Usage(16, 25),
        text="Recursion waits.",
        finish="stop",
    ),
    Row(
        server="Cohere",
        case="streamed",
        shape="chunks with the usage in one without choices",
        source=f"{_COMPATIBILITY}: chat with streaming",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            said("Code"),
            said(" calls"),
            chunk({}, "stop"),
            choiceless(usage=counts(16, 2)),
        )
        + DONE,
        streamed=True,
        usage=Usage(16, 2),
        text="Code calls",
        finish="stop",
    ),
    Row(
        server="Cohere",
        case="tools",
        shape="a streamed call",
        source=f"{_COMPATIBILITY}: function calling",
        answer=events(
            chunk({"role": "assistant", "tool_calls": [call("get_flight_info", "", "get_flight_info0", index=0)]}),
            more_arguments('{"loc_origin": "Miami"'),
            more_arguments(', "loc_destination": "Seattle"}'),
            chunk({}, "tool_calls"),
            choiceless(usage=counts(80, 30)),
        )
        + DONE,
        streamed=True,
        usage=Usage(80, 30),
        tool_calls=(
            ToolCall("get_flight_info", '{"loc_origin": "Miami", "loc_destination": "Seattle"}', "get_flight_info0"),
        ),
        finish="tool_calls",
    ),
)
