"""Stripe's test clocks, through the official SDK."""

from collections.abc import Iterator

import pytest
import stripe

from tests.support.billing.stripe_rig import CARD, DAY_S, JANUARY_31, Rig, running_sandbox

HOUR_S = 3_600


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


def subscribed(rig: Rig, customer_id: str) -> stripe.Subscription:
    """A customer's new monthly subscription, paid on the checkout page."""
    session = rig.client.v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "customer": customer_id,
            "success_url": "https://booth.test/paid",
            "line_items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 2_000,
                        "recurring": {"interval": "month"},
                        "product_data": {"name": "Standard"},
                    },
                    "quantity": 1,
                }
            ],
        }
    )
    assert session.url is not None
    assert rig.pay(session.url, CARD).status_code == 200
    return rig.client.v1.subscriptions.list({"customer": customer_id}).data[0]


def test_a_clock_is_a_time_of_its_own(rig: Rig) -> None:
    """Its customer is renewed when it is advanced, and nobody else; the world's time does not move it."""
    client = rig.client
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": JANUARY_31 - 400 * DAY_S, "name": "past"})
    then = client.v1.customers.create({"email": "then@example.com", "test_clock": clock.id})
    here = client.v1.customers.create({"email": "now@example.com"})
    assert (then.test_clock, then.created) == (clock.id, clock.frozen_time)
    past, present = subscribed(rig, then.id), subscribed(rig, here.id)
    assert (past.start_date, past.test_clock) == (clock.frozen_time, clock.id)
    assert present.start_date == JANUARY_31
    rig.control("advance", seconds=3 * DAY_S)
    assert len(client.v1.invoices.list({"customer": then.id}).data) == 1
    target = clock.frozen_time + 31 * DAY_S + HOUR_S
    done = client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": target})
    assert (done.status, done.frozen_time) == ("ready", target)
    assert client.v1.test_helpers.test_clocks.retrieve(clock.id).frozen_time == target
    assert [entry.status for entry in client.v1.invoices.list({"customer": then.id}).data] == ["paid", "paid"]
    assert len(client.v1.invoices.list({"customer": here.id}).data) == 1


def test_lists_leave_out_what_has_a_clock(rig: Rig) -> None:
    """Unless its customer or its clock is asked for."""
    client = rig.client
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": JANUARY_31})
    customer = client.v1.customers.create({"test_clock": clock.id})
    wanted = subscribed(rig, customer.id).id
    assert client.v1.subscriptions.list().data == []
    assert [entry.id for entry in client.v1.subscriptions.list({"test_clock": clock.id}).data] == [wanted]


def test_a_deleted_clock_takes_its_customers_along(rig: Rig) -> None:
    """Their subscriptions end, and nothing further can be sold to them."""
    client = rig.client
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": JANUARY_31})
    customer = client.v1.customers.create({"test_clock": clock.id})
    subscription = subscribed(rig, customer.id)
    assert client.v1.test_helpers.test_clocks.delete(clock.id).deleted is True
    assert client.v1.customers.retrieve(customer.id).deleted is True
    assert client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        client.v1.billing_portal.sessions.create({"customer": customer.id})
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        client.v1.test_helpers.test_clocks.retrieve(clock.id)


def test_a_clock_goes_forward_and_not_too_far(rig: Rig) -> None:
    """Not back, not beyond two intervals of the shortest subscription, nor two years without one."""
    client = rig.client
    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": JANUARY_31})
    customer = client.v1.customers.create({"test_clock": clock.id})
    for seconds in (0, -1, 3 * 366 * DAY_S):
        with pytest.raises(stripe.InvalidRequestError, match=r"frozen_time|two years"):
            client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": JANUARY_31 + seconds})
    subscribed(rig, customer.id)
    with pytest.raises(stripe.InvalidRequestError, match="two intervals"):
        client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": JANUARY_31 + 63 * DAY_S})
