"""One HTTP request to the data plane, before and beside its exchange. Only the gateway's application imports it."""

from collections.abc import Sequence
from typing import cast

from tokenbooth.gateway.admission import Pool
from tokenbooth.gateway.endpoints import face_of
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.reading import Message, Receive, Scope, Send
from tokenbooth.gateway.state import KeyState


class Call:
    """One HTTP request with what the handlers need of it."""

    __slots__ = ("answered", "exchange", "key", "path", "pool", "receive", "request_id", "scope", "send")

    def __init__(self, scope: Message, receive: Receive, send: Send, request_id: str) -> None:
        self.scope = cast("Scope", scope)
        self.path: str = self.scope["path"]
        self.receive = receive
        self.send = send
        self.request_id = request_id
        self.answered = False
        self.exchange: Exchange | None = None
        self.key: KeyState | None = None
        self.pool: Pool | None = None

    @property
    def began(self) -> bool:
        """Whether an answer has begun, so that no other can be sent."""
        return self.answered or (self.exchange is not None and self.exchange.head_sent)

    async def answer(self, status: int, body: bytes, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Send a whole JSON answer."""
        self.answered = True
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *face_of(self.path).id_headers(self.request_id),
            *extra,
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
