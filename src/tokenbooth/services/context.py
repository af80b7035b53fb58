"""What the use cases are given, and with them the API and the dashboard; the composition root builds it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import Settings
from tokenbooth.domain.deposits import PendingDeposit
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.keyed_rates import KeyedRates
from tokenbooth.payments.stripe.client import StripeClient
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode, Tag
from tokenbooth.services.live import Live
from tokenbooth.services.transaction_checks import TransactionChecks
from tokenbooth.store.engine import Store


@dataclass(frozen=True, slots=True)
class UsdcDeps:
    """What deposits of USDC need.

    Attributes:
        node: the chain.
        book: where addresses come from.
        counts_at: deposits count up to the block with this tag.
        pending: gives what was last seen on its way to addresses of ours.
    """

    node: ChainNode
    book: AddressBook
    counts_at: Tag
    pending: Callable[[], Sequence[PendingDeposit]]


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The dependencies of the use cases.

    Attributes:
        store: the database.
        clock: the time.
        settings: the configuration.
        catalog: gives the catalog that holds now.
        live: the gateway's live state.
        stripe: None when no `[stripe]` is configured.
        usdc: None when no `[usdc]` is configured.
        handle_event: carries out the inbox row with this id.
        rates: how often each account may call the management API.
        down: names the background work that is down now.
        transaction_checks: how often accounts may have the chain's node asked.
    """

    store: Store
    clock: Clock
    settings: Settings
    catalog: Callable[[], Catalog]
    live: Live
    stripe: StripeClient | None
    handle_event: Callable[[str], Awaitable[None]]
    usdc: UsdcDeps | None = None
    rates: KeyedRates = field(default_factory=KeyedRates)
    down: Callable[[], Sequence[str]] = tuple
    transaction_checks: TransactionChecks = field(default_factory=TransactionChecks)
