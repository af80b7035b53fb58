"""Subscriptions follow Stripe, in any order and any number of repetitions."""

from itertools import permutations

import pytest
from sqlalchemy import Connection, select

from tests.support.billing.billing_rows import add_subscription
from tests.support.billing.stripe_state import MONTH_US, PRO, PRO_NANO, TOP_UP, grant, new_checkout, upsert
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import SUBSCRIPTION_REVENUE, TAX_DUE
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import (
    BookProration,
    GrantPeriod,
    MarkPaymentFailed,
    PaymentCommand,
    UpsertSubscription,
)
from tokenbooth.domain.plan_changes import PlanAtStripe, SoldPlan
from tokenbooth.domain.plans import Interval, Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, SubscriptionTerms
from tokenbooth.kit.errors import NotFound
from tokenbooth.store import changes, ledger
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import billing, subscriptions
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer
from tokenbooth.store.payments.subscriptions import StaleSnapshot
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import checkouts, subscription_periods
from tokenbooth.store.tables import subscriptions as rows

ACTIVE, CANCELED = SubscriptionStatus.ACTIVE, SubscriptionStatus.CANCELED


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer."""
    return new_customer(store, now_us=NOW_US)


@pytest.fixture
def checkout_id(store: Store, ada: Customer) -> str:
    """Her checkout of the plan pro."""
    return new_checkout(store, ada.account_id, PRO, now_us=NOW_US)


def terms_by_plan(store: Store) -> list[tuple[str, int, SubscriptionTerms]]:
    """Every stored subscription: its plan, price and terms."""

    def read(conn: Connection) -> list[tuple[str, int, SubscriptionTerms]]:
        found = conn.execute(select(rows).order_by(rows.c.stripe_subscription_id)).all()
        return [(row.plan_slug, row.price_nano, subscriptions.terms_of(row)) for row in found]

    return store.read_now(read)


def periods(store: Store) -> list[tuple[str, int, int]]:
    """Every granted period: invoice, start, end."""

    def read(conn: Connection) -> list[tuple[str, int, int]]:
        columns = subscription_periods.c
        found = conn.execute(
            select(columns.stripe_invoice_id, columns.start_us, columns.end_us).order_by(columns.start_us)
        )
        return [(row.stripe_invoice_id, row.start_us, row.end_us) for row in found]

    return store.read_now(read)


def apply(store: Store, *commands: PaymentCommand) -> list[str | None]:
    """Apply commands one after the other."""
    return [store.write_now(apply_command, command, now_us=NOW_US) for command in commands]


def revenue_nano(store: Store) -> int:
    """What subscriptions brought in."""
    return store.read_now(ledger.balance_nano, SUBSCRIPTION_REVENUE)


def test_a_paid_invoice_makes_the_subscription_active(store: Store, ada: Customer, checkout_id: str) -> None:
    """Plan and price come from our checkout; the paid period gives access; the payment is in the ledger."""
    assert apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US)) == [None, None]
    expected = SubscriptionTerms(ACTIVE, paid_until_us=NOW_US + MONTH_US, cancel_at_us=None, ended_at_us=None)
    assert terms_by_plan(store) == [("pro", PRO_NANO, expected)]
    assert revenue_nano(store) == PRO_NANO


def test_every_order_and_repetition_ends_the_same(store: Store) -> None:
    """12: each event brings the subscription along, and whichever comes first, the state is the same."""
    ends = set()
    for number, order in enumerate(permutations(range(4))):
        customer = new_customer(store, now_us=NOW_US, email=f"ada{number}@example.com")
        checkout_id = new_checkout(store, customer.account_id, PRO, now_us=NOW_US)
        made = upsert(customer.account_id, checkout_id, stripe_id=f"sub_{number}")
        paid = grant(f"in_{number}", NOW_US, stripe_id=f"sub_{number}")
        events: list[tuple[PaymentCommand, ...]] = [(made, paid), (made,), (made,), (made, paid)]
        for index in (*order, *order):
            assert apply(store, *events[index]) == [None] * len(events[index])
        ends.add(terms_by_plan(store)[-1])
        assert revenue_nano(store) == PRO_NANO * (number + 1)
    assert len(ends) == 1


def test_canceled_is_final(store: Store, ada: Customer, checkout_id: str) -> None:
    """13: an older word of an active subscription does not revive one that was deleted."""
    deleted = upsert(ada.account_id, checkout_id, status=CANCELED, ended_at_us=NOW_US + 5)
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US), deleted)
    apply(store, upsert(ada.account_id, checkout_id))
    expected = SubscriptionTerms(CANCELED, NOW_US + MONTH_US, None, NOW_US + 5)
    assert terms_by_plan(store) == [("pro", PRO_NANO, expected)]


def test_a_cancellation_by_date_is_followed_and_undone(store: Store, ada: Customer, checkout_id: str) -> None:
    """14: a date of its end alone means that it is canceling; without one it is set to renew again."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    end_us = NOW_US + MONTH_US
    apply(store, upsert(ada.account_id, checkout_id, cancel_at_period_end=True, cancel_at_us=end_us))
    assert terms_by_plan(store)[0][2].cancel_at_us == end_us
    apply(store, upsert(ada.account_id, checkout_id))
    assert terms_by_plan(store)[0][2].cancel_at_us is None


