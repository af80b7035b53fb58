"""What the OpenAPI document says of billing's bodies and answers; nothing is parsed or checked by these models."""

from typing import Annotated, Literal

from pydantic import Field

from tokenbooth.api.openapi import Payload, RequestBody

Usd = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]{2,9}$", examples=["25.00"])]
Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-03-05T10:00:00.000Z"])]
Amount = Annotated[
    float | str, Field(description="USD above zero, as a number or a decimal string.", examples=[50, "50.00"])
]
Id = Annotated[str, Field(min_length=1, max_length=100)]


class NewCheckout(RequestBody):
    """The plan to subscribe to."""

    plan_slug: Annotated[str, Field(min_length=1, max_length=100, examples=["pro"])]


class Cancellation(RequestBody):
    """The subscription that is to end with its period."""

    subscription_id: Id


class NewTopUp(RequestBody):
    """How much credit to buy, and how it is paid."""

    amount: Amount
    method: Literal["stripe", "stripe_direct", "usdc"]


class DepositToVerify(RequestBody):
    """The transaction of a deposit, and how much it was announced to be."""

    tx_hash: Id
    amount: Amount


class CheckoutPayload(Payload):
    """A page on which to pay."""

    session_url: str
    session_id: str


class DepositAddressPayload(Payload):
    """Where to send USDC. `uri` opens a wallet (EIP-681)."""

    address: Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
    chain: Annotated[str, Field(examples=["base"])]
    amount: Annotated[str, Field(examples=["50"])]
    asset: Literal["USDC"]
    chain_id: Annotated[int, Field(examples=[8453])]
    token_address: Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
    uri: str


class TopUpPayload(Payload):
    """With `stripe` a page on which to pay; with `stripe_direct` what came of the charge."""

    session_url: str | None = None
    session_id: str | None = None
    status: Literal["credited", "pending"] | None = None
    top_up_id: str | None = None
    credited: Usd | None = None
    balance: Usd | None = None


class PlanChange(RequestBody):
    """The subscription, and the plan that it moves to."""

    subscription_id: Id
    plan_slug: Annotated[str, Field(min_length=1, max_length=100, examples=["pro"])]


class DirectSubscription(RequestBody):
    """The plan to subscribe to with the saved card, and whether a key is wanted at once."""

    plan_slug: Annotated[str, Field(min_length=1, max_length=100, examples=["pro"])]
    create_key: bool | None = None
    key_name: Annotated[str | None, Field(max_length=100)] = None


class NewKeyPayload(Payload):
    """A key, shown this once."""

    id: str
    name: str
    api_key: str


class SubscribedPayload(Payload):
    """A subscription that was begun with the saved card."""

    subscription_id: str
    plan_slug: str
    status: Literal["active", "past_due", "paused", "canceled"]
    current_period_end: Instant
    key: NewKeyPayload | None = None


class PortalPayload(Payload):
    """A page at Stripe to manage cards and subscriptions."""

    url: str


class AutoTopUpRule(RequestBody):
    """When the available credit falls below `threshold`, `amount` is charged, up to `monthlyLimit` a month."""

    enabled: bool
    threshold: Amount | None = None
    amount: Amount | None = None
    monthly_limit: Amount | None = None


class AutoTopUpPayload(Payload):
    """The rule, what it charged this month, and why it was switched off, if it was."""

    enabled: bool
    threshold: Usd
    amount: Usd
    monthly_limit: Usd
    charged_this_month: Usd
    failure: str | None
    failed_at: Instant | None


class InvoicePayload(Payload):
    """An invoice at Stripe; `refunded` is what was given back of it."""

    id: str
    number: str | None
    status: str
    currency: str
    total: Usd
    paid: Usd
    refunded: Usd
    created_at: Instant
    hosted_url: str | None
    pdf_url: str | None


SignedUsd = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{2,9}$", examples=["-1.50"])]


class StatementLine(Payload):
    """What moved the credit; charges are summed per day and key, whose id is the reference."""

    at: Instant
    kind: str
    reference: str
    note: str
    amount: SignedUsd


class SubscriptionPayment(Payload):
    """What was paid for a subscription."""

    at: Instant
    subscription_id: str
    plan_slug: str
    invoice_id: str
    amount: Usd


class StatementPayload(Payload):
    """A month; a balance is credit less debt, and the lines lead from the first to the second."""

    month: str
    currency: Literal["usd"]
    opening_balance: SignedUsd
    closing_balance: SignedUsd
    lines: list[StatementLine]
    subscription_payments: list[SubscriptionPayment]


class SubscriptionKey(Payload):
    """A key of a subscription."""

    id: str
    name: str


class WindowBudget(Payload):
    """The budget of the window that is open now."""

    limit: Usd
    spent: Usd
    resets_at: Instant


class SubscriptionPayload(Payload):
    """A subscription; `budget` is null when its plan is no longer offered. `pendingPlan` is the slug of the plan that
    counts from `changesAt` on; both are null while none is to follow."""

    id: str
    plan_slug: str
    status: Literal["active", "past_due", "paused", "canceled"]
    current_period_end: Instant
    cancel_at_period_end: bool
    pending_plan: str | None
    changes_at: Instant | None
    key_count: int
    keys: list[SubscriptionKey]
    budget: WindowBudget | None


class BillingStatusPayload(Payload):
    """An account's subscriptions and credit."""

    subscriptions: list[SubscriptionPayload]
    credit_balance: Usd


class CreditsPayload(Payload):
    """An account's credit."""

    balance: Usd
    held: Usd
    available: Usd
    total_top_up: Usd
    total_spent: Usd


class VerifiedDeposit(Payload):
    """A deposit that was credited."""

    status: Literal["credited"]
    credited: Usd
    balance: Usd
    tx_hash: str
    amount_mismatch: bool


class PendingDeposit(Payload):
    """A deposit that does not count yet; it is credited by itself when it does."""

    status: Literal["pending"]
    confirmations: int
    credited_at: Literal["safe", "finalized"]
    expected_seconds: int
    tx_hash: str
    message: str


class ReceivedPayload(Payload):
    """The event is stored."""

    received: bool
