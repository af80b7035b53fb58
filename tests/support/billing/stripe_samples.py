"""Hand-written Stripe objects: only the fields that we read, at their places."""

from tokenbooth.payments.stripe.webhooks import WebhookEvent

START_S, END_S = 1_800_000_000, 1_802_678_400
OURS = {"account_id": "acct_1", "checkout_id": "chk_1", "plan_slug": "standard"}


def event(kind: str, object_id: str | None, *, livemode: bool = False) -> WebhookEvent:
    """An event about an object."""
    return WebhookEvent("evt_1", kind, livemode, START_S * 1_000_000, kind.rpartition(".")[0], object_id)


def subscription(**changed: object) -> dict[str, object]:
    """A subscription of ours."""
    item = {
        "id": "si_1",
        "current_period_start": START_S,
        "current_period_end": END_S,
        "price": price(),
        "quantity": 1,
    }
    return {
        "id": "sub_1",
        "customer": "cus_1",
        "livemode": False,
        "status": "active",
        "metadata": OURS,
        "cancel_at_period_end": False,
        "cancel_at": None,
        "ended_at": None,
        "created": START_S,
        "items": {"object": "list", "has_more": False, "data": [item]},
        "latest_invoice": "in_1",
        "schedule": None,
    } | changed


def price(slug: str = "standard", cents: int = 2000) -> dict[str, object]:
    """The price of a plan of ours."""
    return {
        "id": f"price_{slug}",
        "metadata": {"plan_slug": slug},
        "currency": "usd",
        "unit_amount": cents,
        "recurring": {"interval": "month"},
    }


def line(
    *, proration: bool = False, start_s: int = START_S, end_s: int = END_S, cents: int = 2000
) -> dict[str, object]:
    """A line of a subscription's invoice."""
    return {
        "amount": cents,
        "pricing": {"type": "price_details", "price_details": {"price": "price_standard", "product": "prod_1"}},
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": {"proration": proration, "subscription": "sub_1"},
        },
        "period": {"start": start_s, "end": end_s},
    }


def invoice(*lines: dict[str, object], **changed: object) -> dict[str, object]:
    """A paid invoice of that subscription."""
    return {
        "id": "in_1",
        "livemode": False,
        "status": "paid",
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
        "amount_paid": 2000,
        "total": 2000,
        "total_excluding_tax": 2000,
        "currency": "usd",
        "attempt_count": 1,
        "next_payment_attempt": None,
        "lines": {"object": "list", "has_more": False, "data": list(lines) or [line()]},
        "payments": {
            "object": "list",
            "has_more": False,
            "data": [{"status": "paid", "payment": {"type": "payment_intent", "payment_intent": "pi_2"}}],
        },
    } | changed


def session(**changed: object) -> dict[str, object]:
    """A paid top-up checkout of ours."""
    return {
        "id": "cs_1",
        "livemode": False,
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "metadata": {"account_id": "acct_1", "checkout_id": "chk_2"},
        "customer": "cus_1",
        "subscription": None,
        "invoice": None,
        "payment_intent": "pi_1",
        "amount_subtotal": 5000,
        "amount_total": 5000,
        "currency": "usd",
        "url": None,
        "expires_at": END_S,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    } | changed
