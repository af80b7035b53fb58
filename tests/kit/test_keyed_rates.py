"""Request rates by key."""

from tokenbooth.kit.keyed_rates import KeyedRates


def test_a_refused_request_does_not_count() -> None:
    """Asking in vain does not lengthen the wait."""
    rates = KeyedRates()
    assert rates.admit("acct_1", limit=1, now_us=0) == 0
    for now_us in (1, 59_999_999):
        assert rates.admit("acct_1", limit=1, now_us=now_us) == 60_000_000 - now_us
    assert rates.admit("acct_1", limit=1, now_us=60_000_000) == 0


def test_the_number_of_keys_is_bounded() -> None:
    """The one that was quiet the longest is forgotten, so a flood of accounts costs bounded memory."""
    rates = KeyedRates(max_keys=2)
    for account_id in ("acct_1", "acct_2", "acct_3"):
        assert rates.admit(account_id, limit=1, now_us=0) == 0
    assert rates.admit("acct_3", limit=1, now_us=1) > 0
    assert rates.admit("acct_1", limit=1, now_us=1) == 0
