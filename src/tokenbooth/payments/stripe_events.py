"""From a Stripe event to commands for the store.

Events are hints: they may come twice, late, in any order, or never. So an event only says which objects to
fetch fresh, and the commands follow from those objects' present state. Every command is safe to repeat.
Pure: no I/O and no clock. Imported by the inbox job, the reconciler and the composition root.

    refs = needed(event, (), livemode=False)          # fetch these, then ask again until nothing is missing
    commands = translate(event, snapshots, livemode=False)
"""

from dataclasses import dataclass

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.stripe_commands import (
    CheckoutExpired,
    CheckoutFailed,
    CreditTopup,
    GrantPeriod,
    Ignore,
    MarkPaymentFailed,
    StripeCommand,
    UpsertSubscription,
)
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.payments.stripe_snapshots import (
    InvoiceSnapshot,
    SessionSnapshot,
    Snapshot,
    SnapshotKind,
    SubscriptionSnapshot,
    UnexpectedShape,
)
from tokenbooth.payments.stripe_webhooks import WebhookEvent

HANDLED_TYPES: dict[str, SnapshotKind] = {
    "checkout.session.completed": "session",
    "checkout.session.async_payment_succeeded": "session",
    "checkout.session.async_payment_failed": "session",
    "checkout.session.expired": "session",
    "customer.subscription.created": "subscription",
    "customer.subscription.updated": "subscription",
    "customer.subscription.deleted": "subscription",
    "customer.subscription.paused": "subscription",
    "customer.subscription.resumed": "subscription",
    "invoice.paid": "invoice",
    "invoice.payment_failed": "invoice",
}

_STATUSES: dict[str, SubscriptionStatus] = {
    "trialing": SubscriptionStatus.ACTIVE,
    "active": SubscriptionStatus.ACTIVE,
    "past_due": SubscriptionStatus.PAST_DUE,
    "unpaid": SubscriptionStatus.PAST_DUE,
    "incomplete": SubscriptionStatus.INCOMPLETE,
    "paused": SubscriptionStatus.PAUSED,
    "canceled": SubscriptionStatus.CANCELED,
    "incomplete_expired": SubscriptionStatus.CANCELED,
}


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object to fetch from Stripe."""

    kind: SnapshotKind
    object_id: str


class MissingObject(Exception):
    """`translate` was called before everything that `needed` names had been fetched."""

    code = "stripe_missing_object"


def key_is_live(secret_key: str) -> bool:
    """Whether a secret or restricted key belongs to Stripe's live mode."""
    return secret_key.startswith(("sk_live_", "rk_live_"))


def needed(event: WebhookEvent, fetched: tuple[Snapshot, ...], *, livemode: bool) -> tuple[ObjectRef, ...]:
    """What is still to be fetched before `translate` can answer; empty when nothing is.

    `livemode` is the mode of the configured key. One object can name the next, so ask again after each round
    (three at most: session, its subscription and invoice).
    """
    if _not_ours(event, livemode) is not None:
        return ()
    first = ObjectRef(HANDLED_TYPES[event.type], _subject(event))
    subject = _find(first, fetched)
    match subject:
        case None:
            return (first,)
        case SessionSnapshot() if _is_our_subscription(subject):
            wanted = [
                ObjectRef("subscription", subject.subscription_id) if subject.subscription_id else None,
                ObjectRef("invoice", subject.invoice_id) if subject.invoice_id else None,
            ]
        case InvoiceSnapshot() if subject.subscription_id is not None:
            wanted = [ObjectRef("subscription", subject.subscription_id)]
        case _:
            wanted = []
    return tuple(ref for ref in wanted if ref is not None and _find(ref, fetched) is None)


def _is_our_subscription(session: SessionSnapshot) -> bool:
    paid_or_pending = session.mode == "subscription" and session.status == "complete"
    return paid_or_pending and session.owner.account_id is not None


def translate(event: WebhookEvent, fetched: tuple[Snapshot, ...], *, livemode: bool) -> tuple[StripeCommand, ...]:
    """The commands that bring our state to what `fetched` says; `(Ignore(...),)` when there is nothing to do.

    Raises `UnexpectedShape` when an object of ours lacks something that it must have, and `MissingObject`
    when an object that `needed` names is not in `fetched`.
    """
    reason = _not_ours(event, livemode)
    if reason is not None:
        return (Ignore(reason),)
    missing = needed(event, fetched, livemode=livemode)
    if missing:
        raise MissingObject(f"{missing[0].kind} of {event.type} was not fetched")
    subject = _find(ObjectRef(HANDLED_TYPES[event.type], _subject(event)), fetched)
    match subject:
        case SessionSnapshot():
            return _from_session(event, subject, fetched)
        case SubscriptionSnapshot():
            return (_upsert(subject),)
        case InvoiceSnapshot():
            return _from_invoice(subject, fetched)
        case _:
            raise MissingObject(f"the object of {event.type} was not fetched")


def _not_ours(event: WebhookEvent, livemode: bool) -> str | None:
    if event.livemode != livemode:
        return "The event belongs to Stripe's other mode (live or test)."
    if event.type not in HANDLED_TYPES:
        return f"Events of type {event.type} are not used."
    return None


