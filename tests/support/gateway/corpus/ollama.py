"""Ollama's form of OpenAI's chat completions. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import DONE, call, choiceless, chunk, completion, counts, events, said
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_COMPATIBILITY: Final = "Ollama docs, OpenAI compatibility"


ROWS: Final = (
    Row(
        server="Ollama",
        case="whole",
        shape="a completion",
        source=_COMPATIBILITY,
        answer=completion({"content": "A test."}, "stop", counts(13, 4), system_fingerprint="fp_ollama"),
        streamed=False,
        usage=Usage(13, 4),
        text="A test.",
        finish="stop",
    ),
    Row(
        server="Ollama",
        case="streamed",
        shape="a role in every chunk",
        source=f"{_COMPATIBILITY}: stream_options",
        answer=events(
            chunk({"role": "assistant", "content": "A"}),
            chunk({"role": "assistant", "content": " test."}),
            chunk({"role": "assistant", "content": ""}, "stop"),
            choiceless(usage=counts(13, 4)),
        )
        + DONE,
        streamed=True,
        usage=Usage(13, 4),
        text="A test.",
        finish="stop",
    ),
    Row(
        server="Ollama",
        case="streamed",
        shape="an empty finish reason in every chunk, without usage",
        source="ollama/ollama#4357",
        answer=events(
            chunk({"role": "assistant", "content": "A"}, ""),
            chunk({"role": "assistant", "content": " test."}, ""),
            chunk({"role": "assistant", "content": ""}, "stop"),
        )
        + DONE,
        streamed=True,
        usage=None,
        text="A test.",
        finish="stop",
    ),
    Row(
        server="Ollama",
        case="tools",
        shape="a streamed call that comes whole",
        source=f"{_COMPATIBILITY}: tools",
        answer=events(
            chunk(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [call("get_weather", '{"location":"Paris"}', "call_9j", index=0)],
                }
            ),
            chunk({"role": "assistant", "content": ""}, "tool_calls"),
            choiceless(usage=counts(165, 22)),
        )
        + DONE,
        streamed=True,
        usage=Usage(165, 22),
        tool_calls=(ToolCall("get_weather", '{"location":"Paris"}', "call_9j"),),
        finish="tool_calls",
    ),
    Row(
        server="Ollama",
        case="reasoning",
        shape="streamed reasoning beside an empty content",
        source=f"{_COMPATIBILITY}: reasoning_effort",
        answer=events(
            chunk({"role": "assistant", "content": "", "reasoning": "Greet"}),
            chunk({"role": "assistant", "content": "", "reasoning": " back."}),
            said("Hi"),
            chunk({"role": "assistant", "content": ""}, "stop"),
            choiceless(usage=counts(11, 9)),
        )
        + DONE,
        streamed=True,
        usage=Usage(11, 9),
        text="Hi",
        reasoning="Greet back.",
        finish="stop",
    ),
    Row(
        server="Ollama",
        case="cut",
        shape="an empty chunk where its model failed, and no end",
        source="ollama/ollama#8258; denn-gubsky/loomcycle#619; ollama/ollama#16450",
        answer=events(
            chunk({"role": "assistant", "content": "Hello!"}),
            chunk({"role": "assistant", "content": " How"}),
            chunk({"role": "assistant", "content": ""}),
        ),
        streamed=True,
        usage=None,
        failed=True,
        text="Hello! How",
    ),
)
