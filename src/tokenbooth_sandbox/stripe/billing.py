"""Subscriptions and their invoices: begun, changed, renewed, ended. Imported within the sandbox.

A renewal goes as at Stripe: the period turns and a draft invoice is made, an hour later it is finalised and
charged; a refused card is tried again after 3, 5 and 7 days, and then the subscription is canceled.
"""

from dataclasses import replace
from typing import Literal

from tokenbooth_sandbox.stripe.cards import declined
from tokenbooth_sandbox.stripe.http import JsonObject, StripeFailure
from tokenbooth_sandbox.stripe.money_flow import Payment, pay
from tokenbooth_sandbox.stripe.periods import DAY_S, period_start
from tokenbooth_sandbox.stripe.records import (
    BillingReason,
    Customer,
    Invoice,
    InvoiceItem,
    InvoicePayment,
    PaymentIntent,
    PaymentMethod,
    Price,
    Product,
    ProrationLine,
    Subscription,
    SubscriptionSchedule,
)
from tokenbooth_sandbox.stripe.world import World

Proration = Literal["none", "create_prorations", "always_invoice"]

DRAFT_S = 3_600
_RETRY_AFTER_S = (3 * DAY_S, 5 * DAY_S, 7 * DAY_S)
_ENDED = ("canceled", "incomplete_expired")


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
    invoice = _new_invoice(world, fresh, price, "subscription_create", finalizes_at=None)
    subscription = world.state.put(replace(fresh, latest_invoice=invoice.id))
    world.emit("customer.subscription.created", subscription)
    world.emit("invoice.created", invoice)
    invoice = charge_invoice(world, _finalized(world, invoice), on_session=on_session)
    return world.state.get(Subscription, subscription.id), invoice


def _new_invoice(
    world: World, subscription: Subscription, price: Price, reason: BillingReason, *, finalizes_at: int | None
) -> Invoice:
    product = world.state.get(Product, price.product)
    return world.state.put(
        Invoice(
            world.new_id("in_"),
            world.now(),
            customer=subscription.customer,
            subscription=subscription.id,
            subscription_metadata=subscription.metadata,
            item_id=subscription.item_id,
            line_id=world.new_id("il_"),
            price=price.id,
            quantity=subscription.quantity,
            description=f"{subscription.quantity} × {product.name}",
            status="draft",
            billing_reason=reason,
            amount=price.unit_amount * subscription.quantity,
            currency=price.currency,
            period_start=subscription.period_start,
            period_end=subscription.period_end,
            finalizes_at=finalizes_at,
            is_taxed=subscription.is_taxed,
            inclusive=world.settings.inclusive_tax,
        )
    )


def _finalized(world: World, invoice: Invoice) -> Invoice:
    """From a draft to an open invoice; the customer's credit pays what it can of it, a negative one adds to it."""
    number = f"SANDBOX-{world.count('invoice'):04d}"
    owner = world.state.get(Customer, invoice.customer)
    applied = min(max(-owner.balance, 0), max(invoice.total, 0))
    world.state.put(replace(owner, balance=owner.balance + applied + min(invoice.total, 0)))
    final = world.state.put(
        replace(
            invoice,
            status="open",
            number=number,
            finalizes_at=None,
            finalized_at=world.now(),
            applied=applied,
        )
    )
    world.emit("invoice.finalized", final)
    return final


def charge_invoice(world: World, invoice: Invoice, *, on_session: bool) -> Invoice:
    """Try to have an open invoice paid with the subscription's card."""
    subscription = world.state.get(Subscription, invoice.subscription)
    if invoice.amount_due == 0:
        return _settled(world, subscription, replace(invoice, attempt_count=invoice.attempt_count + 1), None)
    method = _method_of(world, subscription)
    payment = Payment(
        amount=invoice.amount_due,
        currency=invoice.currency,
        customer=invoice.customer,
        method=method,
        description=(
            "Subscription creation" if invoice.billing_reason == "subscription_create" else "Subscription update"
        ),
        metadata={},
    )
    intent = pay(world, payment, on_session=on_session)
    invoice_payment = _note_attempt(world, invoice, intent)
    attempted = replace(invoice, attempt_count=invoice.attempt_count + 1)
    if intent.status != "succeeded":
        return _payment_failed(world, subscription, attempted)
    return _settled(world, subscription, attempted, invoice_payment)


def _settled(world: World, subscription: Subscription, invoice: Invoice, payment: InvoicePayment | None) -> Invoice:
    settled = world.state.put(replace(invoice, status="paid", paid_at=world.now(), next_attempt_at=None))
    _set_status(world, subscription, "active")
    if payment is not None:
        world.emit("invoice_payment.paid", payment)
    world.emit("invoice.paid", settled)
    world.emit("invoice.payment_succeeded", settled)
    return settled


def _note_attempt(world: World, invoice: Invoice, intent: PaymentIntent) -> InvoicePayment:
    """The invoice's one payment, which each attempt brings up to date."""
    known = (made for made in world.state.newest(InvoicePayment) if made.invoice == invoice.id)
    payment = next(known, None) or InvoicePayment(
        world.new_id("inpay_"),
        world.now(),
        invoice=invoice.id,
        payment_intent=intent.id,
        amount=invoice.amount_due,
        currency=invoice.currency,
        status="open",
    )
    paid = intent.status == "succeeded"
    return world.state.put(
        replace(
            payment,
            payment_intent=intent.id,
            status="paid" if paid else "open",
            paid_at=world.now() if paid else None,
        )
    )


