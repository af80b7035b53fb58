"""Ending, resuming and changing subscriptions, as use cases of API and dashboard alike."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.support.billing.billing_rows import DAY_US, add_subscription
from tests.support.management import Plane
from tests.support.store import Customer, new_customer, row_counts
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.services.idempotency import IdempotentAttempt, Outcome, replayed, run_idempotent
from tokenbooth.services.plan_changes import change_plan
from tokenbooth.services.subscriptions import cancel, resume
from tokenbooth.store.accounts.idempotency import Answer, Claim
from tokenbooth.store.payments.billing import SubscriptionView

Work = Callable[[IdempotentAttempt[SubscriptionView]], Awaitable[SubscriptionView]]
UseCase = Callable[[str, str], Work]


@pytest.fixture(params=["cancel", "resume", "change"])
def use_case(request: pytest.FixtureRequest, plane: Plane) -> UseCase:
    """One that begins with a subscription of the account; it takes the account's and the subscription's id."""
    plan: Plan = plane.context.catalog().plans["pro"]

    def work(
        account_id: str, own_id: str
    ) -> Callable[[IdempotentAttempt[SubscriptionView]], Awaitable[SubscriptionView]]:
        match request.param:
            case "cancel":
                return partial(cancel, plane.context, account_id, own_id)
            case "resume":
                return partial(resume, plane.context, account_id, own_id)
            case _:
                return partial(change_plan, plane.context, account_id, own_id, plan)

    return work


def shown(view: SubscriptionView) -> Outcome:
    """What a repetition is answered in these tests."""
    return replayed(Answer(200, view.id))


def subscription(plane: Plane, account_id: str, **changed: object) -> str:
    """A paid subscription."""
    now_us = plane.clock.now_us()
    values = {"now_us": now_us, "paid_until_us": now_us + DAY_US, **changed}
    return plane.context.store.write_now(add_subscription, account_id, **values)  # type: ignore[arg-type]  # its names


async def test_charges_under_way_are_waited_for(plane: Plane, customer: Customer, use_case: UseCase) -> None:
    """Before anything is decided, so that what is shown counts every call that has finished."""
    with pytest.raises(NotFound):
        await run_idempotent(plane.context, None, use_case(customer.account_id, "sub_unknown"), shown)
    assert plane.live.settled_calls == 1


async def test_what_is_so_already_is_shown_without_stripe(plane: Plane, customer: Customer) -> None:
    """One that is to end is canceled, one that goes on is resumed; a repetition is answered the same."""
    ending_id = subscription(plane, customer.account_id, cancel_at_us=plane.clock.now_us() + DAY_US)
    running_id = subscription(plane, customer.account_id)
    for work, own_id in ((cancel, ending_id), (resume, running_id)):
        claim = Claim(customer.account_id, f"POST /{own_id}", "once", b"\x01" * 32)
        for _ in range(2):
            once = partial(work, plane.context, customer.account_id, own_id)
            assert await run_idempotent(plane.context, claim, once, shown) == Answer(200, own_id)


async def test_somebody_elses_is_not_there(plane: Plane, customer: Customer, use_case: UseCase) -> None:
    """As one that never was."""
    other = new_customer(plane.context.store, now_us=plane.clock.now_us(), email="mallory@example.com")
    own_id = subscription(plane, customer.account_id)
    for wanted in (own_id, "sub_unknown"):
        with pytest.raises(NotFound) as refused:
            await run_idempotent(plane.context, None, use_case(other.account_id, wanted), shown)
        assert refused.value.code == "subscription_not_found"


async def test_one_that_has_ended_stays_ended(plane: Plane, customer: Customer, use_case: UseCase) -> None:
    """The same request is refused again, and leaves no record."""
    own_id = subscription(
        plane, customer.account_id, status=SubscriptionStatus.CANCELED, ended_at_us=plane.clock.now_us()
    )
    claim = Claim(customer.account_id, "POST /x", "once", b"\x01" * 32)
    before = row_counts(plane.context.store)
    for _ in range(2):
        with pytest.raises(Conflict) as refused:
            await run_idempotent(plane.context, claim, use_case(customer.account_id, own_id), shown)
        assert refused.value.code == "subscription_ended"
    assert row_counts(plane.context.store) == before
