"""The events that we use, and the objects that have to be fetched for each.

Events are hints: they may come twice, late, in any order, or never. An event only says which objects to fetch fresh;
`translation` says what follows from their present state.

    refs = needed(event, (), livemode=False)          # fetch these, then ask again until nothing is missing
"""

from dataclasses import dataclass
from typing import Final

from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.payments.stripe.snapshots import (
    DisputeSnapshot,
    InvoiceSnapshot,
    OriginSnapshot,
    PaymentSnapshot,
    RefundSnapshot,
    ScheduleSnapshot,
    SessionSnapshot,
    Snapshot,
    SnapshotKind,
    SubscriptionSnapshot,
)
from tokenbooth.payments.stripe.webhooks import WebhookEvent

HANDLED_TYPES: Final[dict[str, SnapshotKind]] = {
    "checkout.session.completed": "session",
    "checkout.session.async_payment_succeeded": "session",
    "checkout.session.async_payment_failed": "session",
    "checkout.session.expired": "session",
    "customer.subscription.created": "subscription",
    "customer.subscription.updated": "subscription",
    "customer.subscription.deleted": "subscription",
    "customer.subscription.paused": "subscription",
    "customer.subscription.resumed": "subscription",
    "subscription_schedule.created": "schedule",
    "subscription_schedule.updated": "schedule",
    "subscription_schedule.released": "schedule",
    "subscription_schedule.canceled": "schedule",
    "subscription_schedule.completed": "schedule",
    "invoice.paid": "invoice",
    "invoice.payment_failed": "invoice",
    "payment_intent.succeeded": "payment",
    "payment_intent.payment_failed": "payment",
    "refund.created": "refund",
    "refund.updated": "refund",
    "refund.failed": "refund",
    "charge.dispute.created": "dispute",
    "charge.dispute.updated": "dispute",
    "charge.dispute.funds_withdrawn": "dispute",
    "charge.dispute.funds_reinstated": "dispute",
    "charge.dispute.closed": "dispute",
}

ENDPOINT_EVENTS: Final = (*HANDLED_TYPES, "invoice.created")
"""What the webhook endpoint subscribes to. Stripe waits for an answer to `invoice.created` before it charges a
renewal, for up to three days, so that one is wanted although it has no effect here."""

DIRECT: Final = "direct_top_up"
"""The purpose in the metadata of a payment that we made with a saved card."""


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object to fetch from Stripe."""

    kind: SnapshotKind
    object_id: str


def needed(event: WebhookEvent, fetched: tuple[Snapshot, ...], *, livemode: bool) -> tuple[ObjectRef, ...]:
    """What is still to be fetched before `translate` can answer; empty when nothing is.

    `livemode` is the mode of the configured key. One object can name the next, so ask again after each round
    (six at most: a dispute, its payment, where that came from, the session, its invoice, its subscription).
    """
    if why_ignored(event, livemode) is not None:
        return ()
    known = {ref_of(snapshot) for snapshot in fetched}
    wanted = [subject_of(event)]
    reversing = wanted[0].kind in ("refund", "dispute")
    for snapshot in fetched:
        wanted += _named_by(snapshot, reversing=reversing)
    return tuple(dict.fromkeys(ref for ref in wanted if ref not in known))


def _named_by(snapshot: Snapshot, *, reversing: bool) -> list[ObjectRef]:
    """What has to be known beside an object; for a refund or dispute everything that its payment paid for."""
    match snapshot:
        case SessionSnapshot() if _is_our_subscription(snapshot):
            return refs(("subscription", snapshot.subscription_id), ("invoice", snapshot.invoice_id))
        case InvoiceSnapshot() | ScheduleSnapshot():
            return refs(("subscription", snapshot.subscription_id))
        case RefundSnapshot() | DisputeSnapshot():
            return refs(("payment", snapshot.payment_intent_id))
        case PaymentSnapshot() if reversing and snapshot.owner.purpose != DIRECT:
            return refs(("origin", snapshot.payment_intent_id))
        case OriginSnapshot():
            return refs(("session", snapshot.session_id), ("invoice", snapshot.invoice_id))
        case _:
            return []


def refs(*named: tuple[SnapshotKind, str | None]) -> list[ObjectRef]:
    """References to the objects that have an id."""
    return [ObjectRef(kind, object_id) for kind, object_id in named if object_id is not None]


def _is_our_subscription(session: SessionSnapshot) -> bool:
    paid_or_pending = session.mode == "subscription" and session.status == "complete"
    return paid_or_pending and session.owner.account_id is not None


def why_ignored(event: WebhookEvent, livemode: bool) -> str | None:
    """Why an event has no effect, whatever its object is; None for one that may have."""
    if event.livemode != livemode:
        return "The event belongs to Stripe's other mode (live or test)."
    if event.type not in HANDLED_TYPES:
        return f"Events of type {event.type} are not used."
    return None


def subject_of(event: WebhookEvent) -> ObjectRef:
    """The object that an event is about. Raises `UnexpectedShape` when it names none."""
    if event.object_id is None:
        raise UnexpectedShape("event.data.object.id", "a text")
    return ObjectRef(HANDLED_TYPES[event.type], event.object_id)


def ref_of(snapshot: Snapshot) -> ObjectRef:
    """The reference under which a snapshot was fetched."""
    match snapshot:
        case SessionSnapshot():
            return ObjectRef("session", snapshot.session_id)
        case SubscriptionSnapshot():
            return ObjectRef("subscription", snapshot.subscription_id)
        case ScheduleSnapshot():
            return ObjectRef("schedule", snapshot.schedule_id)
        case InvoiceSnapshot():
            return ObjectRef("invoice", snapshot.invoice_id)
        case PaymentSnapshot():
            return ObjectRef("payment", snapshot.payment_intent_id)
        case OriginSnapshot():
            return ObjectRef("origin", snapshot.payment_intent_id)
        case RefundSnapshot():
            return ObjectRef("refund", snapshot.refund_id)
        case DisputeSnapshot():
            return ObjectRef("dispute", snapshot.dispute_id)
