"""The relay: an admitted request to an upstream and its answer back, settled before the answer ends.

Whatever happens, the hold is ended exactly once: by a settlement, or by a release when nothing was delivered.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from tokenbooth.catalog import Upstream
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.gateway.body import UNREADABLE, encode_fields
from tokenbooth.gateway.counting import count_answer, count_stream
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.keep_alive import KeepAlive
from tokenbooth.gateway.meter import BrokenStream, StreamMeter
from tokenbooth.gateway.settle import Settler
from tokenbooth.gateway.speech import Meter
from tokenbooth.gateway.upstream_errors import is_worth_another, refusal_of, refusal_of_status
from tokenbooth.gateway.upstreams import (
    ClientHungUp,
    UpstreamBroke,
    UpstreamCall,
    UpstreamFailure,
    UpstreamRequest,
    Upstreams,
    UpstreamTimedOut,
)

_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
_log = structlog.get_logger(__name__)


class Relay:
    """Runs exchanges."""

    def __init__(self, upstreams: Upstreams, settler: Settler, *, max_draining: int, keep_alive_s: float) -> None:
        self._upstreams = upstreams
        self._settler = settler
        self._max_draining = max_draining
        self._keep_alive_s = keep_alive_s
        self._draining = 0

    async def run(self, exchange: Exchange) -> None:
        """Forward the request and answer it.

        Raises:
            Refusal: no upstream answered, or it refused; nothing was sent to the client yet, nothing is charged.
        """
        request, attempt = exchange.admitted.request, exchange.attempt
        try:
            # An upstream that bills after a hang-up is watched for only once its answer began: it has to be heard to
            # the end.
            if request.stream and not any(route.upstream.bills_after_disconnect for route in request.model.routes):
                exchange.watch()
            attempt.begin()
            await self._answer(exchange, await self._open(exchange))
        except UpstreamFailure as failure:
            _log.warning(
                "upstream_failed",
                request_id=exchange.request_id,
                upstream=exchange.upstream,
                kind=type(failure).__name__,
                detail=str(failure),
                note="The call failed before its answer began; nothing was charged.",
            )
            raise refusal_of(failure) from failure
        except ClientHungUp:
            self._settle_prompt(exchange)
        except asyncio.CancelledError:
            self._settle_prompt(exchange)
            raise
        finally:
            # First what must not be missed.
            self._settler.release(exchange.admitted)
            attempt.end()
            exchange.http.on_gone = None
            if exchange.call is not None:
                exchange.call.end()

    async def _open(self, exchange: Exchange) -> UpstreamCall:
        """The call to the first upstream that takes the request; the head of its answer is there."""
        request, attempt = exchange.admitted.request, exchange.attempt
        while True:
            exchange.stop_if_hung_up()
            speech, upstream = attempt.speech, attempt.route.upstream
            exchange.upstream = upstream.name
            fields = speech.upstream_fields(attempt.route.model, exchange.admitted.clamped_output_tokens)
            # Nothing here keeps the body: it is in the call.
            call = exchange.call = self._upstreams.post(
                upstream,
                UpstreamRequest(
                    speech.path, encode_fields(fields), request.stream, speech.credential, speech.headers()
                ),
            )
            exchange.asked = True
            try:
                await call.begin()
            except UpstreamFailure as failure:
                attempt.failed(failure)
                if isinstance(failure, UpstreamTimedOut):
                    raise
                # Nothing came, so nothing is billed; after silence (a time-out) it may be.
                exchange.asked = False
                if not attempt.move_on():
                    raise
            else:
                attempt.heard(call)
                if not is_worth_another(call.status) or not attempt.move_on():
                    return call
                exchange.asked = False
            call.end()

    async def _answer(self, exchange: Exchange, call: UpstreamCall) -> None:
        if call.status != 200:
            exchange.asked = False
            body, now_us = await call.read(), exchange.clock.now_us()
            raise refusal_of_status(call, body, now_us=now_us, api_key=exchange.attempt.route.upstream.api_key)
        is_stream = exchange.admitted.request.stream
        try:
            if is_stream and (call.header("content-type") or "").startswith("text/event-stream"):
                await self._stream(exchange, call)
            else:
                await self._whole(exchange, call)
        except UpstreamFailure as failure:
            exchange.attempt.failed(failure)
            raise

    async def _whole(self, exchange: Exchange, call: UpstreamCall) -> None:
        body = await call.read()
        speech = exchange.attempt.speech
        events = meter = None
        try:
            counted = count_answer(speech, body, request_id=exchange.request_id, upstream=exchange.upstream)
            if exchange.admitted.request.stream:
                # Some upstreams do not stream although they are asked to; who waits for events reads nothing else.
                events = speech.as_events(body)
            if events is None:
                body = speech.client_answer(body, counted.usage)
            else:
                meter = speech.meter(lambda usage: cost_nano(exchange.admitted.price, usage))
                body = meter.feed(events)
        except UNREADABLE as mistake:
            raise UpstreamFailure("the answer is not JSON") from mistake
        exchange.attempt.succeeded()
        exchange.attempt.end()
        charged_nano = self._settler.settle(
            exchange.admitted, counted, request_id=exchange.request_id, upstream=exchange.upstream
        )
        if meter is not None:
            exchange.http.answer(200, exchange.header_lines(_EVENT_STREAM), body + meter.tail(charged_nano))
            return
        cost_line = b"x-cost-usd: %b\r\n" % format_usd(charged_nano).encode()
        exchange.http.answer(200, exchange.header_lines(b"application/json") + cost_line, body)

    async def _stream(self, exchange: Exchange, call: UpstreamCall) -> None:
        price = exchange.admitted.price
        meter = exchange.attempt.speech.meter(lambda usage: cost_nano(price, usage))
        passing = _Passing(exchange, meter, self._keep_alive_s)
        hung_up = False
        try:
            exchange.watch()
            exchange.http.on_writable = lambda is_writable: call.resume() if is_writable else call.pause()
            await call.each(passing.take)
            if not passing.began:
                raise UpstreamFailure("the stream is empty")
            if meter.failed:
                raise UpstreamBroke("the upstream reports an error")
            if not meter.ended and not meter.complete():
                raise UpstreamFailure("the stream ended before its answer did")
        except ClientHungUp:
            hung_up = True
        except asyncio.CancelledError:
            self._settle_stream(exchange, meter)
            raise
        except (UpstreamFailure, BrokenStream) as failure:
            if not passing.began:
                raise
            self._break_off(exchange, meter, failure)
        else:
            exchange.attempt.end()
            self._end(exchange, meter)
        finally:
            passing.stop()
            exchange.http.on_writable = None
        if hung_up:
            await self._after_hang_up(exchange, call, meter, exchange.attempt.route.upstream)

    def _end(self, exchange: Exchange, meter: Meter) -> None:
        """The regular end: the charge on disk first, then the event that ends the answer."""
        charged_nano = self._settle_stream(exchange, meter)
        exchange.finish(meter.tail(charged_nano))

    def _break_off(self, exchange: Exchange, meter: Meter, failure: Exception) -> None:
        """The upstream failed in mid-stream: charge what was delivered, tell the client, never end cleanly."""
        _log.warning(
            "stream_broken",
            request_id=exchange.request_id,
            upstream=exchange.upstream,
            kind=type(failure).__name__,
            note="The upstream failed in mid-stream; what was delivered is charged.",
        )
        self._settle_stream(exchange, meter)
        refusal = refusal_of(failure if isinstance(failure, UpstreamFailure) else UpstreamFailure(str(failure)))
        exchange.finish(exchange.endpoint.error_event(refusal))

    async def _after_hang_up(self, exchange: Exchange, call: UpstreamCall, meter: Meter, upstream: Upstream) -> None:
        """The client went away: wait for the usage when it is due or billed anyway, else stop the upstream."""
        due = meter.finished() or upstream.bills_after_disconnect
        try:
            if due and not meter.ended and self._draining < self._max_draining:
                await self._drain(call, meter)
        finally:
            # Also when the process ends meanwhile.
            self._settle_stream(exchange, meter)

    async def _drain(self, call: UpstreamCall, meter: Meter) -> None:
        self._draining += 1
        try:
            call.resume()
            await call.each(_into(meter))
        except (UpstreamFailure, BrokenStream):
            pass  # What came until here is what is charged.
        finally:
            self._draining -= 1

    def _settle_prompt(self, exchange: Exchange) -> None:
        """The call ended before an answer began; an upstream that was asked for a stream has read the prompt by now."""
        was_sent = exchange.asked and exchange.call is not None and exchange.call.sent
        if was_sent and exchange.admitted.request.stream:
            self._settle_stream(exchange, StreamMeter(None))

    def _settle_stream(self, exchange: Exchange, meter: Meter) -> int:
        counted = count_stream(
            exchange.admitted.request, meter, request_id=exchange.request_id, upstream=exchange.upstream
        )
        return self._settler.settle(
            exchange.admitted, counted, request_id=exchange.request_id, upstream=exchange.upstream
        )


def _into(meter: Meter) -> Callable[[bytes], bool]:
    """Takes the rest of a stream that nobody listens to."""

    def take(chunk: bytes) -> bool:
        meter.feed(chunk)
        return not (meter.ended or meter.failed)

    return take


class _Passing:
    """Passes a stream on as it arrives; the answer begins with the upstream's first byte."""

    __slots__ = ("_exchange", "_keep_alive", "_keep_alive_s", "_meter", "began")

    def __init__(self, exchange: Exchange, meter: Meter, keep_alive_s: float) -> None:
        self._exchange = exchange
        self._meter = meter
        self._keep_alive_s = keep_alive_s
        self._keep_alive: KeepAlive | None = None
        self.began = False

    def take(self, chunk: bytes) -> bool:
        """Take what arrived; returns whether more is wanted.

        Raises:
            BrokenStream: this is no event stream.
        """
        if not self.began:
            self._begin()
        meter = self._meter
        passing = meter.feed(chunk)
        if passing:
            self._exchange.send(passing)
        return not (meter.ended or meter.failed)

    def stop(self) -> None:
        """Send no comments any more."""
        if self._keep_alive is not None:
            self._keep_alive.stop()

    def _begin(self) -> None:
        exchange = self._exchange
        exchange.http.begin(200, exchange.header_lines(_EVENT_STREAM) + b"cache-control: no-cache\r\n")
        self.began = True
        exchange.attempt.succeeded()
        self._keep_alive = KeepAlive(exchange, self._keep_alive_s)
