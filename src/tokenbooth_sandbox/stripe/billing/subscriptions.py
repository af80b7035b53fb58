"""What becomes of a subscription apart from its money: its status, its cancellation, its end."""

from dataclasses import replace

from tokenbooth_sandbox.stripe.billing.records import Invoice, Subscription, SubscriptionSchedule
from tokenbooth_sandbox.stripe.http import JsonObject, StripeFailure
from tokenbooth_sandbox.stripe.world import World

_ENDED = ("canceled", "incomplete_expired")


def update(world: World, subscription: Subscription, previous: JsonObject) -> Subscription:
    """Keep a changed subscription and tell of it."""
    world.state.put(subscription)
    world.emit("customer.subscription.updated", subscription, previous)
    return subscription


def set_status(world: World, subscription: Subscription, status: str) -> None:
    if subscription.status == status or subscription.status in _ENDED:
        return
    update(world, replace(subscription, status=status), {"status": subscription.status})


def set_cancel_at_period_end(world: World, subscription: Subscription, wanted: bool) -> Subscription:
    """Let it end with its period, or take that back, as the API does it."""
    must_go_on(subscription)
    if subscription.cancel_at_period_end == wanted and (wanted or subscription.cancel_at is None):
        return subscription
    must_be_free(subscription)
    changed = replace(
        subscription,
        cancel_at_period_end=wanted,
        cancel_at=subscription.period_end if wanted else None,
        canceled_at=world.now() if wanted else None,
        cancel_reason="cancellation_requested" if wanted else None,
    )
    return update(world, changed, {"cancel_at_period_end": subscription.cancel_at_period_end})


def set_portal_cancel(world: World, subscription: Subscription, wanted: bool) -> Subscription:
    """The same from Stripe's own portal: in flexible billing mode a date alone, the flag stays false."""
    must_go_on(subscription)
    must_be_free(subscription)
    changed = replace(
        subscription,
        cancel_at_period_end=False,
        cancel_at=subscription.period_end if wanted else None,
        canceled_at=world.now() if wanted else None,
        cancel_reason="cancellation_requested" if wanted else None,
    )
    return update(world, changed, {"cancel_at": subscription.cancel_at})


def must_go_on(subscription: Subscription) -> None:
    if subscription.status in _ENDED:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise StripeFailure(message)


def must_be_free(subscription: Subscription) -> None:
    """A subscription with a schedule is changed through it; so Stripe refuses to cancel one, and the sandbox, more
    strictly, to change its price."""
    if subscription.schedule is not None:
        message = (
            f"The subscription is managed by the subscription schedule `{subscription.schedule}`, and updating any "
            "cancelation behavior directly is not allowed. Please update the schedule instead."
        )
        raise StripeFailure(message)


def set_quantity(world: World, subscription: Subscription, quantity: int) -> Subscription:
    """Another quantity from now on, without prorations."""
    must_go_on(subscription)
    return update(world, replace(subscription, quantity=quantity), {"quantity": subscription.quantity})


def end(world: World, subscription: Subscription, reason: str = "cancellation_requested") -> Subscription:
    """End it now; its unpaid invoices will not be tried again."""
    now = world.now()
    schedule = world.state.find(SubscriptionSchedule, subscription.schedule)
    if schedule is not None:
        canceled = world.state.put(replace(schedule, status="canceled", canceled_at=now))
        world.emit("subscription_schedule.canceled", canceled)
    ended = world.state.put(
        replace(
            subscription,
            status="canceled",
            canceled_at=subscription.canceled_at or now,
            ended_at=now,
            cancel_reason=subscription.cancel_reason or reason,
        )
    )
    for invoice in world.state.newest(Invoice):
        if invoice.subscription == ended.id and invoice.status in ("draft", "open"):
            world.state.put(replace(invoice, next_attempt_at=None, finalizes_at=None))
    world.emit("customer.subscription.deleted", ended)
    return ended


def next_due(world: World, subscription: Subscription) -> int | None:
    """When time alone changes this subscription next, UTC seconds; None once it has ended."""
    if subscription.status in _ENDED:
        return None
    if subscription.cancel_at is not None:
        return min(subscription.cancel_at, subscription.period_end)
    # Paused and never paid subscriptions stand still.
    return subscription.period_end if subscription.status in ("active", "past_due", "trialing") else None
