"""Reads requests that cost money: who asks, then the body, a large one in steps.

A body is read as far as its sender is known to be let in: below `gateway.max_unfunded_body_bytes` for a key without
money, and not at all at the key's limit of requests.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from tokenbooth.config.catalog import Catalog, Model
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.access.admission import Admission
from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.access.keys import KeyCache
from tokenbooth.gateway.access.open_requests import OpenRequests
from tokenbooth.gateway.errors import Category, Refusal, bounded_without_money, invalid_request
from tokenbooth.gateway.exchange import Exchange
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import (
    Fields,
    decode_fields,
    decode_top,
    refuse_compressed,
    release_body,
)
from tokenbooth.gateway.formats.json.scan import JsonBounds, JsonScan
from tokenbooth.gateway.formats.json.split import LARGE_BYTES, top_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_BYTES, Turns, takes_long
from tokenbooth.gateway.formats.openai.chat import model_name
from tokenbooth.gateway.registry import ENDPOINTS, TOKEN_ID_PATHS

COUNT_TOKENS: Final = "/anthropic/v1/messages/count_tokens"


class ReadBody(NamedTuple):
    """The top level of a body.

    Attributes:
        model: the model that it names.
        size_bytes: of all of it.
        in_steps: whether there is too much in it to be read at once.
    """

    fields: Fields
    model: Model
    size_bytes: int
    in_steps: bool


class RequestReader:
    """Reads requests that cost money."""

    def __init__(
        self,
        *,
        keys: KeyCache,
        admission: Admission,
        catalog: Callable[[], Catalog],
        settings: GatewaySettings,
        turns: Turns,
        open_requests: OpenRequests,
    ) -> None:
        """Take what it works with.

        Args:
            keys, admission, catalog, settings: what it asks.
            turns: whose turn it is to read a step of a large body.
            open_requests: where each request takes its place.
        """
        self._open_requests = open_requests
        self._keys = keys
        self._admission = admission
        self._catalog = catalog
        self._turns = turns
        # Every request asks for these, and a validated model tells its attributes slowly.
        self._max_json_depth = settings.max_json_depth
        self._max_unfunded_body_bytes = settings.max_unfunded_body_bytes
        self._max_unfunded_calls = settings.max_unfunded_calls
        bounds = JsonBounds(
            settings.max_json_depth, settings.max_json_values, settings.max_json_names, settings.max_json_containers
        )
        of_ids = replace(bounds, values=max(settings.max_json_values, settings.max_token_ids))
        self._bounds = {path: of_ids if path in TOKEN_ID_PATHS else bounds for path in (*ENDPOINTS, COUNT_TOKENS)}

    async def authenticate(self, exchange: Exchange) -> KeyState:
        """Who asks; the request takes its place among those of its account.

        Raises:
            Refusal: nobody that is let in, or nobody is now, or its account has as many requests open as it may.
        """
        key = await self._keys.authenticate(exchange.http.headers)
        exchange.key = key
        self._admission.check_access(key)
        if exchange.place is None:
            caller = exchange.caller = exchange.http.caller = key.account.callers[self._admission.has_money(key)]
            exchange.place = self._open_requests.places.take(caller)
            if exchange.place is None:
                exchange.place = await self._open_requests.wait(caller)
                # It waited, and the key may have ended meanwhile.
                return await self.authenticate(exchange)
        return key

    async def priced(self, exchange: Exchange) -> KeyState:
        """Read a request that costs money into `exchange`; returns who asks.

        Raises:
            Refusal: the key is not let in, or the request is malformed, too large, or not supported.
        """
        key, body = await self.body(exchange)
        endpoint, headers = ENDPOINTS[exchange.path], exchange.http.headers
        request: PricedRequest
        if not body.in_steps:
            request = endpoint.read(body.fields, body.model, body.size_bytes, headers)
        else:
            reader = exchange.turn_taker
            request = await self._turns.run(reader, endpoint.steps(body.fields, body.model, body.size_bytes, headers))
            release_body(request.fields)
            await self._turns.next(reader)
            # Others had their turns meanwhile: the key may have ended, or have left memory.
            key = await self.authenticate(exchange)
        exchange.read(endpoint, request)
        return key

    async def body(self, exchange: Exchange) -> tuple[KeyState, ReadBody]:
        """Who asks, and the top level of the body.

        Raises:
            Refusal: the key is not let in, or the body is malformed or too large, or names no model that is served.
        """
        http = exchange.http
        key = await self.authenticate(exchange)
        refuse_compressed(http.headers)
        small = http.small_body(STEP_BYTES)
        if small is not None:
            body = small
            if not exchange.caller.has_money:
                self._bound_unfunded(exchange, key, len(body))
            fields = decode_fields(body, self._max_json_depth)
        else:
            await self._read_in_parts(exchange, key)
            # A body may take minutes to arrive, and the key may have ended meanwhile.
            key = await self.authenticate(exchange)
            if http.received_bytes > LARGE_BYTES:
                large = http.kept()
                fields = await self._turns.run(exchange.turn_taker, top_in_steps(large))
                return key, ReadBody(fields, self._model_named(fields), len(large), True)
            body = http.whole()
            if len(body) > STEP_BYTES:
                await self._turns.next(exchange.turn_taker)
                fields = decode_top(body)
            else:
                fields = decode_fields(body, self._max_json_depth)
        return key, ReadBody(fields, self._model_named(fields), len(body), takes_long(body))

    def _model_named(self, fields: Fields) -> Model:
        """The model that a body names.

        Raises:
            Refusal: it names none, or one that is not served.
        """
        name = model_name(fields)
        model = self._catalog().models.get(name)
        if model is None:
            raise unknown_model(name)
        return model

    async def _read_in_parts(self, exchange: Exchange, key: KeyState) -> None:
        """Count the body part by part as it arrives. A large one is not read for a key at its limit of requests.

        Raises:
            Refusal: it is not UTF-8, or above a bound, or the key may not send so much.
        """
        http, announced_bytes = exchange.http, exchange.http.announced_bytes()
        if announced_bytes > STEP_BYTES:
            self._admission.refuse_at_limit(key)
        if not exchange.caller.has_money:
            self._bound_unfunded(exchange, key, announced_bytes)
        if announced_bytes <= STEP_BYTES and exchange.unfunded is None:
            part = await http.part(0, STEP_BYTES)
            if len(part) < STEP_BYTES:
                # All of it has come, and it is small: decoding counts it.
                return
        scan, start = JsonScan(self._bounds[exchange.path]), 0
        while part := await http.part(start, STEP_BYTES):
            if start:
                await self._turns.next(exchange.turn_taker)
            scan.take(part)
            start += len(part)
            if start == STEP_BYTES and announced_bytes <= STEP_BYTES:
                self._admission.refuse_at_limit(key)
            if exchange.unfunded is not None and start > self._max_unfunded_body_bytes:
                self._refuse_unfunded(exchange)
        scan.end()
        if start > STEP_BYTES:
            await self._turns.next(exchange.turn_taker)

    def _bound_unfunded(self, exchange: Exchange, key: KeyState, body_bytes: int) -> None:
        """A key without money is served what costs nothing, with smaller bodies and few calls of its account at once.

        Raises:
            Refusal: the body is larger, or as many calls are open.
        """
        account = key.account
        is_large = body_bytes > self._max_unfunded_body_bytes
        if is_large or account.unfunded_calls >= self._max_unfunded_calls:
            self._refuse_unfunded(exchange)
        account.unfunded_calls += 1
        exchange.unfunded = account

    def _refuse_unfunded(self, exchange: Exchange) -> None:
        """Refuse, unless money has come meanwhile."""
        spent = None if exchange.key is None else self._admission.money_spent(exchange.key)
        if spent is not None:
            raise bounded_without_money(spent, self._max_unfunded_body_bytes, self._max_unfunded_calls)


def unknown_model(name: str) -> Refusal:
    """404: no model has this name."""
    if "\0" in name:
        return invalid_request("invalid_parameter", "'model' holds a NUL.", "model")
    return Refusal(
        404,
        Category.NOT_FOUND,
        "model_not_found",
        f"The model '{name[:200]}' does not exist here. GET /v1/models lists those that do.",
        param="model",
    )
