"""The running application: one ASGI callable over all planes but the data plane, with its start and its end.

Requests are told apart by their path alone. The data plane gets its own straight from the connection, see `edge`. It
builds nothing, see `tokenbooth.runtime.build`.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import Settings, SettingsError
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.settlement.charge_files import count_set_aside
from tokenbooth.gateway.settlement.charge_log import DirectoryLock
from tokenbooth.http.limits import Bounds, Edge
from tokenbooth.http.server import Asgi, Message, Receive, Send, is_loopback
from tokenbooth.jobs.chain_scan import ChainScan
from tokenbooth.jobs.inbox import InboxHandler
from tokenbooth.jobs.reconcile import Reconciler
from tokenbooth.jobs.runner import Runner
from tokenbooth.kit.background import Background
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.kit.metrics import CONTENT_TYPE, Metrics
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import NodeError, NodeTrouble
from tokenbooth.store.engine import Store
from tokenbooth.store.migrate import migrate
from tokenbooth.store.reports.operator import figures, plans_in_use

SANDBOX_PATH: Final = "/_sandbox/stripe"
CHAIN_SANDBOX_PATH: Final = "/_sandbox/chain"
_INBOX_PATIENCE_S: Final = 5.0
_MANAGEMENT_PATHS: Final = ("/openapi.json", "/healthz", "/readyz")
_FORWARDING_HEADERS: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


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
class Chain:
    """The way to the chain, and the job that scans it."""

    node: ChainNode
    scan: ChainScan


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is put together from.

    Attributes:
        settings: the configuration it was all built from.
        store: the database; closed at the end.
        catalog: gives the catalog that holds now.
        gateway: the data plane.
        management, dashboard: the ASGI applications of these planes.
        runner: the periodic jobs.
        inbox, stripe, reconciler: None when no `[stripe]` is configured.
        chain: None when no `[usdc]` is configured.
        chain_sandbox: a chain's sandbox to mount at `CHAIN_SANDBOX_PATH`; None for none.
        sandbox: a payment sandbox to mount at `SANDBOX_PATH`; None for none.
        metrics: the figures.
        clock: the time.
        background: how the background work does.
    """

    settings: Settings
    store: Store
    catalog: Callable[[], Catalog]
    gateway: Gateway
    management: Asgi
    dashboard: Asgi
    runner: Runner
    inbox: InboxHandler | None
    stripe: StripeClient | None
    sandbox: Sandbox | None
    metrics: Metrics
    clock: Clock
    background: Background
    reconciler: Reconciler | None = None
    chain: Chain | None = None
    chain_sandbox: Asgi | None = None


