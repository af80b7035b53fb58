"""Mistral: usage in the last chunk, calls that come whole, and content in parts. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import DONE, Json, call, chunk, completion, counts, events, said
from tests.support.gateway.corpus.rows import Row, ToolCall
from tokenbooth.domain.usage import Usage

_CHAT: Final = "Mistral AI API reference, Chat completion"
_REASONING: Final = "Mistral AI docs, Reasoning"


def _thought(text: str) -> Json:
    """Content in parts, of which one was thought."""
    return {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}


ROWS: Final = (
    Row(
        server="Mistral",
        case="whole",
        shape="a completion whose calls are null",
        source=_CHAT,
        answer=completion({"content": "Monet.", "tool_calls": None, "prefix": False}, "stop", counts(20, 82)),
        streamed=False,
        usage=Usage(20, 82),
        text="Monet.",
        finish="stop",
    ),
    Row(
        server="Mistral",
        case="streamed",
        shape="usage beside the finish reason",
        source="mistralai/client-python#16",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            said("It"),
            said(" depends."),
            chunk({"content": ""}, "stop", usage=counts(14, 4)),
        )
        + DONE,
        streamed=True,
        usage=Usage(14, 4),
        text="It depends.",
        finish="stop",
    ),
    Row(
        server="Mistral",
        case="tools",
        shape="a streamed call that comes whole, with the finish reason and the usage",
        source="Mistral AI docs, Function calling",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk(
                {
                    "content": "",
                    "tool_calls": [
                        call("retrieve_payment_status", '{"transaction_id": "T1001"}', "D681PevKs", index=0)
                    ],
                },
                "tool_calls",
                usage=counts(94, 30),
            ),
        )
        + DONE,
        streamed=True,
        usage=Usage(94, 30),
        tool_calls=(ToolCall("retrieve_payment_status", '{"transaction_id": "T1001"}', "D681PevKs"),),
        finish="tool_calls",
    ),
    Row(
        server="Mistral",
        case="cached",
        shape="a prompt read from the cache",
        source="Mistral AI docs, Prompt caching",
        answer=completion(
            {"content": "So."}, "stop", counts(1_100, 12, prompt_tokens_details={"cached_tokens": 1_024})
        ),
        streamed=False,
        usage=Usage(1_100, 12, cached_tokens=1_024),
        text="So.",
        finish="stop",
    ),
    Row(
        server="Mistral",
        case="reasoning",
        shape="whole content in parts",
        source=_REASONING,
        answer=completion(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "John is four."}]},
                    {"type": "text", "text": "He is 4."},
                ]
            },
            "stop",
            counts(38, 120),
        ),
        streamed=False,
        usage=Usage(38, 120),
        text="He is 4.",
        reasoning="John is four.",
        finish="stop",
    ),
    Row(
        server="Mistral",
        case="reasoning",
        shape="streamed content in parts, then as text",
        source="BerriAI/litellm#16272",
        answer=events(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": ""}),
            chunk(_thought("Okay, the user")),
            chunk(_thought(" greets.")),
            said("Hello"),
            said("!"),
            chunk({"content": ""}, "stop", usage=counts(6, 30)),
        )
        + DONE,
        streamed=True,
        usage=Usage(6, 30),
        text="Hello!",
        reasoning="Okay, the user greets.",
        finish="stop",
    ),
    Row(
        server="Mistral",
        case="error event",
        shape="a finish reason that is an error",
        source="mistralai/client-python#74",
        answer=events(chunk({"role": "assistant", "content": ""}), said("So"), chunk({"content": ""}, "error")) + DONE,
        streamed=True,
        usage=None,
        failed=True,
        text="So",
        finish="error",
    ),
)
