"""What every module of the dashboard is given; the composition root builds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.kit.email_addresses import mailbox_of
from tokenbooth.kit.errors import RateLimited
from tokenbooth.kit.keyed_rates import KeyedRates
from tokenbooth.kit.networks import network_limits
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.mail import Mailer
from tokenbooth.services.passwords import Passwords
from tokenbooth.store.accounts.sessions import MAX_LINKS_PER_HOUR

_MAX_MAILBOXES: Final = 100_000


@dataclass(frozen=True, slots=True)
class DashboardContext:
    """The dependencies of the dashboard.

    Attributes:
        services: those of the use cases that the pages call.
        mailer: sends e-mails.
        version: of the program.
        management_openapi: gives the description of the management plane.
        passwords: hashes and checks passwords.
        attempts: how often each network, or account, tries a password.
        mails: how many mails each network has caused in a day.
        mailboxes: how many mails strangers have caused to each mailbox in an hour, however it is spelled.
    """

    services: ServiceContext
    mailer: Mailer
    version: str
    management_openapi: Callable[[], Mapping[str, object]]
    passwords: Passwords = field(default_factory=Passwords)
    attempts: KeyedRates = field(default_factory=KeyedRates)
    mails: KeyedRates = field(default_factory=lambda: KeyedRates(span_us=DAY_US))
    mailboxes: KeyedRates = field(default_factory=lambda: KeyedRates(span_us=HOUR_US, max_keys=_MAX_MAILBOXES))

    def admit_client(self, address: str) -> None:
        """Count an attempt of a client to log in, sign up, or reset a password.

        Raises:
            RateLimited: the minute of its networks is used up; nothing was counted.
        """
        self._admit_attempt(network_limits(address, self.services.settings.dashboard.attempts_per_minute))

    def admit_account(self, account_id: str) -> None:
        """Count an attempt to change the password of an account.

        Raises:
            RateLimited: the minute is used up; nothing was counted.
        """
        self._admit_attempt({account_id: self.services.settings.dashboard.attempts_per_minute})

    def admit_mail(self, address: str) -> None:
        """Count a mail with a link that a client asks for; so it bounds new accounts as well.

        Raises:
            RateLimited: the day of its networks is used up; nothing was counted.
        """
        limits = network_limits(address, self.services.settings.dashboard.mails_per_day)
        wait_s = self.mails.admit_all(limits, now_us=self.services.clock.monotonic_us())
        if wait_s:
            raise RateLimited(
                "too_many_mails",
                "Too many e-mails were asked for from your network today. Try again tomorrow.",
                retry_after_s=wait_s,
            )

    def admit_to_mailbox(self, email: str) -> bool:
        """Count a mail that a stranger causes; False when its mailbox got enough in the last hour."""
        now_us = self.services.clock.monotonic_us()
        return not self.mailboxes.admit(mailbox_of(email), limit=MAX_LINKS_PER_HOUR, now_us=now_us)

    def _admit_attempt(self, limits: Mapping[str, int]) -> None:
        wait_s = self.attempts.admit_all(limits, now_us=self.services.clock.monotonic_us())
        if wait_s:
            raise RateLimited(
                "too_many_attempts",
                "Too many attempts. Wait a minute and try again.",
                retry_after_s=wait_s,
            )
