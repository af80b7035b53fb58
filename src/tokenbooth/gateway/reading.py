"""Reading a request's body from ASGI, bounded."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TypedDict

from tokenbooth.gateway.refusals import Category, Refusal, invalid_request

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Scope(TypedDict):
    """What we read of an ASGI HTTP scope."""

    type: str
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody is there to answer."""


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        Refusal: too large, or compressed.
        ClientGone: it will never be complete.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:19]) > max_bytes:
            raise _too_large(max_bytes)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise Refusal(
                415,
                Category.INVALID,
                "unsupported_encoding",
                "Send the body uncompressed, without Content-Encoding.",
            )
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        part = _body(message)
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        more = bool(message.get("more_body", False))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _body(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    body = message.get("body", b"")
    if not isinstance(body, bytes):
        raise invalid_request("invalid_json", "The body could not be read.")
    return body


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413, Category.TOO_LARGE, "request_too_large", f"The body is larger than {max_bytes} bytes. Send less."
    )
