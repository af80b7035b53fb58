"""What the sandbox remembers of subscriptions and their invoices, in the form of `stripe.records`."""

from dataclasses import dataclass
from typing import Literal

from tokenbooth_sandbox.stripe.records import Record, tax_in, tax_on

BillingReason = Literal["subscription_create", "subscription_cycle", "subscription_update"]


@dataclass(frozen=True, slots=True)
class Subscription(Record):
    """`period_index` is the number of the present period, counted from `anchor`."""

    customer: str
    status: str
    metadata: dict[str, str]
    item_id: str
    price: str
    quantity: int
    currency: str
    anchor: int
    period_index: int
    period_start: int
    period_end: int
    default_payment_method: str | None
    latest_invoice: str | None = None
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None
    cancel_reason: str | None = None
    is_taxed: bool = False
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class SchedulePhase:
    """What a subscription is from `start` to `end`, UTC seconds."""

    start: int
    end: int
    price: str
    quantity: int
    proration_behavior: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class SubscriptionSchedule(Record):
    """The phases of a subscription; `subscription` is None once it was released."""

    customer: str
    status: Literal["active", "released", "canceled"]
    phases: tuple[SchedulePhase, ...]
    end_behavior: Literal["release"]
    metadata: dict[str, str]
    subscription: str | None
    released_subscription: str | None = None
    released_at: int | None = None
    canceled_at: int | None = None


@dataclass(frozen=True, slots=True)
class ProrationLine:
    """A difference between two prices for what was left of a period; credit is negative."""

    id: str
    price: str
    amount: int
    description: str


@dataclass(frozen=True, slots=True)
class Invoice(Record):
    """A subscription's invoice: the prorations of a change, or its one ordinary line and what waited for it.
    `finalizes_at` is set while it is a draft; `applied` is what the customer's credit paid of it."""

    customer: str
    subscription: str
    subscription_metadata: dict[str, str]
    item_id: str
    line_id: str
    price: str
    quantity: int
    description: str
    status: Literal["draft", "open", "paid", "void", "uncollectible"]
    billing_reason: BillingReason
    amount: int
    currency: str
    period_start: int
    period_end: int
    number: str | None = None
    attempt_count: int = 0
    finalizes_at: int | None = None
    next_attempt_at: int | None = None
    finalized_at: int | None = None
    paid_at: int | None = None
    prorations: tuple[ProrationLine, ...] = ()
    applied: int = 0
    is_taxed: bool = False
    inclusive: bool = False

    @property
    def ordinary(self) -> int:
        """What its ordinary line comes to."""
        return self.amount - sum(line.amount for line in self.prorations)

    @property
    def tax(self) -> int:
        """The tax on top of `amount`, or inside it; negative where a credit is larger than what is sold."""
        if not self.is_taxed:
            return 0
        return tax_in(self.amount) if self.inclusive else tax_on(self.amount)

    @property
    def total(self) -> int:
        """The amount with its tax."""
        return self.amount if self.inclusive else self.amount + self.tax

    @property
    def amount_due(self) -> int:
        """What is left to be charged."""
        return max(self.total, 0) - self.applied


@dataclass(frozen=True, slots=True)
class InvoiceItem(Record):
    """A proration that waits for the next invoice; `invoice` is the one that took it in."""

    customer: str
    subscription: str
    price: str
    amount: int
    currency: str
    description: str
    start: int
    end: int
    invoice: str | None = None


@dataclass(frozen=True, slots=True)
class InvoicePayment(Record):
    invoice: str
    payment_intent: str
    amount: int
    currency: str
    status: Literal["open", "paid"]
    paid_at: int | None = None
