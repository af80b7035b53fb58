"""The headers that tell a client its limits."""

import pytest

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.rates import RequestRate, TokenRate
from tokenbooth.domain.subscriptions import SubscriptionStatus, SubscriptionTerms
from tokenbooth.domain.windows import Window
from tokenbooth.gateway.access.cache import AccountState, KeyState, SubscriptionState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.gateway.access.waiters import Waiters
from tokenbooth.gateway.replies.limit_headers import duration, limit_lines

NOW_US = 1_000_000


def key(
    *,
    requests: RequestRate | None = None,
    tokens: TokenRate | None = None,
    subscription: SubscriptionState | None = None,
) -> KeyState:
    account = AccountState("acct_1", seq=0, suspended=False, credit=Allowance(0))
    return KeyState("key_1", b"", account, subscription, cap=None, requests=requests, tokens=tokens)


def pool(allowance: Allowance, *, cap: Allowance | None = None, window: Window | None = None) -> Pool:
    kind = PoolKind.CREDIT if window is None else PoolKind.WINDOW
    return Pool(kind, allowance, cap, Waiters(), plan=None, window=window)


def limit_headers(key: KeyState, pool: Pool | None, monotonic_us: int) -> list[tuple[bytes, ...]]:
    """The lines as names and values."""
    return [tuple(line.split(b": ")) for line in limit_lines(key, pool, monotonic_us).split(b"\r\n") if line]


def test_without_limits_there_are_no_headers() -> None:
    """A credit key without rates and cap has a balance to show, and nothing before its pool is known."""
    assert limit_headers(key(), None, NOW_US) == []
    assert limit_headers(key(), pool(Allowance(2_500_000_000)), NOW_US) == [(b"x-budget-remaining", b"2.50")]


def test_rates_of_a_key() -> None:
    """Limit, what is left, and when nothing counts any more."""
    requests, tokens = RequestRate(2), TokenRate(100)
    requests.admit(NOW_US)
    tokens.admit(NOW_US - 58_500_000, 30)

    assert limit_headers(key(requests=requests, tokens=tokens), None, NOW_US) == [
        (b"x-ratelimit-limit-requests", b"2"),
        (b"x-ratelimit-remaining-requests", b"1"),
        (b"x-ratelimit-reset-requests", b"1m0s"),
        (b"x-ratelimit-limit-tokens", b"100"),
        (b"x-ratelimit-remaining-tokens", b"70"),
        (b"x-ratelimit-reset-tokens", b"1.5s"),
    ]


def test_nothing_left_is_not_negative() -> None:
    """An overshoot shows as nothing left."""
    tokens = TokenRate(100)
    tokens.admit(NOW_US, 250)

    assert (b"x-ratelimit-remaining-tokens", b"0") in limit_headers(key(tokens=tokens), None, NOW_US)
    assert limit_headers(key(), pool(Allowance(5, spent_nano=9)), NOW_US) == [(b"x-budget-remaining", b"0.00")]


def test_rates_of_a_subscription_are_shared() -> None:
    """The subscription's rates are shown, not the key's own."""
    terms = SubscriptionTerms(SubscriptionStatus.ACTIVE, 1, None, None)
    subscription = SubscriptionState("sub_1", "standard", terms, requests=RequestRate(60), tokens=None)

    shown = limit_headers(key(requests=RequestRate(5), subscription=subscription), None, NOW_US)
    assert shown[0] == (b"x-ratelimit-limit-requests", b"60")


def test_the_budget_of_a_window() -> None:
    """Limit and reset of the window; what is merely held is not gone."""
    window = Window(start_us=1_772_704_800_000_000, end_us=1_772_722_800_000_000)

    assert limit_headers(key(), pool(Allowance(140_000_000, 40_000_000, 50_000_000), window=window), NOW_US) == [
        (b"x-budget-limit", b"0.14"),
        (b"x-budget-remaining", b"0.10"),
        (b"x-budget-reset", b"2026-03-05T15:00:00.000Z"),
    ]


def test_the_cap_of_a_key() -> None:
    """The cap is the limit; what is left is the smaller of cap and credit."""
    headers = limit_headers(key(), pool(Allowance(1_000_000_000), cap=Allowance(25_000_000_000)), NOW_US)

    assert headers == [(b"x-budget-limit", b"25.00"), (b"x-budget-remaining", b"1.00")]


@pytest.mark.parametrize(
    ("wait_us", "text"),
    [
        (0, b"0s"),
        (1, b"1ms"),
        (20_000, b"20ms"),
        (999_001, b"1s"),
        (1_500_000, b"1.5s"),
        (1_000_001, b"1.001s"),
        (59_999_999, b"1m0s"),
        (60_000_000, b"1m0s"),
        (366_500_000, b"6m6.5s"),
    ],
)
def test_durations(wait_us: int, text: bytes) -> None:
    """As OpenAI writes them, never shorter than true."""
    assert duration(wait_us) == text
