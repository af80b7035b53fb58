"""Shares of a bound: for one account, for several that want everything, for who comes later, and without money."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.shares import Shares

bounds = st.integers(min_value=1, max_value=2_000)
seeds = st.integers(min_value=0, max_value=2**32)


def flood(shares: Shares, accounts: list[str], rng: random.Random, *, has_money: bool = True) -> dict[str, int]:
    """Let accounts take one after another in any order, each until it is refused; returns what each took."""
    taken, wanting = dict.fromkeys(accounts, 0), list(accounts)
    while wanting:
        account = rng.choice(wanting)
        if shares.take(account, has_money=has_money):
            taken[account] += 1
        else:
            wanting.remove(account)
    return taken


@given(bounds)
def test_one_account_gets_all_but_the_last_quarter(most: int) -> None:
    """Three quarters, rounded down, but at least 1."""
    shares = Shares(most)

    assert flood(shares, ["a"], random.Random(0))["a"] == max(3 * most // 4, 1)


@pytest.mark.parametrize(("most", "first"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (8, 6), (10_000, 7_500)])
def test_small_bounds(most: int, first: int) -> None:
    """A small bound serves one account, and a second one where there is a second place."""
    shares = Shares(most)

    assert flood(shares, ["a"], random.Random(0))["a"] == first
    assert shares.take("b", has_money=True) == (most > 1)


@given(bounds, st.integers(min_value=1, max_value=40), seeds)
def test_never_more_than_the_bound_is_held(most: int, count: int, seed: int) -> None:
    """However many accounts want everything, the bound holds, and nobody has the last quarter."""
    shares = Shares(most)
    taken = flood(shares, [f"a{number}" for number in range(count)], random.Random(seed))

    assert sum(taken.values()) == shares.used <= most
    assert max(taken.values()) <= max(3 * most // 4, 1)


@given(st.integers(min_value=1, max_value=5), st.integers(min_value=0, max_value=1_000), seeds)
def test_who_comes_next_finds_a_place(count: int, more: int, seed: int) -> None:
    """Behind so many accounts that want everything, whatever their order, a bound of four to that power has one."""
    shares, rng = Shares(4**count + more), random.Random(seed)
    accounts = [f"a{number}" for number in range(count)]
    for account in accounts:
        # Those who came first wanted everything before the others were there.
        flood(shares, [account], rng)
        flood(shares, accounts[: accounts.index(account) + 1], rng)

    assert shares.take("newcomer", has_money=True)


@given(bounds, st.integers(min_value=2, max_value=20), seeds)
def test_nobody_above_a_fair_share_takes_while_one_below_is_refused(most: int, count: int, seed: int) -> None:
    """The fair share is the bound by those who want something; who is above it never takes from who is below it."""
    shares, rng = Shares(most), random.Random(seed)
    accounts, held = [f"a{number}" for number in range(count)], dict.fromkeys(range(count), 0)
    for _ in range(4 * most if most < 100 else 400):
        number = rng.randrange(count)
        if rng.random() < 0.3 and held[number]:
            shares.give_back(accounts[number], has_money=True)
            held[number] -= 1
            continue
        refused = [
            other
            for other in held
            if held[other] + 1 <= most / count and not shares.has_room(accounts[other], 1, has_money=True)
        ]
        taken = shares.take(accounts[number], has_money=True)
        assert not (taken and refused and held[number] + 1 > most / count)
        held[number] += taken


@given(st.integers(min_value=8, max_value=400), st.integers(min_value=2, max_value=5), seeds)
def test_what_one_account_has_too_much_goes_to_the_others(most: int, count: int, seed: int) -> None:
    """An account that had three quarters ends with as much as the others, as its calls end and all ask again."""
    shares, rng = Shares(most), random.Random(seed)
    accounts = [f"a{number}" for number in range(count)]
    flood(shares, accounts[:1], rng)
    for _ in range(30 * most):
        holders = [account for account in accounts if shares.held(account, has_money=True)]
        shares.give_back(rng.choice(holders), has_money=True)
        flood(shares, accounts, rng)
    held = [shares.held(account, has_money=True) for account in accounts]

    # Whoever asks first has a place more.
    assert max(held) - min(held) <= max(4, most // 10)
    assert min(held) >= most // (count + 1) - 2


@given(bounds, st.integers(min_value=1, max_value=60), seeds)
def test_all_accounts_without_money_share_a_sixteenth(most: int, count: int, seed: int) -> None:
    """Together they hold a sixteenth, rounded down but at least 1; none of them has the last quarter of that."""
    shares = Shares(most)
    taken = flood(shares, [f"a{number}" for number in range(count)], random.Random(seed), has_money=False)
    sixteenth = max(most // 16, 1)

    assert 1 <= sum(taken.values()) == shares.used <= sixteenth
    assert max(taken.values()) <= max(3 * sixteenth // 4, 1)


def test_without_money_who_comes_next_finds_a_place_as_well() -> None:
    """One account without money leaves a quarter of the sixteenth to the next one."""
    shares, rng = Shares(10_000), random.Random(0)

    assert flood(shares, ["a"], rng, has_money=False)["a"] == 468
    assert flood(shares, ["b"], rng, has_money=False)["b"] == 117
    assert flood(shares, ["c"], rng)["c"] == 7_061


def test_what_was_taken_without_money_stays_that() -> None:
    """An account that gets money meanwhile begins anew, and gives back what it took before as what it was."""
    shares = Shares(16)
    assert shares.take("a", has_money=False)
    assert not shares.take("b", has_money=False)
    assert shares.take("a", has_money=True)
    assert (shares.held("a", has_money=True), shares.held("a", has_money=False)) == (1, 1)
    shares.give_back("a", has_money=False)

    assert shares.take("b", has_money=False)


@given(
    st.integers(min_value=1, max_value=10_000),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(min_value=1, max_value=4_000), st.booleans())),
)
def test_amounts_of_any_size(most: int, asked: list[tuple[str, int, bool]]) -> None:
    """Bytes as well as places: nobody gets above three quarters, nothing is forgotten, and no memory stays taken."""
    shares, taken = Shares(most), list[tuple[str, int, bool]]()
    for account, amount, has_money in asked:
        has_room = shares.has_room(account, amount, has_money=has_money)
        assert shares.take(account, amount, has_money=has_money) == has_room
        if has_room:
            taken.append((account, amount, has_money))
        assert shares.used == sum(size for _, size, _ in taken) <= most
        assert shares.held(account, has_money=True) <= max(3 * most // 4, 1)
        assert sum(size for _, size, funded in taken if not funded) <= max(most // 16, 1)
    for account, amount, has_money in taken:
        shares.give_back(account, amount, has_money=has_money)

    assert (shares.used, shares.accounts) == (0, 0)


def test_a_lower_bound_takes_nothing_away() -> None:
    """What is held stays held; nothing is taken until there is room again."""
    shares = Shares(100)
    assert shares.take("a", 60, has_money=True)
    shares.most = 50
    assert not shares.take("b", has_money=True)
    shares.give_back("a", 30, has_money=True)

    assert shares.take("b", has_money=True)
