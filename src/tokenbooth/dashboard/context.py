"""What every module of the dashboard is given; the composition root builds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tokenbooth.kit.errors import RateLimited
from tokenbooth.kit.keyed_rates import KeyedRates
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.mail import Mailer
from tokenbooth.services.passwords import Passwords


@dataclass(frozen=True, slots=True)
class DashboardContext:
    """The dependencies of the dashboard.

    Attributes:
        services: those of the use cases that the pages call.
        mailer: sends e-mails.
        version: of the program.
        management_openapi: gives the description of the management plane.
        passwords: hashes and checks passwords.
        attempts: how often each address, or account, tries a password.
    """

    services: ServiceContext
    mailer: Mailer
    version: str
    management_openapi: Callable[[], Mapping[str, object]]
    passwords: Passwords = field(default_factory=Passwords)
    attempts: KeyedRates = field(default_factory=KeyedRates)

    def admit_attempt(self, key: str) -> None:
        """Count an attempt to log in, sign up, or have a password changed.

        Args:
            key: who tries: the network of a client's address, or an account.

        Raises:
            RateLimited: the minute is used up; nothing was counted.
        """
        limit, now_us = self.services.settings.dashboard.attempts_per_minute, self.services.clock.monotonic_us()
        wait_s = self.attempts.admit(key, limit=limit, now_us=now_us)
        if wait_s:
            raise RateLimited(
                "too_many_attempts",
                "Too many attempts. Wait a minute and try again.",
                retry_after_s=wait_s,
            )
