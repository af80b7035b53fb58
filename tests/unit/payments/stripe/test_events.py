"""From events to commands: by the objects' present state, for every order and repetition."""

import pytest

from tests.support.billing import stripe_samples as samples
from tokenbooth.domain.payment_commands import (
    CheckoutExpired,
    CheckoutFailed,
    CreditTopup,
    GrantPeriod,
    Ignore,
    MarkPaymentFailed,
    PaymentCommand,
    UpsertSubscription,
)
from tokenbooth.domain.plan_changes import PlanAtStripe, SoldPlan
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.payments.stripe.connection import key_is_live
from tokenbooth.payments.stripe.events import HANDLED_TYPES, ObjectRef, needed
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.payments.stripe.parsing import parse_invoice, parse_session, parse_subscription
from tokenbooth.payments.stripe.snapshots import Snapshot
from tokenbooth.payments.stripe.translation import MissingObject, translate

S = 1_000_000
UPSERT = UpsertSubscription(
    stripe_subscription_id="sub_1",
    account_id="acct_1",
    checkout_id="chk_1",
    plan_slug="standard",
    status=SubscriptionStatus.ACTIVE,
    cancel_at_period_end=False,
    cancel_at_us=None,
    ended_at_us=None,
    created_at_us=samples.START_S * S,
    billed=PlanAtStripe(
        plan=SoldPlan("standard", 20_000_000_000),
        interval="month",
        currency="usd",
        quantity=1,
        period_start_us=samples.START_S * S,
    ),
)
GRANT = GrantPeriod(
    stripe_subscription_id="sub_1",
    stripe_invoice_id="in_1",
    period_start_us=samples.START_S * S,
    period_end_us=samples.END_S * S,
    list_nano=20_000_000_000,
    amount_paid_nano=20_000_000_000,
    tax_nano=0,
    currency="usd",
    payment_intent_id="pi_2",
)
CREDIT = CreditTopup(
    stripe_session_id="cs_1",
    checkout_id="chk_2",
    account_id="acct_1",
    payment_intent_id="pi_1",
    amount_nano=50_000_000_000,
    tax_nano=0,
    currency="usd",
)
SUBSCRIPTION_SESSION: dict[str, object] = {
    "mode": "subscription",
    "payment_intent": None,
    "subscription": "sub_1",
    "invoice": "in_1",
    "metadata": samples.OURS,
}


def outcome(kind: str, object_id: str, *fetched: Snapshot) -> tuple[PaymentCommand, ...]:
    """What an event of the test mode leads to."""
    return translate(samples.event(kind, object_id), fetched, livemode=False)


def test_paid_subscription_checkout_upserts_and_grants() -> None:
    """The session alone is enough, should no other event ever come."""
    session = parse_session(samples.session(**SUBSCRIPTION_SESSION))
    fetched = (session, parse_subscription(samples.subscription()), parse_invoice(samples.invoice()))
    assert outcome("checkout.session.completed", "cs_1", *fetched) == (UPSERT, GRANT)


def test_paid_invoice_upserts_and_grants() -> None:
    """Scenario 12: the invoice alone is enough, too, whichever event comes first."""
    fetched = (parse_invoice(samples.invoice()), parse_subscription(samples.subscription()))
    assert outcome("invoice.paid", "in_1", *fetched) == (UPSERT, GRANT)


def test_subscription_events_grant_nothing() -> None:
    """P8: an active status is no payment."""
    fetched = parse_subscription(samples.subscription())
    kinds = [kind for kind, subject in HANDLED_TYPES.items() if subject == "subscription"]
    assert [outcome(kind, "sub_1", fetched) for kind in kinds] == [(UPSERT,)] * len(kinds)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("trialing", SubscriptionStatus.ACTIVE),
        ("active", SubscriptionStatus.ACTIVE),
        ("past_due", SubscriptionStatus.PAST_DUE),
        ("unpaid", SubscriptionStatus.PAST_DUE),
        ("incomplete", SubscriptionStatus.INCOMPLETE),
        ("paused", SubscriptionStatus.PAUSED),
        ("canceled", SubscriptionStatus.CANCELED),
        ("incomplete_expired", SubscriptionStatus.CANCELED),
        ("a_status_of_2030", None),
    ],
)
def test_status_is_mapped(status: str, expected: SubscriptionStatus | None) -> None:
    """Scenario 17: every status of Stripe's has its meaning, an unknown one none, and nothing crashes."""
    fetched = parse_subscription(samples.subscription(status=status))
    commands = outcome("customer.subscription.updated", "sub_1", fetched)
    assert [command.status for command in commands if isinstance(command, UpsertSubscription)] == [expected]


