"""The relay: an admitted request to an upstream and its answer back, settled before the answer ends.

Whatever happens, the hold is ended exactly once: by a settlement, or by a release when nothing is to be paid. An answer
that nobody waits for any more is read on where the upstream bills it nevertheless, within the account's bound; what is
charged in each case is the matrix of docs/billing.md.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.gateway.access.admission import Admitted
from tokenbooth.gateway.access.ceilings import Ceilings, are_cut_off, end_unproven, is_cut_off
from tokenbooth.gateway.drains import Drains
from tokenbooth.gateway.errors import (
    ClientHungUp,
    FailedAnswer,
    Refusal,
    UpstreamBroke,
    UpstreamFailure,
    UpstreamReportedError,
    UpstreamTimedOut,
)
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.failed_attempts import FailedAttempts
from tokenbooth.gateway.formats.base import CostNano, Meter, UpstreamAnswer
from tokenbooth.gateway.formats.json.body import UNREADABLE, encode_fields
from tokenbooth.gateway.formats.json.half_characters import without_halves
from tokenbooth.gateway.formats.json.split import LARGE_BYTES, encode_large
from tokenbooth.gateway.formats.sse import BrokenStream, is_event_stream, is_real, without_mark
from tokenbooth.gateway.formats.thinking import thinks
from tokenbooth.gateway.keep_alive import KeepAlive
from tokenbooth.gateway.settlement.estimates import Estimates
from tokenbooth.gateway.settlement.settle import Counted, Settler, Terms
from tokenbooth.gateway.settlement.usage import (
    Figures,
    Unseen,
    count_answer,
    count_cut,
    count_stream,
    learn_answer,
    learn_stream,
    most_billed,
    within_limits,
)
from tokenbooth.gateway.upstream.base import UpstreamCall, UpstreamRequest, Upstreams
from tokenbooth.gateway.upstream.errors import (
    PASSED_STATUSES,
    Private,
    broken_off,
    is_worth_another,
    refusal_of,
    refusal_of_status,
    speaks_of_our_account,
    timed_out,
)
from tokenbooth.gateway.upstream.failure_log import FailureLog

_EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
# Behind the event that tells the reason of the end come the usage and, at some servers, an event without a choice.
_LAST_PARTS: Final = 4
# What comes before the first real event is kept for it, up to this.
_MAX_BEFORE_BYTES: Final = 64 * 1024
# How the reading of an answer that is late may end without one.
_NO_ANSWER: Final = (UpstreamFailure, BrokenStream, ClientHungUp, *UNREADABLE)
_log = structlog.get_logger(__name__)


class Relay:
    """Runs exchanges."""

    def __init__(
        self,
        upstreams: Upstreams,
        settler: Settler,
        ceilings: Ceilings,
        estimates: Estimates,
        drains: Drains,
        failures: FailureLog,
        *,
        read_on_s: float,
        keep_alive_s: float,
    ) -> None:
        """Args:
        upstreams, settler, ceilings, estimates, drains: what it works with.
        failures: where failed attempts are told and counted.
        read_on_s: how long an answer is read on that nobody waits for, in seconds.
        keep_alive_s: the time between two comments in a silent stream, in seconds.
        """
        self._upstreams = upstreams
        self._settler = settler
        self._ceilings = ceilings
        self._estimates = estimates
        self._drains = drains
        self._failed_attempts = FailedAttempts(failures)
        self._read_on_s = read_on_s
        self._keep_alive_s = keep_alive_s
        # Upstreams that answered the last stream of a model in one piece: they don't hear of a client that leaves.
        self._whole_answerers: set[tuple[str, str]] = set()

    async def run(self, exchange: Exchange) -> None:
        """Forward the request and answer it.

        Raises:
            Refusal: no upstream answered, or it refused; nothing was sent to the client yet. What is charged after a
                time-out is in its message; after any other failure it is nothing.
        """
        attempt = exchange.attempt
        late: UpstreamTimedOut | None = None
        try:
            exchange.watch(self._reads_on)
            attempt.begin()
            try:
                while not await self._answer(exchange, await self._open(exchange)):
                    # Its answer was a failure: the call moved on to another upstream.
                    pass
            except UpstreamTimedOut as silence:
                # A name of its own: the compiler gives a variable the type that it has first.
                late = silence
            if late is not None:
                await self._after_time_out(exchange, late)
        except UpstreamFailure as failure:
            raise refusal_of(failure) from failure
        except ClientHungUp:
            self._settle_cut(exchange)
        except asyncio.CancelledError:
            self._settle_stopped(exchange)
            raise
        finally:
            # First what must not be missed.
            self._settler.release(exchange.admitted)
            _end_unproven(exchange.admitted)
            attempt.end()
            exchange.http.on_gone = None
            if exchange.read_on is not None:
                exchange.read_on.cancel()
                self._drains.give_back(exchange.admitted.key.account)
            if exchange.call is not None:
                exchange.call.end()

    async def _open(self, exchange: Exchange) -> UpstreamCall:
        """The call to the first upstream that takes the request; the head of its answer is there."""
        request, attempt = exchange.admitted.request, exchange.attempt
        while True:
            exchange.stop_if_hung_up()
            outbound, upstream = attempt.outbound, attempt.route.upstream
            exchange.upstream = upstream.name
            fields = outbound.upstream_fields(attempt.route, exchange.admitted.clamped_output_tokens)
            is_large = request.text_bytes > LARGE_BYTES or request.parts_tokens
            body = encode_large(fields) if is_large else encode_fields(fields)
            # Nothing here keeps the body: it is in the call.
            call = exchange.call = self._upstreams.post(
                upstream,
                UpstreamRequest(outbound.path, body, request.stream, outbound.credential, outbound.headers()),
            )
            del body
            exchange.asked = True
            try:
                await call.begin()
            except UpstreamFailure as failure:
                attempt.failed(failure)
                if isinstance(failure, UpstreamTimedOut):
                    raise
                # Nothing came, so nothing is billed; after silence (a time-out) it may be.
                exchange.asked = False
                moved_on = attempt.move_on()
                self._failed_attempts.log_failure(exchange, failure, moved_on=moved_on)
                if not moved_on:
                    raise
            else:
                attempt.heard(call)
                if call.status in PASSED_STATUSES:
                    exchange.error_body = await _error_body(call)
                refuses_us = exchange.error_body is not None and speaks_of_our_account(exchange.error_body)
                if refuses_us:
                    self._failed_attempts.log_account(exchange, call.status)
                moved_on = (refuses_us or is_worth_another(call.status)) and attempt.move_on()
                if not moved_on:
                    return call
                self._failed_attempts.log_status(exchange, call, b"", moved_on=True)
                exchange.error_body = None
                exchange.asked = False
            call.end()

    async def _answer(self, exchange: Exchange, call: UpstreamCall) -> bool:
        """Pass the answer on; False when it was a failure, and the call moved on to another upstream."""
        if call.status != 200:
            exchange.asked = False
            body = await _error_body(call) if exchange.error_body is None else exchange.error_body
            self._failed_attempts.log_status(exchange, call, body, moved_on=False)
            now_us = exchange.clock.now_us()
            if call.status in (400, 422):
                attempt = exchange.attempt
                self._ceilings.refused(exchange.admitted.request, attempt.route, attempt.outbound.wire, body)
            route, model = exchange.attempt.route, exchange.admitted.request.model
            private = Private(route.upstream.api_key, route.upstream.base_url, route.model, model.name)
            raise refusal_of_status(call, body, now_us=now_us, private=private)
        self._note_form(exchange, call)
        moved_on = False
        try:
            if exchange.admitted.request.stream:
                await self._stream(exchange, call)
            else:
                self._whole(exchange, await call.read())
        except UpstreamFailure as failure:
            exchange.attempt.failed(failure)
            if not isinstance(failure, UpstreamTimedOut):
                moved_on = _is_replaced(exchange, failure) and exchange.attempt.move_on()
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
        if not exchange.admitted.request.stream:
            return
        media_type = (call.header("content-type") or "").partition(";")[0].strip().lower()
        exchange.is_whole = media_type == "application/json"
        self._learn_form(exchange)

    def _learn_form(self, exchange: Exchange) -> None:
        """Whether this upstream streams the model's answers when it is asked to."""
        if exchange.is_whole:
            self._whole_answerers.add((exchange.upstream, exchange.admitted.request.model.name))
        elif self._whole_answerers:
            self._whole_answerers.discard((exchange.upstream, exchange.admitted.request.model.name))

    def _whole(self, exchange: Exchange, body: bytes) -> None:
        outbound = exchange.attempt.outbound
        events = meter = told = None
        try:
            body = _json_of(exchange, body)
            stopped = exchange.admitted.at_risk_nano is not None and is_cut_off(body)
            answer = outbound.read_answer(body)
            counted = self._count_answer(exchange, answer, body)
            if exchange.admitted.request.stream:
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
        exchange.attempt.succeeded()
        exchange.attempt.end()
        charged_nano = self._settle(exchange, counted)
        self._compare(exchange, counted, stopped)
        if meter is not None:
            exchange.http.answer(200, exchange.header_lines(_EVENT_STREAM), body + meter.final_events(charged_nano))
            return
        if told is not None:
            body = told.encode(charged_nano)
        cost_line = b"x-cost-usd: %b\r\n" % format_usd(charged_nano).encode()
        exchange.http.answer(200, exchange.header_lines(b"application/json") + cost_line, body)

    async def _stream(self, exchange: Exchange, call: UpstreamCall) -> None:
        meter = exchange.meter = exchange.attempt.outbound.meter(_cost_shown(exchange), exchange.request_id)
        passing = _Passing(exchange, call, meter, self._keep_alive_s)
        try:
            exchange.http.on_writable = lambda is_writable: call.resume() if is_writable else call.pause()
            await call.each(passing.take)
            passing.end_of_body()
            if meter.whole is None:
                _check_end(exchange, meter)
        except (UpstreamFailure, BrokenStream) as failure:
            if not exchange.began:
                raise failure if isinstance(failure, UpstreamFailure) else UpstreamBroke(str(failure)) from failure
            self._break_off(exchange, meter, failure)
        else:
            self._learn_form(exchange)
            if meter.whole is not None:
                self._whole(exchange, bytes(meter.whole))
            else:
                exchange.attempt.end()
                self._end(exchange, meter, passing)
        finally:
            passing.stop()
            exchange.http.on_writable = None

    def _end(self, exchange: Exchange, meter: Meter, passing: "_Passing") -> None:
        """The regular end: the charge on disk first, then the event that ends the answer."""
        passing.begin()
        counted = self._count_stream(exchange, meter)
        tail = meter.final_events(self._settle(exchange, counted))
        exchange.finish(tail)
        self._compare(exchange, counted, passing.stopped_at_ceiling(tail))

    def _break_off(self, exchange: Exchange, meter: Meter, failure: Exception) -> None:
        """The upstream failed in mid-stream: charge what came until then, tell the client, never end cleanly.

        A client that had left by then pays as for any answer that is cut.
        """
        told = failure if isinstance(failure, UpstreamFailure) else UpstreamBroke(str(failure))
        exchange.attempt.failed(told)
        unseen = self._unseen(exchange) if exchange.http.gone else Unseen.NOTHING
        counted = self._count_cut(exchange, unseen)
        charged_nano = self._settle(exchange, counted)
        self._compare(exchange, counted)
        self._failed_attempts.log_broken_stream(exchange, told, charged_nano)
        exchange.finish(exchange.endpoint.error_event(broken_off(told, charged_nano)))

    def _reads_on(self, exchange: Exchange) -> bool:
        """The client hung up: read its answer on, or stop the upstream?

        A plain stream is stopped. What is billed to its end anyway is heard to its end, if there is room for it.
        """
        request, meter = exchange.admitted.request, exchange.meter
        return (
            exchange.is_whole
            or exchange.attempt.route.upstream.bills_after_disconnect
            or (meter is not None and meter.saw_finish_reason())
            or self._thinks(exchange)
            or (exchange.upstream, request.model.name) in self._whole_answerers
        ) and self._take_drain(exchange)

    def _take_drain(self, exchange: Exchange) -> bool:
        """Have room to read an answer on that nobody waits for; False when there is none."""
        if exchange.read_on is not None:
            return True
        call = exchange.call
        if call is None or not self._drains.take(exchange.admitted.key.account):
            return False
        # At the end of this time it counts as cut.
        exchange.read_on = asyncio.get_running_loop().call_later(self._read_on_s, call.interrupt)
        return True

    def _thinks(self, exchange: Exchange) -> bool:
        request = exchange.admitted.request
        return thinks(request) or self._estimates.reasons(request.model.name)

    def _unseen(self, exchange: Exchange) -> Unseen:
        """What is charged of an answer that is cut, beside what was seen of it."""
        request, upstream = exchange.admitted.request, exchange.attempt.route.upstream
        answers_whole = (exchange.upstream, request.model.name) in self._whole_answerers
        is_complete = exchange.meter is not None and exchange.meter.saw_finish_reason()
        if (
            exchange.is_whole or exchange.timed_out or upstream.bills_after_disconnect or answers_whole
        ) and not is_complete:
            return Unseen.REST
        return Unseen.THINKING if self._thinks(exchange) else Unseen.NOTHING

    async def _after_time_out(self, exchange: Exchange, late: UpstreamTimedOut) -> None:
        """No answer in time: tell the client, and read the answer on, which the upstream finishes and bills.

        Raises:
            Refusal: it is not read on; its message says what was charged.
        """
        call = exchange.call
        assert call is not None
        exchange.timed_out = True
        if not call.is_alive or not exchange.asked:
            raise self._lost(exchange, late, is_first=True)
        if not self._take_drain(exchange):
            charged_nano = self._settle_cut(exchange)
            self._failed_attempts.log_timed_out(
                exchange, "There is no room to read the answer on; an estimate of it was charged."
            )
            raise timed_out(charged_nano=charged_nano)
        self._failed_attempts.log_timed_out(exchange, "The answer is read on, and charged.")
        exchange.http.on_gone = None
        had_left = exchange.http.gone
        exchange.refuse(timed_out(charged_nano=None))
        failure: Exception | None = None
        counted: Counted | None = None
        try:
            counted = await self._rest_of(exchange, call)
        except _NO_ANSWER as mistake:
            failure = mistake
        if counted is None:
            if had_left and isinstance(failure, ClientHungUp):
                # It left while the upstream worked, and the upstream works still.
                self._settle_cut(exchange)
            else:
                self._lost(exchange, failure or late, is_first=False)
            return
        charged_nano = self._settle(exchange, counted, Terms.AT_MOST_HELD)
        _log.info(
            "late_answer_charged",
            request_id=exchange.request_id,
            upstream=exchange.upstream,
            charged_usd=format_usd(charged_nano),
            note="The answer came after its time-out; it was charged, at most what was held.",
        )
        self._compare(exchange, counted)

    async def _rest_of(self, exchange: Exchange, call: UpstreamCall) -> Counted:
        """What an answer consumed that comes after its time-out; nobody gets it.

        Raises:
            UpstreamFailure, BrokenStream, UNREADABLE, ClientHungUp
        """
        # The timer of the reading ends it first.
        await call.wait_on(2 * self._read_on_s)
        if call.status != 200:
            raise UpstreamFailure(f"HTTP {call.status}")
        if not exchange.admitted.request.stream:
            return self._read_and_count(exchange, _json_of(exchange, await call.read()))
        # What came before the time-out is in the meter.
        meter = exchange.meter or exchange.attempt.outbound.meter(lambda usage: 0)
        exchange.meter = meter
        await call.each(_into(meter))
        meter.end_of_body()
        if meter.whole is not None:
            return self._read_and_count(exchange, bytes(meter.whole))
        _check_end(exchange, meter)
        return self._count_stream(exchange, meter)

    def _lost(self, exchange: Exchange, failure: Exception, *, is_first: bool) -> Refusal:
        """An answer that was late never came."""
        self._book_lost(exchange)
        # Its time-out may have been logged and counted before.
        self._failed_attempts.log_lost(exchange, failure, counts=is_first)
        return timed_out(charged_nano=0)

    def _book_lost(self, exchange: Exchange) -> None:
        """Nobody pays for an answer that never came; what it may cost is booked as uncollected."""
        if exchange.asked and exchange.call is not None and exchange.call.sent:
            self._settle_lost(exchange, self._count_cut(exchange, Unseen.REST), Terms.NOTHING)

    def _settle_cut(self, exchange: Exchange) -> int:
        """Nobody hears the end of the answer; what the upstream was asked is paid."""
        if not self._is_worked_on(exchange):
            return 0
        counted = self._count_cut(exchange, self._unseen(exchange))
        if exchange.timed_out:
            return self._settle_lost(exchange, counted, Terms.AT_MOST_HELD)
        self._compare(exchange, counted)
        return self._settle(exchange, counted)

    def _settle_stopped(self, exchange: Exchange) -> None:
        """This process ends: who waits for an answer pays what was delivered of it."""
        if exchange.http.gone or exchange.timed_out:
            self._settle_cut(exchange)
        elif exchange.began:
            self._settle(exchange, self._count_cut(exchange, Unseen.NOTHING))
        elif self._is_worked_on(exchange):
            self._settle_lost(exchange, self._count_cut(exchange, self._unseen(exchange)), Terms.NOTHING)

    def _is_worked_on(self, exchange: Exchange) -> bool:
        return exchange.asked and exchange.call is not None and exchange.call.sent

    def _figures(self, exchange: Exchange) -> Figures:
        return Figures(self._estimates, exchange.admitted.key.account.account_id)

    def _read_and_count(self, exchange: Exchange, body: bytes) -> Counted:
        return self._count_answer(exchange, exchange.attempt.outbound.read_answer(body), body)

    def _count_answer(self, exchange: Exchange, answer: UpstreamAnswer, body: bytes) -> Counted:
        outbound, figures = exchange.attempt.outbound, self._figures(exchange)
        counted = count_answer(
            outbound, answer, body, figures, request_id=exchange.request_id, upstream=exchange.upstream
        )
        if not counted.estimated:
            learn_answer(figures, outbound, counted.usage, body)
        return counted

    def _count_stream(self, exchange: Exchange, meter: Meter) -> Counted:
        request, figures = exchange.admitted.request, self._figures(exchange)
        counted = count_stream(request, meter, figures, request_id=exchange.request_id, upstream=exchange.upstream)
        if not counted.estimated:
            learn_stream(figures, request, counted.usage, meter)
        return counted

    def _count_cut(self, exchange: Exchange, unseen: Unseen) -> Counted:
        return count_cut(
            exchange.admitted.request,
            exchange.meter,
            unseen,
            self._figures(exchange),
            request_id=exchange.request_id,
            upstream=exchange.upstream,
        )

    def _settle_lost(self, exchange: Exchange, counted: Counted, terms: Terms) -> int:
        """Settle an answer that nobody got; what is not paid of its bill is booked as uncollected."""
        return self._settler.settle(
            exchange.admitted,
            counted,
            request_id=exchange.request_id,
            upstream=exchange.upstream,
            terms=terms,
            bill=most_billed(exchange.admitted.request, counted, self._figures(exchange)),
        )

    def _settle(self, exchange: Exchange, counted: Counted, terms: Terms = Terms.IN_FULL) -> int:
        return self._settler.settle(
            exchange.admitted, counted, request_id=exchange.request_id, upstream=exchange.upstream, terms=terms
        )

    def _compare(self, exchange: Exchange, counted: Counted, stopped: bool = False) -> None:
        admitted, attempt = exchange.admitted, exchange.attempt
        self._ceilings.compare(
            admitted.request,
            attempt.route,
            attempt.outbound.wire,
            admitted.clamped_output_tokens,
            counted.usage,
            estimated=counted.estimated,
            text_bytes=counted.text_bytes,
            held_maximum=admitted.held_maximum,
            stopped=stopped,
        )


