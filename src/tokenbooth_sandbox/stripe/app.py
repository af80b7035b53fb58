"""The sandbox as an ASGI application: API, pages, control calls, webhooks.

It stands alone or mounted under a prefix; the product reaches it over HTTP only. It must never be started beside a live
Stripe key: `create_sandbox` refuses one.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tokenbooth_sandbox.stripe.api.routes import Api, Request
from tokenbooth_sandbox.stripe.control import Control
from tokenbooth_sandbox.stripe.delivery import RETRY_DELAYS_S, Postman
from tokenbooth_sandbox.stripe.hosted import Hosted
from tokenbooth_sandbox.stripe.http import StripeFailure, json_answer, read_body
from tokenbooth_sandbox.stripe.state import State
from tokenbooth_sandbox.stripe.world import World


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How a sandbox is set up.

    `public_url` is the base at which it is reachable, mount prefix included. `state_file` keeps its state
    over restarts; None forgets it. `clock` gives UTC seconds. `retry_delays_s` are the pauses between
    delivery attempts, in seconds.
    """

    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    webhook_url: str
    public_url: str
    state_file: Path | None = None
    clock: Callable[[], float] = time
    retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S


class StripeSandbox:
    """The running sandbox, an ASGI application. Mounted, it needs `start` and `aclose` from its host."""

    def __init__(self, config: SandboxConfig) -> None:
        if not config.api_key or not config.webhook_secret:
            raise ValueError("the sandbox needs an API key and a webhook secret")
        if config.api_key.startswith(("sk_live_", "rk_live_")):
            raise ValueError("the sandbox does not start with a live Stripe key")
        self._state = State(config.state_file)
        self._world = World(self._state, config.clock, config.public_url)
        self._postman = Postman(
            self._world,
            secret=config.webhook_secret,
            url=config.webhook_url,
            retry_delays_s=config.retry_delays_s,
        )
        self._api = Api(self._world, config.api_key)
        self._control = Control(self._world, self._postman)
        self._started = False
        self._web = Starlette(
            routes=[
                *Hosted(self._world, self._postman).routes(),
                Route("/_control/state", self._show_state, methods=["GET"]),
                Route("/_control/deliveries", self._show_deliveries, methods=["GET"]),
                Route("/_control/{name}", self._run_control, methods=["POST"]),
                Route("/{path:path}", self._call_api, methods=["GET", "POST", "DELETE", "PUT", "PATCH"]),
            ],
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.start()
        await self._web(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self.start()
        yield
        await self.aclose()

    async def start(self) -> None:
        """Go on where an earlier process stopped: deliver what it did not. Safe to repeat."""
        if not self._started:
            self._started = True
            self._postman.resume()

    async def aclose(self) -> None:
        """Stop deliveries and release the state file. Safe to repeat."""
        await self._postman.aclose()
        self._state.close()

    async def _call_api(self, http: HttpRequest) -> Response:
        path = "/" + str(http.path_params["path"])
        try:
            body = await read_body(http)
        except StripeFailure as failure:
            return json_answer(failure.body(), failure.status)
        reply = self._api.handle(Request(http.method, path, http.url.query, body, http.headers))
        # In the background: the caller may well be the one who answers the webhooks.
        self._postman.deliver_soon(self._world.take_events())
        return Response(reply.body, reply.status, reply.headers, media_type="application/json")

    async def _run_control(self, http: HttpRequest) -> Response:
        try:
            name = str(http.path_params["name"])
            return json_answer(await self._control.handle(name, await read_body(http)))
        except StripeFailure as failure:
            return json_answer(failure.body(), failure.status)

    async def _show_state(self, _: HttpRequest) -> Response:
        return json_answer(self._control.state())

    async def _show_deliveries(self, _: HttpRequest) -> Response:
        return json_answer(self._control.deliveries())


def create_sandbox(config: SandboxConfig) -> StripeSandbox:
    """A sandbox with its state loaded. Raises ValueError for an empty or a live key, or an empty secret."""
    return StripeSandbox(config)
