"""Subscription schedules: what a subscription becomes at the end of its period.

A schedule here is what a change of plan needs: the present phase, which ends with the period, and one that follows.
Stripe takes more shapes; the API refuses those by name.
"""

from dataclasses import replace

from tokenbooth_sandbox.stripe.billing import subscriptions
from tokenbooth_sandbox.stripe.billing.periods import period_start
from tokenbooth_sandbox.stripe.billing.records import SchedulePhase, Subscription, SubscriptionSchedule
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import Price
from tokenbooth_sandbox.stripe.world import World


def begin(world: World, subscription: Subscription) -> SubscriptionSchedule:
    """A schedule for a subscription as it is, with its present period as the one phase. Raises `StripeFailure`."""
    if subscription.schedule is not None:
        message = f"The subscription is already attached to the schedule `{subscription.schedule}`."
        raise StripeFailure(message, param="from_subscription")
    if subscription.cancel_at is not None:
        message = "The sandbox schedules nothing for a subscription that is set to end."
        raise StripeFailure(message, param="from_subscription")
    phase = SchedulePhase(
        subscription.period_start,
        subscription.period_end,
        subscription.price,
        subscription.quantity,
        "create_prorations",
        {},
    )
    schedule = world.state.put(
        SubscriptionSchedule(
            world.new_id("sub_sched_"),
            world.now(),
            customer=subscription.customer,
            status="active",
            phases=(phase,),
            end_behavior="release",
            metadata={},
            subscription=subscription.id,
        )
    )
    world.emit("subscription_schedule.created", schedule)
    subscriptions.update(world, replace(subscription, schedule=schedule.id), {"schedule": None})
    return schedule


def set_phases(
    world: World, schedule: SubscriptionSchedule, phases: tuple[SchedulePhase, ...], metadata: dict[str, str]
) -> SubscriptionSchedule:
    """Other phases from now on. Raises `StripeFailure` for a schedule that has ended."""
    _must_be_active(schedule)
    changed = world.state.put(replace(schedule, phases=phases, metadata=schedule.metadata | metadata))
    world.emit("subscription_schedule.updated", changed)
    return changed


def release(world: World, schedule: SubscriptionSchedule) -> SubscriptionSchedule:
    """End a schedule; its subscription goes on as it is at this moment. Raises `StripeFailure`."""
    _must_be_active(schedule)
    released = world.state.put(
        replace(
            schedule,
            status="released",
            released_at=world.now(),
            released_subscription=schedule.subscription,
            subscription=None,
        )
    )
    world.emit("subscription_schedule.released", released)
    subscription = world.state.get(Subscription, schedule.subscription or "")
    subscriptions.update(world, replace(subscription, schedule=None), {"schedule": schedule.id})
    return released


def _must_be_active(schedule: SubscriptionSchedule) -> None:
    if schedule.status != "active":
        message = (
            f"You cannot change a subscription schedule that is currently in the `{schedule.status}` status; it must "
            "be `not_started` or `active`."
        )
        raise StripeFailure(message)


def cancel_in_portal(world: World, subscription: Subscription, wanted: bool) -> Subscription:
    """A cancel in the portal, or its undoing; what was scheduled is given up for it."""
    schedule = world.state.find(SubscriptionSchedule, subscription.schedule)
    if schedule is not None:
        release(world, schedule)
        subscription = world.state.get(Subscription, subscription.id)
    return subscriptions.set_portal_cancel(world, subscription, wanted)


def schedule_price(world: World, subscription: Subscription, price: Price) -> SubscriptionSchedule:
    """What the portal makes of a cheaper price where it is set to wait for the period's end."""
    found = world.state.find(SubscriptionSchedule, subscription.schedule)
    schedule = found or begin(world, subscription)
    interval = price.interval or "month"
    following = SchedulePhase(
        subscription.period_end,
        period_start(subscription.anchor, interval, price.interval_count, subscription.period_index + 2),
        price.id,
        subscription.quantity,
        "none",
        {},
    )
    return set_phases(world, schedule, (schedule.phases[0], following), {})
