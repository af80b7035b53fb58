"""What every module of the management plane is given; the composition root builds it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tokenbooth.catalog import Catalog
from tokenbooth.clock import Clock
from tokenbooth.live import Live
from tokenbooth.management.ratelimit import AccountRates
from tokenbooth.payments.stripe_client import StripeGateway
from tokenbooth.settings import Settings
from tokenbooth.store.engine import Store


@dataclass(frozen=True, slots=True)
class ManagementContext:
    """The dependencies of the management plane.

    Attributes:
        store: the database.
        clock: the time.
        settings: the configuration.
        catalog: gives the catalog that holds now.
        live: the gateway's live state.
        stripe: None when no `[stripe]` is configured.
        handle_event: carries out the inbox row with this id.
        rates: the request rates of the accounts on this plane.
    """

    store: Store
    clock: Clock
    settings: Settings
    catalog: Callable[[], Catalog]
    live: Live
    stripe: StripeGateway | None
    handle_event: Callable[[str], Awaitable[None]]
    rates: AccountRates = field(default_factory=AccountRates)
