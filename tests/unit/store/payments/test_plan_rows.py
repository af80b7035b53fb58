"""Which plan a subscription's row has, on both engines: what Stripe says, payments and the clock make of it."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, select, update

from tests.support.billing.billing_rows import DAY_US, HOUR_US, add_key, add_subscription, add_usage, by_window, charge
from tests.support.billing.stripe_state import MONTH_US, PRO, PRO_NANO, grant, new_checkout, upsert
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import BookProration, GrantPeriod, PaymentCommand, UpsertSubscription
from tokenbooth.domain.plan_changes import PendingPlan, PlanAtStripe, PlanState, SoldPlan, settled
from tokenbooth.kit.errors import Unprocessable
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import checkouts, subscriptions
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.checkouts import CheckoutKind, Offer
from tokenbooth.store.payments.plan_rows import state_of
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import audit_log, subscription_periods
from tokenbooth.store.tables import subscriptions as rows
from tokenbooth.store.usage.admission import load_window_spent_nano

PAID_UNTIL_US = NOW_US + MONTH_US
PRO_PLAN, SMALL, TOP = SoldPlan("pro", PRO_NANO), SoldPlan("standard", 20 * NANO_PER_USD), SoldPlan("top", 2 * PRO_NANO)


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer."""
    return new_customer(store, now_us=NOW_US)


def at_stripe(
    plan: SoldPlan | None, following: SoldPlan | None = None, *, start_us: int = NOW_US, credited_nano: int = 0
) -> PlanAtStripe:
    """What Stripe bills one of."""
    pending = None if following is None else PendingPlan(following, PAID_UNTIL_US)
    return PlanAtStripe(plan, "month", "usd", 1, start_us, pending, None, credited_nano)


class Told:
    """A subscription to pro that was paid for a month, and what Stripe says of it afterwards."""

    def __init__(self, store: Store, ada: Customer) -> None:
        self.store = store
        self.account_id = ada.account_id
        self.checkout_id = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
        self.apply(self.says(at_stripe(PRO_PLAN)), grant("in_1", NOW_US))

    def says(self, billed: PlanAtStripe) -> UpsertSubscription:
        """Stripe's word."""
        return upsert(self.account_id, self.checkout_id, billed=billed)

    def apply(self, *commands: PaymentCommand, now_us: int = NOW_US) -> list[str | None]:
        """Carry out what Stripe says."""
        return [self.store.write_now(apply_command, command, now_us=now_us) for command in commands]

    def state(self, now_us: int = NOW_US) -> PlanState:
        """The plan that counts."""
        return settled(self.store.read_now(lambda conn: state_of(conn.execute(select(rows)).one())), now_us)


def test_a_cheaper_plan_waits_and_is_granted_at_its_price(store: Store, ada: Customer) -> None:
    """Whether Stripe tells of a schedule or of the smaller price at once; the renewal at its price is granted."""
    told = Told(store, ada)
    waiting = PlanState(PRO_PLAN, PendingPlan(SMALL, PAID_UNTIL_US))
    for word in (at_stripe(PRO_PLAN, SMALL), at_stripe(SMALL)):
        told.apply(told.says(word), told.says(word))
        assert told.state() == waiting
    assert told.state(PAID_UNTIL_US) == PlanState(SMALL)
    turned = told.says(at_stripe(SMALL, start_us=PAID_UNTIL_US))
    renewal = grant("in_2", PAID_UNTIL_US, amount_nano=SMALL.price_nano)
    assert told.apply(turned, renewal, now_us=PAID_UNTIL_US + 1) == [None, None]
    assert told.state(PAID_UNTIL_US + 1) == PlanState(SMALL)
    assert store.read_now(audit).differences == ()


def test_it_is_written_down_by_the_job(store: Store, ada: Customer) -> None:
    """Once its moment has come; before it nothing is."""
    told = Told(store, ada)
    told.apply(told.says(at_stripe(PRO_PLAN, SMALL)))
    assert store.write_now(subscriptions.settle_plans, now_us=PAID_UNTIL_US - 1) == 0
    assert store.write_now(subscriptions.settle_plans, now_us=PAID_UNTIL_US) == 1
    assert told.state() == PlanState(SMALL)
    assert store.write_now(subscriptions.settle_plans, now_us=PAID_UNTIL_US + 1) == 0


