"""Automatic top-ups in the store: one charge at a time, within the month's limit, off after a failure."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, update

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer, row_counts
from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import CreditDirect, DirectFailed
from tokenbooth.store import ledger
from tokenbooth.store.accounts.accounts import set_stripe_customer, suspend
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import auto_topups, checkouts
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.auto_topups import Candidate, Rule, UnnotifiedFailure
from tokenbooth.store.payments.checkouts import TopUpCaps
from tokenbooth.store.tables import accounts

RULE = Rule(True, threshold_nano=5 * NANO_PER_USD, amount_nano=20 * NANO_PER_USD, monthly_limit_nano=50 * NANO_PER_USD)
NO_CAPS = TopUpCaps(young_us=0, young_daily_nano=0, max_declined=100)
APRIL_US = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer at Stripe, with a rule."""
    customer = new_customer(store, now_us=NOW_US)
    store.write_now(set_stripe_customer, customer.account_id, "cus_1")
    store.write_now(auto_topups.put, customer.account_id, RULE, actor="key_1", now_us=NOW_US)
    return customer


@pytest.fixture
def candidate(store: Store, ada: Customer) -> Candidate:
    """Her account, as the job finds it."""
    (found,) = store.read_now(auto_topups.candidates)
    return found


def begin(
    store: Store,
    candidate: Candidate,
    checkout_id: str,
    *,
    held_nano: int = 0,
    caps: TopUpCaps = NO_CAPS,
    now_us: int = NOW_US,
) -> bool:
    """Begin a charge."""
    return store.write_now(
        auto_topups.begin,
        candidate,
        checkout_id=checkout_id,
        card_id="pm_1",
        held_nano=held_nano,
        caps=caps,
        now_us=now_us,
    )


def pay(store: Store, candidate: Candidate, checkout_id: str) -> None:
    """Let Stripe say that the charge succeeded."""
    paid = CreditDirect(checkout_id, candidate.account_id, f"pi_{checkout_id}", RULE.amount_nano, "usd")
    assert store.write_now(apply_command, paid, now_us=NOW_US) is None


def give(store: Store, candidate: Candidate, amount_nano: int) -> None:
    """Credit by hand."""
    store.write_now(
        ledger.grant,
        account_id=candidate.account_id,
        amount_nano=amount_nano,
        reference="grant",
        reason="test",
        now_us=NOW_US,
    )


def test_a_rule_that_was_never_set_is_off(store: Store) -> None:
    """Nothing is charged unless it was asked for."""
    customer = new_customer(store, now_us=NOW_US)
    view = store.read_now(auto_topups.view, customer.account_id, now_us=NOW_US)
    assert (view.rule, view.failure) == (Rule(False, 0, 0, 0), None)
    stranger = Candidate(customer.account_id, "cus_1", 0, RULE)
    assert not begin(store, stranger, "chk_1")


def test_only_who_can_be_charged_is_a_candidate(store: Store, ada: Customer, candidate: Candidate) -> None:
    """Not one that is off, suspended, disputed, unknown to Stripe, or has a charge under way."""
    assert candidate == Candidate(ada.account_id, "cus_1", 0, RULE)
    stranger = new_customer(store, now_us=NOW_US, email="no-card@example.com")
    store.write_now(auto_topups.put, stranger.account_id, RULE, actor="key_1", now_us=NOW_US)
    assert store.read_now(auto_topups.candidates) == [candidate]

    def dispute(conn: Connection, at_us: int | None) -> None:
        conn.execute(update(accounts).where(accounts.c.id == ada.account_id).values(disputed_at_us=at_us))

    store.write_now(dispute, NOW_US)
    assert store.read_now(auto_topups.candidates) == []
    store.write_now(dispute, None)
    assert begin(store, candidate, "chk_1")
    assert store.read_now(auto_topups.candidates) == []
    pay(store, candidate, "chk_1")
    assert store.read_now(auto_topups.candidates) == [replace(candidate, balance_nano=RULE.amount_nano)]
    store.write_now(suspend, ada.account_id, actor="test", reason="test", now_us=NOW_US)
    assert store.read_now(auto_topups.candidates) == []


