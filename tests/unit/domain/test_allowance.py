"""Allowances against a small model: never above the limit, every hold ends exactly once."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tokenbooth.domain.allowance import Allowance, Hold, Settlement, free_nano, hold, release, settle


class Allowances(RuleBasedStateMachine):
    """Several allowances, calls that hold on one or two of them, and limits that change from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.allowances = [Allowance(limit) for limit in (1_000, 500, 200)]
        self.limits = [1_000, 500, 200]
        self.spent = [0, 0, 0]
        self.open: list[tuple[Hold, tuple[int, ...], int]] = []
        self.ended: list[Hold] = []
        self.was_lowered = False

    def free(self, index: int) -> int:
        held = sum(amount for _, where, amount in self.open if index in where)
        return self.limits[index] - self.spent[index] - held

    @rule(where=st.sampled_from(((0,), (1,), (0, 1), (0, 2), (1, 2), (0, 1, 2))), amount=st.integers(-5, 600))
    def take(self, where: tuple[int, ...], amount: int) -> None:
        fits = 0 <= amount <= min(self.free(i) for i in where)
        held = hold(tuple(self.allowances[i] for i in where), amount)
        assert (held is not None) == fits
        if held is not None:
            self.open.append((held, where, amount))

    @rule(which=st.integers(0), cost=st.integers(0, 1_500))
    def end_with_a_cost(self, which: int, cost: int) -> None:
        if not self.open:
            return
        held, where, _ = self.open.pop(which % len(self.open))
        charged = max(min(cost, *(self.free(i) for i in where)), 0)
        assert settle(held, cost) == Settlement(charged, cost - charged)
        for i in where:
            self.spent[i] += charged
        self.ended.append(held)

    @rule(which=st.integers(0))
    def end_without_a_cost(self, which: int) -> None:
        if self.open:
            held, _, _ = self.open.pop(which % len(self.open))
            release(held)
            self.ended.append(held)

    @rule(which=st.integers(0), cost=st.integers(0, 1_500))
    def end_again(self, which: int, cost: int) -> None:
        if self.ended:
            held = self.ended[which % len(self.ended)]
            assert settle(held, cost) is None
            release(held)

    @rule(index=st.integers(0, 2), limit=st.integers(0, 2_000))
    def change_the_limit(self, index: int, limit: int) -> None:
        self.was_lowered = self.was_lowered or limit < self.limits[index]
        self.limits[index] = self.allowances[index].limit_nano = limit

    @invariant()
    def same_as_the_model(self) -> None:
        for i, allowance in enumerate(self.allowances):
            assert allowance.spent_nano == self.spent[i]
            assert allowance.free_nano() == self.free(i)
            assert allowance.held_nano >= 0
            if not self.was_lowered:
                assert allowance.spent_nano + allowance.held_nano <= allowance.limit_nano


TestAllowances = Allowances.TestCase
TestAllowances.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_cost_above_the_hold_takes_what_is_free() -> None:
    """The rest of a cost that nobody can pay is uncollected, and money held for others stays theirs (37)."""
    pool = Allowance(100)
    first, second = hold((pool,), 40), hold((pool,), 30)
    assert first is not None
    assert second is not None

    assert settle(first, 1_000) == Settlement(charged_nano=70, uncollected_nano=930)
    assert (pool.spent_nano, pool.held_nano, pool.free_nano()) == (70, 30, 0)
    assert settle(second, 30) == Settlement(charged_nano=30, uncollected_nano=0)


def test_a_lowered_limit_never_makes_a_negative_charge() -> None:
    """Money taken back during a call leaves nothing to charge, and gives nothing to the customer."""
    pool = Allowance(100, spent_nano=50)
    held = hold((pool,), 50)
    assert held is not None
    pool.limit_nano = 0

    assert settle(held, 50) == Settlement(charged_nano=0, uncollected_nano=50)
    assert (pool.spent_nano, pool.unspent_nano()) == (50, -50)


def test_the_tightest_allowance_decides() -> None:
    """A cap on top of a pool: what is free is the smaller of both, and a refused hold leaves no trace."""
    pool, cap = Allowance(100), Allowance(10)

    assert free_nano((pool, cap)) == 10
    assert hold((pool, cap), 11) is None
    assert (pool.held_nano, cap.held_nano) == (0, 0)


def test_a_hold_ends_once() -> None:
    """Settled twice, released after it was settled, settled after it was released: the first end counts (36)."""
    pool = Allowance(100)
    settled, released = hold((pool,), 40), hold((pool,), 30)
    assert settled is not None
    assert released is not None
    assert settle(settled, 10) == Settlement(charged_nano=10, uncollected_nano=0)
    release(released)

    for held in (settled, released):
        assert settle(held, 25) is None
        release(held)
    assert (pool.spent_nano, pool.held_nano, pool.free_nano()) == (10, 0, 90)