async def _error_body(call: UpstreamCall) -> bytes:
    """What an answer says that is an error by its status already; nothing where it breaks off."""
    try:
        return await call.read()
    except UpstreamBroke:
        return b""


def _cost_shown(exchange: Exchange) -> CostNano:
    """What a usage in mid-stream costs, as it would be charged, in nano-USD."""
    price, request = exchange.admitted.price, exchange.admitted.request
    return lambda usage: cost_nano(price, within_limits(request, usage))


def _end_unproven(admitted: Admitted) -> None:
    if admitted.at_risk_nano is not None:
        end_unproven(admitted.key.account, admitted.pool.allowances, admitted.at_risk_nano)
        admitted.at_risk_nano = None


def _into(meter: Meter) -> Callable[[bytes], bool]:
    """Takes the rest of a stream that nobody listens to."""

    def take(chunk: bytes) -> bool:
        meter.feed(chunk)
        return not (meter.saw_end_marker or meter.failed)

    return take


def _check_end(exchange: Exchange, meter: Meter) -> None:
    """Raises:
    UpstreamFailure: the stream has come to its end, but no answer has.
    """
    if meter.failed:
        raise UpstreamReportedError("the upstream reports an error")
    if not meter.saw_end_marker and not meter.may_end_without_marker():
        if exchange.is_whole and not exchange.began:
            # It was announced as JSON, and is neither that nor events.
            raise FailedAnswer("the answer is not JSON of its format")
        raise UpstreamFailure("the stream ended before its answer did")
    if not exchange.began and not meter.delivered().events and not meter.has_answer():
        raise FailedAnswer("the stream is empty")


