"""One admitted request and whom to answer. The relay runs it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tokenbooth.gateway.access.admission import Admitted
from tokenbooth.gateway.access.stream_limit import StreamSlot
from tokenbooth.gateway.errors import ClientHungUp, Refusal
from tokenbooth.gateway.formats.base import Meter
from tokenbooth.gateway.registry import Endpoint
from tokenbooth.gateway.upstream.base import UpstreamCall
from tokenbooth.gateway.upstream.routing import Attempt
from tokenbooth.http.exchange import HttpExchange
from tokenbooth.kit.clock import Clock


@dataclass(init=False, slots=True)
class Exchange:
    """One admitted request on its way: whom to answer, and what is known so far.

    Attributes:
        http: the client's request and its answer.
        attempt: its way through the upstreams.
        upstream: the name of the one that is asked, or answers.
        call: the call to it.
        asked: whether an upstream works on it, and its prompt is to be paid.
        meter: of the stream that answers it.
        began: whether a real event of the stream has come: none that only keeps the connection open, and no error.
        is_whole: whether the answer comes in one piece, although a stream may have been asked for.
        timed_out: whether the client was told that there was no answer in time, while the upstream still works.
        read_on: the timer that ends the reading of an answer that nobody waits for any more; None for others.
        parts_sent: how many parts of the answer's body have left.
        stream_slot: its place among the key's open streams, if those are bounded.
        error_body: what an upstream said that refused the request as wrong; None before that.
    """

    request_id: str
    admitted: Admitted
    http: HttpExchange
    attempt: Attempt
    endpoint: Endpoint
    clock: Clock
    stream_slot: StreamSlot | None
    upstream: str
    call: UpstreamCall | None
    asked: bool
    meter: Meter | None
    began: bool
    is_whole: bool
    timed_out: bool
    read_on: asyncio.TimerHandle | None
    parts_sent: int
    error_body: bytes | None
    _reads_on: Callable[["Exchange"], bool] | None

    def __init__(
        self,
        request_id: str,
        admitted: Admitted,
        http: HttpExchange,
        attempt: Attempt,
        endpoint: Endpoint,
        clock: Clock,
        stream_slot: StreamSlot | None,
    ) -> None:
        self.request_id = request_id
        self.admitted = admitted
        self.http = http
        self.attempt = attempt
        self.endpoint = endpoint
        self.clock = clock
        self.stream_slot = stream_slot
        self.upstream = ""
        self.call = None
        self.asked = False
        self.meter = None
        self.began = False
        self.is_whole = not admitted.request.stream
        self.timed_out = False
        self.read_on = None
        self.parts_sent = 0
        self.error_body = None
        self._reads_on = None

    def watch(self, reads_on: Callable[["Exchange"], bool]) -> None:
        """From now on the call ends when the client hangs up; what waits for the upstream raises `ClientHungUp` then.

        Args:
            reads_on: asked when the client hangs up while the upstream works; True when the answer is read on.
        """
        self._reads_on = reads_on
        self.http.on_gone = self._hung_up

    def stop_if_hung_up(self) -> None:
        """Go on, unless the client is gone.

        Raises:
            ClientHungUp: so it is.
        """
        if self.http.gone:
            raise ClientHungUp

    def _hung_up(self) -> None:
        call = self.call
        if call is None:
            return
        if call.sent and self._reads_on is not None and self._reads_on(self):
            # It may have been paused because the client did not read.
            call.resume()
        else:
            call.interrupt()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, while the call goes on."""
        admitted, style = self.admitted, self.endpoint.style
        status, body = style.error(refusal, self.request_id)
        lines = b"content-type: application/json\r\n%b%b%b" % (
            style.id_lines(self.request_id),
            refusal.header_lines(),
            style.limit_lines(admitted.key, admitted.pool, self.clock),
        )
        self.http.answer(status, lines, body)

    def header_lines(self, content_type: bytes) -> bytes:
        """The header lines of the answer, with the limits as they are now."""
        admitted, style = self.admitted, self.endpoint.style
        lines = b"content-type: %b\r\n%b%b" % (
            content_type,
            style.id_lines(self.request_id),
            style.limit_lines(admitted.key, admitted.pool, self.clock),
        )
        if admitted.clamped_output_tokens is not None:
            lines += b"x-max-tokens-clamped: %d\r\n" % admitted.clamped_output_tokens
        omitted = self.attempt.outbound.omitted
        if omitted:
            lines += b"x-omitted: %b\r\n" % ", ".join(omitted).encode()
        return lines

    def send(self, part: bytes) -> None:
        """Send a part of the answer's body."""
        self.parts_sent += 1
        self.http.send(part)

    def finish(self, part: bytes) -> None:
        """Send the last part; the place among the key's streams is free before the client knows of the end."""
        if self.stream_slot is not None:
            self.stream_slot.free()
        self.http.finish(part)
