"""Billing under real concurrency, on both databases: one effect, whoever comes first."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.support.billing.stripe_state import (
    PRO,
    PRO_NANO,
    TOP_UP,
    TOP_UP_NANO,
    grant,
    new_checkout,
    paid_topup,
    upsert,
)
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer, row_counts
from tokenbooth.domain.ledger import SUBSCRIPTION_REVENUE, credit_of
from tokenbooth.domain.payment_commands import PaymentCommand
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.reports.audit import audit

A = TypeVar("A")
R = TypeVar("R")


@pytest.fixture
def database(store: Store) -> Iterator[Store]:
    """An empty database; its ledger is audited afterwards."""
    yield store
    assert store.read_now(audit).differences == ()


@pytest.fixture
def ada(database: Store) -> Customer:
    """A customer."""
    return new_customer(database, now_us=NOW_US)


def at_once(work: Callable[[A], R], inputs: Sequence[A]) -> list[R]:
    """Run `work` for every input, each in a thread of its own, all begun together."""
    barrier = threading.Barrier(len(inputs))

    def begin(value: A) -> R:
        barrier.wait()
        return work(value)

    with ThreadPoolExecutor(len(inputs)) as threads:
        return list(threads.map(begin, inputs))


def test_a_purchase_told_by_twenty_at_once_counts_once(database: Store, ada: Customer) -> None:
    """1, 2: parallel commands for one session, one subscription and one invoice have one effect each."""
    top_up_id = new_checkout(database, ada.account_id, TOP_UP, now_us=NOW_US)
    plan_id = new_checkout(database, ada.account_id, PRO, now_us=NOW_US)

    def apply(command: PaymentCommand) -> str | None:
        return database.write_now(apply_command, command, now_us=NOW_US)

    first: list[PaymentCommand] = [paid_topup(ada.account_id, top_up_id)] * 10
    first += [upsert(ada.account_id, plan_id)] * 10
    assert at_once(apply, first) == [None] * 20
    assert at_once(apply, [grant("in_1", NOW_US)] * 20) == [None] * 20
    assert database.read_now(ledger.balance_nano, credit_of(ada.account_id)) == TOP_UP_NANO
    assert database.read_now(ledger.balance_nano, SUBSCRIPTION_REVENUE) == PRO_NANO
    counts = row_counts(database)
    assert (counts["subscriptions"], counts["subscription_periods"]) == (1, 1)


def test_one_event_is_stored_once_and_claimed_by_one(database: Store) -> None:
    """1: of 20 parallel deliveries all find one row, and one of 20 handlers gets it."""

    def receive(_: int) -> str:
        return database.write_now(
            inbox.insert,
            source=inbox.STRIPE,
            external_id="evt_1",
            event_type="invoice.paid",
            payload=b"{}",
            now_us=NOW_US,
        )

    row_ids = set(at_once(receive, range(20)))
    assert len(row_ids) == 1
    (row_id,) = row_ids

    def claim(_: int) -> bool:
        return database.write_now(inbox.claim, row_id, now_us=NOW_US) is not None

    assert sum(at_once(claim, range(20))) == 1


def test_two_handlers_of_one_row_have_one_effect(database: Store, ada: Customer) -> None:
    """9: handlers of several processes that all hold one row apply it once."""
    checkout_id = new_checkout(database, ada.account_id, TOP_UP, now_us=NOW_US)
    row_id = database.write_now(
        inbox.insert,
        source=inbox.STRIPE,
        external_id="evt_1",
        event_type="checkout.session.completed",
        payload=b"{}",
        now_us=NOW_US,
    )
    command = paid_topup(ada.account_id, checkout_id)

    def handle(_: int) -> inbox.InboxStatus:
        return database.write_now(inbox.carry_out, row_id, [command], seen={}, now_us=NOW_US).status

    assert at_once(handle, range(10)) == [inbox.InboxStatus.HANDLED] * 10
    assert database.read_now(ledger.balance_nano, credit_of(ada.account_id)) == TOP_UP_NANO
