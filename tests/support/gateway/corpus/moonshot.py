"""Moonshot (Kimi): usage inside the choice, cached tokens at the top of it. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import (
    DONE,
    Json,
    call,
    chunk,
    completion,
    counts,
    events,
    more_arguments,
    said,
)
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "Moonshot AI open platform docs, Chat"


def _ended(finish: str, usage: Json, delta: Json | None = None) -> Json:
    """The last chunk, with the usage in its choice."""
    last = chunk({})
    last["choices"] = [{"index": 0, "delta": delta or {}, "finish_reason": finish, "usage": usage}]
    return last


ROWS: Final = (
    Row(
        server="Moonshot",
        case="whole",
        shape="a completion",
        source=f"{_CHAT}: return values",
        answer=completion({"content": "Hello, Li Lei!"}, "stop", counts(19, 21)),
        streamed=False,
        usage=Usage(19, 21),
        text="Hello, Li Lei!",
        finish="stop",
    ),
    Row(
        server="Moonshot",
        case="streamed",
        shape="usage in the choice of the last chunk",
        source="northes/go-moonshot#17",
        answer=events(
            chunk({"role": "assistant", "content": ""}), said("Hi"), said("."), _ended("stop", counts(19, 13))
        )
        + DONE,
        streamed=True,
        usage=Usage(19, 13),
        text="Hi.",
        finish="stop",
    ),
    Row(
        server="Moonshot",
        case="tools",
        shape="a streamed call, numbered in its id",
        source="Moonshot AI open platform docs, Tool calls",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"tool_calls": [call("search", "", "search:0", index=0)]}),
            more_arguments('{"query":'),
            more_arguments(' "context caching"}'),
            _ended("tool_calls", counts(150, 24)),
        )
        + DONE,
        streamed=True,
        usage=Usage(150, 24),
        tool_calls=(ToolCall("search", '{"query": "context caching"}', "search:0"),),
        finish="tool_calls",
    ),
    Row(
        server="Moonshot",
        case="cached",
        shape="cached_tokens beside prompt_tokens",
        source="QuantumNous/new-api#2493",
        answer=completion({"content": "So."}, "stop", counts(1_000, 100, cached_tokens=800)),
        streamed=False,
        usage=Usage(1_000, 100, cached_tokens=800),
        text="So.",
        finish="stop",
    ),
    Row(
        server="Moonshot",
        case="cached",
        shape="cached_tokens in both places, in the choice",
        source="AstrBotDevs/AstrBot#6614",
        answer=events(
            said(" name"),
            said("?"),
            _ended("stop", counts(1_336, 31, cached_tokens=1_280, prompt_tokens_details={"cached_tokens": 1_280})),
        )
        + DONE,
        streamed=True,
        usage=Usage(1_336, 31, cached_tokens=1_280),
        text=" name?",
        finish="stop",
    ),
    Row(
        server="Moonshot",
        case="reasoning",
        shape="streamed reasoning_content",
        source="Moonshot AI open platform docs, Kimi thinking models",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "The user asks"}),
            chunk({"reasoning_content": " for a sum."}),
            said("4"),
            _ended("stop", counts(22, 40)),
        )
        + DONE,
        streamed=True,
        usage=Usage(22, 40),
        text="4",
        reasoning="The user asks for a sum.",
        finish="stop",
    ),
    Row(
        server="Moonshot",
        case="error event",
        shape="an error object in the stream",
        source="open-octo/octo-agent#910",
        answer=events(
            said("Some"),
            {"error": {"message": "The engine is currently overloaded", "type": "engine_overloaded_error"}},
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Some",
    ),
    Row(
        server="Moonshot",
        case="cut",
        shape="a stream without an end",
        source="tetsuo-ai/agenc-core#2492",
        answer=events(chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "Hm"}), said("So")),
        streamed=True,
        usage=None,
        failed=True,
        text="So",
        reasoning="Hm",
    ),
)
