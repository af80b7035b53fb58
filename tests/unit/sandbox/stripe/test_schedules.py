"""Subscription schedules, waiting prorations and Stripe Tax in the sandbox, as the official SDK sees them."""

from collections.abc import Iterator

import pytest
import stripe

from tests.support.billing.stripe_rig import DAY_S, JANUARY_31, Rig, paid_subscription, running_sandbox

FEBRUARY_28 = JANUARY_31 + 28 * DAY_S


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


def smaller(rig: Rig) -> str:
    """A price of half as much."""
    price = rig.client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 1000,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Small"},
        }
    )
    return price.id


def scheduled(rig: Rig, subscription_id: str) -> stripe.SubscriptionSchedule:
    """A schedule to the smaller price."""
    client = rig.client
    present = client.v1.subscriptions.retrieve(subscription_id)["items"]["data"][0]
    schedule = client.v1.subscription_schedules.create({"from_subscription": subscription_id})
    return client.v1.subscription_schedules.update(
        schedule.id,
        {
            "end_behavior": "release",
            "phases": [
                {
                    "items": [{"price": present["price"]["id"], "quantity": 1}],
                    "start_date": present["current_period_start"],
                    "end_date": present["current_period_end"],
                },
                {
                    "items": [{"price": smaller(rig), "quantity": 1}],
                    "duration": {"interval": "month", "interval_count": 1},
                    "proration_behavior": "none",
                    "metadata": {"plan_slug": "small"},
                },
            ],
        },
    )


def test_a_schedule_turns_the_price_with_the_period(rig: Rig) -> None:
    """The next invoice is the next phase's, its metadata comes along, and after it the subscription is let go."""
    subscription_id = paid_subscription(rig)
    schedule = scheduled(rig, subscription_id)
    assert (schedule.status, schedule.subscription) == ("active", subscription_id)
    assert schedule.current_phase is not None
    assert (schedule.current_phase.start_date, schedule.current_phase.end_date) == (JANUARY_31, FEBRUARY_28)
    assert schedule.phases[0].end_date == schedule.phases[1].start_date
    rig.control("advance", seconds=28 * DAY_S + 7_200)
    turned = rig.client.v1.subscriptions.retrieve(subscription_id, {"expand": ["latest_invoice"]})
    invoice = turned.latest_invoice
    assert isinstance(invoice, stripe.Invoice)
    assert (turned["items"]["data"][0]["price"]["unit_amount"], invoice.total) == (1000, 1000)
    assert (turned.metadata["plan_slug"], turned.schedule) == ("small", schedule.id)
    rig.control("advance", seconds=31 * DAY_S + 7_200)
    assert rig.client.v1.subscriptions.retrieve(subscription_id).schedule is None
    ended = rig.client.v1.subscription_schedules.retrieve(schedule.id)
    assert (ended.status, ended.released_subscription) == ("released", subscription_id)


def test_a_schedule_is_released_before_anything_else_is_done(rig: Rig) -> None:
    """Stripe lets nobody cancel past it; released, it cannot be changed any more."""
    subscription_id = paid_subscription(rig)
    schedule = scheduled(rig, subscription_id)
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        rig.client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        rig.client.v1.subscription_schedules.create({"from_subscription": subscription_id})
    released = rig.client.v1.subscription_schedules.release(schedule.id)
    assert (released.status, released.subscription) == ("released", None)
    assert rig.client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True}).cancel_at_period_end
    with pytest.raises(stripe.InvalidRequestError, match="`released` status"):
        rig.client.v1.subscription_schedules.release(schedule.id)


def test_an_ended_subscription_cancels_its_schedule(rig: Rig) -> None:
    """And the events tell of each step."""
    subscription_id = paid_subscription(rig)
    schedule = scheduled(rig, subscription_id)
    rig.client.v1.subscriptions.cancel(subscription_id)
    rig.control("wait")
    assert rig.client.v1.subscription_schedules.retrieve(schedule.id).status == "canceled"
    assert {kind for kind in rig.types() if kind.startswith("subscription_schedule.")} == {
        "subscription_schedule.created",
        "subscription_schedule.updated",
        "subscription_schedule.canceled",
    }


