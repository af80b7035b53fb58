"""From a Stripe event and the present state of its objects to commands for the store.

Every command is safe to repeat. Pure: no I/O and no clock.

    commands = translate(event, snapshots, livemode=False)
"""

from typing import Final

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.payment_commands import (
    BookProration,
    CheckoutExpired,
    CheckoutFailed,
    CreditDirect,
    CreditTopup,
    DirectFailed,
    GrantPeriod,
    Ignore,
    MarkPaymentFailed,
    PaymentCommand,
    ReversalKind,
    SettleReversal,
    UpsertSubscription,
)
from tokenbooth.domain.plan_changes import PendingPlan, PlanAtStripe, SoldPlan
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.payments.stripe.events import DIRECT, ObjectRef, needed, ref_of, refs, subject_of, why_ignored
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.payments.stripe.snapshots import (
    DisputeSnapshot,
    InvoiceSnapshot,
    OriginSnapshot,
    PaymentSnapshot,
    PriceSnapshot,
    RefundSnapshot,
    ScheduleSnapshot,
    SessionSnapshot,
    Snapshot,
    SubscriptionSnapshot,
)
from tokenbooth.payments.stripe.webhooks import WebhookEvent

_REFUND_HOLDS: Final = {"pending": True, "requires_action": True, "succeeded": True, "failed": False, "canceled": False}

_STATUSES: Final = {
    "trialing": SubscriptionStatus.ACTIVE,
    "active": SubscriptionStatus.ACTIVE,
    "past_due": SubscriptionStatus.PAST_DUE,
    "unpaid": SubscriptionStatus.PAST_DUE,
    "incomplete": SubscriptionStatus.INCOMPLETE,
    "paused": SubscriptionStatus.PAUSED,
    "canceled": SubscriptionStatus.CANCELED,
    "incomplete_expired": SubscriptionStatus.CANCELED,
}


class MissingObject(Exception):
    """`translate` was called before everything that `needed` names had been fetched."""

    code = "stripe_missing_object"


def translate(event: WebhookEvent, fetched: tuple[Snapshot, ...], *, livemode: bool) -> tuple[PaymentCommand, ...]:
    """The commands that bring our state to what `fetched` says; `(Ignore(...),)` when there is nothing to do.

    Raises `UnexpectedShape` when an object of ours lacks something that it must have, and `MissingObject`
    when an object that `needed` names is not in `fetched`.
    """
    reason = why_ignored(event, livemode)
    if reason is not None:
        return (Ignore(reason),)
    missing = needed(event, fetched, livemode=livemode)
    if missing:
        raise MissingObject(f"{missing[0].kind} of {event.type} was not fetched")
    match _find(subject_of(event), fetched):
        case SessionSnapshot() as session:
            return _from_session(event, session, fetched)
        case SubscriptionSnapshot() as subscription:
            return (_upsert(subscription),)
        case ScheduleSnapshot() as schedule:
            return (_from_schedule(schedule, fetched),)
        case InvoiceSnapshot() as invoice:
            return _from_invoice(invoice, fetched)
        case PaymentSnapshot() as payment:
            return (_from_payment(payment),)
        case RefundSnapshot() | DisputeSnapshot() as reversal:
            return _from_reversal(event, reversal, fetched)
        case _:
            raise MissingObject(f"the object of {event.type} was not fetched")


def _find(ref: ObjectRef, fetched: tuple[Snapshot, ...]) -> Snapshot | None:
    return next((snapshot for snapshot in fetched if ref_of(snapshot) == ref), None)


def _subscription(subscription_id: str, fetched: tuple[Snapshot, ...]) -> SubscriptionSnapshot:
    found = _find(ObjectRef("subscription", subscription_id), fetched)
    if not isinstance(found, SubscriptionSnapshot):
        raise MissingObject("a subscription was not fetched")
    return found


def status_of(snapshot: SubscriptionSnapshot) -> SubscriptionStatus | None:
    """Our status for Stripe's; None for one that this version does not know."""
    return _STATUSES.get(snapshot.status)


