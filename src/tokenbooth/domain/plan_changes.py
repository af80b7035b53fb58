"""When a change of plan counts, decided from what was paid; no job has to run.

A dearer plan counts once the difference is paid. Any other plan counts from the end of the paid period, whoever asked
for it and wherever: a customer keeps what was paid for, and never gets a larger budget for the seconds between two
changes. Where Stripe gave money back for the rest of the period, the smaller plan counts at once. Pure.
"""

from dataclasses import dataclass
from typing import Final

from tokenbooth.domain.windows import window_at

MAX_CHANGES_A_DAY: Final = 3
"""Of one subscription, in 24 hours; each larger budget is paid for, but nobody needs more."""


@dataclass(frozen=True, slots=True)
class SoldPlan:
    """A plan at a price: nano-USD per interval, as the customer agreed to it."""

    slug: str
    price_nano: int

    def is_upgrade_of(self, present: "SoldPlan") -> bool:
        """Whether it costs more than `present`."""
        return self.price_nano > present.price_nano


@dataclass(frozen=True, slots=True)
class PendingPlan:
    """A plan that counts from `at_us` (UTC microseconds) on; a dearer one only once it is paid."""

    plan: SoldPlan
    at_us: int


@dataclass(frozen=True, slots=True)
class PlanState:
    """The plan that counts now, and the one that follows it, if any."""

    present: SoldPlan
    pending: PendingPlan | None = None


@dataclass(frozen=True, slots=True)
class PlanAtStripe:
    """What Stripe bills a subscription for.

    Attributes:
        plan: by the price; None for a price that is no plan's.
        interval: how often it is paid, in Stripe's word.
        currency: of the price.
        quantity: how many of it.
        period_start_us: when the period began that Stripe is in, UTC microseconds.
        following: what its schedule makes of it next.
        following_checkout_id: our mark on that, if the schedule is ours.
        credited_nano: what Stripe gave back for the rest of the period by a change that we did not make.
    """

    plan: SoldPlan | None
    interval: str | None
    currency: str
    quantity: int
    period_start_us: int
    following: PendingPlan | None = None
    following_checkout_id: str | None = None
    credited_nano: int = 0


def settled(state: PlanState, now_us: int) -> PlanState:
    """What time has made of a state: a pending plan that is no dearer counts from its moment on."""
    pending = state.pending
    if pending is None or now_us < pending.at_us or pending.plan.is_upgrade_of(state.present):
        return state
    return PlanState(pending.plan)


def followed(
    state: PlanState, at_stripe: PlanAtStripe, *, is_agreed: bool, paid_until_us: int | None, now_us: int
) -> PlanState:
    """What Stripe's word makes of a state.

    Args:
        state: what counts, as it was stored.
        at_stripe: Stripe's word; its price must be a plan's.
        is_agreed: whether this plan is a change of ours that Stripe carried out, and so was paid.
        paid_until_us: the end of the last paid period; None when nothing was paid yet.
        now_us: UTC microseconds.
    """
    state = settled(state, now_us)
    billed = at_stripe.plan
    following = at_stripe.following
    if following is not None and following.at_us <= now_us:
        # Stripe turns the period a moment after the clock does.
        billed, following = following.plan, None
    if billed is None or paid_until_us is None:
        return state
    if following is not None and following.plan == billed:
        following = None
    if billed == state.present or is_agreed:
        return PlanState(billed, following)
    if billed.is_upgrade_of(state.present):
        return PlanState(state.present, PendingPlan(billed, paid_until_us))
    if at_stripe.credited_nano > 0 or at_stripe.period_start_us >= paid_until_us:
        return PlanState(billed, following)
    return PlanState(state.present, PendingPlan(billed, paid_until_us))


def paid(state: PlanState, price_nano: int, period_start_us: int) -> PlanState:
    """What the payment of a period at `price_nano` makes of a state: a pending plan that it pays for counts."""
    pending = state.pending
    if pending is None or pending.plan.price_nano != price_nano or period_start_us < pending.at_us:
        return state
    return PlanState(pending.plan)


def charged_from_us(now_us: int, *, period_start_us: int, period_end_us: int, window_us: int) -> int:
    """The moment from which the difference to a dearer plan is charged, UTC microseconds: the start of the budget
    window that runs, because the larger budget holds for the whole of it; and at least one window's length, because
    the last window of a period goes on after it."""
    begins_us = min(window_at(now_us, window_us).start_us, period_end_us - window_us)
    return max(begins_us, period_start_us)