def test_prorations_wait_for_the_next_invoice(rig: Rig) -> None:
    """With `create_prorations` two items wait, and the renewal takes them in beside its own line."""
    subscription_id = paid_subscription(rig)
    present = rig.client.v1.subscriptions.retrieve(subscription_id)
    rig.client.v1.subscriptions.update(
        subscription_id,
        {
            "items": [{"id": present["items"]["data"][0]["id"], "price": smaller(rig)}],
            "proration_behavior": "create_prorations",
        },
    )
    customer = str(present.customer)
    waiting = rig.client.v1.invoice_items.list({"customer": customer, "pending": True})
    assert sorted(item.amount for item in waiting.data) == [-2000, 1000]
    rig.control("advance", seconds=28 * DAY_S + 7_200)
    assert rig.client.v1.invoice_items.list({"customer": customer, "pending": True}).data == []
    (renewal, _) = rig.client.v1.invoices.list({"customer": customer}).data
    assert sorted(line.amount for line in renewal.lines.data) == [-2000, 1000, 1000]
    assert (renewal.total, renewal.amount_paid) == (0, 0)


def test_a_proration_is_counted_from_its_date(rig: Rig) -> None:
    """The difference from `proration_date` on; a date outside the period is refused."""
    subscription_id = paid_subscription(rig)
    rig.control("advance", seconds=27 * DAY_S)
    present = rig.client.v1.subscriptions.retrieve(subscription_id)["items"]["data"][0]
    dearer = rig.client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 4800,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Large"},
        }
    )

    def change(since_s: int) -> None:
        rig.client.v1.subscriptions.update(
            subscription_id,
            {
                "items": [{"id": present["id"], "price": dearer.id}],
                "proration_behavior": "always_invoice",
                "proration_date": since_s,
            },
        )

    with pytest.raises(stripe.InvalidRequestError, match="within the current period"):
        change(JANUARY_31 - 1)
    change(JANUARY_31 + 14 * DAY_S)
    assert rig.client.v1.invoices.list({"subscription": subscription_id}).data[0].total == 1400


def test_tax_is_calculated_and_recorded_with_its_payment(rig: Rig) -> None:
    """A calculation, a payment of its total that is linked to it, and the transaction that this leaves."""
    subscription_id = paid_subscription(rig)
    customer = str(rig.client.v1.subscriptions.retrieve(subscription_id).customer)
    card = rig.client.v1.customers.payment_methods.list(customer).data[0].id
    calculation = rig.client.v1.tax.calculations.create(
        {
            "currency": "usd",
            "customer": customer,
            "line_items": [{"amount": 5000, "reference": "chk_1", "tax_behavior": "exclusive"}],
        }
    )
    assert (calculation.amount_total, calculation.tax_amount_exclusive) == (5500, 500)
    assert calculation.id is not None

    def pay(amount: int) -> stripe.PaymentIntent:
        assert calculation.id is not None
        return rig.client.v1.payment_intents.create(
            {
                "amount": amount,
                "currency": "usd",
                "customer": customer,
                "payment_method": card,
                "confirm": True,
                "off_session": True,
                "hooks": {"inputs": {"tax": {"calculation": calculation.id}}},
            }
        )

    with pytest.raises(stripe.InvalidRequestError, match="not the total"):
        pay(5000)
    intent = pay(5500)
    assert intent.hooks is not None
    assert intent.hooks.inputs is not None
    assert intent.hooks.inputs.tax is not None
    assert intent.hooks.inputs.tax.calculation == calculation.id
    rig.control("place", customer=customer, known=False)
    with pytest.raises(stripe.InvalidRequestError) as raised:
        rig.client.v1.tax.calculations.create(
            {"currency": "usd", "customer": customer, "line_items": [{"amount": 1, "reference": "x"}]}
        )
    assert raised.value.code == "customer_tax_location_invalid"