class Application:
    """The running program as one ASGI application; `start` and `stop` it, or let the lifespan do so."""

    def __init__(self, parts: Parts) -> None:
        self.settings = parts.settings
        self.store = parts.store
        self.background = parts.background
        self._parts = parts
        self._gateway = parts.gateway
        self._gateway_runs = False

    @property
    def edge(self) -> Edge:
        """What clients may send, and the data plane's way past ASGI."""
        server = self.settings.server
        bounds = Bounds(
            head_bytes=server.max_header_bytes,
            head_lines=server.max_header_count,
            body_bytes=server.max_body_bytes,
            all_bodies_bytes=server.max_all_bodies_bytes,
            head_s=server.header_timeout_s,
            body_s=server.body_timeout_s,
            idle_s=server.idle_timeout_s,
            unread_s=server.unread_timeout_s,
        )
        return Edge(self._gateway, bounds, self._new_request_id)

    def _new_request_id(self) -> str:
        return new_id(IdPrefix.REQUEST, self._parts.clock.now_us())

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
        if self._parts.chain is not None:
            await _check_chain(self._parts.chain.node)
        await self._gateway.start()
        self._gateway_runs = True
        if self._parts.sandbox is not None:
            await self._parts.sandbox.start()
        self._parts.runner.start()

    async def stop(self, drain_s: float) -> None:
        """Settle what is under way within `drain_s` seconds, end the jobs, then close everything.

        An event that is still being handled then is due again at the next start.
        """
        if self._gateway_runs:
            self._gateway_runs = False
            await self._gateway.stop(drain_s=drain_s)
        await self._parts.runner.stop()
        if self._parts.chain is not None:
            await self._parts.chain.node.aclose()
        if self._parts.inbox is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INBOX_PATIENCE_S):
                    await self._parts.inbox.drained()
        if self._parts.sandbox is not None:
            await self._parts.sandbox.aclose()
        if self._parts.stripe is not None:
            await self._parts.stripe.aclose()
        await asyncio.to_thread(self._parts.store.close)

    async def serve_metrics(self, scope: Message, receive: Receive, send: Send) -> None:
        """The figures, at any path: the application of a listener that is for them alone."""
        await self._answer_figures(send)

    def _prepare(self) -> None:
        # Before the migration: it must not change the schema below a server that runs.
        directory = data_dir(self._parts.settings)
        try:
            DirectoryLock(directory).release()
        except OSError as failure:
            raise SettingsError(f"store.data_dir: {directory} cannot be used: {failure.strerror}") from None
        migrate(self._parts.store.engine)
        in_use = self._parts.store.read_now(plans_in_use, now_us=self._parts.clock.now_us())
        _refuse_missing_plans(self._parts.catalog(), in_use)

    async def _answer(self, path: str, scope: Message, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                assert isinstance(status, int)
                self._parts.metrics.answered(status)
            await send(message)

        if path.startswith("/api/") or path in _MANAGEMENT_PATHS:
            await self._parts.management(scope, receive, counted)
        elif path == "/metrics" and self._shows_figures(scope):
            await self._answer_figures(counted)
        elif self._parts.sandbox is not None and (path == SANDBOX_PATH or path.startswith(f"{SANDBOX_PATH}/")):
            root_path = f"{scope.get('root_path', '')}{SANDBOX_PATH}"
            await self._parts.sandbox({**scope, "root_path": root_path}, receive, counted)
        elif self._parts.chain_sandbox is not None and path == CHAIN_SANDBOX_PATH:
            await self._parts.chain_sandbox(scope, receive, counted)
        else:
            await self._parts.dashboard(scope, receive, counted)

    def _shows_figures(self, scope: Message) -> bool:
        """Whether the main listener shows the figures to this client.

        With a public address there is a proxy or a port forward in front, and what it sends may look like a request
        of this machine itself: then the figures have their own listener (`server.metrics_bind`) or none.
        """
        return self._parts.settings.server.public_url is None and _asked_on_this_machine(scope)

    async def _answer_figures(self, send: Send) -> None:
        body = await self._figures()
        headers = {
            "content-type": CONTENT_TYPE,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "x-request-id": self._new_request_id(),
        }
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    async def _figures(self) -> bytes:
        self._parts.metrics.show_gateway(
            open_requests=self._gateway.open_requests,
            charges_waiting=self._gateway.charges_waiting,
            upstreams=self._gateway.upstream_health(),
            now_us=self._parts.clock.now_us(),
        )
        self._parts.metrics.show_process(
            is_open=self._gateway.process_is_open, times_went_back=self._gateway.times_database_went_back
        )
        self._parts.metrics.show_failures(self._gateway.failed_attempts())
        self._parts.metrics.show_ceilings(self._gateway.ceiling_health())
        self._parts.metrics.show_key_look_ups(self._gateway.key_look_ups)
        self._parts.metrics.show_background(self._parts.background.report())
        replayed = self._gateway.replayed
        self._parts.metrics.show_charge_log(
            restored=replayed.records_restored,
            lost=replayed.records_lost,
            lost_bytes=replayed.lost_bytes,
            refused=self._gateway.charges_refused,
            set_aside=count_set_aside(data_dir(self.settings)),
        )
        if self._parts.reconciler is not None:
            done = self._parts.reconciler.figures
            self._parts.metrics.show_reconcile(last_run_us=done.last_run_us or 0, differences=done.differences)
        if self._parts.chain is not None:
            seen = self._parts.chain.scan.figures
            self._parts.metrics.show_chain(
                node_is_up=seen.node_is_up, lag_blocks=seen.lag_blocks, deposits_pending=seen.deposits_pending
            )
        try:
            shown = await self._parts.store.read(figures)
        except StoreUnavailable:
            self._parts.metrics.show_store(is_up=False)
        else:
            self._parts.metrics.show_store(is_up=True)
            self._parts.metrics.show_inbox({"due": shown.inbox_due, "parked": shown.inbox_parked})
            self._parts.metrics.show_usage(
                requests=shown.requests,
                charged_nano=shown.charged_nano,
                uncollected_nano=shown.uncollected_nano,
            )
        return self._parts.metrics.render()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop(float(self._parts.settings.server.drain_s))
                await send({"type": "lifespan.shutdown.complete"})
                return


def data_dir(settings: Settings) -> Path:
    """The directory of the charge log and its lock."""
    return Path(settings.store.data_dir or ".")


async def _check_chain(node: ChainNode) -> None:
    """Refuse to start on the wrong chain; a node that does not answer is only said to be away."""
    try:
        await node.check_chain()
        await node.check_token()
    except NodeError as failure:
        match failure.trouble:
            case NodeTrouble.WRONG_CHAIN:
                raise SettingsError(f"usdc.chain_id: {failure.detail}") from None
            case NodeTrouble.WRONG_TOKEN:
                raise SettingsError(f"usdc.token: {failure.detail}") from None
            case _:
                _log.warning(
                    "usdc_node_failed",
                    trouble=failure.trouble,
                    detail=failure.detail,
                    action="Deposits are credited when it answers again; check usdc.rpc_url.",
                )


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