def test_a_dearer_plan_of_elsewhere_needs_its_payment(store: Store, ada: Customer) -> None:
    """It waits; the paid difference lets it count once, and not a second time after it was given up."""
    told = Told(store, ada)
    told.apply(told.says(at_stripe(TOP)))
    assert told.state(PAID_UNTIL_US + 1) == PlanState(PRO_PLAN, PendingPlan(TOP, PAID_UNTIL_US))
    difference = BookProration("sub_at_stripe", "in_2", 30 * NANO_PER_USD, 0, "usd", "pi_2", pays_for=TOP)
    told.apply(difference)
    assert told.state() == PlanState(TOP)
    told.apply(told.says(at_stripe(PRO_PLAN, credited_nano=30 * NANO_PER_USD)))
    assert told.state() == PlanState(PRO_PLAN)
    told.apply(told.says(at_stripe(TOP)), difference)
    assert told.state() == PlanState(PRO_PLAN, PendingPlan(TOP, PAID_UNTIL_US))
    # Another payment within the period that was given back lets it wait, too.
    again = BookProration("sub_at_stripe", "in_3", 30 * NANO_PER_USD, 0, "usd", "pi_3", pays_for=TOP)
    told.apply(again)
    assert told.state() == PlanState(PRO_PLAN, PendingPlan(TOP, PAID_UNTIL_US))
    renewal = grant("in_4", PAID_UNTIL_US, amount_nano=TOP.price_nano)
    told.apply(told.says(at_stripe(TOP, start_us=PAID_UNTIL_US)), renewal, now_us=PAID_UNTIL_US)
    assert told.state(PAID_UNTIL_US) == PlanState(TOP)


@pytest.mark.parametrize(
    "billed",
    [
        PlanAtStripe(SMALL, "month", "usd", 2, NOW_US),
        PlanAtStripe(SMALL, "month", "eur", 1, NOW_US),
        PlanAtStripe(None, "month", "usd", 1, NOW_US),
    ],
)
def test_what_was_not_sold_changes_no_plan(store: Store, ada: Customer, billed: PlanAtStripe) -> None:
    """A quantity, a currency, a price of nobody's: a reason for a person, and the plan stays."""
    told = Told(store, ada)
    (reason,) = told.apply(told.says(billed))
    assert reason is not None
    assert told.state() == PlanState(PRO_PLAN)


def test_never_more_than_three_changes_at_once(store: Store, ada: Customer) -> None:
    """Forced to note them at the same moment, no more than three of a day are let through."""
    told = Told(store, ada)
    own_id = store.read_now(lambda conn: conn.execute(select(rows.c.id)).scalar_one())
    barrier = threading.Barrier(8)

    def note(number: int) -> str:
        barrier.wait()
        try:
            store.write_now(
                checkouts.create_checkout,
                checkout_id=new_id(IdPrefix.CHECKOUT, NOW_US + number),
                account_id=told.account_id,
                offer=Offer(CheckoutKind.PLAN_CHANGE, "top", TOP.price_nano, None, own_id),
                max_pending=100,
                now_us=NOW_US,
            )
        except Unprocessable as refusal:
            return refusal.code
        return "noted"

    with ThreadPoolExecutor(8) as threads:
        codes = sorted(threads.map(note, range(8)))
    assert codes == ["noted"] * 3 + ["too_many_plan_changes"] * 5


