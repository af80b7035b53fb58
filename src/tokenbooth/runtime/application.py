"""The running application: one ASGI callable over all planes but the data plane, with its start and its end.

Requests are told apart by their path alone. The data plane gets its own straight from the connection, see
`Application.listener_config`. It builds nothing, see `tokenbooth.runtime.build`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import Settings, SettingsError
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.settlement.charge_log import DirectoryLock
from tokenbooth.http.addresses import is_loopback
from tokenbooth.http.limits import ListenerConfig
from tokenbooth.http.server import Asgi, Message, Receive, Send
from tokenbooth.jobs.runner import Runner
from tokenbooth.kit.background import Background
from tokenbooth.kit.clock import Clock
from tokenbooth.runtime.metrics import CONTENT_TYPE, Metrics
from tokenbooth.store.engine import Store
from tokenbooth.store.migrate import migrate
from tokenbooth.store.reports.operator import plans_in_use

SANDBOX_PATH: Final = "/_sandbox/stripe"
CHAIN_SANDBOX_PATH: Final = "/_sandbox/chain"
_MANAGEMENT_PATHS: Final = ("/openapi.json", "/healthz", "/readyz")
_FORWARDING_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})


class Sandbox(Protocol):
    """A payment sandbox that is mounted at `SANDBOX_PATH`."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ...

    async def start(self) -> None:
        """Go on where an earlier process stopped."""
        ...

    async def aclose(self) -> None:
        """Stop."""
        ...


@dataclass(frozen=True, slots=True)
class Components:
    """What an application is put together from.

    Attributes:
        settings: the configuration it was all built from.
        store: the database.
        catalog: gives the catalog that holds now.
        clock: the time.
        background: how the background work does.
        gateway: the data plane.
        management, dashboard: the ASGI applications of these planes.
        sandboxes: payment sandboxes by the path that each is mounted at.
        metrics: what a scrape gets.
        runner: the periodic jobs.
        checks: what has to be right before a call is admitted; each raises `SettingsError`.
        starts: what else begins, before the jobs do.
        closing: the end of each part, pushed by who built it; what was built last ends first.
    """

    settings: Settings
    store: Store
    catalog: Callable[[], Catalog]
    clock: Clock
    background: Background
    gateway: Gateway
    management: Asgi
    dashboard: Asgi
    sandboxes: Mapping[str, Asgi]
    metrics: Metrics
    listener_config: ListenerConfig
    runner: Runner
    checks: Sequence[Callable[[], Awaitable[None]]]
    starts: Sequence[Callable[[], Awaitable[None]]]
    closing: AsyncExitStack


