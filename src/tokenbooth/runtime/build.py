"""The composition root: from settings to a running application. Nothing else builds the parts."""

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Final

import structlog

from tokenbooth.api.app import create_management_app
from tokenbooth.config.catalog import Catalog, build_catalog, kind_lines
from tokenbooth.config.settings import ServerSettings, Settings, SettingsError, is_proxied
from tokenbooth.dashboard import DashboardContext, create_dashboard
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.upstream.base import Timeouts, Upstreams
from tokenbooth.gateway.upstream.pool import HttpUpstreams
from tokenbooth.http.limits import Bounds, FastPath, ListenerConfig
from tokenbooth.http.server import Asgi, Listener, address_of, bind, port_of, run
from tokenbooth.jobs.chain_scan import ScanFigures
from tokenbooth.jobs.reconcile import ReconcileFigures
from tokenbooth.jobs.runner import Job, Runner
from tokenbooth.jobs.upkeep import forget_usage, settle_plan_changes, sweep
from tokenbooth.kit.background import Background
from tokenbooth.kit.clock import Clock, SystemClock
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.kit.logs import configure_logging
from tokenbooth.runtime.application import (
    CHAIN_SANDBOX_PATH,
    SANDBOX_PATH,
    Application,
    Components,
    Sandbox,
    data_dir,
)
from tokenbooth.runtime.database import open_database
from tokenbooth.runtime.features import build_stripe, build_usdc
from tokenbooth.runtime.metrics import Metrics, Sources
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.mail import make_mailer
from tokenbooth.store.engine import Store

_SWEEP_EVERY_S: Final = 3_600.0
_CEILINGS_EVERY_S: Final = 5.0
_FOLDED_FAILURES_EVERY_S: Final = 5.0
_PLAN_CHANGES_EVERY_S: Final = 15.0
_MAX_PORT: Final = 65_535

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


def build_application(
    settings: Settings, *, clock: Clock | None = None, sandbox: Sandbox | None = None, chain_sandbox: Asgi | None = None
) -> Application:
    """Everything, built but not started.

    Args:
        settings: the validated configuration; `server.port` as it really is.
        clock: the time; the machine's if None.
        sandbox: a payment sandbox to mount at `SANDBOX_PATH`; never beside a live key.
        chain_sandbox: a chain's sandbox to mount at `CHAIN_SANDBOX_PATH`; never beside a live key.

    Raises:
        SettingsError: the database's URL cannot be used, or a sandbox would stand beside a live key.
    """
    is_live = settings.stripe is not None and settings.stripe.is_live()
    if (sandbox is not None and (settings.stripe is None or is_live)) or (chain_sandbox is not None and is_live):
        raise SettingsError("stripe.secret_key: no sandbox runs beside a live Stripe key")
    clock = clock or SystemClock()
    snapshot = build_catalog(settings, today=datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC).date())

    def catalog() -> Catalog:
        return snapshot

    closing = AsyncExitStack()
    store = open_database(settings)
    closing.push_async_callback(asyncio.to_thread, store.close)
    background = Background()
    for running in store.background:
        background.watch(running)
    gateway = Gateway(
        store=store.with_own_readers(),
        clock=clock,
        settings=settings.gateway,
        catalog=catalog,
        data_dir=data_dir(settings),
        grace_us=settings.billing.renewal_grace_us,
        upstreams=_upstreams(settings),
        background=background,
    )
    mailer = make_mailer(settings.mail)
    context = ServiceContext(
        store=store,
        clock=clock,
        settings=settings,
        catalog=catalog,
        live=gateway,
        stripe=None,
        handle_event=_ignore_event,
        down=background.down,
    )
    listener_config = _listener_config(settings.server, gateway, clock)
    sources = Sources(
        gateway=gateway,
        background=background,
        clock=clock,
        data_dir=data_dir(settings),
        refused_at_bounds=lambda: gateway.refused_at_bounds() | listener_config.refused_at_bounds(),
        reconciled=ReconcileFigures,
        scanned=ScanFigures,
    )
    jobs = _jobs(settings, store, clock, gateway)
    checks, starts = [], []
    sandboxes: dict[str, Asgi] = {}
    if sandbox is not None:
        closing.push_async_callback(sandbox.aclose)
        starts.append(sandbox.start)
        sandboxes[SANDBOX_PATH] = sandbox
    if chain_sandbox is not None:
        sandboxes[CHAIN_SANDBOX_PATH] = chain_sandbox
    if settings.stripe is not None:
        stripe = build_stripe(
            settings.stripe,
            settings,
            store=store,
            clock=clock,
            plans=lambda: catalog().plans,
            gateway=gateway,
            mailer=mailer,
            closing=closing,
        )
        context = replace(context, stripe=stripe.client, handle_event=stripe.inbox.handle)
        sources.reconciled = lambda: stripe.reconciler.figures
        jobs += stripe.jobs
    if settings.usdc is not None:
        usdc = build_usdc(settings.usdc, store=store, clock=clock, closing=closing)
        context = replace(context, usdc=usdc.deps)
        sources.scanned = lambda: usdc.scan.figures
        checks.append(usdc.check)
        jobs += usdc.jobs
    runner = Runner(jobs, background=background)
    closing.push_async_callback(runner.stop)
    program_version = version("tokenbooth")
    management = create_management_app(context)
    dashboard = DashboardContext(
        services=context, mailer=mailer, version=program_version, management_openapi=management.openapi
    )
    return Application(
        Components(
            settings=settings,
            store=store,
            catalog=catalog,
            clock=clock,
            background=background,
            gateway=gateway,
            management=management,
            dashboard=create_dashboard(dashboard),
            sandboxes=sandboxes,
            metrics=Metrics(program_version, sources),
            listener_config=listener_config,
            runner=runner,
            checks=checks,
            starts=starts,
            closing=closing,
        )
    )


