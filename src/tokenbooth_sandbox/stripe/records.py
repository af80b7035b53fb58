"""What the sandbox remembers: one frozen record per object, in our own words.

Records hold facts only; `render` writes them in Stripe's form. No card number is ever part of one. Amounts are in the
currency's smallest unit, times are UTC seconds, as Stripe counts them.
"""

from dataclasses import dataclass, field
from typing import Literal

CardBehaviour = Literal["ok", "fails_later", "declines", "authenticate", "disputed"]
BookingType = Literal["charge", "refund", "refund_failure", "adjustment", "payout"]
DisputeStatus = Literal["needs_response", "won", "lost"]
SessionMode = Literal["payment", "subscription", "setup"]

_TAX_PERCENT = 10


def tax_on(amount: int) -> int:
    """The sandbox's one tax: a tenth on top of every price, wherever the customer lives, rounded half up."""
    return (2 * amount * _TAX_PERCENT + 100) // 200


def tax_in(amount: int) -> int:
    """The same tax where the price has it inside: an eleventh, rounded half up."""
    return (2 * amount * _TAX_PERCENT + 100 + _TAX_PERCENT) // (2 * (100 + _TAX_PERCENT))


@dataclass(frozen=True, slots=True)
class Record:
    """Every record has its id and its time."""

    id: str
    created: int


@dataclass(frozen=True, slots=True)
class Customer(Record):
    """`balance` is what the customer owes; credit from a cheaper plan makes it negative."""

    email: str | None
    name: str | None
    metadata: dict[str, str]
    default_payment_method: str | None = None
    balance: int = 0
    test_clock: str | None = None
    deleted: bool = False
    untaxable: bool = False
    """Whether nobody knows where the customer lives."""


@dataclass(frozen=True, slots=True)
class TestClock(Record):
    """A time of its own for some customers; it stands at `frozen_time` until it is advanced. It is kept until it is
    deleted, also beyond Stripe's thirty days."""

    name: str | None
    frozen_time: int


@dataclass(frozen=True, slots=True)
class Product(Record):
    name: str
    description: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Price(Record):
    """`interval` is None for a price that is paid once."""

    product: str
    currency: str
    unit_amount: int
    interval: str | None
    interval_count: int
    lookup_key: str | None
    nickname: str | None
    metadata: dict[str, str]
    active: bool = True


@dataclass(frozen=True, slots=True)
class LineItem:
    id: str
    price: str
    quantity: int
    description: str


@dataclass(frozen=True, slots=True)
class Session(Record):
    mode: SessionMode
    status: Literal["open", "complete", "expired"]
    payment_status: Literal["unpaid", "paid", "no_payment_required"]
    customer: str | None
    customer_email: str | None
    client_reference_id: str | None
    success_url: str
    cancel_url: str | None
    expires_at: int
    currency: str | None
    amount_total: int | None
    line_items: tuple[LineItem, ...]
    metadata: dict[str, str]
    subscription_metadata: dict[str, str]
    intent_metadata: dict[str, str]
    setup_future_usage: str | None
    adaptive_pricing: bool
    subscription: str | None = None
    invoice: str | None = None
    payment_intent: str | None = None
    setup_intent: str | None = None
    is_taxed: bool = False
    tax: int = 0
    """Part of `amount_total`."""
    inclusive: bool = False
    """Whether the tax is part of the prices, too."""


@dataclass(frozen=True, slots=True)
class PaymentMethod(Record):
    """A card, known by its brand and last four digits and by how it behaves when charged."""

    customer: str | None
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    behaviour: CardBehaviour


@dataclass(frozen=True, slots=True)
class PaymentIntent(Record):
    amount: int
    currency: str
    customer: str | None
    status: Literal["processing", "succeeded", "requires_payment_method"]
    payment_method: str | None
    description: str | None
    setup_future_usage: str | None
    metadata: dict[str, str]
    latest_charge: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    tax_calculation: str | None = None


@dataclass(frozen=True, slots=True)
class TaxCalculation(Record):
    """The tax on one line, for a customer. `inclusive`: it is part of `amount`, not on top of it."""

    customer: str
    currency: str
    amount: int
    tax: int
    inclusive: bool
    reference: str
    line_id: str


@dataclass(frozen=True, slots=True)
class TaxTransaction(Record):
    """Tax that was collected; made by the payment that a calculation was linked to."""

    calculation: str
    payment_intent: str


@dataclass(frozen=True, slots=True)
class SetupIntent(Record):
    customer: str | None
    payment_method: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Charge(Record):
    amount: int
    currency: str
    customer: str | None
    payment_intent: str
    payment_method: str
    status: Literal["succeeded", "failed"]
    description: str | None
    metadata: dict[str, str]
    balance_transaction: str | None = None
    amount_refunded: int = 0
    failure_code: str | None = None
    failure_message: str | None = None


@dataclass(frozen=True, slots=True)
class Refund(Record):
    amount: int
    currency: str
    charge: str
    payment_intent: str
    reason: str | None
    status: Literal["succeeded", "failed"]
    balance_transaction: str
    metadata: dict[str, str]
    failure_balance_transaction: str | None = None


@dataclass(frozen=True, slots=True)
class Dispute(Record):
    """`booked` are its balance transactions: the withdrawal, and the reinstatement once it is won."""

    amount: int
    currency: str
    charge: str
    payment_intent: str
    reason: str
    status: DisputeStatus
    booked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Payout(Record):
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class BalanceTransaction(Record):
    """`amount` is signed: money that leaves us is negative."""

    amount: int
    fee: int
    currency: str
    type: BookingType
    source: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Event(Record):
    """`body` is the event's whole document as it was when it happened, JSON."""

    type: str
    body: str
    pending: bool


@dataclass(frozen=True, slots=True)
class WebhookEndpoint(Record):
    url: str
    enabled_events: tuple[str, ...]
    description: str | None
    metadata: dict[str, str]
    api_version: str | None = None
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class PortalConfiguration(Record):
    """`features` is what customers may do, as it was asked for."""

    default_return_url: str | None
    features: dict[str, bool]
    metadata: dict[str, str]
    schedule_conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortalSession(Record):
    customer: str
    return_url: str | None
    configuration: str | None = None


@dataclass(frozen=True, slots=True)
class KeptAnswer(Record):
    """The answer of a call with an idempotency key; `id` is that key, `request` a digest of what was
    asked."""

    request: str
    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Settings(Record):
    """The test clock's lead over the real one in seconds, and how webhooks are delivered."""

    clock_lead_s: int = 0
    delivery: Literal["normal", "drop", "hold"] = "normal"
    copies: int = 1
    inclusive_tax: bool = False
    counters: dict[str, int] = field(default_factory=dict)