def test_a_rule_charges_only_below_its_threshold(store: Store, candidate: Candidate) -> None:
    """What calls in flight hold counts as gone; a balance at the threshold is enough."""
    give(store, candidate, RULE.threshold_nano)
    assert not begin(store, candidate, "chk_1")
    assert begin(store, candidate, "chk_1", held_nano=1)


def test_a_months_limit_is_kept_and_the_next_month_is_new(store: Store, candidate: Candidate) -> None:
    """Charges under way and paid ones count, failed ones don't."""
    begun = []
    for number in range(3):
        begun.append(begin(store, candidate, f"chk_{number}", held_nano=100 * NANO_PER_USD))
        if begun[-1]:
            pay(store, candidate, f"chk_{number}")
    assert begun == [True, True, False]
    view = store.read_now(auto_topups.view, candidate.account_id, now_us=NOW_US)
    assert view.charged_this_month_nano == 2 * RULE.amount_nano
    assert begin(store, candidate, "chk_april", held_nano=100 * NANO_PER_USD, now_us=APRIL_US)


def test_caps_against_stolen_cards_hold_for_rules_too(store: Store, candidate: Candidate) -> None:
    """A young account's rule tops up no more in a day than it may."""
    caps = TopUpCaps(young_us=10**15, young_daily_nano=RULE.amount_nano - 1, max_declined=100)
    assert not begin(store, candidate, "chk_1", caps=caps)


def test_never_two_charges_at_once(store: Store, candidate: Candidate) -> None:
    """Of ten that begin together one gets its charge."""
    barrier = threading.Barrier(10)

    def try_it(number: int) -> bool:
        barrier.wait()
        return begin(store, candidate, f"chk_{number}")

    with ThreadPoolExecutor(10) as threads:
        assert sum(threads.map(try_it, range(10))) == 1
    assert row_counts(store)["checkouts"] == 1


def test_a_failure_switches_off_and_is_told_once(store: Store, ada: Customer, candidate: Candidate) -> None:
    """The owner reads why, is told once, and a new rule forgets it."""
    begin(store, candidate, "chk_1")
    failed = DirectFailed("chk_1", ada.account_id, None, "Your card was declined.")
    for _ in range(2):
        assert store.write_now(apply_command, failed, now_us=NOW_US + 1) is None
    view = store.read_now(auto_topups.view, ada.account_id, now_us=NOW_US)
    assert (view.rule.enabled, view.failure, view.failed_at_us) == (False, "Your card was declined.", NOW_US + 1)
    (unnotified,) = store.read_now(auto_topups.unnotified)
    assert unnotified == UnnotifiedFailure(ada.account_id, ada.email, "Your card was declined.", NOW_US + 1)
    assert ada.email not in repr(unnotified)
    assert [store.write_now(auto_topups.mark_notified, unnotified, now_us=NOW_US + 2) for _ in range(2)] == [
        True,
        False,
    ]
    assert store.read_now(auto_topups.unnotified) == []
    assert not begin(store, candidate, "chk_2")
    assert store.write_now(auto_topups.put, ada.account_id, RULE, actor="key_1", now_us=NOW_US + 3).failure is None


def test_a_rule_without_a_card_is_switched_off_with_its_reason(store: Store, ada: Customer) -> None:
    """A later failure is told again."""
    for at_us in (NOW_US + 1, NOW_US + 2):
        store.write_now(auto_topups.switch_off, ada.account_id, "There is no saved card.", now_us=at_us)
        (unnotified,) = store.read_now(auto_topups.unnotified)
        assert unnotified.failed_at_us == at_us
        store.write_now(auto_topups.mark_notified, unnotified, now_us=at_us)


def test_a_charge_whose_outcome_is_unknown_is_asked_for(store: Store, candidate: Candidate) -> None:
    """The reconciler finds charges that nobody told of, after a while."""
    begin(store, candidate, "chk_1")
    assert store.read_now(checkouts.pending_charges, before_us=NOW_US) == []
    (pending,) = store.read_now(checkouts.pending_charges, before_us=NOW_US + 1)
    assert (pending.checkout_id, pending.account_id) == ("chk_1", candidate.account_id)
    assert store.read_now(ledger.balance_nano, credit_of(candidate.account_id)) == 0
