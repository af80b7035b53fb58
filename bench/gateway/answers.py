"""What the mock upstream answers, and what the clients ask, as bytes."""

import json
from typing import Final

WHOLE_MODEL: Final = "bench-whole"
STREAM_MODEL: Final = "bench-stream"

_USAGE: Final = {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
_PROMPT: Final = "Say hello to whoever measures this, in one short sentence."

WHOLE: Final = json.dumps(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello to you who measures this."},
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    },
    separators=(",", ":"),
).encode()


def event(content: str | None, *, usage: bool = False) -> bytes:
    """A server-sent event of a chat completion; without content it ends the answer."""
    choice = {
        "index": 0,
        "delta": {} if content is None else {"role": "assistant", "content": content},
        "finish_reason": "stop" if content is None else None,
    }
    fields = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [] if usage else [choice],
        **({"usage": _USAGE} if usage else {}),
    }
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def question(model: str) -> bytes:
    """A small chat completion that is not streamed."""
    return _encode({"model": model, "messages": [{"role": "user", "content": _PROMPT}]})


def stream_question(model: str, *, chunks: int, gap_ms: int) -> bytes:
    """A streamed one, of so many events with a pause between them; see `stream_server`."""
    return _encode(
        {
            "model": model,
            "messages": [{"role": "user", "content": _PROMPT}],
            "stream": True,
            "max_tokens": chunks,
            "seed": gap_ms,
        }
    )


def _encode(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