def test_a_cancellation_without_a_date_is_at_the_periods_end(store: Store) -> None:
    """The end is that of the last paid period, in whatever order the payments and the cancellation are heard of."""
    ends = set()
    for number, order in enumerate(permutations(range(3))):
        customer = new_customer(store, now_us=NOW_US, email=f"ada{number}@example.com")
        checkout_id = new_checkout(store, customer.account_id, PRO, now_us=NOW_US)
        stripe_id = f"sub_{number}"
        canceling = upsert(customer.account_id, checkout_id, stripe_id=stripe_id, cancel_at_period_end=True)
        events: list[tuple[PaymentCommand, ...]] = [
            (canceling, grant(f"in_{number}_1", NOW_US, stripe_id=stripe_id)),
            (canceling, grant(f"in_{number}_2", NOW_US + MONTH_US, stripe_id=stripe_id)),
            (canceling,),
        ]
        for index in order:
            apply(store, *events[index])
        ends.add(terms_by_plan(store)[-1][2].cancel_at_us)
    assert ends == {NOW_US + 2 * MONTH_US}


def test_invoices_twice_and_late_grant_their_own_period_once(store: Store, ada: Customer, checkout_id: str) -> None:
    """16: the renewal's invoice twice and the first one late: one period each, access to the later end."""
    first, renewal = grant("in_1", NOW_US), grant("in_2", NOW_US + MONTH_US)
    apply(store, upsert(ada.account_id, checkout_id), renewal, renewal, first, first)
    assert periods(store) == [
        ("in_1", NOW_US, NOW_US + MONTH_US),
        ("in_2", NOW_US + MONTH_US, NOW_US + 2 * MONTH_US),
    ]
    assert terms_by_plan(store)[0][2].paid_until_us == NOW_US + 2 * MONTH_US
    assert revenue_nano(store) == 2 * PRO_NANO


@pytest.mark.parametrize(
    "paid",
    [
        grant("in_1", NOW_US, amount_nano=PRO_NANO - 10_000_000),
        grant("in_1", NOW_US, amount_nano=0),
        grant("in_1", NOW_US, currency="eur"),
    ],
)
def test_another_price_grants_nothing(store: Store, ada: Customer, checkout_id: str, paid: GrantPeriod) -> None:
    """5: an invoice whose amount or currency is not the subscription's price is left to a person."""
    reasons = apply(store, upsert(ada.account_id, checkout_id), paid)
    assert reasons[1] == "The amount or the currency of the paid invoice differs from the subscription's price."
    assert periods(store) == []
    assert revenue_nano(store) == 0

    def status(conn: Connection) -> str:
        return str(conn.execute(select(checkouts.c.status).where(checkouts.c.id == checkout_id)).scalar_one())

    assert store.read_now(status) == "review"


