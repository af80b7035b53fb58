"""The relay: an admitted request to an upstream and its answer back, settled before the answer ends.

Whatever happens, the hold is ended exactly once: by a settlement, or by a release when nothing was delivered.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import structlog

from tokenbooth.catalog import Route
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.gateway.body import UNREADABLE, encode_fields
from tokenbooth.gateway.counting import count_answer, count_stream
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.keep_alive import KeepAlive
from tokenbooth.gateway.meter import BrokenStream, StreamMeter
from tokenbooth.gateway.routing import in_order
from tokenbooth.gateway.settle import Settler
from tokenbooth.gateway.speech import Meter, Speech
from tokenbooth.gateway.upstream_errors import is_worth_another, refusal_of, refusal_of_status
from tokenbooth.gateway.upstreams import (
    UpstreamBroke,
    UpstreamFailure,
    UpstreamResponse,
    Upstreams,
    UpstreamUnreachable,
)

_log = structlog.get_logger(__name__)


class Relay:
    """Runs exchanges."""

    def __init__(
        self, upstreams: Upstreams, settler: Settler, rng: random.Random, *, max_draining: int, keep_alive_s: float
    ) -> None:
        self._upstreams = upstreams
        self._settler = settler
        self._rng = rng
        self._max_draining = max_draining
        self._keep_alive_s = keep_alive_s
        self._draining = 0

    async def run(self, exchange: Exchange) -> None:
        """Forward the request and answer it.

        Raises:
            Refusal: no upstream answered, or it refused; nothing was sent to the client yet, nothing is charged.
        """
        try:
            with _watching(exchange, from_the_start=True):
                await self._exchange(exchange)
        except UpstreamFailure as failure:
            _log.warning(
                "upstream_failed",
                request_id=exchange.request_id,
                upstream=exchange.upstream,
                kind=type(failure).__name__,
                note="The call failed before its answer began; nothing was charged.",
            )
            raise refusal_of(failure) from failure
        except asyncio.CancelledError:
            # The client hung up before the answer began: the upstream has read the prompt by now.
            if exchange.asked and exchange.admitted.request.stream:
                self._settle_stream(exchange, StreamMeter(None))
            if not _is_over(exchange):
                raise
        finally:
            self._settler.release(exchange.admitted)

    async def _exchange(self, exchange: Exchange) -> None:
        async with AsyncExitStack() as stack:
            response, route, speech = await self._open(exchange, stack)
            if response.status != 200:
                exchange.asked = False
                body = await response.read()
                raise refusal_of_status(response, body, api_key=route.upstream.api_key)
            content_type = response.header("content-type") or ""
            if exchange.admitted.request.stream and content_type.startswith("text/event-stream"):
                await self._stream(exchange, response, route, speech)
            else:
                await self._whole(exchange, response, speech)

    async def _open(self, exchange: Exchange, stack: AsyncExitStack) -> tuple[UpstreamResponse, Route, Speech]:
        """The first upstream that takes the request, and how it is spoken to."""
        request = exchange.admitted.request
        routes = [
            (route, speech)
            for route in in_order(request.model, self._rng)
            if (speech := request.speech(route.upstream.formats)) is not None
        ]
        for position, (route, speech) in enumerate(routes, start=1):
            exchange.upstream = route.upstream.name
            last = position == len(routes)
            fields = speech.upstream_fields(route.model, exchange.admitted.clamped_output_tokens)
            context = self._upstreams.post(
                route.upstream,
                speech.path,
                encode_fields(fields),
                stream=request.stream,
                credential=speech.credential,
                headers=speech.headers(),
            )
            exchange.asked = True
            try:
                response = await context.__aenter__()
            except (UpstreamUnreachable, UpstreamBroke):
                # Nothing came, so nothing is billed; after silence (a time-out) it may be.
                exchange.asked = False
                if last:
                    raise
                continue
            if not last and is_worth_another(response.status):
                exchange.asked = False
                await context.__aexit__(None, None, None)
                continue
            stack.push_async_exit(context.__aexit__)
            return response, route, speech
        raise UpstreamUnreachable("the model has no upstream")

    async def _whole(self, exchange: Exchange, response: UpstreamResponse, speech: Speech) -> None:
        body = await response.read()
        try:
            counted = count_answer(speech, body, request_id=exchange.request_id, upstream=exchange.upstream)
            body = speech.client_answer(body, counted.usage)
        except UNREADABLE as mistake:
            raise UpstreamFailure("the answer is not JSON") from mistake
        charged_nano = self._settler.settle(
            exchange.admitted, counted, request_id=exchange.request_id, upstream=exchange.upstream
        )
        extra = [(b"content-length", b"%d" % len(body)), (b"x-cost-usd", format_usd(charged_nano).encode())]
        await exchange.send_head(200, b"application/json", extra)
        await exchange.send_body(body, more=False)

    async def _stream(self, exchange: Exchange, response: UpstreamResponse, route: Route, speech: Speech) -> None:
        price = exchange.admitted.price
        meter = speech.meter(lambda usage: cost_nano(price, usage))
        first = await response.next_chunk()
        if first is None:
            raise UpstreamFailure("the stream is empty")
        try:
            with _watching(exchange, from_the_start=False):
                keep_alive = KeepAlive(exchange, self._keep_alive_s)
                try:
                    await self._pass_on(exchange, response, meter, first)
                finally:
                    keep_alive.stop()
        except asyncio.CancelledError:
            exchange.asked = False
            if not _is_over(exchange):
                self._settle_stream(exchange, meter)
                raise
            await self._after_hang_up(exchange, response, meter, route)
        except (UpstreamFailure, BrokenStream) as failure:
            await self._break_off(exchange, meter, failure)
        else:
            await self._end(exchange, meter)

    async def _pass_on(self, exchange: Exchange, response: UpstreamResponse, meter: Meter, first: bytes) -> None:
        """Pass events on until the end marker, or the end of the answer after the model has finished."""
        await exchange.send_head(200, b"text/event-stream; charset=utf-8", [(b"cache-control", b"no-cache")])
        chunk: bytes | None = first
        while chunk is not None:
            passing = meter.feed(chunk)
            if passing:
                await exchange.send_body(passing, more=True)
            if meter.ended:
                return
            if meter.failed:
                raise UpstreamBroke("the upstream reports an error")
            chunk = await response.next_chunk()
        if not meter.complete():
            raise UpstreamFailure("the stream ended before its answer did")

    async def _end(self, exchange: Exchange, meter: Meter) -> None:
        """The regular end: the charge on disk first, then the event that ends the answer."""
        charged_nano = self._settle_stream(exchange, meter)
        await exchange.send_body(meter.tail(charged_nano), more=False)

    async def _break_off(self, exchange: Exchange, meter: Meter, failure: Exception) -> None:
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
        await exchange.send_body(exchange.endpoint.error_event(refusal), more=False)

    async def _after_hang_up(self, exchange: Exchange, response: UpstreamResponse, meter: Meter, route: Route) -> None:
        """The client went away: wait for the usage when it is due or billed anyway, else stop the upstream."""
        due = meter.finished() or route.upstream.bills_after_disconnect
        if due and self._draining < self._max_draining:
            self._draining += 1
            try:
                while not meter.ended and (chunk := await response.next_chunk()) is not None:
                    meter.feed(chunk)
            except (UpstreamFailure, BrokenStream):
                pass  # What came until here is what is charged below.
            finally:
                self._draining -= 1
        self._settle_stream(exchange, meter)

    def _settle_stream(self, exchange: Exchange, meter: Meter) -> int:
        counted = count_stream(
            exchange.admitted.request, meter, request_id=exchange.request_id, upstream=exchange.upstream
        )
        return self._settler.settle(
            exchange.admitted, counted, request_id=exchange.request_id, upstream=exchange.upstream
        )


@contextmanager
def _watching(exchange: Exchange, *, from_the_start: bool) -> Iterator[None]:
    """Cancel this task when the client of a stream hangs up; `_is_over` then tells it from other cancellations.

    An upstream that bills after a hang-up is watched for only once its answer began: it has to be heard to the end.
    """
    request = exchange.admitted.request
    billed_anyway = any(route.upstream.bills_after_disconnect for route in request.model.routes)
    task = asyncio.current_task()
    if not request.stream or billed_anyway is from_the_start or task is None:
        yield
        return
    watcher = asyncio.create_task(_watch(exchange, task))
    try:
        yield
    finally:
        watcher.cancel()


async def _watch(exchange: Exchange, task: "asyncio.Task[object]") -> None:
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    exchange.client_gone = True
    task.cancel()


def _is_over(exchange: Exchange) -> bool:
    """Whether a cancellation means that the client hung up; then the task goes on."""
    task = asyncio.current_task()
    if not exchange.client_gone or task is None:
        return False
    task.uncancel()
    return True