def _method_of(world: World, subscription: Subscription) -> PaymentMethod:
    method_id = subscription.default_payment_method
    if method_id is None:
        method_id = world.state.get(Customer, subscription.customer).default_payment_method
    return world.state.get(PaymentMethod, method_id or "", param="default_payment_method")


def _payment_failed(world: World, subscription: Subscription, invoice: Invoice) -> Invoice:
    retries_used = invoice.attempt_count - 1
    again = invoice.billing_reason == "subscription_cycle" and retries_used < len(_RETRY_AFTER_S)
    next_attempt_at = world.now() + _RETRY_AFTER_S[retries_used] if again else None
    failed = world.state.put(replace(invoice, next_attempt_at=next_attempt_at))
    world.emit("invoice.payment_failed", failed)
    if invoice.billing_reason == "subscription_cycle":
        _set_status(world, subscription, "past_due")
        if not again:
            end(world, world.state.get(Subscription, subscription.id), "payment_failed")
    return failed


def _set_status(world: World, subscription: Subscription, status: str) -> None:
    if subscription.status == status or subscription.status in _ENDED:
        return
    update(world, replace(subscription, status=status), {"status": subscription.status})


def update(world: World, subscription: Subscription, previous: JsonObject) -> Subscription:
    """Keep a changed subscription and tell of it."""
    world.state.put(subscription)
    world.emit("customer.subscription.updated", subscription, previous)
    return subscription


def change_price(
    world: World, subscription: Subscription, price: Price, *, proration: Proration, since: int | None = None
) -> Subscription:
    """Another price from now on. The difference for the rest of the period, from `since` on (UTC seconds, now if
    None), is invoiced and charged at once, or waits for the next invoice, or is nobody's; a card that is refused leaves
    everything as it was. Raises `StripeFailure`."""
    _must_go_on(subscription)
    _must_be_free(subscription)
    since = world.now() if since is None else since
    if not subscription.period_start <= since <= subscription.period_end:
        message = "The proration date must be within the current period."
        raise StripeFailure(message, param="proration_date")
    if price.id == subscription.price:
        return subscription
    former = world.state.get(Price, subscription.price)
    if (price.interval, price.interval_count) != (former.interval, former.interval_count):
        raise StripeFailure("The sandbox keeps a subscription's interval.", param="items[0][price]")
    changed = update(world, replace(subscription, price=price.id), {"items": {"data": []}})
    if proration == "none":
        return changed
    lines = _prorated(world, changed, former, price, since)
    if proration == "create_prorations":
        for line in lines:
            _wait_for_invoice(world, changed, line, since)
        return changed
    draft = _proration(world, changed, price, lines, since)
    invoice = charge_invoice(world, _finalized(world, draft), on_session=False)
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
    draft = _new_invoice(world, subscription, price, "subscription_update", finalizes_at=None)
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


def set_cancel_at_period_end(world: World, subscription: Subscription, wanted: bool) -> Subscription:
    """Let it end with its period, or take that back, as the API does it."""
    _must_go_on(subscription)
    if subscription.cancel_at_period_end == wanted and (wanted or subscription.cancel_at is None):
        return subscription
    _must_be_free(subscription)
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
    _must_go_on(subscription)
    _must_be_free(subscription)
    changed = replace(
        subscription,
        cancel_at_period_end=False,
        cancel_at=subscription.period_end if wanted else None,
        canceled_at=world.now() if wanted else None,
        cancel_reason="cancellation_requested" if wanted else None,
    )
    return update(world, changed, {"cancel_at": subscription.cancel_at})


def _must_go_on(subscription: Subscription) -> None:
    if subscription.status in _ENDED:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise StripeFailure(message)


def _must_be_free(subscription: Subscription) -> None:
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
    _must_go_on(subscription)
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


def turn_period(world: World, subscription: Subscription) -> None:
    """The period is over: end the subscription, or begin the next period with a draft invoice."""
    if subscription.cancel_at is not None and subscription.cancel_at <= world.now():
        end(world, subscription)
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
    invoice = _with_waiting_items(
        world, _new_invoice(world, turned, price, "subscription_cycle", finalizes_at=world.now() + DRAFT_S)
    )
    update(world, replace(turned, latest_invoice=invoice.id), {"latest_invoice": subscription.latest_invoice})
    world.emit("invoice.created", invoice)


def _with_waiting_items(world: World, invoice: Invoice) -> Invoice:
    """A renewal's invoice takes in what waited for it."""
    waiting = [
        item
        for item in world.state.newest(InvoiceItem)
        if item.invoice is None and item.subscription == invoice.subscription
    ]
    for item in waiting:
        world.state.put(replace(item, invoice=invoice.id))
    lines = tuple(
        ProrationLine(world.new_id("il_"), item.price, item.amount, item.description) for item in reversed(waiting)
    )
    total = invoice.amount + sum(line.amount for line in lines)
    return world.state.put(replace(invoice, amount=total, prorations=lines))


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


def work_on_invoice(world: World, invoice: Invoice) -> None:
    """The hour of a draft is over, or another attempt is due."""
    final = _finalized(world, invoice) if invoice.status == "draft" else invoice
    charge_invoice(world, final, on_session=False)
