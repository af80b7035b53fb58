"""What the OpenAPI document says of billing's bodies and answers; nothing is parsed or checked by these models.

Only `management.billing` and `management.webhooks` import this.
"""

from typing import Annotated, Literal

from pydantic import Field

from tokenbooth.management.describe import Payload, RequestBody

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
    method: Literal["stripe", "usdc"]


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
    """A subscription; `budget` is null when its plan is no longer offered."""

    id: str
    plan_slug: str
    status: Literal["active", "past_due", "paused", "canceled"]
    current_period_end: Instant
    cancel_at_period_end: bool
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
