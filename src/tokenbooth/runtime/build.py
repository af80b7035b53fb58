"""The composition root: from settings to a running application. Nothing else builds the parts."""

import socket
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import structlog

from tokenbooth.api.app import create_management_app
from tokenbooth.config.catalog import Catalog, build_catalog, kind_lines
from tokenbooth.config.settings import Settings, SettingsError, StripeSettings, UsdcSettings, is_proxied
from tokenbooth.dashboard import DashboardContext, create_dashboard
from tokenbooth.domain.windows import parse_duration
from tokenbooth.gateway.service import Gateway
from tokenbooth.gateway.upstream.base import Timeouts, Upstreams
from tokenbooth.gateway.upstream.pool import HttpUpstreams
from tokenbooth.http.server import Asgi, Listener, address_of, bind, port_of, run
from tokenbooth.jobs.auto_topup import AutoTopUp
from tokenbooth.jobs.chain_scan import ChainScan, ScanSettings
from tokenbooth.jobs.inbox import InboxHandler
from tokenbooth.jobs.plan_changes import PlanChanges
from tokenbooth.jobs.reconcile import Reconciler
from tokenbooth.jobs.retention import UsageRetention
from tokenbooth.jobs.runner import Job, Runner
from tokenbooth.jobs.sweep import Sweep
from tokenbooth.kit.background import Background
from tokenbooth.kit.clock import Clock, SystemClock
from tokenbooth.kit.logs import configure_logging
from tokenbooth.kit.metrics import Metrics
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import HttpRpc
from tokenbooth.runtime.application import Application, Chain, Parts, Sandbox, data_dir
from tokenbooth.runtime.database import open_database
from tokenbooth.services.checkouts import caps_of
from tokenbooth.services.context import ServiceContext, UsdcDeps
from tokenbooth.services.mail import Mailer, make_mailer
from tokenbooth.store.engine import Store

_INBOX_EVERY_S: Final = 5.0
_SWEEP_EVERY_S: Final = 3_600.0
_CEILINGS_EVERY_S: Final = 5.0
_FOLDED_FAILURES_EVERY_S: Final = 5.0
_PLAN_CHANGES_EVERY_S: Final = 15.0
_AUTO_TOP_UP_EVERY_S: Final = 5.0
_RECONCILE_EVERY_S: Final = 600.0
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
    store = open_database(settings)
    background = Background()
    for running in store.background:
        background.watch(running)

    def catalog() -> Catalog:
        return snapshot

    gateway = Gateway(
        store=store,
        clock=clock,
        settings=settings.gateway,
        catalog=catalog,
        data_dir=data_dir(settings),
        grace_us=parse_duration(settings.billing.renewal_grace),
        upstreams=_upstreams(settings),
        background=background,
    )
    stripe = None if settings.stripe is None else stripe_client(settings.stripe)
    inbox = None if stripe is None else InboxHandler(store, stripe, clock, lambda: catalog().plans)
    reconciler = None
    if stripe is not None and inbox is not None:
        reconciler = Reconciler(store, stripe, clock, handle=inbox.handle, refresh=inbox.refresh)
    chain = None if settings.usdc is None else _chain(settings.usdc, store, clock)
    context = ServiceContext(
        store=store,
        clock=clock,
        settings=settings,
        catalog=catalog,
        live=gateway,
        stripe=stripe,
        handle_event=_leave_alone if inbox is None else inbox.handle,
        usdc=None if settings.usdc is None or chain is None else _usdc_deps(settings.usdc, chain),
        down=background.down,
    )
    program_version = version("tokenbooth")
    management = create_management_app(context)
    mailer = make_mailer(settings.mail)
    dashboard = DashboardContext(
        management=context,
        mailer=mailer,
        version=program_version,
        management_openapi=management.openapi,
    )
    return Application(
        Parts(
            settings=settings,
            store=store,
            catalog=catalog,
            gateway=gateway,
            management=management,
            dashboard=create_dashboard(dashboard),
            runner=Runner(
                _jobs(settings, store, clock, gateway, stripe, inbox, reconciler, chain, mailer), background=background
            ),
            background=background,
            inbox=inbox,
            stripe=stripe,
            sandbox=sandbox,
            metrics=Metrics(program_version),
            clock=clock,
            reconciler=reconciler,
            chain=chain,
            chain_sandbox=chain_sandbox,
        )
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
    listeners = [Listener(application, listening, settings.server.trusted_proxies, application.edge)]
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


async def _leave_alone(_row_id: str) -> None:
    """What happens to events while no payment processor is configured."""


def stripe_client(settings: StripeSettings) -> StripeClient:
    """The configured way to Stripe; close it when done."""
    return StripeClient(
        settings.secret_key.get_secret_value(),
        api_base=settings.api_base,
        timeout_s=settings.timeout_s,
        collects_tax=settings.automatic_tax,
    )


def _chain(settings: UsdcSettings, store: Store, clock: Clock) -> Chain:
    rpc = HttpRpc(settings.rpc_url.get_secret_value(), timeout_s=settings.timeout_s)
    node = ChainNode(rpc, chain_id=settings.chain_id, token=settings.token_address())
    scan = ScanSettings(
        counts_at=settings.credit_at,
        max_range_blocks=settings.max_range_blocks,
        full_scan_s=settings.full_scan_s,
    )
    return Chain(node, ChainScan(store, node, clock, scan))


def _usdc_deps(settings: UsdcSettings, chain: Chain) -> UsdcDeps:
    return UsdcDeps(
        node=chain.node,
        book=AddressBook(settings.xpub),
        counts_at=settings.credit_at,
        pending=lambda: chain.scan.pending,
    )


def _jobs(
    settings: Settings,
    store: Store,
    clock: Clock,
    gateway: Gateway,
    stripe: StripeClient | None,
    inbox: InboxHandler | None,
    reconciler: Reconciler | None,
    chain: Chain | None,
    mailer: Mailer,
) -> list[Job]:
    jobs = [
        Job("ceilings", _CEILINGS_EVERY_S, gateway.sync_ceilings),
        Job("folded_failures", _FOLDED_FAILURES_EVERY_S, gateway.tell_folded_failures),
        Job("sweep", _SWEEP_EVERY_S, Sweep(store, clock).run),
        Job("plan_changes", _PLAN_CHANGES_EVERY_S, PlanChanges(store, clock).run),
        Job("retention", _SWEEP_EVERY_S, UsageRetention(store, clock, settings.retention.usage_days).run),
    ]
    if inbox is not None and stripe is not None and reconciler is not None:
        auto_topup = AutoTopUp(
            store,
            stripe,
            clock,
            caps_of(settings.billing),
            gateway.held_nano,
            mailer=mailer,
            billing_url=f"{settings.server.base_url()}/dashboard/billing",
        )
        jobs += [
            Job("inbox", _INBOX_EVERY_S, inbox.run_due),
            Job("auto_topup", _AUTO_TOP_UP_EVERY_S, auto_topup.run),
            Job("reconcile", _RECONCILE_EVERY_S, reconciler.run),
        ]
    if chain is not None and settings.usdc is not None:
        jobs.append(Job("chain scan", settings.usdc.poll_s, chain.scan.run))
    return jobs


def _bind_metrics(address: str) -> socket.socket:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > _MAX_PORT:
        raise SettingsError('server.metrics_bind: must be an address and a port, such as "10.0.0.5:9090"')
    return bind(host.strip("[]"), int(port))
