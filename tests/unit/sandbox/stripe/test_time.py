"""What time brings: months, renewals, failures, endings."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.billing.stripe_rig import (
    DAY_S,
    FAILS_LATER_CARD,
    JANUARY_31,
    Rig,
    paid_subscription,
    running_sandbox,
)
from tokenbooth_sandbox.stripe.billing.periods import period_start

HOUR_S = 3_600


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


def at(*date: int) -> int:
    """UTC seconds of a date at noon."""
    year, month, day = date
    return int(datetime(year, month, day, 12, tzinfo=UTC).timestamp())


def starts(rig: Rig) -> list[str]:
    """The first days of all periods that were invoiced, oldest first."""
    invoices = rig.client.v1.invoices.list({"limit": 100}).data[::-1]
    return [datetime.fromtimestamp(invoice.lines.data[0].period.start, UTC).date().isoformat() for invoice in invoices]


@pytest.mark.parametrize(
    ("anchor", "interval", "index", "expected"),
    [
        ((2027, 1, 31), "month", 1, (2027, 2, 28)),
        ((2027, 1, 31), "month", 2, (2027, 3, 31)),
        ((2027, 1, 31), "month", 3, (2027, 4, 30)),
        ((2028, 1, 31), "month", 1, (2028, 2, 29)),
        ((2027, 12, 15), "month", 1, (2028, 1, 15)),
        ((2028, 2, 29), "year", 1, (2029, 2, 28)),
        ((2028, 2, 29), "year", 4, (2032, 2, 29)),
        ((2027, 1, 31), "week", 2, (2027, 2, 14)),
        ((2027, 3, 27), "day", 2, (2027, 3, 29)),
    ],
)
def test_periods_keep_the_day_and_clamp_at_month_ends(
    anchor: tuple[int, ...], interval: str, index: int, expected: tuple[int, ...]
) -> None:
    """Scenario 47: month ends and leap days, each counted from the anchor."""
    assert period_start(at(*anchor), interval, 1, index) == at(*expected)


def test_months_are_renewed_one_by_one(rig: Rig) -> None:
    """Three months at once: each period follows the last, paid an hour after it began."""
    paid_subscription(rig)
    rig.control("advance", seconds=at(2027, 4, 30) + HOUR_S - JANUARY_31)
    client = rig.client
    assert starts(rig) == ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]
    invoices = client.v1.invoices.list().data
    assert [invoice.status for invoice in invoices] == ["paid"] * 4
    assert invoices[0].status_transitions.paid_at == at(2027, 4, 30) + HOUR_S


def test_renewal_is_a_draft_for_an_hour(rig: Rig) -> None:
    """The period turns at once, its invoice is charged an hour later."""
    subscription_id = paid_subscription(rig)
    rig.webhooks.clear()
    rig.control("advance", seconds=28 * DAY_S)
    draft = rig.client.v1.invoices.list({"limit": 1}).data[0]
    item = rig.client.v1.subscriptions.retrieve(subscription_id).items.data[0]
    assert (draft.status, item.current_period_start) == ("draft", at(2027, 2, 28))
    assert rig.types() == ["customer.subscription.updated", "invoice.created"]
    rig.webhooks.clear()
    rig.control("advance", seconds=HOUR_S)
    assert rig.types() == [
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ]


def test_refused_card_is_tried_four_times_and_then_the_subscription_ends(rig: Rig) -> None:
    """Scenario 17: past due after the first refusal, canceled after the last."""
    subscription_id = paid_subscription(rig, FAILS_LATER_CARD)
    rig.control("advance", seconds=28 * DAY_S + HOUR_S)
    first = rig.client.v1.subscriptions.retrieve(subscription_id).status
    rig.control("advance", seconds=15 * DAY_S)
    last = rig.client.v1.subscriptions.retrieve(subscription_id)
    assert (first, last.status) == ("past_due", "canceled")
    assert last.cancellation_details is not None
    assert last.cancellation_details.reason == "payment_failed"
    payments = rig.client.v1.invoice_payments.list({"invoice": str(last.latest_invoice)}).data
    assert [payment.status for payment in payments] == ["open"]
    assert rig.types().count("invoice.payment_failed") == 4
    assert rig.types()[-1] == "customer.subscription.deleted"


def test_canceled_subscription_ends_with_its_period(rig: Rig) -> None:
    """No further invoice, an end at the period's end, and the event that tells of it."""
    subscription_id = paid_subscription(rig)
    rig.client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True})
    rig.control("advance", seconds=40 * DAY_S)
    ended = rig.client.v1.subscriptions.retrieve(subscription_id)
    assert (ended.status, ended.ended_at) == ("canceled", at(2027, 2, 28))
    assert rig.types()[-1] == "customer.subscription.deleted"
    assert starts(rig) == ["2027-01-31"]


def test_cancel_can_be_taken_back(rig: Rig) -> None:
    """The flag and the date are cleared, and the subscription renews."""
    subscription_id = paid_subscription(rig)
    client = rig.client
    client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True})
    back = client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": False})
    rig.control("advance", seconds=29 * DAY_S)
    assert (back.cancel_at, back.cancel_at_period_end) == (None, False)
    assert starts(rig) == ["2027-01-31", "2027-02-28"]


def test_new_price_applies_from_the_next_period(rig: Rig) -> None:
    """A change without prorations; any other way is refused, not faked."""
    client, subscription_id = rig.client, paid_subscription(rig)
    now = client.v1.subscriptions.retrieve(subscription_id)
    item = now.items.data[0]
    product = item.price.product
    assert isinstance(product, str)
    price = client.v1.prices.create(
        {"currency": "usd", "unit_amount": 6000, "recurring": {"interval": "month"}, "product": product}
    )
    refused = rig.raw_call("POST", f"/v1/subscriptions/{now.id}", f"items[0][id]={item.id}&items[0][price]={price.id}")
    client.v1.subscriptions.update(
        now.id, {"items": [{"id": item.id, "price": price.id}], "proration_behavior": "none"}
    )
    rig.control("advance", seconds=29 * DAY_S)
    amounts = [invoice.amount_paid for invoice in client.v1.invoices.list().data]
    assert (refused.status_code, amounts) == (400, [6000, 2000])


def test_real_time_renews_too(rig: Rig) -> None:
    """A sandbox that simply keeps running makes up for the time at its next call."""
    paid_subscription(rig)
    rig.clock.now_s += 29 * DAY_S
    assert starts(rig) == ["2027-01-31", "2027-02-28"]


@pytest.mark.parametrize("status", ["unpaid", "paused", "a_status_of_2030"])
def test_any_status_can_be_put_on_a_subscription(rig: Rig, status: str) -> None:
    """Scenario 17: tests can show the product what Stripe may send; nothing is invoiced meanwhile."""
    subscription_id = paid_subscription(rig)
    rig.control("subscription_status", subscription=subscription_id, status=status)
    rig.control("advance", seconds=40 * DAY_S)
    assert rig.client.v1.subscriptions.retrieve(subscription_id).status == status
    assert starts(rig) == ["2027-01-31"]
