"""Perplexity: every event has the message and the usage so far, and no end marker comes. Only tests import this."""

from typing import Final

from tests.support.gateway.corpus.framing import Json, completion, counts, events
from tests.support.gateway.corpus.rows import Row
from tokenbooth.domain.usage import Usage

_CHAT: Final = "Perplexity API reference, Chat completions"
_FOUND: Final[Json] = {
    "citations": ["https://example.com/jokes"],
    "search_results": [{"title": "Jokes", "url": "https://example.com/jokes", "date": None}],
}
_CRLF: Final = b"\r\n\r\n"


def _event(piece: str, so_far: str, usage: Json, finish: str | None = None) -> Json:
    """An event of a stream, which calls itself a completion and not a chunk."""
    return {
        "id": "8c1596dd",
        "model": "sonar",
        "created": 1_741_689_451,
        "usage": usage,
        **_FOUND,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": so_far},
                "delta": {"role": "assistant", "content": piece},
            }
        ],
    }


ROWS: Final = (
    Row(
        server="Perplexity",
        case="whole",
        shape="a completion with its sources and its cost",
        source=_CHAT,
        answer=completion(
            {"content": "Beep boop."},
            "stop",
            counts(
                8,
                439,
                search_context_size="low",
                cost={
                    "input_tokens_cost": 0.0,
                    "output_tokens_cost": 0.001,
                    "request_cost": 0.005,
                    "total_cost": 0.006,
                },
            ),
            **_FOUND,
        ),
        streamed=False,
        usage=Usage(8, 439),
        text="Beep boop.",
        finish="stop",
    ),
    Row(
        server="Perplexity",
        case="streamed",
        shape="the message so far beside each piece, usage so far, no end marker",
        source="perplexityai/api-discussion#209; agno-agi/agno#6059",
        answer=events(
            _event("Why", "Why", counts(7, 1)),
            _event(" bark", "Why bark", counts(7, 2)),
            _event("?", "Why bark?", counts(7, 3), "stop"),
            end=_CRLF,
        ),
        streamed=True,
        usage=Usage(7, 3),
        text="Why bark?",
        finish="stop",
    ),
    Row(
        server="Perplexity",
        case="reasoning",
        shape="reasoning_tokens at the top of the usage, more than the completion",
        source="Perplexity docs, Sonar deep research",
        answer=completion(
            {"content": "A report."},
            "stop",
            counts(
                33,
                7_163,
                citation_tokens=20_016,
                num_search_queries=18,
                reasoning_tokens=73_997,
                search_context_size="low",
            ),
            **_FOUND,
        ),
        streamed=False,
        usage=Usage(33, 7_163 + 73_997, reasoning_tokens=73_997),
        text="A report.",
        finish="stop",
    ),
)