def _upsert(snapshot: SubscriptionSnapshot) -> UpsertSubscription | Ignore:
    owner = snapshot.owner
    if owner.account_id is None:
        return Ignore("The subscription is not one of ours.")
    if owner.plan_slug is None:
        raise UnexpectedShape("subscription.metadata.plan_slug", "a text")
    return UpsertSubscription(
        stripe_subscription_id=snapshot.subscription_id,
        account_id=owner.account_id,
        checkout_id=owner.checkout_id,
        plan_slug=owner.plan_slug,
        status=status_of(snapshot),
        # A cancel in Stripe's portal arrives as a date alone in flexible billing mode.
        cancel_at_period_end=snapshot.cancel_at_period_end or snapshot.cancel_at_us is not None,
        cancel_at_us=snapshot.cancel_at_us,
        ended_at_us=snapshot.ended_at_us,
        created_at_us=snapshot.created_at_us,
        billed=_billed(snapshot),
    )


def sold_plan(price: PriceSnapshot) -> SoldPlan | None:
    """The plan that a price is of; None for a price that is no plan's."""
    if price.plan_slug is None or price.unit_cents is None:
        return None
    return SoldPlan(price.plan_slug, price.unit_cents * NANO_PER_CENT)


def _billed(snapshot: SubscriptionSnapshot) -> PlanAtStripe | None:
    price, following = snapshot.price, snapshot.following
    if price is None:
        return None
    next_plan = None if following is None or following.price is None else sold_plan(following.price)
    return PlanAtStripe(
        plan=sold_plan(price),
        interval=price.interval,
        currency=price.currency,
        quantity=snapshot.quantity,
        period_start_us=snapshot.period_start_us,
        following=None if following is None or next_plan is None else PendingPlan(next_plan, following.starts_at_us),
        following_checkout_id=None if following is None else following.checkout_id,
        credited_nano=snapshot.credited_cents * NANO_PER_CENT,
    )


def _from_schedule(schedule: ScheduleSnapshot, fetched: tuple[Snapshot, ...]) -> PaymentCommand:
    if schedule.subscription_id is None:
        return Ignore("The schedule manages no subscription.")
    return _upsert(_subscription(schedule.subscription_id, fetched))


def _from_invoice(invoice: InvoiceSnapshot, fetched: tuple[Snapshot, ...]) -> tuple[PaymentCommand, ...]:
    if invoice.subscription_id is None:
        return (Ignore("The invoice belongs to no subscription."),)
    return invoice_commands(invoice, _subscription(invoice.subscription_id, fetched))


def invoice_commands(invoice: InvoiceSnapshot, subscription: SubscriptionSnapshot) -> tuple[PaymentCommand, ...]:
    """What a subscription and one of its invoices lead to."""
    upsert = _upsert(subscription)
    if isinstance(upsert, Ignore):
        return (upsert,)
    return (upsert, *_invoice_effect(invoice, subscription))


def _invoice_effect(invoice: InvoiceSnapshot, subscription: SubscriptionSnapshot) -> tuple[PaymentCommand, ...]:
    """By the invoice's state, not by the event: a failed payment may have been made good since."""
    if invoice.status in ("open", "uncollectible") and invoice.attempt_count > 0:
        return (
            MarkPaymentFailed(
                stripe_subscription_id=subscription.subscription_id,
                stripe_invoice_id=invoice.invoice_id,
                attempt_count=invoice.attempt_count,
                next_attempt_at_us=invoice.next_attempt_at_us,
            ),
        )
    return _granted(invoice, subscription)


