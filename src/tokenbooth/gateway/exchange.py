"""One admitted request and whom to answer. The relay runs it; only the gateway's own parts import it."""

from dataclasses import dataclass

from tokenbooth.clock import Clock
from tokenbooth.gateway.admission import Admitted
from tokenbooth.gateway.endpoints import Endpoint
from tokenbooth.gateway.reading import Receive, Send
from tokenbooth.gateway.refusals import Headers
from tokenbooth.gateway.stream_slots import StreamSlot


@dataclass(slots=True)
class Exchange:
    """One admitted request on its way: whom to answer, and what is known so far.

    Attributes:
        upstream: the name of the one that is asked, or answers.
        head_sent: whether the answer has begun.
        asked: whether an upstream works on it, and its prompt is to be paid.
        client_gone: whether nobody is there to answer any more.
        parts_sent: how many parts of the answer's body have left.
        sending: whether one is leaving now, which may take as long as the client is slow.
        stream_slot: its place among the key's open streams, if those are bounded.
    """

    request_id: str
    admitted: Admitted
    receive: Receive
    send: Send
    endpoint: Endpoint
    clock: Clock
    upstream: str = ""
    head_sent: bool = False
    asked: bool = False
    client_gone: bool = False
    parts_sent: int = 0
    sending: bool = False
    stream_slot: StreamSlot | None = None

    async def send_head(self, status: int, content_type: bytes, extra: Headers) -> None:
        """Send the head of the answer, with the limits as they are now."""
        headers = [
            (b"content-type", content_type),
            *self.endpoint.face.id_headers(self.request_id),
            *self.endpoint.face.limits(self.admitted.key, self.admitted.pool, self.clock),
            *extra,
        ]
        clamped = self.admitted.clamped_output_tokens
        if clamped is not None:
            headers.append((b"x-max-tokens-clamped", b"%d" % clamped))
        self.head_sent = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def send_body(self, body: bytes, *, more: bool) -> None:
        """Send a part of the answer, unless nobody is there any more."""
        if not more and self.stream_slot is not None:
            self.stream_slot.free()
        if self.client_gone:
            return
        self.parts_sent += 1
        self.sending = True
        await self.send({"type": "http.response.body", "body": body, "more_body": more})
        self.sending = False
