"""Statements: their lines lead from the first balance to the last, exactly, whatever was forgotten since."""

import pytest

from tests.support.billing.billing_rows import DAY_US, charge
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
from tests.support.store import Customer, new_customer
from tokenbooth.domain.keys import KeyKind, digest
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import ReversalKind, SettleReversal
from tokenbooth.kit.ids import new_key
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key
from tokenbooth.store.engine import Store
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.reports.statement import Statement, refunded_nano, statement
from tokenbooth.store.usage.retention import prune_usage
from tokenbooth.store.usage.settlement import apply_charges

MIDNIGHT_US = NOW_US - NOW_US % DAY_US
YEAR_US = 365 * DAY_US


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer with a key, a top-up, a plan, three days of charges, a refund and an adjustment into debt."""
    customer = new_customer(store, now_us=NOW_US)
    new = NewApiKey("key_a", customer.account_id, "my app", digest(new_key(KeyKind.API)), "sk_live_")
    store.write_now(create_api_key, new, max_keys=10, grace_us=0, actor="test", now_us=NOW_US)
    top_up_id = new_checkout(store, customer.account_id, TOP_UP, now_us=NOW_US)
    plan_id = new_checkout(store, customer.account_id, PRO, now_us=NOW_US)
    for command in (
        paid_topup(customer.account_id, top_up_id),
        upsert(customer.account_id, plan_id),
        grant("in_1", NOW_US),
    ):
        store.write_now(apply_command, command, now_us=NOW_US)
    for day in range(3):
        at_us = NOW_US + day * DAY_US
        charges = [
            charge(customer.account_id, finished_at_us=at_us, key_id=key, cost_nano=1_000 + day)
            for key in ("key_a", "key_a", "key_gone")
        ]
        store.write_now(apply_charges, charges, now_us=at_us)
    for refund in (
        SettleReversal("re_1", ReversalKind.REFUND, "pi_of_cs_at_stripe", NANO_PER_USD, "usd"),
        SettleReversal("re_2", ReversalKind.REFUND, "pi_of_in_1", NANO_PER_USD, "usd"),
    ):
        store.write_now(apply_command, refund, now_us=NOW_US + 3 * DAY_US)
    store.write_now(
        change_credit,
        account=customer.account_id,
        kind=TransferKind.ADJUSTMENT,
        amount_nano=-2 * TOP_UP_NANO,
        reason="a mistake",
        reference="one",
        now_us=NOW_US + 4 * DAY_US,
    )
    return customer


def read(store: Store, customer: Customer, from_us: int, to_us: int) -> Statement:
    """The statement of a span."""
    return store.read_now(statement, customer.account_id, start_us=from_us, end_us=to_us)


def test_the_lines_lead_from_the_opening_to_the_closing(store: Store, ada: Customer) -> None:
    """For every pair of days, with the debt in it; and the whole has every line once."""
    for first in range(6):
        for last in range(first, 7):
            made = read(store, ada, MIDNIGHT_US + first * DAY_US, MIDNIGHT_US + last * DAY_US)
            assert made.opening_nano + sum(line.amount_nano for line in made.lines) == made.closing_nano
    whole = read(store, ada, MIDNIGHT_US, MIDNIGHT_US + YEAR_US)
    usage = [(line.at_us, line.note, line.amount_nano) for line in whole.lines if line.kind == "usage"]
    assert usage == [
        (MIDNIGHT_US + day * DAY_US, name, -times * (1_000 + day))
        for day in range(3)
        for name, times in (("my app", 2), ("key_gone", 1))
    ]
    others = [(line.kind, line.amount_nano) for line in whole.lines if line.kind != "usage"]
    assert others == [("top_up", TOP_UP_NANO), ("refund", -NANO_PER_USD), ("adjustment", -2 * TOP_UP_NANO)]
    assert (whole.opening_nano, whole.closing_nano) == (0, -TOP_UP_NANO - NANO_PER_USD - 3 * 3_003)


def test_a_plan_is_listed_and_moves_no_credit(store: Store, ada: Customer) -> None:
    """What was paid for it, once, in the span that it was paid in; and what was taken back of its invoice."""
    (line,) = read(store, ada, MIDNIGHT_US, MIDNIGHT_US + DAY_US).plan_lines
    assert (line.plan_slug, line.stripe_invoice_id, line.amount_nano) == ("pro", "in_1", PRO_NANO)
    assert read(store, ada, MIDNIGHT_US + DAY_US, MIDNIGHT_US + YEAR_US).plan_lines == ()
    assert store.read_now(refunded_nano, ada.account_id, ["in_1"]) == {"in_1": NANO_PER_USD}


def test_a_statement_stays_when_its_requests_are_forgotten(store: Store, ada: Customer) -> None:
    """After retention deleted every single request, not a nano-dollar of any statement moved, nor of the audit."""
    spans = [(MIDNIGHT_US, MIDNIGHT_US + YEAR_US), (MIDNIGHT_US + DAY_US, MIDNIGHT_US + 2 * DAY_US)]
    before = [read(store, ada, *span) for span in spans]
    while store.write_now(prune_usage, NOW_US + YEAR_US):
        pass
    assert [read(store, ada, *span) for span in spans] == before
    assert store.read_now(audit).differences == ()


def test_nobody_sees_anothers_lines(store: Store, ada: Customer) -> None:
    """P13: another account's statement of the same time is empty."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    assert read(store, bob, MIDNIGHT_US, MIDNIGHT_US + YEAR_US) == Statement(0, 0, (), ())
    assert store.read_now(refunded_nano, bob.account_id, ["in_1"]) == {}
