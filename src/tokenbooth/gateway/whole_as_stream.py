"""A whole answer as the events of a stream, for a client that asked for one and an upstream that does not stream.

Only formats whose events are a whole answer in other words are known here: OpenAI's chats and completions.
"""

from typing import Final

import msgspec

from tokenbooth.gateway.body import decode_object, decode_objects

_CHUNK: Final = msgspec.Raw(b'"chat.completion.chunk"')


def chat_events(body: bytes) -> bytes:
    """The events of a chat completion: the message in one, then its usage if it has any, then the end.

    Raises:
        UNREADABLE: the body is no chat completion.
    """
    fields = decode_object(body)
    choices = decode_objects(fields["choices"]) if "choices" in fields else []
    for choice in choices:
        if "message" in choice:
            choice["delta"] = _delta(choice.pop("message"))
    return _events({**fields, "object": _CHUNK}, choices)


def completion_events(body: bytes) -> bytes:
    """The events of a completion, whose choices have the same form in both.

    Raises:
        UNREADABLE: the body is no completion.
    """
    fields = decode_object(body)
    return _events(fields, decode_objects(fields["choices"]) if "choices" in fields else [])


def _delta(message: msgspec.Raw) -> msgspec.Raw:
    fields = decode_object(message)
    if bytes(fields.get("tool_calls", b"null")) != b"null":
        calls = decode_objects(fields["tool_calls"])
        numbered = [{"index": msgspec.Raw(b"%d" % position), **call} for position, call in enumerate(calls)]
        fields["tool_calls"] = msgspec.Raw(msgspec.json.encode(numbered))
    return msgspec.Raw(msgspec.json.encode(fields))


def _events(fields: dict[str, msgspec.Raw], choices: list[dict[str, msgspec.Raw]]) -> bytes:
    usage = fields.pop("usage", msgspec.Raw(b"null"))
    told: list[dict[str, object]] = [{**fields, "choices": choices}]
    if bytes(usage) != b"null":
        told.append({**fields, "choices": [], "usage": usage})
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in told) + b"data: [DONE]\n\n"
