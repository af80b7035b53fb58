"""What the OpenAPI document says of billing's bodies and answers. Nothing is parsed or checked by these
models.

Only `management.billing` imports this.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Usd = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{2,9}$", examples=["25.00"])]
Instant = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-03-05T10:00:00.000Z"])
]
Amount = Annotated[
    float | str,
    Field(description="USD, as a number or a decimal string; above zero.", examples=[50, "50.00"]),
]


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")


class CheckoutRequest(_Shape):
    """Which plan to subscribe to."""

    plan_slug: Annotated[str, Field(min_length=1, max_length=100, examples=["pro"])]


class CancelRequest(_Shape):
    """Which subscription to end with its period."""

    subscription_id: Annotated[str, Field(min_length=1, max_length=100)]


class TopupRequest(_Shape):
    """How much credit to buy, and how it is paid."""

    amount: Amount
    method: Literal["stripe", "usdc"]


class VerifyTopupRequest(_Shape):
    """Which deposit to look up, and how much it was announced to be."""

    tx_hash: Annotated[str, Field(min_length=1, max_length=100)]
    amount: Amount


class Checkout(_Shape):
    """A page on which to pay."""

    session_url: str
    session_id: str


class Key(_Shape):
    """A key of a subscription."""

    id: str
    name: str


class Budget(_Shape):
    """The budget window that is open now."""

    limit: Usd
    spent: Usd
    resets_at: Instant


class Subscription(_Shape):
    """A subscription."""

    id: str
    plan_slug: str
    status: Literal["active", "past_due", "paused", "canceled"]
    current_period_end: Instant
    cancel_at_period_end: bool
    key_count: int
    keys: list[Key]
    budget: Budget | None


class Status(_Shape):
    """An account's subscriptions and credit."""

    subscriptions: list[Subscription]
    credit_balance: Usd


class Credits(_Shape):
    """An account's credit."""

    balance: Usd
    held: Usd
    available: Usd
    total_top_up: Usd
    total_spent: Usd


class CheckoutResponse(Checkout):
    """The page, in the envelope."""

    success: Literal[True]
    data: Checkout


class SubscriptionResponse(Subscription):
    """The subscription, in the envelope."""

    success: Literal[True]
    data: Subscription


class StatusResponse(Status):
    """Subscriptions and credit, in the envelope."""

    success: Literal[True]
    data: Status


class CreditsResponse(Credits):
    """The credit, in the envelope."""

    success: Literal[True]
    data: Credits


def request_body(model: type[BaseModel]) -> dict[str, object]:
    """The OpenAPI fields of a route that reads such a body by itself."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema()}},
        }
    }
