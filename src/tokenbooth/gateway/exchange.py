"""One request to the data plane: what is known of it so far, and how it is answered."""

import asyncio
from collections.abc import Callable

from tokenbooth.gateway.access.admission import Admitted
from tokenbooth.gateway.access.cache import AccountState, KeyState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.gateway.access.stream_limit import StreamSlot
from tokenbooth.gateway.errors import ClientHungUp, Refusal
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.registry import Endpoint, style_of
from tokenbooth.gateway.upstream.base import UpstreamCall
from tokenbooth.gateway.upstream.routing import RoutedCall
from tokenbooth.http.exchange import HttpExchange
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.places import Caller, Place


class Exchange:
    """One request on its way. It is made when its head is there, and gains the rest step by step.

    Attributes:
        http: the client's side of it.
        style: how errors and limits are written to it.
        task: what serves it.
        key: who asks; None before that is known.
        caller: for whom places are taken, once its account is known.
        place: among the open requests; None before that.
        pool: what pays; None before that is known.
        unfunded: the account that had no money when the request began, and counts it.
        endpoint, request: what is asked for, once it is read.
        stream_slot: its place among the key's open streams, if those are bounded.
        routed: its way through the upstreams.
        admitted: its price and its hold.
        upstream: the name of the one that is asked, or answers.
        upstream_call: the call to it.
        asked: whether an upstream works on it, and its prompt is to be paid.
        meter: of the stream that answers it.
        began: whether a real event of the stream has come: none that only keeps the connection open, and no error.
        is_whole: whether the answer comes in one piece, although a stream may have been asked for.
        timed_out: whether the client was told that there was no answer in time, while the upstream still works.
        read_on: the timer that ends the reading of an answer that nobody waits for any more; None for others.
        drain: its place among the answers that are read on.
        parts_sent: how many parts of the answer's body have left.
        error_body: what an upstream said that refused the request as wrong; None before that.
    """

    __slots__ = (
        "_reads_on",
        "admitted",
        "asked",
        "began",
        "caller",
        "clock",
        "drain",
        "endpoint",
        "error_body",
        "http",
        "is_whole",
        "key",
        "meter",
        "parts_sent",
        "path",
        "place",
        "pool",
        "read_on",
        "request",
        "request_id",
        "routed",
        "stream_slot",
        "style",
        "task",
        "timed_out",
        "unfunded",
        "upstream",
        "upstream_call",
    )

    endpoint: Endpoint
    request: PricedRequest
    routed: RoutedCall
    admitted: Admitted
    caller: Caller

    def __init__(self, http: HttpExchange, request_id: str, clock: Clock) -> None:
        self.http = http
        self.path = http.path
        self.request_id = request_id
        self.clock = clock
        self.style = style_of(http.path)
        self.task: asyncio.Task[None] | None = None
        self.key: KeyState | None = None
        self.place: Place | None = None
        self.pool: Pool | None = None
        self.unfunded: AccountState | None = None
        self.stream_slot: StreamSlot | None = None
        self.upstream = ""
        self.upstream_call: UpstreamCall | None = None
        self.asked = False
        self.meter: Meter | None = None
        self.began = False
        self.is_whole = False
        self.timed_out = False
        self.drain: Place | None = None
        self.read_on: asyncio.TimerHandle | None = None
        self.parts_sent = 0
        self.error_body: bytes | None = None
        self._reads_on: Callable[[Exchange], bool] | None = None

    def read(self, endpoint: Endpoint, request: PricedRequest) -> None:
        """Take what was read of the body."""
        self.endpoint = endpoint
        self.request = request
        self.is_whole = not request.stream

    @property
    def turn_taker(self) -> str:
        """Who takes turns in reading large bodies: the account; all those without money are as one."""
        return self.caller.account if self.caller.has_money else ""

    def watch(self, reads_on: "Callable[[Exchange], bool]") -> None:
        """From now on the call ends when the client hangs up; what waits for the upstream raises `ClientHungUp` then.

        Args:
            reads_on: asked when the client hangs up while the upstream works; True when the answer is read on.
        """
        self._reads_on = reads_on
        self.http.on_gone = self._hung_up

    def stop_if_hung_up(self) -> None:
        """Go on, unless the client is gone.

        Raises:
            ClientHungUp: it is.
        """
        if self.http.gone:
            raise ClientHungUp

    def is_wanted(self) -> bool:
        """Whether the client is there still."""
        return not self.http.gone

    @property
    def is_worked_on(self) -> bool:
        """Whether an upstream has the request, and may bill it."""
        return self.asked and self.upstream_call is not None and self.upstream_call.sent

    def _hung_up(self) -> None:
        call = self.upstream_call
        if call is None:
            return
        if call.sent and self._reads_on is not None and self._reads_on(self):
            # It may have been paused because the client did not read.
            call.resume()
        else:
            call.interrupt()

    def answer(self, status: int, body: bytes, header_lines: bytes = b"") -> None:
        """Give a whole JSON answer, with further header lines."""
        lines = b"content-type: application/json\r\n%b%b" % (self.style.id_lines(self.request_id), header_lines)
        self.http.answer(status, lines, body)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal; the call may go on."""
        status, body = self.style.error(refusal, self.request_id)
        self.answer(status, body, refusal.header_lines() + self._limit_lines())

    def answer_with_limits(self, body: bytes) -> None:
        """Give a whole JSON answer with the limits as they are now."""
        self.answer(200, body, self._limit_lines())

    def header_lines(self, content_type: bytes) -> bytes:
        """The header lines of an upstream's answer, with the limits as they are now."""
        lines = b"content-type: %b\r\n%b%b" % (content_type, self.style.id_lines(self.request_id), self._limit_lines())
        clamped_output_tokens = self.admitted.clamped_output_tokens
        if clamped_output_tokens is not None:
            lines += b"x-max-tokens-clamped: %d\r\n" % clamped_output_tokens
        omitted = self.routed.outbound.omitted
        if omitted:
            lines += b"x-omitted: %b\r\n" % ", ".join(omitted).encode()
        return lines

    def send(self, part: bytes) -> None:
        """Send a part of the answer's body."""
        self.parts_sent += 1
        self.http.send(part)

    def finish(self, part: bytes) -> None:
        """Send the last part; the place among the key's streams is free before the client knows of the end."""
        self.free_stream_slot()
        self.http.finish(part)

    def free_stream_slot(self) -> None:
        """Give the place among the key's streams back; a repeated call changes nothing."""
        if self.stream_slot is not None:
            self.stream_slot.free()

    def _limit_lines(self) -> bytes:
        return b"" if self.key is None else self.style.limit_lines(self.key, self.pool, self.clock)