class Application:
    """The running program as one ASGI application; `start` and `stop` it, or let the lifespan do so."""

    def __init__(self, components: Components) -> None:
        self.settings = components.settings
        self.store = components.store
        self.background = components.background
        self._components = components
        self._gateway = components.gateway
        self._gateway_runs = False

    @property
    def listener_config(self) -> ListenerConfig:
        """What clients may send, and the data plane's way past ASGI."""
        return self._components.listener_config

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        match scope["type"]:
            case "http":
                await self._answer(str(scope["path"]), scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1003})

    async def start(self) -> None:
        """Bring the schema up to date, replay what an earlier run left, then be ready.

        Raises:
            DataDirectoryLocked: another server runs on this data directory.
            AnotherProcess: another server takes model calls on this database.
            SchemaMismatch: the database is of a later version.
            SettingsError: the data directory cannot be used, a plan that has subscribers is gone, or the node of
                `[usdc]` is on another chain than the configuration says.
            StoreUnavailable: the database does not answer.
        """
        await asyncio.to_thread(self._prepare)
        for check in self._components.checks:
            await check()
        await self._gateway.start()
        self._gateway_runs = True
        for start in self._components.starts:
            await start()
        self._components.runner.start()

    async def stop(self, drain_s: float) -> None:
        """Settle what is under way within `drain_s` seconds, end the jobs, then close everything.

        An event that is still being handled then is due again at the next start.
        """
        async with self._components.closing:
            if self._gateway_runs:
                self._gateway_runs = False
                await self._gateway.stop(drain_s=drain_s)

    async def serve_metrics(self, scope: Message, receive: Receive, send: Send) -> None:
        """The figures, at any path: the application of a listener that is for them alone."""
        await self._answer_figures(send)

    def _prepare(self) -> None:
        # Before the migration: it must not change the schema below a server that runs.
        directory = data_dir(self._components.settings)
        try:
            DirectoryLock(directory).release()
        except OSError as failure:
            raise SettingsError(f"store.data_dir: {directory} cannot be used: {failure.strerror}") from None
        migrate(self._components.store.engine)
        in_use = self._components.store.read_now(plans_in_use, now_us=self._components.clock.now_us())
        _refuse_missing_plans(self._components.catalog(), in_use)

    async def _answer(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                assert isinstance(status, int)
                self._components.metrics.answered(status)
            await send(message)

        if path.startswith("/api/") or path in _MANAGEMENT_PATHS:
            await self._components.management(scope, receive, counted)
        elif path == "/metrics" and self._shows_figures(scope):
            await self._answer_figures(counted)
        elif mount := next((at for at in self._components.sandboxes if path == at or path.startswith(f"{at}/")), ""):
            root_path = f"{scope.get('root_path', '')}{mount}"
            await self._components.sandboxes[mount]({**scope, "root_path": root_path}, receive, counted)
        else:
            await self._components.dashboard(scope, receive, counted)

    def _shows_figures(self, scope: Message) -> bool:
        """Whether the main listener shows the figures to this client.

        With a public address there is a proxy or a port forward in front, and what it sends may look like a request
        of this machine itself: then the figures have their own listener (`server.metrics_bind`) or none.
        """
        return self._components.settings.server.public_url is None and _asked_on_this_machine(scope)

    async def _answer_figures(self, send: Send) -> None:
        body = await self._components.metrics.scrape(self.store)
        headers = {
            "content-type": CONTENT_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "x-request-id": self.listener_config.new_request_id(),
        }
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop(float(self._components.settings.server.drain_s))
                await send({"type": "lifespan.shutdown.complete"})
                return


def data_dir(settings: Settings) -> Path:
    """The directory of the charge log and its lock."""
    return Path(settings.store.data_dir or ".")


def _refuse_missing_plans(catalog: Catalog, subscribers_by_plan: dict[str, int]) -> None:
    """A plan that is gone would leave its subscribers without limits to hold them to, and without access."""
    missing = {slug: count for slug, count in subscribers_by_plan.items() if slug not in catalog.plans}
    if missing:
        named = ", ".join(f"[plans.{slug}] ({count} subscriptions)" for slug, count in missing.items())
        raise SettingsError(f"plans: these still have subscribers but are gone from the configuration: {named}")


def _asked_on_this_machine(scope: Message) -> bool:
    """Whether a client on this machine asks for itself; a proxy on this machine asks for others.

    A proxy shows in a header that it adds, in the host that its client asked for, or in HTTP/1.0, which nginx speaks
    to the servers behind it unless it is told otherwise. The host also gives away a page of another site that a
    browser on this machine shows (DNS rebinding).
    """
    client = scope.get("client")
    headers = scope["headers"]
    assert isinstance(headers, list)
    hosts = [value for name, value in headers if name == b"host"]
    return (
        isinstance(client, tuple)
        and is_loopback(str(client[0]))
        and scope["http_version"] != "1.0"
        and len(hosts) == 1
        and _is_this_machine(hosts[0].decode("latin-1"))
        and not any(name in _FORWARDING_HEADERS for name, _ in headers)
    )


def _is_this_machine(host_header: str) -> bool:
    host = host_header.strip().lower()
    # An IPv6 address stands in brackets, with or without a port behind them.
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host == "localhost" or is_loopback(host)
