"""Stripe's objects as far as we know them: what was read of one, at one time."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Ownership:
    """Our own marks in an object's metadata; None where the object does not carry them."""

    account_id: str | None
    checkout_id: str | None
    plan_slug: str | None
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class PriceSnapshot:
    """A price as Stripe has it. `plan_slug` is our mark on it; `unit_cents` is None for a price in other steps."""

    price_id: str
    plan_slug: str | None
    currency: str
    unit_cents: int | None
    interval: str | None


@dataclass(frozen=True, slots=True)
class FollowingPhase:
    """What a schedule makes of a subscription next. `price` is None where only its id was told."""

    starts_at_us: int
    price: PriceSnapshot | None
    checkout_id: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionSnapshot:
    """A subscription as Stripe has it now. `period_*_us` and the price are those of its one item.

    `schedule_id` is that of a schedule that manages it, `following` the phase to come, where the schedule was fetched
    along. `credited_cents` is what Stripe gave back for the rest of the period, for a change that we did not make or
    for an early end.
    """

    subscription_id: str
    customer_id: str
    livemode: bool
    status: str
    owner: Ownership
    cancel_at_period_end: bool
    cancel_at_us: int | None
    ended_at_us: int | None
    created_at_us: int
    period_start_us: int
    period_end_us: int
    latest_invoice_id: str | None
    item_id: str
    price: PriceSnapshot | None = None
    quantity: int = 1
    schedule_id: str | None = None
    following: FollowingPhase | None = None
    credited_cents: int = 0

    @property
    def is_changed_elsewhere(self) -> bool:
        """Whether its price is not that of the plan that we noted on it last."""
        return self.price is not None and self.price.plan_slug != self.owner.plan_slug

    @property
    def is_ended_early(self) -> bool:
        """Whether it ended before its period did."""
        return self.ended_at_us is not None and self.ended_at_us < self.period_end_us


@dataclass(frozen=True, slots=True)
class InvoiceSnapshot:
    """An invoice as Stripe has it now.

    `subscription_id` is None for an invoice that no subscription made. The period is that of its one kind
    of ordinary (not prorated) line, None when it has prorations only; `list_cents` is what those lines come
    to, `proration_cents` what the others do; `prorated_price_id` is the price that those charge for. Amounts are in
    the currency's smallest unit. `payment_intent_id` is of the payment that paid it, None
    when nothing had to be paid.
    """

    invoice_id: str
    livemode: bool
    status: str
    subscription_id: str | None
    amount_paid_cents: int
    currency: str
    period_start_us: int | None
    period_end_us: int | None
    attempt_count: int
    next_attempt_at_us: int | None
    list_cents: int
    tax_cents: int
    payment_intent_id: str | None
    proration_cents: int = 0
    prorated_price_id: str | None = None


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A checkout session as Stripe has it now. `amount_total_cents` is in the currency's smallest unit."""

    session_id: str
    livemode: bool
    mode: str
    status: str
    payment_status: str
    owner: Ownership
    customer_id: str | None
    subscription_id: str | None
    invoice_id: str | None
    payment_intent_id: str | None
    amount_subtotal_cents: int | None
    amount_total_cents: int | None
    currency: str | None
    url: str | None
    expires_at_us: int
    tax_cents: int = 0


@dataclass(frozen=True, slots=True)
class TaxNote:
    """The tax in a payment, in cents: what was added to the credit's price, and what was part of it."""

    added_cents: int = 0
    included_cents: int = 0


NO_TAX = TaxNote()


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
    """A payment intent as Stripe has it now. `failure_code` is why the last attempt failed, if it did; `tax` what we
    noted of the tax in it."""

    payment_intent_id: str
    livemode: bool
    status: str
    amount_received_cents: int
    currency: str
    owner: Ownership
    failure_code: str | None
    tax: TaxNote = NO_TAX


@dataclass(frozen=True, slots=True)
class ScheduleSnapshot:
    """A subscription schedule as Stripe has it now; it only leads to its subscription, which is told with it."""

    schedule_id: str
    subscription_id: str | None


@dataclass(frozen=True, slots=True)
class OriginSnapshot:
    """What a payment paid for: an invoice, a checkout session, or neither of them."""

    payment_intent_id: str
    invoice_id: str | None
    session_id: str | None


@dataclass(frozen=True, slots=True)
class RefundSnapshot:
    """A refund as Stripe has it now. `payment_intent_id` is None for payments that are older than intents."""

    refund_id: str
    status: str
    amount_cents: int
    currency: str
    payment_intent_id: str | None


@dataclass(frozen=True, slots=True)
class DisputeSnapshot:
    """A dispute as Stripe has it now. `withdrawn_cents` is what it holds of our balance at present, without
    its fee."""

    dispute_id: str
    livemode: bool
    status: str
    withdrawn_cents: int
    currency: str
    payment_intent_id: str | None


Snapshot = (
    SubscriptionSnapshot
    | ScheduleSnapshot
    | InvoiceSnapshot
    | SessionSnapshot
    | PaymentSnapshot
    | OriginSnapshot
    | RefundSnapshot
    | DisputeSnapshot
)
SnapshotKind = Literal["subscription", "schedule", "invoice", "session", "payment", "origin", "refund", "dispute"]
