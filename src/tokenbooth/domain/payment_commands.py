"""What Stripe's objects ask the store to do, as plain values.

The payment side translates Stripe's state into these commands; the store carries each one out in a transaction of its
own. Nothing here may do I/O, read a clock or know Stripe's wire format.

Amounts are nano-USD as far as `currency` is `usd`. For another currency the number is that currency's
hundredths at the same scale, and a store that compares `currency` first never mistakes it for dollars.
"""

from dataclasses import dataclass
from enum import StrEnum

from tokenbooth.domain.plan_changes import PlanAtStripe, SoldPlan
from tokenbooth.domain.subscriptions import SubscriptionStatus


@dataclass(frozen=True, slots=True)
class UpsertSubscription:
    """Bring our row of a subscription to what Stripe says now. It never grants a period by itself.

    `cancel_at_period_end` is true whenever an end is scheduled, whichever way Stripe expresses it. `status`
    is None for a status that this version does not know: keep the one you have. `incomplete` is a
    subscription whose first invoice is not paid. `billed` is what Stripe bills it for; None where nobody asked.
    """

    stripe_subscription_id: str
    account_id: str
    checkout_id: str | None
    plan_slug: str
    status: SubscriptionStatus | None
    cancel_at_period_end: bool
    cancel_at_us: int | None
    ended_at_us: int | None
    created_at_us: int
    billed: PlanAtStripe | None = None


@dataclass(frozen=True, slots=True)
class GrantPeriod:
    """The invoice is paid, so the subscription owns this period. Unique by `stripe_invoice_id`.

    `list_nano` is what the period costs, before prorations, credit of the customer's and tax;
    `amount_paid_nano` is what was paid in the end, of which `tax_nano` is the state's. `credited_nano` is what its
    prorations gave back.
    """

    stripe_subscription_id: str
    stripe_invoice_id: str
    period_start_us: int
    period_end_us: int
    list_nano: int
    amount_paid_nano: int
    tax_nano: int
    currency: str
    payment_intent_id: str | None
    credited_nano: int = 0


@dataclass(frozen=True, slots=True)
class BookProration:
    """An invoice for the difference between two plans is paid; it grants no period. `pays_for` is the plan that it was
    for, where that is the one that is billed now; `credited_nano` is what it gave back instead."""

    stripe_subscription_id: str
    stripe_invoice_id: str
    amount_paid_nano: int
    tax_nano: int
    currency: str
    payment_intent_id: str | None
    pays_for: SoldPlan | None = None
    credited_nano: int = 0


@dataclass(frozen=True, slots=True)
class MarkPaymentFailed:
    """A renewal could not be charged. `next_attempt_at_us` is None when Stripe will not try again."""

    stripe_subscription_id: str
    stripe_invoice_id: str
    attempt_count: int
    next_attempt_at_us: int | None


@dataclass(frozen=True, slots=True)
class CreditTopup:
    """A top-up checkout is paid. Unique by `stripe_session_id`; `tax_nano` was paid on top of `amount_nano`,
    `tax_included_nano` is a part of it."""

    stripe_session_id: str
    checkout_id: str
    account_id: str
    payment_intent_id: str
    amount_nano: int
    tax_nano: int
    currency: str
    tax_included_nano: int = 0


@dataclass(frozen=True, slots=True)
class CreditDirect:
    """A saved card was charged for a top-up. Unique by `payment_intent_id`; the amounts as in `CreditTopup`."""

    checkout_id: str
    account_id: str
    payment_intent_id: str
    amount_nano: int
    currency: str
    tax_nano: int = 0
    tax_included_nano: int = 0


@dataclass(frozen=True, slots=True)
class DirectFailed:
    """A saved card could not be charged. It never undoes a credit."""

    checkout_id: str
    account_id: str
    payment_intent_id: str | None
    reason: str


class ReversalKind(StrEnum):
    """How a payment is taken back."""

    REFUND = "refund"
    DISPUTE = "dispute"


@dataclass(frozen=True, slots=True)
class SettleReversal:
    """A refund or dispute holds `taken_nano` of a payment now; 0 once it failed or was won. Unique by
    `reversal_id`."""

    reversal_id: str
    kind: ReversalKind
    payment_intent_id: str
    taken_nano: int
    currency: str


@dataclass(frozen=True, slots=True)
class CheckoutExpired:
    """The checkout ran out unpaid. It never undoes a credit."""

    checkout_id: str
    stripe_session_id: str
    account_id: str


@dataclass(frozen=True, slots=True)
class CheckoutFailed:
    """A delayed payment of a completed checkout failed. A later success of the same session still credits."""

    checkout_id: str
    stripe_session_id: str
    account_id: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do, with the reason for the inbox row."""

    reason: str


PaymentCommand = (
    UpsertSubscription
    | GrantPeriod
    | BookProration
    | MarkPaymentFailed
    | CreditTopup
    | CreditDirect
    | DirectFailed
    | SettleReversal
    | CheckoutExpired
    | CheckoutFailed
    | Ignore
)