def test_the_window_of_a_subscription_that_was_paid_back_is_carried_over(store: Store, ada: Customer) -> None:
    """What it spent in a window counts for those that were begun after it, in that window alone; for nobody else."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")

    def begin(conn: Connection, account_id: str, began_us: int) -> str:
        return add_subscription(conn, account_id, now_us=began_us, paid_until_us=PAID_UNTIL_US)

    older = store.write_now(begin, ada.account_id, NOW_US - 10)
    former = store.write_now(begin, ada.account_id, NOW_US)
    later = store.write_now(begin, ada.account_id, NOW_US + 20)
    other = store.write_now(begin, bob.account_id, NOW_US + 20)
    store.write_now(add_key, ada.account_id, "key_a", subscription_id=former, now_us=NOW_US)
    spent = charge(ada.account_id, finished_at_us=NOW_US + 5, cost_nano=77)
    store.write_now(add_usage, by_window(spent, former)._replace(window_start_us=NOW_US))

    def spent_nano(start_us: int = NOW_US) -> list[int]:
        return [store.read_now(load_window_spent_nano, one, start_us) for one in (older, later, other)]

    def end(conn: Connection) -> None:
        conn.execute(update(rows).where(rows.c.id == former).values(ended_at_us=NOW_US + 10))

    def give_back(conn: Connection) -> None:
        conn.execute(update(rows).where(rows.c.id == former).values(credited_until_us=PAID_UNTIL_US))

    assert spent_nano() == [0, 0, 0]
    store.write_now(end)
    assert spent_nano() == [0, 0, 0]
    store.write_now(give_back)
    assert spent_nano() == [0, 77, 0]
    assert spent_nano(NOW_US + 15) == [0, 0, 0]


def test_what_is_carried_over_is_exact_wherever_the_window_begins(store: Store, ada: Customer) -> None:
    """Single requests for the rest of an hour, hours for the rest of a day, then days; of the former's keys alone."""
    dice = random.Random(5)
    began_us = NOW_US - 3 * DAY_US
    former, later = (
        store.write_now(add_subscription, ada.account_id, now_us=began_us + n, paid_until_us=PAID_UNTIL_US)
        for n in range(2)
    )
    for key_id, subscription_id in (("key_a", former), ("key_b", later)):
        store.write_now(add_key, ada.account_id, key_id, subscription_id=subscription_id, now_us=began_us)
    charges = [
        by_window(
            charge(ada.account_id, finished_at_us=NOW_US - dice.randrange(3 * DAY_US), key_id=key_id, cost_nano=10**n),
            subscription_id,
        )
        for n in range(12)
        for key_id, subscription_id in (("key_a", former), ("key_b", later))
    ]
    store.write_now(add_usage, *charges)

    def give_back(conn: Connection) -> None:
        conn.execute(
            update(rows).where(rows.c.id == former).values(ended_at_us=NOW_US, credited_until_us=PAID_UNTIL_US)
        )

    store.write_now(give_back)
    for start_us in (began_us, NOW_US - DAY_US, NOW_US - 30 * HOUR_US, *(NOW_US - n * 1_800_000_000 for n in range(9))):
        expected_nano = sum(
            made.charged_nano for made in charges if made.key_id == "key_a" and made.finished_at_us >= start_us
        )
        assert store.read_now(load_window_spent_nano, later, start_us) == expected_nano


def test_a_refund_of_the_period_counts_as_paid_back(store: Store, ada: Customer) -> None:
    """An operator's refund of a subscription that then is ended, too."""
    told = Told(store, ada)
    former = store.read_now(lambda conn: conn.execute(select(rows.c.id)).scalar_one())
    store.write_now(add_key, told.account_id, "key_a", subscription_id=former, now_us=NOW_US)
    spent = charge(told.account_id, finished_at_us=NOW_US + 5, cost_nano=55)
    store.write_now(add_usage, by_window(spent, former)._replace(window_start_us=NOW_US))

    def refund_and_end(conn: Connection) -> str:
        conn.execute(update(subscription_periods).values(refunded_nano=PRO_NANO))
        conn.execute(update(rows).values(ended_at_us=NOW_US + 10))
        return add_subscription(conn, told.account_id, now_us=NOW_US + 20, paid_until_us=PAID_UNTIL_US)

    later = store.write_now(refund_and_end)
    assert store.read_now(load_window_spent_nano, later, NOW_US) == 55


def test_credit_is_told_once_for_an_invoice(store: Store, ada: Customer) -> None:
    """However often the invoice is heard of."""
    told = Told(store, ada)
    paid_back = BookProration("sub_at_stripe", "in_2", 0, 0, "usd", None, credited_nano=40 * NANO_PER_USD)
    renewal = GrantPeriod(
        "sub_at_stripe",
        "in_3",
        PAID_UNTIL_US,
        PAID_UNTIL_US + MONTH_US,
        PRO_NANO,
        PRO_NANO,
        0,
        "usd",
        "pi_3",
        credited_nano=5 * NANO_PER_USD,
    )
    told.apply(paid_back, paid_back, renewal, renewal)

    def read(conn: Connection) -> list[str]:
        return list(conn.execute(select(audit_log.c.detail).where(audit_log.c.action == "plan.credited")).scalars())

    own_id = store.read_now(lambda conn: conn.execute(select(rows.c.id)).scalar_one())
    assert sorted(store.read_now(read)) == [
        f"{own_id}: in_2 gave back 40.00 USD",
        f"{own_id}: in_3 gave back 5.00 USD",
    ]
