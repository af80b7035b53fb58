"""MiniMax: a last chunk that says everything again, and its own status inside answers. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import Json, call, chunk, completion, counts, events, whole
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "MiniMax API docs, Text chat (OpenAI compatible)"
_CLEAN: Final[Json] = {"input_sensitive": False, "output_sensitive": False, "input_sensitive_type": 0}
_OK: Final[Json] = {"base_resp": {"status_code": 0, "status_msg": ""}}
_UNCOUNTED: Final[Json] = {"total_tokens": 0, "total_characters": 0}


def _repeated(message: Json, finish: str, usage: Json | None) -> Json:
    """The last event of a stream: no chunk but the whole completion."""
    return {
        "id": "04ecb5d9",
        "object": "chat.completion",
        "created": 1_755_153_113,
        "model": "m",
        "choices": [
            {"finish_reason": finish, "index": 0, "message": {"role": "assistant", "audio_content": "", **message}}
        ],
        "usage": usage,
        **_CLEAN,
        **_OK,
    }


def _piece(delta: Json) -> Json:
    return chunk({"role": "assistant", **delta}, usage=None, **_CLEAN)


ROWS: Final = (
    Row(
        server="MiniMax",
        case="whole",
        shape="a completion with a base_resp that is fine",
        source=_CHAT,
        answer=completion(
            {"content": "Hello! What can I do?", "name": "MiniMax AI", "audio_content": ""},
            "stop",
            counts(26, 9, total_characters=0),
            **_CLEAN,
            **_OK,
        ),
        streamed=False,
        usage=Usage(26, 9),
        text="Hello! What can I do?",
        finish="stop",
    ),
    Row(
        server="MiniMax",
        case="streamed",
        shape="a last event that repeats the text, without an end marker",
        source="GCWing/OpenBitFun#792",
        answer=events(
            chunk({"role": "assistant", "content": "Hel"}, usage=_UNCOUNTED, **_CLEAN),
            chunk({"role": "assistant", "content": "lo"}, usage=_UNCOUNTED, **_CLEAN),
            _repeated({"content": "Hello"}, "stop", counts(26, 3, total_characters=0)),
        ),
        streamed=True,
        usage=Usage(26, 3),
        text="Hello",
        finish="stop",
    ),
    Row(
        server="MiniMax",
        case="streamed",
        shape="an empty role, and a finish reason without a delta",
        source="MiniMax-AI/MiniMax-M2.5#2; mozilla-ai/any-llm#657",
        answer=events(
            chunk({"role": "", "reasoning_content": ""}, usage=_UNCOUNTED, **_CLEAN),
            chunk({"role": "", "content": "Hello"}, usage=_UNCOUNTED, **_CLEAN),
            {**chunk({}), "choices": [{"index": 0, "delta": None, "finish_reason": "stop"}], "usage": counts(26, 3)},
        ),
        streamed=True,
        usage=Usage(26, 3),
        text="Hello",
        finish="stop",
    ),
    Row(
        server="MiniMax",
        case="streamed",
        shape="a last event that repeats the text, and null usage everywhere",
        source="archestra-ai/archestra#2527; GCWing/OpenBitFun#792",
        answer=events(
            _piece({"content": "A long answer, "}),
            _piece({"content": "told in two pieces."}),
            _repeated({"content": "A long answer, told in two pieces."}, "stop", None),
        ),
        streamed=True,
        usage=None,
        text="A long answer, told in two pieces.",
        finish="stop",
    ),
    Row(
        server="MiniMax",
        case="tools",
        shape="a call that the last event repeats",
        source="MiniMax API docs, Tool use and interleaved thinking",
        answer=events(
            _piece({"content": "", "tool_calls": [call("get_weather", '{"location": "SF"}', "call_f", index=0)]}),
            _repeated(
                {"content": "", "tool_calls": [call("get_weather", '{"location": "SF"}', "call_f", index=0)]},
                "tool_calls",
                counts(180, 50),
            ),
        ),
        streamed=True,
        usage=Usage(180, 50),
        tool_calls=(ToolCall("get_weather", '{"location": "SF"}', "call_f"),),
        finish="tool_calls",
    ),
    Row(
        server="MiniMax",
        case="cached",
        shape="a prompt read from the cache",
        source="MiniMax API docs, Prompt caching",
        answer=completion(
            {"content": "So."}, "stop", counts(1_200, 30, prompt_tokens_details={"cached_tokens": 1_000}), **_OK
        ),
        streamed=False,
        usage=Usage(1_200, 30, cached_tokens=1_000),
        text="So.",
        finish="stop",
    ),
    Row(
        server="MiniMax",
        case="reasoning",
        shape="whole reasoning_content",
        source=_CHAT,
        answer=completion(
            {"content": "Hello!", "name": "MiniMax AI", "reasoning_content": "A greeting."},
            "stop",
            counts(26, 223, total_characters=0, completion_tokens_details={"reasoning_tokens": 214}),
            **_CLEAN,
            **_OK,
        ),
        streamed=False,
        usage=Usage(26, 223, reasoning_tokens=214),
        text="Hello!",
        reasoning="A greeting.",
        finish="stop",
    ),
    Row(
        server="MiniMax",
        case="error in 200",
        shape="a base_resp that is not fine, with null choices",
        source="milind-soni/OpenMausBot#1200",
        answer=whole(
            {
                "id": "04ecb5d9",
                "choices": None,
                "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"},
            }
        ),
        streamed=False,
        usage=None,
        failed=True,
    ),
    Row(
        server="MiniMax",
        case="error in 200",
        shape="a base_resp alone, to one who asked for a stream",
        source="milind-soni/OpenMausBot#1200",
        answer=whole({"base_resp": {"status_code": 1004, "status_msg": "not authorized"}}),
        streamed=True,
        usage=None,
        failed=True,
    ),
    Row(
        server="MiniMax",
        case="error event",
        shape="a base_resp that is not fine behind some text",
        source=f"{_CHAT}: base_resp, also of a chunk",
        answer=events(
            _piece({"content": "Half"}),
            {"id": "04ecb5d9", "choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Half",
    ),
    Row(
        server="MiniMax",
        case="cut",
        shape="a text that stops before the last event",
        source="milind-soni/OpenMausBot#1200",
        answer=events(_piece({"content": "The answer"}), _piece({"content": " is"})),
        streamed=True,
        usage=None,
        failed=True,
        text="The answer is",
    ),
)