def _listener_config(server: ServerSettings, gateway: Gateway, clock: Clock) -> ListenerConfig:
    """What clients may send, and the data plane's way past ASGI."""
    bounds = Bounds(
        head_bytes=server.max_header_bytes,
        head_lines=server.max_header_count,
        body_bytes=server.max_body_bytes,
        all_bodies_bytes=server.max_all_bodies_bytes,
        all_unread_bytes=server.max_all_unread_bytes,
        connections=server.max_connections,
        head_s=server.header_timeout_s,
        body_s=server.body_timeout_s,
        min_bytes_per_s=server.min_bytes_per_s,
        transfer_s=server.transfer_timeout_s,
        idle_s=server.idle_timeout_s,
        unread_s=server.unread_timeout_s,
    )
    return ListenerConfig(
        FastPath(gateway.handles, gateway.serve),
        bounds,
        lambda: new_id(IdPrefix.REQUEST, clock.now_us()),
        server.trusted_proxies,
    )


def serve(settings: Settings) -> int:
    """Run the server until SIGTERM; returns the exit code.

    Raises:
        SettingsError, ListenFailed, DataDirectoryLocked, AnotherProcess, SchemaMismatch, StoreUnavailable: it cannot
            start.
    """
    configure_logging(settings.server.log_format)
    listening = bind(settings.server.host, settings.server.port)
    settings = with_port(settings, port_of(listening))
    application = build_application(settings)
    listeners = [Listener(application, listening, settings.server.trusted_proxies, application.listener_config)]
    said = {"url": settings.server.base_url(), "version": version("tokenbooth")}
    if settings.server.metrics_bind is not None:
        figures_socket = _bind_metrics(settings.server.metrics_bind)
        listeners.append(Listener(application.serve_metrics, figures_socket))
        said["metrics_url"] = address_of(figures_socket)
    if settings.upstreams:
        _log.info(
            "upstream_kinds",
            note="What each is sent, see docs/upstreams.md: " + ", ".join(kind_lines(settings)) + ".",
        )
    exit_code = run(
        application,
        listeners,
        drain_s=settings.server.drain_s,
        ready=lambda: _log.info("listening", **said),
        background=application.background,
    )
    _log.info("stopped")
    return exit_code


def with_port(settings: Settings, port: int) -> Settings:
    """The settings with the port that was really bound, so that links are right."""
    return settings.model_copy(update={"server": settings.server.model_copy(update={"port": port})})


def _upstreams(settings: Settings) -> Upstreams:
    timeouts = Timeouts(
        connect_s=settings.gateway.connect_timeout_s,
        first_byte_s=settings.gateway.first_byte_timeout_s,
        idle_s=settings.gateway.idle_timeout_s,
        whole_answer_s=settings.gateway.whole_answer_timeout_s,
    )
    direct = HttpUpstreams(timeouts)
    if not any(is_proxied(upstream.base_url) for upstream in settings.upstreams.values()):
        return direct
    # Imported here: hardly anybody needs it.
    from tokenbooth.gateway.upstream.proxy import ProxiedUpstreams, UpstreamsByWay

    return UpstreamsByWay(direct=direct, proxied=ProxiedUpstreams(timeouts), is_proxied=is_proxied)


async def _ignore_event(_row_id: str) -> None:
    """What happens to events while no payment processor is configured."""


def _jobs(settings: Settings, store: Store, clock: Clock, gateway: Gateway) -> list[Job]:
    """Those that run whatever is configured."""
    return [
        Job("ceilings", _CEILINGS_EVERY_S, gateway.sync_ceilings),
        Job("folded_failures", _FOLDED_FAILURES_EVERY_S, gateway.tell_folded_failures),
        Job("sweep", _SWEEP_EVERY_S, partial(sweep, store, clock)),
        Job("plan_changes", _PLAN_CHANGES_EVERY_S, partial(settle_plan_changes, store, clock)),
        Job("retention", _SWEEP_EVERY_S, partial(forget_usage, store, clock, settings.retention.usage_days)),
    ]


def _bind_metrics(address: str) -> socket.socket:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > _MAX_PORT:
        raise SettingsError('server.metrics_bind: must be an address and a port, such as "10.0.0.5:9090"')
    return bind(host.strip("[]"), int(port))