def test_two_checkouts_are_two_subscriptions(store: Store, ada: Customer, checkout_id: str) -> None:
    """22: a second paid checkout of the same plan is an independent subscription."""
    second_id = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    apply(
        store,
        upsert(ada.account_id, checkout_id, stripe_id="sub_1"),
        grant("in_1", NOW_US, stripe_id="sub_1"),
        upsert(ada.account_id, second_id, stripe_id="sub_2"),
        grant("in_2", NOW_US, stripe_id="sub_2"),
    )
    assert len(terms_by_plan(store)) == 2
    assert len(store.read_now(billing.billing_status, ada.account_id, {}, NOW_US).subscriptions) == 2


def test_what_is_not_ours_is_left_to_a_person(store: Store, ada: Customer, checkout_id: str) -> None:
    """Unknown checkouts, another account's, a top-up's and one that is used already make no subscription."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    top_up_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    strange: list[UpsertSubscription | GrantPeriod] = [
        upsert(ada.account_id, None),
        upsert(ada.account_id, "chk_unknown"),
        upsert(ada.account_id, top_up_id),
        upsert(bob.account_id, checkout_id),
        grant("in_1", NOW_US),
    ]
    reasons = apply(store, *strange)
    assert [reason is not None for reason in reasons] == [True] * len(strange)
    apply(store, upsert(ada.account_id, checkout_id))
    reasons = apply(
        store,
        upsert(ada.account_id, checkout_id, stripe_id="sub_second"),
        upsert(bob.account_id, checkout_id),
    )
    assert [reason is not None for reason in reasons] == [True, True]
    assert len(terms_by_plan(store)) == 1


def test_a_failed_renewal_leaves_the_status_to_the_subscription(store: Store, ada: Customer, checkout_id: str) -> None:
    """17: past due when Stripe's subscription says so; an unknown one changes nothing; paid, it goes on."""
    failed = MarkPaymentFailed("sub_at_stripe", "in_2", attempt_count=1, next_attempt_at_us=None)
    past_due = upsert(ada.account_id, checkout_id, status=SubscriptionStatus.PAST_DUE)
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US), past_due, failed)
    assert terms_by_plan(store)[0][2].status is SubscriptionStatus.PAST_DUE
    apply(store, upsert(ada.account_id, checkout_id, status=None))
    assert terms_by_plan(store)[0][2].status is SubscriptionStatus.PAST_DUE
    apply(store, upsert(ada.account_id, checkout_id), grant("in_2", NOW_US + MONTH_US), failed)
    assert terms_by_plan(store)[0][2].status is ACTIVE


def test_what_was_fetched_before_a_change_does_not_apply(store: Store, ada: Customer, checkout_id: str) -> None:
    """A snapshot from before another handler's change is refused, so that it is fetched again."""
    version = store.read_now(subscriptions.version, "sub_at_stripe")
    assert version is None
    apply(store, upsert(ada.account_id, checkout_id))
    with pytest.raises(StaleSnapshot):
        store.write_now(
            apply_command,
            upsert(ada.account_id, checkout_id, status=SubscriptionStatus.PAST_DUE),
            seen={"sub_at_stripe": version},
            now_us=NOW_US,
        )
    assert terms_by_plan(store)[0][2].status is ACTIVE


def test_every_change_gets_a_new_version_even_in_one_microsecond(store: Store, ada: Customer, checkout_id: str) -> None:
    """Versions grow when the clock does not; a repetition that changes nothing keeps the version."""
    apply(store, upsert(ada.account_id, checkout_id))
    first = store.read_now(subscriptions.version, "sub_at_stripe")
    apply(store, upsert(ada.account_id, checkout_id))
    assert store.read_now(subscriptions.version, "sub_at_stripe") == first
    apply(store, grant("in_1", NOW_US))
    second = store.read_now(subscriptions.version, "sub_at_stripe")
    assert first is not None
    assert second == first + 1


def test_caches_hear_of_every_change_and_of_no_repetition(store: Store, ada: Customer, checkout_id: str) -> None:
    """The subscription is announced when it is made, granted, or changed."""
    start = store.read_now(changes.last_seq)
    commands: list[PaymentCommand] = [upsert(ada.account_id, checkout_id), grant("in_1", NOW_US)]
    apply(store, *commands, *commands)
    heard = store.read_now(changes.since, start)
    assert [change.topic for change in heard] == [changes.Topic.SUBSCRIPTION] * 2


