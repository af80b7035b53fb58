"""The request rates of accounts."""

import pytest

from tokenbooth.kit.errors import RateLimited
from tokenbooth.services.account_rates import AccountRates


def test_a_refused_request_does_not_count() -> None:
    """Asking in vain does not lengthen the wait."""
    rates = AccountRates()
    rates.admit("acct_1", limit=1, now_us=0)
    for now_us in (1, 59_999_999):
        with pytest.raises(RateLimited):
            rates.admit("acct_1", limit=1, now_us=now_us)
    rates.admit("acct_1", limit=1, now_us=60_000_000)


def test_the_number_of_accounts_is_bounded() -> None:
    """The one that was quiet the longest is forgotten, so a flood of accounts costs bounded memory."""
    rates = AccountRates(max_accounts=2)
    for account_id in ("acct_1", "acct_2", "acct_3"):
        rates.admit(account_id, limit=1, now_us=0)
    with pytest.raises(RateLimited):
        rates.admit("acct_3", limit=1, now_us=1)
    rates.admit("acct_1", limit=1, now_us=1)
