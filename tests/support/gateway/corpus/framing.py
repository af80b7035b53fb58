"""Short ways to write the answers of the corpus. Only tests import this."""

from typing import Final

import msgspec

Json = dict[str, object]

DONE: Final = b"data: [DONE]\n\n"


def whole(fields: object) -> bytes:
    """A body that is not streamed."""
    return msgspec.json.encode(fields)


def events(*data: Json, end: bytes = b"\n\n", field: bytes = b"data: ") -> bytes:
    """Events without a name."""
    return b"".join(field + msgspec.json.encode(one) + end for one in data)


def named_events(*data: Json, end: bytes = b"\n\n") -> bytes:
    """Events with the name that is their `type`."""
    return b"".join(
        b"event: " + str(one["type"]).encode() + b"\ndata: " + msgspec.json.encode(one) + end for one in data
    )


def completion(message: Json, finish: str | None, usage: Json | None, **fields: object) -> bytes:
    """A whole chat completion with one choice."""
    return whole(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_741_569_952,
            "model": "m",
            "choices": [
                {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}
            ],
            "usage": usage,
            **fields,
        }
    )


def chunk(delta: Json, finish: str | None = None, /, **fields: object) -> Json:
    """A chunk of a chat completion with one choice.

    Args:
        delta: what is new.
        finish: why the model stopped.
        fields: the top level's other fields.
    """
    return {**_CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}


def choiceless(**fields: object) -> Json:
    """A chunk of a chat completion without a choice."""
    return {**_CHUNK, "choices": [], **fields}


def said(text: str) -> Json:
    """A chunk with some text."""
    return chunk({"content": text})


def counts(prompt: int, completion_tokens: int, **fields: object) -> Json:
    """A usage object of the older formats whose total is the sum."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
        **fields,
    }


def call(name: str, arguments: str, call_id: str, **fields: object) -> Json:
    """A tool call of a chat completion."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def more_arguments(arguments: str, index: int = 0) -> Json:
    """A chunk that goes on with the arguments of a call."""
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


_CHUNK: Final[Json] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_741_569_952, "model": "m"}