def test_only_its_own_paid_subscription_is_found(store: Store, ada: Customer, checkout_id: str) -> None:
    """P13: another account's subscription, and one that was never paid, are as if they were not there."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    apply(store, upsert(ada.account_id, checkout_id))

    def own_id(conn: Connection) -> str:
        return str(conn.execute(select(rows.c.id)).scalar_one())

    subscription_id = store.read_now(own_id)
    assert store.read_now(subscriptions.find_own, ada.account_id, subscription_id) is None
    apply(store, grant("in_1", NOW_US))
    found = store.read_now(subscriptions.find_own, ada.account_id, subscription_id)
    assert found is not None
    assert found.stripe_subscription_id == "sub_at_stripe"
    assert store.read_now(subscriptions.find_own, bob.account_id, subscription_id) is None
    assert store.read_now(billing.subscription_view, bob.account_id, subscription_id, {}, NOW_US) is None


def own_id(store: Store) -> str:
    """Our id of the one subscription at Stripe."""
    return store.read_now(subscriptions.id_of, "sub_at_stripe")


def test_a_subscription_is_named_both_ways(store: Store, ada: Customer, checkout_id: str) -> None:
    """Ours by Stripe's id and Stripe's by ours; an unknown one is told."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    assert store.read_now(subscriptions.stripe_id_of, own_id(store)) == "sub_at_stripe"
    for look_up in (subscriptions.id_of, subscriptions.stripe_id_of):
        with pytest.raises(NotFound):
            store.read_now(look_up, "sub_unknown")
    recorded = store.read_now(subscriptions.recorded_statuses)["sub_at_stripe"]
    assert (recorded.status, recorded.cancel_at_us, recorded.paid_until_us) == (ACTIVE, None, NOW_US + MONTH_US)


def test_a_cancellation_of_ours_is_seen_at_once(store: Store, ada: Customer, checkout_id: str) -> None:
    """Set to end, and set to go on again."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    shown = []
    for cancel_at_us in (NOW_US + MONTH_US, None):
        store.write_now(subscriptions.set_to_cancel, own_id(store), cancel_at_us, now_us=NOW_US)
        view = store.read_now(billing.subscription_view, ada.account_id, own_id(store), {}, NOW_US)
        assert view is not None
        shown.append((view.cancel_at_period_end, view.budget))
    assert shown == [(True, None), (False, None)]


def change_plan(store: Store, customer: Customer, *, amount_nano: int = 2 * PRO_NANO) -> str:
    """Note the change to a dearer plan, as the API does before it asks Stripe."""
    offer = Offer(CheckoutKind.PLAN_CHANGE, "max", amount_nano, None, own_id(store))
    return new_checkout(store, customer.account_id, offer, now_us=NOW_US)


def test_a_change_of_plan_takes_effect_when_stripe_names_it(store: Store, ada: Customer, checkout_id: str) -> None:
    """The new plan at the price that we noted; renewals are granted at either price, the difference is booked once."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    change_id = change_plan(store, ada)
    billed = PlanAtStripe(SoldPlan("max", 2 * PRO_NANO), "month", "usd", 1, NOW_US)
    changed = upsert(ada.account_id, change_id, billed=billed)
    apply(store, changed, changed)
    ((plan, price_nano, _),) = terms_by_plan(store)
    assert (plan, price_nano) == ("max", 2 * PRO_NANO)
    difference = BookProration("sub_at_stripe", "in_2", 30 * NANO_PER_USD, NANO_PER_USD, "usd", "pi_of_in_2")
    apply(store, difference, difference)
    assert store.read_now(ledger.balance_nano, SUBSCRIPTION_REVENUE) == PRO_NANO + 29 * NANO_PER_USD
    assert store.read_now(ledger.balance_nano, TAX_DUE) == NANO_PER_USD
    apply(store, grant("in_3", NOW_US + MONTH_US), grant("in_4", NOW_US + 2 * MONTH_US, amount_nano=2 * PRO_NANO))
    assert [invoice for invoice, _, _ in periods(store)] == ["in_1", "in_3", "in_4"]
    assert store.read_now(audit).differences == ()


