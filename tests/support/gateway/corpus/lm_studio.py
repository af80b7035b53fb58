"""LM Studio: errors as named events with status 200. Only tests import this."""

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

_TOOLS: Final = "LM Studio docs, Tool use"


def _error(error: object, text: str) -> bytes:
    data: Json = {"error": error, "message": text}
    return b"event: error\n" + events(data)


ROWS: Final = (
    Row(
        server="LM Studio",
        case="whole",
        shape="a completion with statistics",
        source="LM Studio docs, REST API: chat completions",
        answer=completion(
            {"content": "Two plus two is four."},
            "stop",
            counts(24, 53),
            stats={"tokens_per_second": 51.4, "time_to_first_token": 0.111, "stop_reason": "eosFound"},
            model_info={"arch": "granite", "quant": "Q4_K_M"},
        ),
        streamed=False,
        usage=Usage(24, 53),
        text="Two plus two is four.",
        finish="stop",
    ),
    Row(
        server="LM Studio",
        case="streamed",
        shape="chunks with the usage in one without choices",
        source="LM Studio docs, OpenAI compatibility endpoints",
        answer=events(
            chunk({"role": "assistant", "content": "Two"}),
            said(" plus"),
            chunk({}, "stop"),
            choiceless(usage=counts(24, 2)),
        )
        + DONE,
        streamed=True,
        usage=Usage(24, 2),
        text="Two plus",
        finish="stop",
    ),
    Row(
        server="LM Studio",
        case="tools",
        shape="a streamed call in pieces",
        source=f"{_TOOLS}: streaming",
        answer=events(
            chunk({"role": "assistant", "tool_calls": [call("get_current_time", "", "814890118", index=0)]}),
            more_arguments('{"zone'),
            more_arguments('":"UTC"}'),
            chunk({}, "tool_calls"),
            choiceless(usage=counts(263, 34)),
        )
        + DONE,
        streamed=True,
        usage=Usage(263, 34),
        tool_calls=(ToolCall("get_current_time", '{"zone":"UTC"}', "814890118"),),
        finish="tool_calls",
    ),
    Row(
        server="LM Studio",
        case="error event",
        shape="an event named error in the place of the first chunk",
        source="nugget/thane-ai-agent#1395; lmstudio-ai/lmstudio-bug-tracker#2322",
        answer=_error({"message": "Context size has been exceeded."}, "Context size has been exceeded."),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="LM Studio",
        case="error event",
        shape="an error object and the same message beside it",
        source="zendev-sh/goai#110",
        answer=events(
            chunk({"role": "assistant", "content": "Two"}),
            {"error": {"message": "Compute error."}, "message": "Compute error."},
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Two",
    ),
    Row(
        server="LM Studio",
        case="error event",
        shape="an error that is a text",
        source="lmstudio-ai/lmstudio-bug-tracker#116",
        answer=events(
            chunk({"role": "assistant", "content": "Two"}),
            {"error": "<LM Studio error> The model has crashed without additional information. (Exit code: 0)"},
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Two",
    ),
    Row(
        server="LM Studio",
        case="cut",
        shape="a stream that dies with its model",
        source="lmstudio-ai/lmstudio-bug-tracker#2255",
        answer=events(chunk({"role": "assistant", "content": "Two"}), said(" plus")),
        streamed=True,
        usage=None,
        failed=True,
        text="Two plus",
    ),
)