def _granted(invoice: InvoiceSnapshot, subscription: SubscriptionSnapshot) -> tuple[PaymentCommand, ...]:
    """The period of a paid invoice, or the payment of one of prorations alone; nothing for any other."""
    if invoice.status != "paid":
        return ()
    if invoice.period_start_us is None or invoice.period_end_us is None:
        return (
            BookProration(
                stripe_subscription_id=subscription.subscription_id,
                stripe_invoice_id=invoice.invoice_id,
                amount_paid_nano=invoice.amount_paid_cents * NANO_PER_CENT,
                tax_nano=_tax_nano(invoice),
                currency=invoice.currency,
                payment_intent_id=invoice.payment_intent_id,
                pays_for=_prorated_plan(invoice, subscription),
                credited_nano=max(-invoice.proration_cents, 0) * NANO_PER_CENT,
            ),
        )
    return (
        GrantPeriod(
            stripe_subscription_id=subscription.subscription_id,
            stripe_invoice_id=invoice.invoice_id,
            period_start_us=invoice.period_start_us,
            period_end_us=invoice.period_end_us,
            list_nano=invoice.list_cents * NANO_PER_CENT,
            amount_paid_nano=invoice.amount_paid_cents * NANO_PER_CENT,
            tax_nano=_tax_nano(invoice),
            currency=invoice.currency,
            payment_intent_id=invoice.payment_intent_id,
            credited_nano=max(-invoice.proration_cents, 0) * NANO_PER_CENT,
        ),
    )


def _prorated_plan(invoice: InvoiceSnapshot, subscription: SubscriptionSnapshot) -> SoldPlan | None:
    """The plan that an invoice of prorations paid for, while it is still the one that is billed."""
    price = subscription.price
    if price is None or invoice.prorated_price_id != price.price_id:
        return None
    return sold_plan(price)


def _tax_nano(invoice: InvoiceSnapshot) -> int:
    """The tax in what was paid; the customer's credit may have paid all or a part of it."""
    return min(invoice.tax_cents, invoice.amount_paid_cents) * NANO_PER_CENT


def credit_direct(payment: PaymentSnapshot, checkout_id: str, account_id: str) -> CreditDirect:
    """What a charge of a saved card brings once it succeeded."""
    return CreditDirect(
        checkout_id=checkout_id,
        account_id=account_id,
        payment_intent_id=payment.payment_intent_id,
        amount_nano=(payment.amount_received_cents - payment.tax.added_cents) * NANO_PER_CENT,
        currency=payment.currency,
        tax_nano=payment.tax.added_cents * NANO_PER_CENT,
        tax_included_nano=payment.tax.included_cents * NANO_PER_CENT,
    )


def _from_payment(payment: PaymentSnapshot) -> PaymentCommand:
    """Only of payments that we made with a saved card; others are told of by their session or invoice."""
    owner = payment.owner
    if owner.purpose != DIRECT or owner.account_id is None:
        return Ignore("The payment is told of by its session or invoice, or is not one of ours.")
    if owner.checkout_id is None:
        raise UnexpectedShape("payment_intent.metadata.checkout_id", "a text")
    match payment.status:
        case "succeeded":
            return credit_direct(payment, owner.checkout_id, owner.account_id)
        case "requires_payment_method" | "requires_action" | "canceled":
            reason = payment.failure_code or payment.status
            return DirectFailed(owner.checkout_id, owner.account_id, payment.payment_intent_id, reason)
        case _:
            return Ignore(f"The payment is {payment.status}.")


def _from_reversal(
    event: WebhookEvent, reversal: RefundSnapshot | DisputeSnapshot, fetched: tuple[Snapshot, ...]
) -> tuple[PaymentCommand, ...]:
    """What the payment brought, then what is taken back of it: so a refund cannot come before its credit."""
    payment_intent_id = reversal.payment_intent_id
    payment = _find(ObjectRef("payment", payment_intent_id or ""), fetched)
    if payment_intent_id is None or not isinstance(payment, PaymentSnapshot):
        return (Ignore("What is taken back was not paid by a payment intent."),)
    brought = _brought(event, payment, fetched)
    if any(isinstance(command, Ignore) for command in brought):
        return brought
    if isinstance(reversal, RefundSnapshot):
        kind, reversal_id, taken_cents = ReversalKind.REFUND, reversal.refund_id, _refunded_cents(reversal)
    else:
        kind, reversal_id, taken_cents = ReversalKind.DISPUTE, reversal.dispute_id, reversal.withdrawn_cents
    settle = SettleReversal(
        reversal_id=reversal_id,
        kind=kind,
        payment_intent_id=payment_intent_id,
        taken_nano=max(taken_cents, 0) * NANO_PER_CENT,
        currency=reversal.currency,
    )
    return (*brought, settle)


