"""What is there only if it is configured: Stripe and USDC, each with its client and its jobs."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import structlog

from tokenbooth.config.payments import StripeSettings, UsdcSettings
from tokenbooth.config.settings import Settings, SettingsError
from tokenbooth.domain.plans import Plan
from tokenbooth.gateway.service import Gateway
from tokenbooth.jobs.auto_topup import AutoTopUp
from tokenbooth.jobs.chain_scan import ChainScan, ScanSettings
from tokenbooth.jobs.inbox import InboxHandler
from tokenbooth.jobs.reconcile import Reconciler
from tokenbooth.jobs.runner import Job
from tokenbooth.kit.clock import Clock
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import HttpRpc, NodeError, NodeTrouble
from tokenbooth.services.checkouts import caps_of
from tokenbooth.services.context import UsdcDeps
from tokenbooth.services.mail import Mailer
from tokenbooth.store.engine import Store

_INBOX_EVERY_S: Final = 5.0
_AUTO_TOP_UP_EVERY_S: Final = 5.0
_RECONCILE_EVERY_S: Final = 600.0
_DRAIN_INBOX_S: Final = 5.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StripeFeature:
    """Stripe's client, the handler of its events, the reconciler, and their periodic jobs."""

    client: StripeClient
    inbox: InboxHandler
    reconciler: Reconciler
    jobs: list[Job]


@dataclass(frozen=True, slots=True)
class UsdcFeature:
    """What deposits need, the scan of the chain, and its periodic job."""

    deps: UsdcDeps
    scan: ChainScan
    jobs: list[Job]

    async def check(self) -> None:
        """Refuse the wrong chain; a node that does not answer is only logged.

        Raises:
            SettingsError: the node is on another chain, or the token is no USDC.
        """
        node = self.deps.node
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


def stripe_client(settings: StripeSettings) -> StripeClient:
    """The configured client of Stripe; close it when done."""
    return StripeClient(
        settings.secret_key.get_secret_value(),
        api_base=settings.api_base,
        timeout_s=settings.timeout_s,
        collects_tax=settings.automatic_tax,
    )


def build_stripe(
    stripe: StripeSettings,
    settings: Settings,
    *,
    store: Store,
    clock: Clock,
    plans: Callable[[], Mapping[str, Plan]],
    gateway: Gateway,
    mailer: Mailer,
    closing: AsyncExitStack,
) -> StripeFeature:
    """Stripe as configured. `plans`: the catalog's. `closing`: gets the end of it."""
    client = stripe_client(stripe)
    closing.push_async_callback(client.aclose)
    inbox = InboxHandler(store, client, clock, plans)
    closing.push_async_callback(_drain, inbox)
    reconciler = Reconciler(store, client, clock, handle=inbox.handle, refresh=inbox.refresh)
    auto_topup = AutoTopUp(
        store,
        client,
        clock,
        caps_of(settings.billing),
        gateway.held_nano,
        mailer=mailer,
        billing_url=f"{settings.server.base_url()}/dashboard/billing",
    )
    jobs = [
        Job("inbox", _INBOX_EVERY_S, inbox.run_due),
        Job("auto_topup", _AUTO_TOP_UP_EVERY_S, auto_topup.run),
        Job("reconcile", _RECONCILE_EVERY_S, reconciler.run),
    ]
    return StripeFeature(client, inbox, reconciler, jobs)


def build_usdc(settings: UsdcSettings, *, store: Store, clock: Clock, closing: AsyncExitStack) -> UsdcFeature:
    """USDC as configured. `closing`: gets the end of it."""
    rpc = HttpRpc(settings.rpc_url.get_secret_value(), timeout_s=settings.timeout_s)
    node = ChainNode(rpc, chain_id=settings.chain_id, token=settings.token_address())
    closing.push_async_callback(node.aclose)
    scan = ChainScan(
        store,
        node,
        clock,
        ScanSettings(
            counts_at=settings.credit_at,
            max_range_blocks=settings.max_range_blocks,
            full_scan_s=settings.full_scan_s,
        ),
    )
    deps = UsdcDeps(
        node=node, book=AddressBook(settings.xpub), counts_at=settings.credit_at, pending=lambda: scan.pending
    )
    return UsdcFeature(deps, scan, [Job("chain scan", settings.poll_s, scan.run)])


async def _drain(inbox: InboxHandler) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_INBOX_S):
            await inbox.drained()