def test_cancel_in_the_portal_counts_as_canceling() -> None:
    """Scenario 14: a date without the flag is a cancel; without either it goes on."""
    canceling = parse_subscription(samples.subscription(cancel_at=samples.END_S))
    undone = parse_subscription(samples.subscription())
    seen = [
        (command.cancel_at_period_end, command.cancel_at_us)
        for fetched in (canceling, undone)
        for command in outcome("customer.subscription.updated", "sub_1", fetched)
        if isinstance(command, UpsertSubscription)
    ]
    assert seen == [(True, samples.END_S * S), (False, None)]


def test_pending_first_payment_is_no_failure() -> None:
    """Scenario 3: a checkout whose invoice is still open upserts and says nothing more."""
    session = parse_session(samples.session(**SUBSCRIPTION_SESSION, payment_status="unpaid"))
    invoice = parse_invoice(samples.invoice(status="open", amount_paid=0))
    fetched = (session, parse_subscription(samples.subscription()), invoice)
    assert outcome("checkout.session.completed", "cs_1", *fetched) == (UPSERT,)


def test_foreign_subscription_checkout_needs_nothing_more() -> None:
    """Scenario 8: no call is spent on another product's objects."""
    changed = SUBSCRIPTION_SESSION | {"metadata": {}}
    session = parse_session(samples.session(**changed))
    assert needed(samples.event("checkout.session.completed", "cs_1"), (session,), livemode=False) == ()


def test_late_update_after_the_end_stays_canceled() -> None:
    """Scenario 13: an old `updated` event says what the subscription is now."""
    ended = parse_subscription(samples.subscription(status="canceled", ended_at=samples.END_S))
    (command,) = outcome("customer.subscription.updated", "sub_1", ended)
    assert isinstance(command, UpsertSubscription)
    assert (command.status, command.ended_at_us) == (SubscriptionStatus.CANCELED, samples.END_S * S)


def test_failed_renewal_is_marked() -> None:
    """Scenario 17: `invoice.payment_failed` of an open invoice."""
    invoice = parse_invoice(
        samples.invoice(status="open", amount_paid=0, attempt_count=2, next_payment_attempt=samples.END_S)
    )
    fetched = (invoice, parse_subscription(samples.subscription(status="past_due")))
    assert outcome("invoice.payment_failed", "in_1", *fetched)[1:] == (
        MarkPaymentFailed("sub_1", "in_1", 2, samples.END_S * S),
    )


def test_failed_payment_made_good_since_grants() -> None:
    """Scenario 17: the event is late, the invoice is paid by now."""
    fetched = (parse_invoice(samples.invoice()), parse_subscription(samples.subscription()))
    assert outcome("invoice.payment_failed", "in_1", *fetched) == (UPSERT, GRANT)


def test_paid_event_of_an_invoice_that_is_not_paid_grants_nothing() -> None:
    """P8: a period exists only if the invoice is paid."""
    invoice = parse_invoice(samples.invoice(status="void", attempt_count=0))
    fetched = (invoice, parse_subscription(samples.subscription()))
    assert outcome("invoice.paid", "in_1", *fetched) == (UPSERT,)


@pytest.mark.parametrize("kind", ["completed", "async_payment_succeeded", "async_payment_failed"])
def test_paid_topup_credits_whatever_the_event(kind: str) -> None:
    """Scenarios 2 and 3: each event of a paid session leads to the same one credit."""
    paid = parse_session(samples.session())
    assert outcome(f"checkout.session.{kind}", "cs_1", paid) == (CREDIT,)


