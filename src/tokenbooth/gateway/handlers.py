"""What serves each route of the data plane.

`Handlers.infer` is the way of a call that costs money, as docs/architecture.md draws it.
"""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote

import msgspec

from tokenbooth.config.catalog import Catalog
from tokenbooth.gateway.access.admission import Admission
from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.access.pool import Pools
from tokenbooth.gateway.access.stream_limit import StreamSlot
from tokenbooth.gateway.errors import Category, Refusal, invalid_request
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.formats.anthropic.count_tokens import count_tokens_steps
from tokenbooth.gateway.formats.json.steps import Turns, at_once
from tokenbooth.gateway.registry import ANTHROPIC_PREFIX, ENDPOINTS
from tokenbooth.gateway.relay import Relay
from tokenbooth.gateway.replies import anthropic, openai
from tokenbooth.gateway.replies.usage import usage_answer
from tokenbooth.gateway.request_reader import COUNT_TOKENS, RequestReader, unknown_model
from tokenbooth.gateway.settlement.settle import Settler
from tokenbooth.gateway.upstream.routing import RoutedCall, Routing

PAID_ROUTES: Final = frozenset(("POST", path) for path in ENDPOINTS)
_MODEL_PATHS: Final = ("/v1/models/", "/anthropic/v1/models/")


class Handlers:
    """The routes, and what serves them."""

    def __init__(
        self,
        *,
        catalog: Callable[[], Catalog],
        reader: RequestReader,
        turns: Turns,
        pools: Pools,
        admission: Admission,
        routing: Routing,
        settler: Settler,
        relay: Relay,
        max_streams_per_key: int | None,
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._turns = turns
        self._pools = pools
        self._admission = admission
        self._routing = routing
        self._settler = settler
        self._relay = relay
        self._max_streams_per_key = max_streams_per_key

    async def serve(self, exchange: Exchange) -> None:
        """Serve a request by its method and path.

        Raises:
            Refusal: it is refused, or nothing serves it.
        """
        handler = ROUTES.get((exchange.http.method, exchange.path)) or _unlisted(exchange)
        await handler(self, exchange)

    async def infer(self, exchange: Exchange) -> None:
        """Serve a call that costs money."""
        key = await self._reader.priced(exchange)  # 400, 401, 403, 404, 413
        request = exchange.request
        routed = exchange.routed = self._routing.route(request, exchange.caller)  # 400: no upstream speaks the format
        # From here on the key's state must not be dropped from memory, also while the call waits.
        pin = key.account.pin()
        try:
            self._settler.refuse_unless_chargeable()  # 503
            waits = routed.is_full() or self._settler.is_behind()
            if waits:
                await self._wait_for_turn(exchange, key, routed)  # 429, 503
            if self._max_streams_per_key is not None and request.stream:
                exchange.stream_slot = StreamSlot(key, self._max_streams_per_key)  # 429
            exchange.pool = self._pools.cached(key)
            if exchange.pool is None:
                waits, exchange.pool = True, await self._pools.lookup(key)  # 503
            if waits:
                # The key may have ended meanwhile, or this process may have been replaced.
                self._admission.check_access(key)  # 401, 403, 503
            admitted = await self._admission.decide(key, request, exchange.pool)  # 402, 429
            exchange.admitted, exchange.pool = admitted, admitted.pool
            # Nothing else runs from here until the request has left: what was decided still holds.
            routed.take(admitted.clamped_output_tokens)  # 503
            admitted.commit()
            await self._relay.run(exchange)
        finally:
            exchange.free_stream_slot()
            pin.release()

    async def _wait_for_turn(self, exchange: Exchange, key: KeyState, routed: RoutedCall) -> None:
        """Wait while the store is behind, or for a place where each upstream is full.

        Raises:
            Refusal: the key is at its limit of requests anyway, or there is no turn for its account in time.
        """
        self._admission.refuse_at_limit(key)
        await self._settler.keep_pace(key.account, exchange.caller, exchange.is_wanted)
        if routed.is_full():
            await routed.wait_for_room()

    async def count_tokens(self, exchange: Exchange) -> None:
        """Estimate the tokens of a request, for nothing."""
        _, body = await self._reader.body(exchange)
        steps = count_tokens_steps(body.fields, body.model, body.size_bytes, exchange.http.headers)
        told = await self._turns.run(exchange.turn_taker, steps) if body.in_steps else at_once(steps)
        exchange.answer(200, told)

    async def models(self, exchange: Exchange) -> None:
        """List the models."""
        await self._reader.authenticate(exchange)
        models = self._catalog().models.values()
        shown = (
            anthropic.model_list(models) if exchange.path.startswith(ANTHROPIC_PREFIX) else openai.model_list(models)
        )
        exchange.answer(200, shown)

    async def model(self, exchange: Exchange) -> None:
        """Show one model."""
        await self._reader.authenticate(exchange)
        name = unquote(exchange.path.partition("/models/")[2])
        model = self._catalog().models.get(name)
        if model is None:
            raise unknown_model(name)
        shape = anthropic.model_object if exchange.path.startswith(ANTHROPIC_PREFIX) else openai.model_object
        exchange.answer(200, msgspec.json.encode(shape(model)))

    async def usage(self, exchange: Exchange) -> None:
        """Show what the key has left."""
        key = await self._reader.authenticate(exchange)
        pool = exchange.pool = await self._pools.lookup(key)
        exchange.answer_with_limits(usage_answer(key, pool, exchange.clock.monotonic_us()))


Handler = Callable[[Handlers, Exchange], Awaitable[None]]

ROUTES: Final[dict[tuple[str, str], Handler]] = {
    **dict.fromkeys(PAID_ROUTES, Handlers.infer),
    ("POST", COUNT_TOKENS): Handlers.count_tokens,
    ("GET", "/v1/models"): Handlers.models,
    ("GET", "/anthropic/v1/models"): Handlers.models,
    ("GET", "/v1/usage"): Handlers.usage,
}
"""What serves each method and path, beside `GET /v1/models/{id}`."""


def _unlisted(exchange: Exchange) -> Handler:
    """What serves a path that is not in the table: a model by its name.

    Raises:
        Refusal: nothing does.
    """
    if "\0" in unquote(exchange.path):
        raise invalid_request("invalid_path", "The path holds a NUL.", None)
    if exchange.http.method == "GET" and exchange.path.startswith(_MODEL_PATHS):
        return Handlers.model
    raise _no_route(exchange)


def _no_route(exchange: Exchange) -> Refusal:
    methods = sorted({method for method, path in ROUTES if path == exchange.path})
    if exchange.path.startswith(_MODEL_PATHS):
        methods = ["GET"]
    if methods:
        allowed = ", ".join(methods)
        refusal = Refusal(405, Category.INVALID, "method_not_allowed", f"{exchange.path} takes {allowed} only.")
        refusal.extra_lines = b"allow: %b\r\n" % allowed.encode()
        return refusal
    return Refusal(404, Category.NOT_FOUND, "not_found", f"There is no {exchange.http.method} {exchange.path[:200]}.")
