"""What every module of the dashboard is given; the composition root builds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tokenbooth.dashboard.address_rates import AddressRates
from tokenbooth.dashboard.passwords import Passwords
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.mail import Mailer


@dataclass(frozen=True, slots=True)
class DashboardContext:
    """The dependencies of the dashboard.

    Attributes:
        management: those of the management plane, whose functions the pages call.
        mailer: sends e-mails.
        version: of the program.
        management_openapi: gives the description of the management plane.
        passwords: hashes and checks passwords.
        rates: how often each address tries.
    """

    management: ServiceContext
    mailer: Mailer
    version: str
    management_openapi: Callable[[], Mapping[str, object]]
    passwords: Passwords = field(default_factory=Passwords)
    rates: AddressRates = field(default_factory=AddressRates)