def _subject(event: WebhookEvent) -> str:
    if event.object_id is None:
        raise UnexpectedShape("event.data.object.id", "a text")
    return event.object_id


def _find(ref: ObjectRef, fetched: tuple[Snapshot, ...]) -> Snapshot | None:
    return next((snapshot for snapshot in fetched if ref_of(snapshot) == ref), None)


def ref_of(snapshot: Snapshot) -> ObjectRef:
    """The reference under which a snapshot was fetched."""
    match snapshot:
        case SessionSnapshot():
            return ObjectRef("session", snapshot.session_id)
        case SubscriptionSnapshot():
            return ObjectRef("subscription", snapshot.subscription_id)
        case InvoiceSnapshot():
            return ObjectRef("invoice", snapshot.invoice_id)


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
        status=_STATUSES.get(snapshot.status),
        # A cancel in Stripe's portal arrives as a date alone in flexible billing mode.
        cancel_at_period_end=snapshot.cancel_at_period_end or snapshot.cancel_at_us is not None,
        cancel_at_us=snapshot.cancel_at_us,
        ended_at_us=snapshot.ended_at_us,
        created_at_us=snapshot.created_at_us,
    )


def _from_invoice(invoice: InvoiceSnapshot, fetched: tuple[Snapshot, ...]) -> tuple[StripeCommand, ...]:
    if invoice.subscription_id is None:
        return (Ignore("The invoice belongs to no subscription."),)
    subscription = _find(ObjectRef("subscription", invoice.subscription_id), fetched)
    if not isinstance(subscription, SubscriptionSnapshot):
        raise MissingObject("the subscription of the invoice was not fetched")
    upsert = _upsert(subscription)
    if isinstance(upsert, Ignore):
        return (upsert,)
    return (upsert, *_invoice_effect(invoice, invoice.subscription_id))


def _invoice_effect(invoice: InvoiceSnapshot, subscription_id: str) -> tuple[StripeCommand, ...]:
    """By the invoice's state, not by the event: a failed payment may have been made good since."""
    if invoice.status in ("open", "uncollectible") and invoice.attempt_count > 0:
        return (
            MarkPaymentFailed(
                stripe_subscription_id=subscription_id,
                stripe_invoice_id=invoice.invoice_id,
                attempt_count=invoice.attempt_count,
                next_attempt_at_us=invoice.next_attempt_at_us,
            ),
        )
    return _granted(invoice, subscription_id)


def _granted(invoice: InvoiceSnapshot, subscription_id: str) -> tuple[StripeCommand, ...]:
    """The period of a paid invoice; nothing for any other, nor for one of prorations alone."""
    if invoice.status != "paid" or invoice.period_start_us is None or invoice.period_end_us is None:
        return ()
    return (
        GrantPeriod(
            stripe_subscription_id=subscription_id,
            stripe_invoice_id=invoice.invoice_id,
            period_start_us=invoice.period_start_us,
            period_end_us=invoice.period_end_us,
            amount_paid_nano=invoice.amount_paid_cents * NANO_PER_CENT,
            currency=invoice.currency,
        ),
    )


def _from_session(
    event: WebhookEvent, session: SessionSnapshot, fetched: tuple[Snapshot, ...]
) -> tuple[StripeCommand, ...]:
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
) -> tuple[StripeCommand, ...]:
    if session.payment_status == "paid":
        if session.amount_total_cents is None or session.currency is None:
            raise UnexpectedShape("session.amount_total", "an amount and a currency")
        if session.payment_intent_id is None:
            raise UnexpectedShape("session.payment_intent", "an id")
        return (
            CreditTopup(
                stripe_session_id=session.session_id,
                checkout_id=checkout_id,
                account_id=account_id,
                payment_intent_id=session.payment_intent_id,
                amount_nano=session.amount_total_cents * NANO_PER_CENT,
                currency=session.currency,
            ),
        )
    # A failed delayed payment leaves the session complete and unpaid, as while it is still pending.
    if event.type == "checkout.session.async_payment_failed":
        return (CheckoutFailed(checkout_id, session.session_id, account_id),)
    return (Ignore(f"The checkout session is complete with payment {session.payment_status}."),)


def _from_subscription_checkout(session: SessionSnapshot, fetched: tuple[Snapshot, ...]) -> tuple[StripeCommand, ...]:
    if session.subscription_id is None:
        raise UnexpectedShape("session.subscription", "an id")
    subscription = _find(ObjectRef("subscription", session.subscription_id), fetched)
    if not isinstance(subscription, SubscriptionSnapshot):
        raise MissingObject("the subscription of the session was not fetched")
    upsert = _upsert(subscription)
    if isinstance(upsert, Ignore) or session.invoice_id is None:
        return (upsert,)
    invoice = _find(ObjectRef("invoice", session.invoice_id), fetched)
    if not isinstance(invoice, InvoiceSnapshot):
        raise MissingObject("the invoice of the session was not fetched")
    # An open invoice is not a failure here: a delayed payment may still be under way.
    return (upsert, *_granted(invoice, session.subscription_id))
