"""The relay: an admitted request to an upstream and its answer back, settled before the answer ends.

Whatever happens, the hold is ended exactly once: by a settlement, or by a release when nothing is to be paid. An answer
that nobody waits for any more is read on where the upstream bills it nevertheless, within the account's bound; what is
charged in each case is the matrix of docs/billing.md.
"""

import asyncio
from typing import Final

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.gateway.access.ceilings import Ceilings
from tokenbooth.gateway.access.cut_off import is_cut_off
from tokenbooth.gateway.billing import Billing
from tokenbooth.gateway.errors import (
    ClientHungUp,
    FailedAnswer,
    UpstreamBroke,
    UpstreamFailure,
    UpstreamReportedError,
    UpstreamTimedOut,
)
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.failed_attempts import FailedAttempts
from tokenbooth.gateway.formats.base import CostNano
from tokenbooth.gateway.formats.json.body import UNREADABLE, encode_fields
from tokenbooth.gateway.formats.json.split import LARGE_BYTES, encode_large
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.sse import BrokenStream
from tokenbooth.gateway.late_answers import LateAnswers
from tokenbooth.gateway.settlement.usage import Unseen, within_limits
from tokenbooth.gateway.stream_forwarder import EVENT_STREAM, StreamForwarder
from tokenbooth.gateway.upstream.base import UpstreamCall, UpstreamRequest, Upstreams
from tokenbooth.gateway.upstream.errors import (
    PASSED_STATUSES,
    Private,
    broken_off,
    is_worth_another,
    refusal_of,
    refusal_of_status,
    speaks_of_our_account,
)
from tokenbooth.gateway.upstream.outcome import MAY_BE_TOO_LARGE
from tokenbooth.gateway.whole_answers import check_end, json_of

_JSON: Final = b"application/json"
# Another upstream may be waiting for its turn.
_ERROR_BODY_S: Final = 5.0


