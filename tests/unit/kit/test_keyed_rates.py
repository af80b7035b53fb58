"""The rate of each of many clients."""

from typing import Final

from tokenbooth.kit.keyed_rates import KeyedRates

NOW_US: Final = 10**12
MINUTE_US: Final = 60 * 10**6


def test_each_key_has_a_minute_of_its_own() -> None:
    """Used up, it says how long to wait; nobody else is held up, and what is refused does not count."""
    rates = KeyedRates()
    assert [rates.admit("a", limit=2, now_us=NOW_US) for _ in range(4)] == [0, 0, 60, 60]
    assert rates.admit("b", limit=2, now_us=NOW_US) == 0
    assert rates.admit("a", limit=2, now_us=NOW_US + MINUTE_US) == 0


def test_a_limit_that_changes_holds_at_once() -> None:
    """Whatever it was when the key was seen first."""
    rates = KeyedRates()
    assert rates.admit("a", limit=1, now_us=NOW_US) == 0
    assert rates.admit("a", limit=1, now_us=NOW_US) > 0
    assert rates.admit("a", limit=2, now_us=NOW_US) == 0


def test_of_too_many_keys_the_quietest_gives_way() -> None:
    """So the memory is bounded; a key that is active stays."""
    rates = KeyedRates(max_keys=2)
    for key in ("a", "b", "a", "c"):
        rates.admit(key, limit=2, now_us=NOW_US)
    assert rates.admit("a", limit=2, now_us=NOW_US) > 0
    assert rates.admit("b", limit=1, now_us=NOW_US) == 0


def test_several_keys_are_counted_together_or_not_at_all() -> None:
    """A request that one of them refuses costs none of them anything; the longest wait is told."""
    rates = KeyedRates()
    assert rates.admit_all({"a": 1, "site": 2}, now_us=NOW_US) == 0
    assert [rates.admit_all({"a": 1, "site": 2}, now_us=NOW_US + 1) for _ in range(5)] == [59.999999] * 5
    assert rates.admit_all({"b": 1, "site": 2}, now_us=NOW_US + 1) == 0
    assert rates.admit_all({"c": 1, "site": 2}, now_us=NOW_US + 2) == 59.999998


def test_a_span_may_be_longer_than_a_minute() -> None:
    """Then what it counts goes on for as long."""
    rates = KeyedRates(span_us=60 * MINUTE_US)
    assert rates.admit("a", limit=1, now_us=NOW_US) == 0
    assert rates.admit("a", limit=1, now_us=NOW_US + 59 * MINUTE_US) == 60
    assert rates.admit("a", limit=1, now_us=NOW_US + 60 * MINUTE_US) == 0
