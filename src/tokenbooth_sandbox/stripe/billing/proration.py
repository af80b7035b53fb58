"""Changes of price within a period, and what is given back for the rest of it."""

from dataclasses import replace
from typing import Literal

from tokenbooth_sandbox.stripe.billing import subscriptions
from tokenbooth_sandbox.stripe.billing.invoices import charge_invoice, finalized, new_invoice
from tokenbooth_sandbox.stripe.billing.records import Invoice, InvoiceItem, ProrationLine, Subscription
from tokenbooth_sandbox.stripe.cards import declined
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import Price
from tokenbooth_sandbox.stripe.world import World

Proration = Literal["none", "create_prorations", "always_invoice"]


def change_price(
    world: World, subscription: Subscription, price: Price, *, proration: Proration, since: int | None = None
) -> Subscription:
    """Another price from now on. The difference for the rest of the period, from `since` on (UTC seconds, now if
    None), is invoiced and charged at once, or waits for the next invoice, or is nobody's; a card that is refused leaves
    everything as it was. Raises `StripeFailure`."""
    subscriptions.must_go_on(subscription)
    subscriptions.must_be_free(subscription)
    since = world.now() if since is None else since
    if not subscription.period_start <= since <= subscription.period_end:
        message = "The proration date must be within the current period."
        raise StripeFailure(message, param="proration_date")
    if price.id == subscription.price:
        return subscription
    former = world.state.get(Price, subscription.price)
    if (price.interval, price.interval_count) != (former.interval, former.interval_count):
        raise StripeFailure("The sandbox keeps a subscription's interval.", param="items[0][price]")
    changed = subscriptions.update(world, replace(subscription, price=price.id), {"items": {"data": []}})
    if proration == "none":
        return changed
    lines = _prorated(world, changed, former, price, since)
    if proration == "create_prorations":
        for line in lines:
            _wait_for_invoice(world, changed, line, since)
        return changed
    draft = _proration(world, changed, price, lines, since)
    invoice = charge_invoice(world, finalized(world, draft), on_session=False)
    if invoice.status != "paid":
        raise declined(None)
    return world.state.put(replace(world.state.get(Subscription, changed.id), latest_invoice=invoice.id))


def _prorated(
    world: World, subscription: Subscription, former: Price, price: Price, since: int
) -> tuple[ProrationLine, ...]:
    """What is left of the period at the former price, given back, and at the new one."""
    end = subscription.period_end
    span = end - subscription.period_start
    unused, wanted = (
        (entry.unit_amount * subscription.quantity * (end - since) + span // 2) // span for entry in (former, price)
    )
    return (
        ProrationLine(world.new_id("il_"), former.id, -unused, "Unused time"),
        ProrationLine(world.new_id("il_"), price.id, wanted, "Remaining time"),
    )


def give_back_the_rest(world: World, subscription: Subscription) -> None:
    """What is left of the period waits for the customer's next invoice, as credit."""
    price = world.state.get(Price, subscription.price)
    unused = _prorated(world, subscription, price, price, world.now())[0]
    _wait_for_invoice(world, subscription, unused, world.now())


def _wait_for_invoice(world: World, subscription: Subscription, line: ProrationLine, since: int) -> None:
    item = InvoiceItem(
        world.new_id("ii_"),
        world.now(),
        customer=subscription.customer,
        subscription=subscription.id,
        price=line.price,
        amount=line.amount,
        currency=subscription.currency,
        description=line.description,
        start=since,
        end=subscription.period_end,
    )
    world.emit("invoiceitem.created", world.state.put(item))


def _proration(
    world: World, subscription: Subscription, price: Price, lines: tuple[ProrationLine, ...], since: int
) -> Invoice:
    draft = new_invoice(world, subscription, price, "subscription_update", finalizes_at=None)
    made = replace(
        draft,
        amount=sum(line.amount for line in lines),
        prorations=lines,
        period_start=since,
        period_end=subscription.period_end,
    )
    world.state.put(made)
    world.emit("invoice.created", made)
    return made
