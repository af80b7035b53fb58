"""When a change of plan counts: by what was paid and the clock, whatever Stripe says in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.plan_changes import (
    PendingPlan,
    PlanAtStripe,
    PlanState,
    SoldPlan,
    charged_from_us,
    followed,
    paid,
    settled,
)
from tokenbooth.domain.windows import DAY_US, window_at

SMALL, BIG, TOP = SoldPlan("small", 20), SoldPlan("big", 60), SoldPlan("top", 100)
PLANS = st.sampled_from([SMALL, BIG, TOP, SoldPlan("other", 60)])
BEGAN, PAID_UNTIL, NOW = 1_000, 2_000, 1_500


def billed(
    plan: SoldPlan | None, *, period_start_us: int = BEGAN, following: PendingPlan | None = None, credited_nano: int = 0
) -> PlanAtStripe:
    """What Stripe bills one of, by the month, in dollars."""
    return PlanAtStripe(plan, "month", "usd", 1, period_start_us, following, None, credited_nano)


def follow(state: PlanState, at_stripe: PlanAtStripe, *, is_agreed: bool = False, now_us: int = NOW) -> PlanState:
    """The state after Stripe's word, within a period that is paid until `PAID_UNTIL`."""
    return followed(state, at_stripe, is_agreed=is_agreed, paid_until_us=PAID_UNTIL, now_us=now_us)


@pytest.mark.parametrize(
    ("at_stripe", "is_agreed", "expected"),
    [
        (billed(BIG), False, PlanState(BIG)),
        (billed(BIG, following=PendingPlan(SMALL, PAID_UNTIL)), False, PlanState(BIG, PendingPlan(SMALL, PAID_UNTIL))),
        (billed(BIG, following=PendingPlan(BIG, PAID_UNTIL)), False, PlanState(BIG)),
        (billed(TOP), False, PlanState(BIG, PendingPlan(TOP, PAID_UNTIL))),
        (billed(TOP), True, PlanState(TOP)),
        (billed(SMALL), False, PlanState(BIG, PendingPlan(SMALL, PAID_UNTIL))),
        (billed(SMALL, credited_nano=1), False, PlanState(SMALL)),
        (billed(SMALL, period_start_us=PAID_UNTIL), False, PlanState(SMALL)),
        (billed(TOP, period_start_us=PAID_UNTIL), False, PlanState(BIG, PendingPlan(TOP, PAID_UNTIL))),
        (billed(None), False, PlanState(BIG)),
    ],
)
def test_what_stripe_bills_within_a_paid_period(at_stripe: PlanAtStripe, is_agreed: bool, expected: PlanState) -> None:
    """The paid plan stays; a dearer one needs a payment, a cheaper one the period's end or the money given back."""
    assert follow(PlanState(BIG), at_stripe, is_agreed=is_agreed) == expected


def test_before_anything_is_paid_the_plan_is_the_checkouts() -> None:
    """Stripe's word alone changes nothing then; the first invoice is held to the checkout."""
    assert followed(PlanState(BIG), billed(SMALL), is_agreed=False, paid_until_us=None, now_us=NOW) == PlanState(BIG)


def test_the_clock_turns_to_a_cheaper_plan_alone() -> None:
    """From its first microsecond on, and never to a dearer one that nobody paid for."""
    waiting = PlanState(BIG, PendingPlan(SMALL, PAID_UNTIL))
    assert settled(waiting, PAID_UNTIL - 1) == waiting
    assert settled(waiting, PAID_UNTIL) == PlanState(SMALL)
    unpaid = PlanState(BIG, PendingPlan(TOP, PAID_UNTIL))
    assert settled(unpaid, PAID_UNTIL + 1) == unpaid
    assert paid(unpaid, TOP.price_nano, PAID_UNTIL) == PlanState(TOP)
    assert paid(unpaid, BIG.price_nano, PAID_UNTIL) == unpaid
    assert paid(unpaid, TOP.price_nano, BEGAN) == unpaid


def test_stripe_turns_a_moment_later_than_the_clock() -> None:
    """In between its word of the former plan, with a schedule that is due, brings nothing back."""
    stale = billed(BIG, following=PendingPlan(SMALL, PAID_UNTIL))
    assert follow(PlanState(BIG, PendingPlan(SMALL, PAID_UNTIL)), stale, now_us=PAID_UNTIL) == PlanState(SMALL)
    assert follow(PlanState(SMALL), stale, now_us=PAID_UNTIL + 1) == PlanState(SMALL)


WORDS = st.builds(
    billed,
    PLANS,
    following=st.none() | st.builds(PendingPlan, PLANS, st.just(PAID_UNTIL)),
    credited_nano=st.just(0),
)


@given(PLANS, st.lists(WORDS, max_size=8))
def test_no_word_changes_the_plan_of_a_paid_period(present: SoldPlan, words: list[PlanAtStripe]) -> None:
    """However often prices flip at Stripe, the paid period keeps its plan: never a larger one unpaid, never a smaller
    one early."""
    state = PlanState(present)
    for word in words:
        state = follow(state, word)
    assert state.present == present


@given(PLANS, st.lists(WORDS, min_size=1, max_size=6))
def test_only_the_last_word_counts(present: SoldPlan, words: list[PlanAtStripe]) -> None:
    """P7: whatever was heard before it, and however often it is repeated, the last word decides."""
    state = PlanState(present)
    for word in [*words, words[-1]]:
        state = follow(state, word)
    assert state == follow(PlanState(present), words[-1])


@given(
    st.integers(0, 40 * DAY_US),
    st.sampled_from([3_600_000_000, 5 * 3_600_000_000, DAY_US, 7 * DAY_US, 30 * DAY_US]),
    st.integers(0, 31 * DAY_US - 1),
)
def test_who_goes_up_pays_for_a_whole_window(period_start_us: int, window_us: int, into_us: int) -> None:
    """The difference is charged from the start of the running window, for a window's length at least, and never from
    before the period."""
    period_end_us = period_start_us + 31 * DAY_US
    now_us = period_start_us + into_us
    from_us = charged_from_us(now_us, period_start_us=period_start_us, period_end_us=period_end_us, window_us=window_us)
    assert period_start_us <= from_us <= now_us
    assert from_us <= max(window_at(now_us, window_us).start_us, period_start_us)
    assert period_end_us - from_us >= min(window_us, period_end_us - period_start_us)
