"""Forwards a stream to its client as it arrives, with comments while its upstream is silent."""

import asyncio
from collections import deque
from typing import Final

from tokenbooth.gateway.access.cut_off import are_cut_off
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.sse import is_real
from tokenbooth.gateway.upstream.base import UpstreamCall

EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
COMMENT: Final = b": keep-alive\n\n"
# Behind the event that tells the reason of the end come the usage and, at some servers, an event without a choice.
_LAST_PARTS: Final = 4
# What comes before the first real event is kept for it, up to this.
_MAX_BEFORE_BYTES: Final = 64 * 1024


class KeepAlive:
    """Sends a comment whenever nothing was sent between two looks, so that nobody takes the connection for dead.

    It begins after the upstream's first real event: before that an error must still be possible. It costs a timer, and
    nothing for each event.
    """

    __slots__ = ("_every_s", "_exchange", "_loop", "_seen", "_timer")

    def __init__(self, exchange: Exchange, every_s: float) -> None:
        """Begin at once.

        Args:
            exchange: its answer has begun; whole events leave it at a time, so that a comment is always between two.
            every_s: the time between two looks, in seconds.
        """
        self._exchange = exchange
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._seen = exchange.parts_sent
        self._timer = self._loop.call_later(every_s, self._look)

    def stop(self) -> None:
        """Send none any more."""
        self._timer.cancel()

    def _look(self) -> None:
        exchange = self._exchange
        if exchange.parts_sent == self._seen and not exchange.http.write_paused:
            exchange.send(COMMENT)
        self._seen = exchange.parts_sent
        self._timer = self._loop.call_later(self._every_s, self._look)


class StreamForwarder:
    """Forwards a stream as it arrives; the answer begins with the upstream's first real event.

    Attributes:
        error: what came with the event that reported an error; empty while none did.
    """

    __slots__ = (
        "_before",
        "_before_bytes",
        "_call",
        "_exchange",
        "_keep_alive",
        "_keep_alive_s",
        "_latest",
        "_meter",
        "error",
    )

    def __init__(self, exchange: Exchange, call: UpstreamCall, meter: Meter, keep_alive_s: float) -> None:
        self._exchange = exchange
        self._call = call
        self._meter = meter
        self._keep_alive_s = keep_alive_s
        self._keep_alive: KeepAlive | None = None
        self.error = b""
        self._before: list[bytes] = []
        self._before_bytes = 0
        # What left last, where the reason of the end stands; only for an upstream that was not seen yet to stop at a
        # ceiling of ours.
        self._latest: deque[bytes] | None = (
            None if exchange.admitted.at_risk_nano is None else deque(maxlen=_LAST_PARTS)
        )

    def take(self, chunk: bytes) -> bool:
        """Take what arrived; returns whether more is wanted.

        Raises:
            BrokenStream: this is no event stream.
        """
        meter = self._meter
        passing = meter.feed(chunk)
        if passing:
            exchange = self._exchange
            if exchange.began or self._begins_with(passing):
                exchange.send(passing)
                if self._latest is not None:
                    self._latest.append(passing)
        elif not self._exchange.began and meter.whole is not None:
            self._exchange.is_whole = True
            self._call.answer_began()
        if meter.failed:
            self.error = chunk
            return False
        return not meter.saw_end_marker

    def end_of_body(self) -> None:
        """Nothing more comes: what was left open passes as it would have with its end.

        Raises:
            BrokenStream: the stream ended inside of an event.
        """
        exchange = self._exchange
        passing = self._meter.end_of_body()
        if passing and (exchange.began or self._begins_with(passing)):
            exchange.send(passing)
            if self._latest is not None:
                self._latest.append(passing)

    def begin(self) -> None:
        """Send the head, if it has not been sent."""
        exchange = self._exchange
        if exchange.began:
            return
        exchange.began = True
        exchange.is_whole = False
        self._call.answer_began()
        exchange.http.begin(200, exchange.header_lines(EVENT_STREAM) + b"cache-control: no-cache\r\n")
        exchange.routed.succeeded()
        self._keep_alive = KeepAlive(exchange, self._keep_alive_s)
        if self._before:
            exchange.send(b"".join(self._before))
            self._before.clear()

    def stopped_at_ceiling(self, tail: bytes) -> bool:
        """Whether the answer says that a ceiling cut it off; `tail` is what leaves last."""
        return self._latest is not None and are_cut_off(b"".join(self._latest) + tail)

    def stop(self) -> None:
        """Send no comments any more."""
        if self._keep_alive is not None:
            self._keep_alive.stop()

    def _begins_with(self, passing: bytes) -> bool:
        """Whether the answer begins with these events; if not, they have to wait or are dropped."""
        if not is_real(passing):
            self._keep(passing)
            return False
        self.begin()
        return True

    def _keep(self, passing: bytes) -> None:
        """Of what is not real, data may say something of the answer that follows."""
        if b"data:" in passing and self._before_bytes + len(passing) <= _MAX_BEFORE_BYTES:
            self._before.append(passing)
            self._before_bytes += len(passing)