def _refunded_cents(refund: RefundSnapshot) -> int:
    if refund.status not in _REFUND_HOLDS:
        raise UnexpectedShape("refund.status", "a status of this API version")
    return refund.amount_cents if _REFUND_HOLDS[refund.status] else 0


def _brought(
    event: WebhookEvent, payment: PaymentSnapshot, fetched: tuple[Snapshot, ...]
) -> tuple[PaymentCommand, ...]:
    if payment.owner.purpose == DIRECT:
        return (_from_payment(payment),)
    origin = _find(ObjectRef("origin", payment.payment_intent_id), fetched)
    if not isinstance(origin, OriginSnapshot):
        raise MissingObject("what the payment paid for was not fetched")
    for ref in refs(("invoice", origin.invoice_id), ("session", origin.session_id)):
        match _find(ref, fetched):
            case InvoiceSnapshot() as invoice:
                return _from_invoice(invoice, fetched)
            case SessionSnapshot() as session:
                return _from_session(event, session, fetched)
            case _:
                raise MissingObject(f"the {ref.kind} of the payment was not fetched")
    return (Ignore("What is taken back was not paid for anything of ours."),)


def _from_session(
    event: WebhookEvent, session: SessionSnapshot, fetched: tuple[Snapshot, ...]
) -> tuple[PaymentCommand, ...]:
    account_id, checkout_id = session.owner.account_id, session.owner.checkout_id
    if account_id is None:
        return (Ignore("The checkout session is not one of ours."),)
    if checkout_id is None:
        raise UnexpectedShape("session.metadata.checkout_id", "a text")
    match session.status, session.mode:
        case "expired", _:
            return (CheckoutExpired(checkout_id, session.session_id, account_id),)
        case "complete", "payment":
            return _from_topup(event, session, account_id, checkout_id)
        case "complete", "subscription":
            return _from_subscription_checkout(session, fetched)
        case _:
            return (Ignore(f"The checkout session is {session.status} in mode {session.mode}."),)


def _from_topup(
    event: WebhookEvent, session: SessionSnapshot, account_id: str, checkout_id: str
) -> tuple[PaymentCommand, ...]:
    if session.payment_status == "paid":
        subtotal_cents, total_cents = session.amount_subtotal_cents, session.amount_total_cents
        if subtotal_cents is None or total_cents is None or session.currency is None:
            raise UnexpectedShape("session.amount_total", "an amount and a currency")
        if session.payment_intent_id is None:
            raise UnexpectedShape("session.payment_intent", "an id")
        return (
            CreditTopup(
                stripe_session_id=session.session_id,
                checkout_id=checkout_id,
                account_id=account_id,
                payment_intent_id=session.payment_intent_id,
                amount_nano=subtotal_cents * NANO_PER_CENT,
                tax_nano=(total_cents - subtotal_cents) * NANO_PER_CENT,
                currency=session.currency,
                # Where the price has the tax inside, the total is that of the prices alone.
                tax_included_nano=max(session.tax_cents - (total_cents - subtotal_cents), 0) * NANO_PER_CENT,
            ),
        )
    # A failed delayed payment leaves the session complete and unpaid, as while it is still pending.
    if event.type == "checkout.session.async_payment_failed":
        return (CheckoutFailed(checkout_id, session.session_id, account_id),)
    return (Ignore(f"The checkout session is complete with payment {session.payment_status}."),)


def _from_subscription_checkout(session: SessionSnapshot, fetched: tuple[Snapshot, ...]) -> tuple[PaymentCommand, ...]:
    if session.subscription_id is None:
        raise UnexpectedShape("session.subscription", "an id")
    subscription = _subscription(session.subscription_id, fetched)
    upsert = _upsert(subscription)
    if isinstance(upsert, Ignore) or session.invoice_id is None:
        return (upsert,)
    invoice = _find(ObjectRef("invoice", session.invoice_id), fetched)
    if not isinstance(invoice, InvoiceSnapshot):
        raise MissingObject("the invoice of the session was not fetched")
    # An open invoice is not a failure here: a delayed payment may still be under way.
    return (upsert, *_granted(invoice, subscription))
