"""A request rate for each account; counted per process."""

from collections import OrderedDict
from typing import Final

from tokenbooth.domain.rates import RequestRate
from tokenbooth.kit.errors import RateLimited

_MAX_ACCOUNTS: Final = 10_000


class AccountRates:
    """The rates of the accounts seen last; with too many, the one quiet the longest gives way."""

    __slots__ = ("_max_accounts", "_rates")

    def __init__(self, max_accounts: int = _MAX_ACCOUNTS) -> None:
        self._max_accounts = max_accounts
        self._rates: OrderedDict[str, RequestRate] = OrderedDict()

    def admit(self, account_id: str, *, limit: int, now_us: int) -> None:
        """Count a request of an account.

        Args:
            account_id: whose request it is.
            limit: requests per minute.
            now_us: monotonic microseconds.

        Raises:
            RateLimited: the account has used its minute up; nothing was counted.
        """
        rate = self._rates.get(account_id)
        if rate is None:
            rate = self._rates[account_id] = RequestRate(limit)
            if len(self._rates) > self._max_accounts:
                self._rates.popitem(last=False)
        self._rates.move_to_end(account_id)
        rate.limit = limit
        wait_us = rate.wait_us(now_us)
        if wait_us:
            raise RateLimited(
                "rate_limit_exceeded",
                f"This account may make {limit} management requests per minute. Wait and try again.",
                retry_after_s=wait_us / 1_000_000,
            )
        rate.admit(now_us)