def test_unpaid_topup_waits_and_a_failed_one_is_marked() -> None:
    """Scenario 3: complete but unpaid is no credit; the bank's refusal is noted."""
    unpaid = parse_session(samples.session(payment_status="unpaid"))
    assert outcome("checkout.session.completed", "cs_1", unpaid) == (
        Ignore("The checkout session is complete with payment unpaid."),
    )
    assert outcome("checkout.session.async_payment_failed", "cs_1", unpaid) == (
        CheckoutFailed("chk_2", "cs_1", "acct_1"),
    )


def test_expired_event_of_a_paid_session_credits() -> None:
    """Scenario 4: a session that is paid stays paid."""
    assert outcome("checkout.session.expired", "cs_1", parse_session(samples.session())) == (CREDIT,)


def test_expired_session_is_marked() -> None:
    """An unpaid checkout that ran out is closed on our side, too."""
    expired = parse_session(samples.session(status="expired", payment_status="unpaid"))
    assert outcome("checkout.session.expired", "cs_1", expired) == (CheckoutExpired("chk_2", "cs_1", "acct_1"),)


def test_foreign_objects_are_ignored() -> None:
    """Scenario 8: an object without our marks leads to nothing."""
    session = parse_session(samples.session(metadata={}))
    subscription = parse_subscription(samples.subscription(metadata={"plan_slug": "standard"}))
    loose = parse_invoice(samples.invoice(parent=None))
    invoice = parse_invoice(samples.invoice())
    assert [
        outcome("checkout.session.completed", "cs_1", session),
        outcome("customer.subscription.created", "sub_1", subscription),
        outcome("invoice.paid", "in_1", loose),
        outcome("invoice.paid", "in_1", invoice, subscription),
    ] == [
        (Ignore("The checkout session is not one of ours."),),
        (Ignore("The subscription is not one of ours."),),
        (Ignore("The invoice belongs to no subscription."),),
        (Ignore("The subscription is not one of ours."),),
    ]


def test_other_mode_and_unknown_types_need_no_fetch() -> None:
    """Scenario 8: they are ignored without a call to Stripe."""
    other_mode = samples.event("invoice.paid", "in_1", livemode=True)
    unknown = samples.event("customer.tax_id.created", None)
    assert [needed(event, (), livemode=False) for event in (other_mode, unknown)] == [(), ()]
    assert [translate(event, (), livemode=False) for event in (other_mode, unknown)] == [
        (Ignore("The event belongs to Stripe's other mode (live or test)."),),
        (Ignore("Events of type customer.tax_id.created are not used."),),
    ]


def test_needed_objects_are_asked_for_step_by_step() -> None:
    """The session names its subscription and its invoice; then nothing is missing."""
    event = samples.event("checkout.session.completed", "cs_1")
    session = parse_session(samples.session(**SUBSCRIPTION_SESSION))
    invoice, subscription = parse_invoice(samples.invoice()), parse_subscription(samples.subscription())
    rounds = [
        needed(event, fetched, livemode=False)
        for fetched in ((), (session,), (session, invoice), (session, invoice, subscription))
    ]
    assert rounds == [
        (ObjectRef("session", "cs_1"),),
        (ObjectRef("subscription", "sub_1"), ObjectRef("invoice", "in_1")),
        (ObjectRef("subscription", "sub_1"),),
        (),
    ]


def test_translating_too_early_is_an_error() -> None:
    """Nothing is decided on half of the facts."""
    with pytest.raises(MissingObject):
        outcome("invoice.paid", "in_1", parse_invoice(samples.invoice()))


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (samples.session(payment_intent=None), "session.payment_intent"),
        (samples.session(currency=None), "session.amount_total"),
        (samples.session(metadata={"account_id": "acct_1"}), "session.metadata.checkout_id"),
    ],
)
def test_paid_session_of_ours_without_a_needed_field_is_an_error(value: dict[str, object], place: str) -> None:
    """Scenario 15: our own paid session must say what was paid and for what."""
    with pytest.raises(UnexpectedShape) as raised:
        outcome("checkout.session.completed", "cs_1", parse_session(value))
    assert raised.value.path == place


@pytest.mark.parametrize(
    ("key", "expected"),
    [("sk_test_x", False), ("rk_test_x", False), ("sk_live_x", True), ("rk_live_x", True)],
)
def test_mode_follows_from_the_key(key: str, expected: bool) -> None:
    """The mode that events must have is the key's."""
    assert key_is_live(key) is expected