def _is_replaced(exchange: Exchange, failure: UpstreamFailure) -> bool:
    """Whether another upstream may answer in its place; a whole answer that broke off was written, and is billed."""
    return isinstance(failure, FailedAnswer | UpstreamReportedError) or not exchange.is_whole


def _json_of(exchange: Exchange, body: bytes) -> bytes:
    """A whole answer as JSON; some upstreams stream although they are not asked to.

    Raises:
        FailedAnswer: it is a stream without an answer.
        UNREADABLE: it is a stream that tells no answer.
    """
    if body.startswith(b"{"):
        return without_halves(body)
    if not is_event_stream(body):
        return without_halves(without_mark(body))
    outbound = exchange.attempt.outbound
    meter = outbound.meter(lambda usage: 0)
    try:
        passing = meter.feed(body)
        passing += meter.end_of_body()
    except BrokenStream as mistake:
        raise FailedAnswer(str(mistake)) from mistake
    if meter.failed or not (meter.saw_end_marker or meter.may_end_without_marker()):
        raise FailedAnswer("the stream ended before its answer did", body)
    if not (is_real(passing) or meter.has_answer()):
        raise FailedAnswer("the stream is empty")
    return outbound.as_answer(body)


class _Passing:
    """Passes a stream on as it arrives; the answer begins with the upstream's first real event."""

    __slots__ = ("_before", "_before_bytes", "_call", "_exchange", "_keep_alive", "_keep_alive_s", "_latest", "_meter")

    def __init__(self, exchange: Exchange, call: UpstreamCall, meter: Meter, keep_alive_s: float) -> None:
        self._exchange = exchange
        self._call = call
        self._meter = meter
        self._keep_alive_s = keep_alive_s
        self._keep_alive: KeepAlive | None = None
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
        return not (meter.saw_end_marker or meter.failed)

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
        exchange.http.begin(200, exchange.header_lines(_EVENT_STREAM) + b"cache-control: no-cache\r\n")
        exchange.attempt.succeeded()
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
