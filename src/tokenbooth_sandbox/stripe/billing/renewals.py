"""Periods of subscriptions: the first one, and each that follows.

A renewal goes as at Stripe: the period turns and a draft invoice is made, an hour later it is finalised and charged; a
card that is still refused after all attempts ends the subscription.
"""

from dataclasses import replace

from tokenbooth_sandbox.stripe.billing import subscriptions
from tokenbooth_sandbox.stripe.billing.invoices import charge_invoice, finalized, new_invoice, with_waiting_items
from tokenbooth_sandbox.stripe.billing.periods import period_start
from tokenbooth_sandbox.stripe.billing.records import Invoice, Subscription, SubscriptionSchedule
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import PaymentMethod, Price
from tokenbooth_sandbox.stripe.world import World

_DRAFT_S = 3_600


def begin(
    world: World,
    *,
    customer: str,
    price: Price,
    quantity: int,
    metadata: dict[str, str],
    method: PaymentMethod,
    on_session: bool,
    is_taxed: bool,
) -> tuple[Subscription, Invoice]:
    """Start a subscription and charge its first invoice; a refused card leaves it `incomplete`."""
    if price.interval is None:
        raise StripeFailure("The price specified is of type `one_time`.", param="items[0][price]")
    now = world.now()
    fresh = Subscription(
        world.new_id("sub_"),
        now,
        customer=customer,
        status="incomplete",
        metadata=metadata,
        item_id=world.new_id("si_"),
        price=price.id,
        quantity=quantity,
        currency=price.currency,
        anchor=now,
        period_index=0,
        period_start=now,
        period_end=period_start(now, price.interval, price.interval_count, 1),
        default_payment_method=method.id,
        is_taxed=is_taxed,
    )
    invoice = new_invoice(world, fresh, price, "subscription_create", finalizes_at=None)
    subscription = world.state.put(replace(fresh, latest_invoice=invoice.id))
    world.emit("customer.subscription.created", subscription)
    world.emit("invoice.created", invoice)
    invoice = charge_invoice(world, finalized(world, invoice), on_session=on_session)
    return world.state.get(Subscription, subscription.id), invoice


def turn_period(world: World, subscription: Subscription) -> None:
    """The period is over: end the subscription, or begin the next period with a draft invoice."""
    if subscription.cancel_at is not None and subscription.cancel_at <= world.now():
        subscriptions.end(world, subscription)
        return
    subscription = _in_its_phase(world, subscription)
    price = world.state.get(Price, subscription.price)
    index = subscription.period_index + 1
    interval = price.interval or "month"
    turned = replace(
        subscription,
        period_index=index,
        period_start=subscription.period_end,
        period_end=period_start(subscription.anchor, interval, price.interval_count, index + 1),
    )
    invoice = with_waiting_items(
        world, new_invoice(world, turned, price, "subscription_cycle", finalizes_at=world.now() + _DRAFT_S)
    )
    subscriptions.update(
        world, replace(turned, latest_invoice=invoice.id), {"latest_invoice": subscription.latest_invoice}
    )
    world.emit("invoice.created", invoice)


def _in_its_phase(world: World, subscription: Subscription) -> Subscription:
    """The subscription as the phase says that begins with its next period; a schedule without one lets it go."""
    schedule = world.state.find(SubscriptionSchedule, subscription.schedule)
    if schedule is None:
        return subscription
    begins = subscription.period_end
    phase = next((phase for phase in schedule.phases if phase.start <= begins < phase.end), None)
    if phase is not None:
        return replace(
            subscription,
            price=phase.price,
            quantity=phase.quantity,
            metadata=subscription.metadata | phase.metadata,
        )
    released = world.state.put(
        replace(
            schedule,
            status="released",
            released_at=begins,
            released_subscription=subscription.id,
            subscription=None,
        )
    )
    world.emit("subscription_schedule.released", released)
    return replace(subscription, schedule=None)
