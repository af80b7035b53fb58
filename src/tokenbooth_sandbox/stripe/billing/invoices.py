"""Invoices of subscriptions: drafted, finalised, charged, tried again after 3, 5 and 7 days."""

from dataclasses import replace

from tokenbooth_sandbox.stripe.billing import subscriptions
from tokenbooth_sandbox.stripe.billing.periods import DAY_S
from tokenbooth_sandbox.stripe.billing.records import (
    BillingReason,
    Invoice,
    InvoiceItem,
    InvoicePayment,
    ProrationLine,
    Subscription,
)
from tokenbooth_sandbox.stripe.money_flow import Payment, pay
from tokenbooth_sandbox.stripe.records import Customer, PaymentIntent, PaymentMethod, Price, Product
from tokenbooth_sandbox.stripe.world import World

_RETRY_AFTER_S = (3 * DAY_S, 5 * DAY_S, 7 * DAY_S)


def new_invoice(
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


def finalized(world: World, invoice: Invoice) -> Invoice:
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
    subscriptions.set_status(world, subscription, "active")
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
        subscriptions.set_status(world, subscription, "past_due")
        if not again:
            subscriptions.end(world, world.state.get(Subscription, subscription.id), "payment_failed")
    return failed


def with_waiting_items(world: World, invoice: Invoice) -> Invoice:
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


def work_on_invoice(world: World, invoice: Invoice) -> None:
    """The hour of a draft is over, or another attempt is due."""
    final = finalized(world, invoice) if invoice.status == "draft" else invoice
    charge_invoice(world, final, on_session=False)
