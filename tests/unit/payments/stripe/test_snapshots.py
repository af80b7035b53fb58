"""Reading Stripe's objects: the right places, and nothing else."""

import pytest
import stripe

from tests.support.billing import stripe_samples as samples
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.payments.stripe.parsing import parse_invoice, parse_session, parse_subscription
from tokenbooth.payments.stripe.snapshots import InvoiceSnapshot


def test_period_is_read_from_the_item() -> None:
    """Scenario 15: the subscription's own (old) period fields are not looked at."""
    snapshot = parse_subscription(samples.subscription(current_period_end=1))
    assert snapshot.period_end_us == samples.END_S * 1_000_000


def test_subscription_of_an_invoice_is_read_from_its_parent() -> None:
    """Scenario 15: the invoice's old `subscription` field is not looked at."""
    parsed = parse_invoice(samples.invoice(subscription="sub_old"))
    assert parsed == InvoiceSnapshot(
        invoice_id="in_1",
        livemode=False,
        status="paid",
        subscription_id="sub_1",
        amount_paid_cents=2000,
        currency="usd",
        period_start_us=samples.START_S * 1_000_000,
        period_end_us=samples.END_S * 1_000_000,
        attempt_count=1,
        next_attempt_at_us=None,
        list_cents=2000,
        tax_cents=0,
        payment_intent_id="pi_2",
    )


@pytest.mark.parametrize("name", sorted(samples.subscription()))
def test_missing_field_of_a_subscription_is_an_error(name: str) -> None:
    """Scenario 15: a field that is not where it should be is named, never guessed."""
    value = samples.subscription()
    del value[name]
    with pytest.raises(UnexpectedShape) as raised:
        parse_subscription(value)
    assert raised.value.path == f"subscription.{name}"


@pytest.mark.parametrize("name", sorted(samples.invoice()))
def test_missing_field_of_an_invoice_is_an_error(name: str) -> None:
    """Scenario 15: the same for invoices."""
    value = samples.invoice()
    del value[name]
    with pytest.raises(UnexpectedShape) as raised:
        parse_invoice(value)
    assert raised.value.path == f"invoice.{name}"


@pytest.mark.parametrize("name", sorted(samples.session()))
def test_missing_field_of_a_session_is_an_error(name: str) -> None:
    """Scenario 15: the same for checkout sessions."""
    value = samples.session()
    del value[name]
    with pytest.raises(UnexpectedShape) as raised:
        parse_session(value)
    assert raised.value.path == f"session.{name}"


def test_item_without_its_period_is_an_error() -> None:
    """Scenario 15: an old API version, with the period on the subscription alone, is noticed."""
    items = {"object": "list", "has_more": False, "data": [{}]}
    with pytest.raises(UnexpectedShape) as raised:
        parse_subscription(samples.subscription(items=items))
    assert raised.value.path == "subscription.items.data[0].current_period_start"


@pytest.mark.parametrize("value", [True, "5", 5.0, None])
def test_amount_of_another_type_is_an_error(value: object) -> None:
    """An amount is an integer, and a boolean is none."""
    with pytest.raises(UnexpectedShape):
        parse_invoice(samples.invoice(amount_paid=value))


def test_cut_off_list_is_an_error() -> None:
    """Lines beyond the first page would be guessed."""
    lines = {"object": "list", "has_more": True, "data": [samples.line()]}
    with pytest.raises(UnexpectedShape, match="complete list"):
        parse_invoice(samples.invoice(lines=lines))


def test_prorations_grant_no_period() -> None:
    """Only ordinary lines say which period was bought."""
    parsed = parse_invoice(samples.invoice(samples.line(proration=True)))
    assert (parsed.period_start_us, parsed.period_end_us) == (None, None)


def test_two_different_periods_are_an_error() -> None:
    """Which one was bought would be a guess."""
    with pytest.raises(UnexpectedShape, match="one period"):
        parse_invoice(samples.invoice(samples.line(), samples.line(end_s=samples.END_S + 1)))


def test_expanded_references_are_read_as_ids() -> None:
    """An object in the place of an id means that id."""
    parsed = parse_session(samples.session(customer={"id": "cus_9", "object": "customer"}))
    assert parsed.customer_id == "cus_9"


@pytest.mark.parametrize(
    ("sdk_type", "value"),
    [
        (stripe.Subscription, samples.subscription()),
        (stripe.Invoice, samples.invoice()),
        (stripe.checkout.Session, samples.session()),
        (stripe.SubscriptionItem, {"current_period_start": 0, "current_period_end": 0}),
        (stripe.InvoiceLineItem, samples.line()),
        (stripe.Invoice.Parent, {"type": "", "subscription_details": {}}),
        (stripe.Invoice.Parent.SubscriptionDetails, {"subscription": ""}),
        (stripe.InvoiceLineItem.Parent, {"type": "", "subscription_item_details": {}}),
        (stripe.InvoiceLineItem.Parent.SubscriptionItemDetails, {"proration": False}),
        (stripe.InvoiceLineItem.Period, {"start": 0, "end": 0}),
    ],
)
def test_every_field_we_read_exists_in_the_sdks_types(
    sdk_type: type[stripe.StripeObject], value: dict[str, object]
) -> None:
    """The official SDK of the pinned API version declares each field where we read it."""
    assert set(value) - set(sdk_type.__annotations__) == set()
