"""Answers that nobody waits for any more, because their client left or was told of a time-out.

They are read on where the upstream writes and bills them to their end all the same, within the account's bound; see
docs/adr/0019-answers-are-read-on.md.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.billing import Billing
from tokenbooth.gateway.drains import Drains
from tokenbooth.gateway.errors import ClientHungUp, Refusal, UpstreamFailure, UpstreamTimedOut
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.failed_attempts import FailedAttempts
from tokenbooth.gateway.formats.json.body import UNREADABLE
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.sse import BrokenStream
from tokenbooth.gateway.settlement.settle import BilledUsage, Terms
from tokenbooth.gateway.upstream.base import UpstreamCall
from tokenbooth.gateway.upstream.errors import timed_out
from tokenbooth.gateway.whole_answers import check_end, json_of

# How the reading of an answer that is late may end without one.
_NO_ANSWER: Final = (UpstreamFailure, BrokenStream, ClientHungUp, *UNREADABLE)
_log = structlog.get_logger(__name__)


class LateAnswers:
    """Reads answers on, and settles them."""

    def __init__(self, billing: Billing, drains: Drains, failed_attempts: FailedAttempts, *, read_on_s: float) -> None:
        """Take what it works with.

        Args:
            billing, drains, failed_attempts: what it works with.
            read_on_s: how long an answer is read on, in seconds.
        """
        self._billing = billing
        self._drains = drains
        self._failed_attempts = failed_attempts
        self._read_on_s = read_on_s

    def reads_on(self, exchange: Exchange) -> bool:
        """The client hung up: read its answer on, or stop the upstream?

        A plain stream is stopped. What is billed to its end anyway is heard to its end, if there is room for it.
        """
        meter = exchange.meter
        return (
            exchange.is_whole
            or exchange.routed.route.upstream.bills_after_disconnect
            or (meter is not None and meter.saw_finish_reason())
            or self._billing.thinks(exchange)
            or self._billing.answers_whole(exchange)
        ) and self._take_drain(exchange)

    def end(self, exchange: Exchange) -> None:
        """Give back what reading it on took."""
        if exchange.read_on is not None:
            exchange.read_on.cancel()
        if exchange.drain is not None:
            exchange.drain.free()

    async def after_time_out(self, exchange: Exchange, late: UpstreamTimedOut) -> None:
        """No answer in time: tell the client, and read the answer on, which the upstream finishes and bills.

        Raises:
            Refusal: it is not read on; its message says what was charged.
        """
        call = exchange.upstream_call
        assert call is not None
        exchange.timed_out = True
        if not call.is_alive or not exchange.asked:
            raise self._lost(exchange, late, is_first=True)
        if not self._take_drain(exchange):
            charged_nano = self._billing.settle_cut(exchange)
            self._failed_attempts.log_timed_out(
                exchange, "There is no room to read the answer on; an estimate of it was charged."
            )
            raise timed_out(charged_nano=charged_nano)
        self._failed_attempts.log_timed_out(exchange, "The answer is read on, and charged.")
        exchange.http.on_gone = None
        had_left = exchange.http.gone
        exchange.refuse(timed_out(charged_nano=None))
        failure: Exception | None = None
        counted: BilledUsage | None = None
        try:
            counted = await self._rest_of(exchange, call)
        except _NO_ANSWER as mistake:
            failure = mistake
        if counted is None:
            if had_left and isinstance(failure, ClientHungUp):
                # It left while the upstream worked, and the upstream works still.
                self._billing.settle_cut(exchange)
            else:
                self._lost(exchange, failure or late, is_first=False)
            return
        charged_nano = self._billing.settle(exchange, counted, Terms.AT_MOST_HELD)
        _log.info(
            "late_answer_charged",
            request_id=exchange.request_id,
            upstream=exchange.upstream,
            charged_usd=format_usd(charged_nano),
            note="The answer came after its time-out; it was charged, at most what was held.",
        )
        self._billing.compare(exchange, counted)

    def _take_drain(self, exchange: Exchange) -> bool:
        """Have room to read an answer on that nobody waits for; False when there is none."""
        if exchange.read_on is not None:
            return True
        call = exchange.upstream_call
        if call is None:
            return False
        exchange.drain = self._drains.take(exchange.caller)
        if exchange.drain is None:
            return False
        # At the end of this time it counts as cut.
        exchange.read_on = asyncio.get_running_loop().call_later(self._read_on_s, call.interrupt)
        return True

    async def _rest_of(self, exchange: Exchange, call: UpstreamCall) -> BilledUsage:
        """What an answer consumed that comes after its time-out; nobody gets it.

        Raises:
            UpstreamFailure, BrokenStream, UNREADABLE, ClientHungUp
        """
        # The timer of the reading ends it first.
        await call.wait_on(2 * self._read_on_s)
        if call.status != 200:
            raise UpstreamFailure(f"HTTP {call.status}")
        if not exchange.request.stream:
            return self._billing.read_and_count(exchange, json_of(exchange, await call.read()))
        # What came before the time-out is in the meter.
        meter = exchange.meter or exchange.routed.outbound.meter(lambda usage: 0)
        exchange.meter = meter
        await call.for_each_chunk(_discard_into(meter))
        meter.end_of_body()
        if meter.whole is not None:
            return self._billing.read_and_count(exchange, bytes(meter.whole))
        check_end(exchange, meter)
        return self._billing.count_stream(exchange, meter)

    def _lost(self, exchange: Exchange, failure: Exception, *, is_first: bool) -> Refusal:
        """An answer that was late never came."""
        self._billing.book_lost(exchange)
        # Its time-out may have been logged and counted before.
        self._failed_attempts.log_lost(exchange, failure, counts=is_first)
        return timed_out(charged_nano=0)


def _discard_into(meter: Meter) -> Callable[[bytes], bool]:
    """Takes the rest of a stream that nobody listens to."""

    def take(chunk: bytes) -> bool:
        meter.feed(chunk)
        return not (meter.saw_end_marker or meter.failed)

    return take