class Relay:
    """Forwards admitted requests to an upstream and streams the answer back."""

    def __init__(
        self,
        upstreams: Upstreams,
        billing: Billing,
        ceilings: Ceilings,
        late_answers: LateAnswers,
        failed_attempts: FailedAttempts,
        *,
        keep_alive_s: float,
    ) -> None:
        """Take what it works with.

        Args:
            upstreams, billing, ceilings, late_answers, failed_attempts: what it works with.
            keep_alive_s: the time between two comments in a silent stream, in seconds.
        """
        self._upstreams = upstreams
        self._billing = billing
        self._ceilings = ceilings
        self._late_answers = late_answers
        self._failed_attempts = failed_attempts
        self._keep_alive_s = keep_alive_s

    async def run(self, exchange: Exchange) -> None:
        """Forward the request, which has its place at an upstream and its hold, and answer it.

        Raises:
            Refusal: no upstream answered, or it refused; nothing was sent to the client yet. What is charged after a
                time-out is in its message; after any other failure it is nothing.
        """
        late: UpstreamTimedOut | None = None
        try:
            exchange.watch(self._late_answers.reads_on)
            try:
                while not await self._answer(exchange, await self._open(exchange)):
                    # Its answer was a failure: the call moved on to another upstream.
                    pass
            except UpstreamTimedOut as silence:
                # A name of its own: the compiler gives a variable the type that it has first.
                late = silence
            if late is not None:
                await self._late_answers.after_time_out(exchange, late)
        except UpstreamFailure as failure:
            raise refusal_of(failure) from failure
        except ClientHungUp:
            self._billing.settle_cut(exchange)
        except asyncio.CancelledError:
            self._billing.settle_stopped(exchange)
            raise
        finally:
            # First what must not be missed.
            self._billing.release(exchange)
            exchange.routed.end()
            exchange.http.on_gone = None
            self._late_answers.end(exchange)
            if exchange.upstream_call is not None:
                exchange.upstream_call.end()

    async def _open(self, exchange: Exchange) -> UpstreamCall:
        """The call to the first upstream that takes the request; the head of its answer is there."""
        request, routed = exchange.request, exchange.routed
        while True:
            exchange.stop_if_hung_up()
            outbound, upstream = routed.outbound, routed.route.upstream
            exchange.upstream = upstream.name
            fields = outbound.upstream_fields(routed.route, exchange.admitted.clamped_output_tokens)
            is_large = request.text_bytes > LARGE_BYTES or request.parts_tokens
            body = encode_large(fields) if is_large else encode_fields(fields)
            # Nothing here keeps the body: it is in the call.
            call = exchange.upstream_call = self._upstreams.post(
                upstream,
                UpstreamRequest(outbound.path, body, request.stream, outbound.credential, outbound.headers()),
            )
            del body
            exchange.asked = True
            try:
                await call.begin()
            except UpstreamFailure as failure:
                routed.failed(failure)
                if isinstance(failure, UpstreamTimedOut):
                    raise
                # Nothing came, so nothing is billed; after silence (a time-out) it may be.
                exchange.asked = False
                moved_on = routed.move_on()
                self._failed_attempts.log_failure(exchange, failure, moved_on=moved_on)
                if not moved_on:
                    raise
            else:
                if call.status != 200:
                    exchange.asked = False
                    if call.status in PASSED_STATUSES:
                        exchange.error_body = await _error_body(call)
                    elif call.status in MAY_BE_TOO_LARGE:
                        exchange.error_body = await _early_error_body(exchange, call)
                    routed.record_response(call, exchange.error_body)
                refuses_us = (
                    exchange.error_body is not None
                    and call.status in PASSED_STATUSES
                    and speaks_of_our_account(exchange.error_body)
                )
                if refuses_us:
                    self._failed_attempts.log_account(exchange, call.status)
                moved_on = (refuses_us or is_worth_another(call.status)) and routed.move_on()
                if not moved_on:
                    return call
                self._failed_attempts.log_status(exchange, call, b"", moved_on=True)
                exchange.error_body = None
            call.end()

    async def _answer(self, exchange: Exchange, call: UpstreamCall) -> bool:
        """Pass the answer on; False when it was a failure, and the call moved on to another upstream."""
        if call.status != 200:
            body = await _error_body(call) if exchange.error_body is None else exchange.error_body
            self._failed_attempts.log_status(exchange, call, body, moved_on=False)
            now_us = exchange.clock.now_us()
            if call.status in (400, 422):
                routed = exchange.routed
                self._ceilings.refused(exchange.request, routed.route, routed.outbound.wire, body)
            route, model = exchange.routed.route, exchange.request.model
            private = Private(route.upstream.api_key, route.upstream.base_url, route.model, model.name)
            raise refusal_of_status(call, body, now_us=now_us, private=private)
        self._note_form(exchange, call)
        moved_on = False
        try:
            if exchange.request.stream:
                await self._stream(exchange, call)
            else:
                self._whole(exchange, await call.read())
        except UpstreamFailure as failure:
            exchange.routed.failed(failure)
            if not isinstance(failure, UpstreamTimedOut):
                moved_on = _is_replaced(exchange, failure) and exchange.routed.move_on()
                self._failed_attempts.log_failure(exchange, failure, moved_on=moved_on)
            if not moved_on:
                raise
        if moved_on:
            exchange.asked = False
            exchange.meter = None
            call.end()
        return not moved_on

    def _note_form(self, exchange: Exchange, call: UpstreamCall) -> None:
        """Take the head's word for whether the answer comes in one piece, until the body tells."""
        if not exchange.request.stream:
            return
        media_type = (call.header("content-type") or "").partition(";")[0].strip().lower()
        exchange.is_whole = media_type == "application/json"
        self._billing.learn_form(exchange)

    def _whole(self, exchange: Exchange, body: bytes) -> None:
        outbound = exchange.routed.outbound
        events = meter = told = None
        try:
            body = json_of(exchange, body)
            stopped = exchange.admitted.at_risk_nano is not None and is_cut_off(body)
            answer = outbound.read_answer(body)
            counted = self._billing.count_answer(exchange, answer, body)
            if exchange.request.stream:
                # Some upstreams do not stream although they are asked to; who waits for events reads nothing else.
                events = outbound.as_events(body)
            if events is None:
                told = answer.client_answer(counted.usage, exchange.request_id)
            else:
                meter = outbound.meter(_cost_shown(exchange), exchange.request_id)
                body = meter.feed(events)
                if meter.failed:
                    raise FailedAnswer("the answer cannot be told in events")
        except (*UNREADABLE, BrokenStream) as mistake:
            raise FailedAnswer("the answer is not JSON of its format", body) from mistake
        exchange.routed.succeeded()
        exchange.routed.end()
        charged_nano = self._billing.settle(exchange, counted)
        self._billing.compare(exchange, counted, stopped)
        if meter is not None:
            exchange.http.answer(200, exchange.header_lines(EVENT_STREAM), body + meter.final_events(charged_nano))
            return
        if told is not None:
            body = told.encode(charged_nano)
        cost_line = b"x-cost-usd: %b\r\n" % format_usd(charged_nano).encode()
        exchange.http.answer(200, exchange.header_lines(_JSON) + cost_line, body)

    async def _stream(self, exchange: Exchange, call: UpstreamCall) -> None:
        meter = exchange.meter = exchange.routed.outbound.meter(_cost_shown(exchange), exchange.request_id)
        forwarder = StreamForwarder(exchange, call, meter, self._keep_alive_s)
        try:
            exchange.http.on_writable = lambda is_writable: call.resume() if is_writable else call.pause()
            await call.for_each_chunk(forwarder.take)
            forwarder.end_of_body()
            if meter.whole is None:
                check_end(exchange, meter, forwarder.error)
        except (UpstreamFailure, BrokenStream) as failure:
            if not exchange.began:
                raise failure if isinstance(failure, UpstreamFailure) else UpstreamBroke(str(failure)) from failure
            self._break_off(exchange, meter, failure)
        else:
            self._billing.learn_form(exchange)
            if meter.whole is not None:
                self._whole(exchange, bytes(meter.whole))
            else:
                exchange.routed.end()
                self._end(exchange, meter, forwarder)
        finally:
            forwarder.stop()
            exchange.http.on_writable = None

    def _end(self, exchange: Exchange, meter: Meter, forwarder: StreamForwarder) -> None:
        """The regular end: the charge on disk first, then the event that ends the answer."""
        forwarder.begin()
        counted = self._billing.count_stream(exchange, meter)
        tail = meter.final_events(self._billing.settle(exchange, counted))
        exchange.finish(tail)
        self._billing.compare(exchange, counted, forwarder.stopped_at_ceiling(tail))

    def _break_off(self, exchange: Exchange, meter: Meter, failure: Exception) -> None:
        """The upstream failed in mid-stream: charge what came until then, tell the client, never end cleanly.

        A client that had left by then pays as for any answer that is cut.
        """
        told = failure if isinstance(failure, UpstreamFailure) else UpstreamBroke(str(failure))
        exchange.routed.failed(told)
        unseen = self._billing.unseen(exchange) if exchange.http.gone else Unseen.NOTHING
        counted = self._billing.count_cut(exchange, unseen)
        charged_nano = self._billing.settle(exchange, counted)
        self._billing.compare(exchange, counted)
        self._failed_attempts.log_broken_stream(exchange, told, charged_nano)
        exchange.finish(exchange.endpoint.error_event(broken_off(told, charged_nano)))


async def _error_body(call: UpstreamCall) -> bytes:
    """What an answer says that is an error by its status already; nothing where it breaks off."""
    try:
        return await call.read()
    except UpstreamBroke:
        return b""


async def _early_error_body(exchange: Exchange, call: UpstreamCall) -> bytes:
    """The same, and nothing where it takes long.

    Raises:
        ClientHungUp: nobody waits for it any more.
    """
    interruption = asyncio.get_running_loop().call_later(_ERROR_BODY_S, call.interrupt)
    try:
        return await call.read()
    except (UpstreamBroke, UpstreamTimedOut, ClientHungUp):
        exchange.stop_if_hung_up()
        return b""
    finally:
        interruption.cancel()


def _cost_shown(exchange: Exchange) -> CostNano:
    """What a usage in mid-stream costs, as it would be charged, in nano-USD."""
    price, request = exchange.admitted.price, exchange.request
    return lambda usage: cost_nano(price, within_limits(request, usage))


def _is_replaced(exchange: Exchange, failure: UpstreamFailure) -> bool:
    """Whether another upstream may answer in its place; a whole answer that broke off was written, and is billed."""
    return isinstance(failure, FailedAnswer | UpstreamReportedError) or not exchange.is_whole