def test_a_change_that_we_did_not_note_for_it_changes_nothing(store: Store, ada: Customer, checkout_id: str) -> None:
    """An unknown checkout, one that sells something else, and a change of another subscription."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    second = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    apply(store, upsert(ada.account_id, second, stripe_id="sub_2"))
    top_up_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    for named in ("chk_unknown", top_up_id):
        apply(store, upsert(ada.account_id, named))
    apply(store, upsert(ada.account_id, change_plan(store, ada), stripe_id="sub_2"), upsert(ada.account_id, None))
    assert [plan for plan, _, _ in terms_by_plan(store)] == ["pro", "pro"]


def test_a_difference_in_price_of_nothing_known_is_left_to_a_person(
    store: Store, ada: Customer, checkout_id: str
) -> None:
    """An unknown subscription's, and one in another currency; one that credit of the customer's paid moves nothing."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    unknown = BookProration("sub_unknown", "in_2", 10, 0, "usd", None)
    euro = BookProration("sub_at_stripe", "in_2", 10, 0, "eur", None)
    nothing = BookProration("sub_at_stripe", "in_2", 0, 0, "usd", None)
    said = [store.write_now(apply_command, command, now_us=NOW_US) for command in (unknown, euro, nothing)]
    assert said == [
        "The paid invoice is of a subscription that is not known here.",
        "The invoice was paid in another currency than ours.",
        None,
    ]
    assert store.read_now(ledger.balance_nano, SUBSCRIPTION_REVENUE) == PRO_NANO


def test_a_subscription_without_a_checkout_of_ours_has_one_price(store: Store, ada: Customer) -> None:
    """A row that an operator brought along is renewed at its price, whoever sold it first."""
    subscription_id = store.write_now(add_subscription, ada.account_id, now_us=NOW_US)
    renewed = grant("in_1", NOW_US, stripe_id=f"test-{subscription_id}")
    assert store.write_now(apply_command, renewed, now_us=NOW_US) is None
    dearer = grant("in_2", NOW_US, stripe_id=f"test-{subscription_id}", amount_nano=PRO_NANO + 1)
    assert store.write_now(apply_command, dearer, now_us=NOW_US) is not None


PLANS = {"pro": Plan("pro", "Pro", PRO_NANO, Interval.MONTH, 200, None, 420_000_000, "5h", 5 * 3_600_000_000)}


def test_the_status_shows_what_a_customer_needs(store: Store, ada: Customer, checkout_id: str) -> None:
    """Active first, budgets of the open window, keys that live; ended ones for thirty days, unpaid ones never."""
    apply(store, upsert(ada.account_id, checkout_id), grant("in_1", NOW_US))
    second = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    unpaid = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    apply(
        store,
        upsert(ada.account_id, second, stripe_id="sub_2", created_at_us=NOW_US),
        grant("in_2", NOW_US - MONTH_US, stripe_id="sub_2"),
        upsert(ada.account_id, second, stripe_id="sub_2", status=CANCELED, ended_at_us=NOW_US),
        upsert(ada.account_id, unpaid, stripe_id="sub_3"),
    )
    new = NewApiKey("key_1", ada.account_id, "app", b"d" * 32, "sk_live_", own_id(store))
    store.write_now(create_api_key, new, max_keys=10, grace_us=0, actor="test", now_us=NOW_US)

    def status(now_us: int) -> list[tuple[SubscriptionStatus, tuple[billing.KeyView, ...], int | None]]:
        found = store.read_now(billing.billing_status, ada.account_id, PLANS, now_us)
        return [(v.status, v.keys, v.budget.limit_nano if v.budget else None) for v in found.subscriptions]

    active = (ACTIVE, (billing.KeyView("key_1", "app"),), 420_000_000)
    assert status(NOW_US + 1) == [active, (CANCELED, (), 420_000_000)]
    assert status(NOW_US + billing.SHOW_ENDED_US) == [active]
