"""Stripe's balance in the store: each entry once, with its fee, and what no customer caused set apart."""

from dataclasses import replace

from tests.support.billing.stripe_state import TOP_UP, TOP_UP_NANO, new_checkout, paid_topup
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import new_customer
from tokenbooth.domain.ledger import STRIPE_FEES, STRIPE_OTHER, LedgerAccount
from tokenbooth.domain.payment_commands import ReversalKind, SettleReversal
from tokenbooth.domain.stripe_balance import BalanceTransaction
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import stripe_balance
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.reports.audit import audit

FEE_NANO = 1_030_000_000
CHARGE = BalanceTransaction("txn_1", "charge", "usd", "ch_1", "pi_of_cs_at_stripe", TOP_UP_NANO, FEE_NANO, NOW_US)
REFUND = BalanceTransaction("txn_2", "refund", "usd", "re_1", "pi_of_cs_at_stripe", -(10**9), 0, NOW_US)
DISPUTE = BalanceTransaction("txn_3", "adjustment", "usd", "du_1", "pi_of_cs_at_stripe", -(10**9), 0, NOW_US)
PAYOUT = BalanceTransaction("txn_4", "payout", "usd", "po_1", None, -5 * 10**9, 0, NOW_US)
RADAR = BalanceTransaction("txn_5", "stripe_fee", "usd", None, None, -(10**7), 0, NOW_US)


def balance(store: Store, account: LedgerAccount) -> int:
    """A balance in nano-USD."""
    return store.read_now(ledger.balance_nano, account)


def test_a_reader_never_goes_back(store: Store) -> None:
    """Where it has come is kept by name; an older position changes nothing."""
    assert store.read_now(stripe_balance.position_us, "events") is None
    for position_us in (5, 9, 7):
        store.write_now(stripe_balance.advance, "events", position_us)
    assert store.read_now(stripe_balance.position_us, "events") == 9


def test_our_clearing_account_stands_against_stripes_balance(store: Store) -> None:
    """A payment, its fee, a payout and a fee of Stripe's own leave what Stripe holds; read again, nothing moves."""
    customer = new_customer(store, now_us=NOW_US)
    checkout_id = new_checkout(store, customer.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(apply_command, paid_topup(customer.account_id, checkout_id), now_us=NOW_US)
    entries = [CHARGE, PAYOUT, RADAR]
    assert [store.write_now(stripe_balance.record, entries, now_us=NOW_US) for _ in range(2)] == [3, 0]
    held_by_stripe = sum(entry.amount_nano - entry.fee_nano for entry in entries)
    assert store.read_now(stripe_balance.clearing_nano) == held_by_stripe
    assert balance(store, STRIPE_FEES) == -FEE_NANO - 10**7
    assert balance(store, STRIPE_OTHER) == -5 * 10**9
    assert store.read_now(audit).differences == ()


def test_an_entry_of_nothing_moves_nothing(store: Store) -> None:
    """Stripe lists entries of zero; they are noted and not booked."""
    store.write_now(stripe_balance.record, [replace(PAYOUT, amount_nano=0)], now_us=NOW_US)
    assert balance(store, STRIPE_OTHER) == 0


def test_what_our_books_explain_is_told_from_what_they_do_not(store: Store) -> None:
    """Payments, refunds and disputes wait for their bookings; others need none; what was set apart is explained."""
    entries = [CHARGE, REFUND, DISPUTE, PAYOUT, RADAR, replace(CHARGE, id="txn_6", payment_intent_id=None)]
    assert store.read_now(stripe_balance.unexplained, entries) == [CHARGE, REFUND, DISPUTE, entries[5]]
    customer = new_customer(store, now_us=NOW_US)
    checkout_id = new_checkout(store, customer.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(apply_command, paid_topup(customer.account_id, checkout_id), now_us=NOW_US)
    for name, kind in (("re_1", ReversalKind.REFUND), ("du_1", ReversalKind.DISPUTE)):
        taken = SettleReversal(name, kind, "pi_of_cs_at_stripe", 10**9, "usd")
        store.write_now(apply_command, taken, now_us=NOW_US)
    assert store.read_now(stripe_balance.unexplained, entries) == [entries[5]]
    for _ in range(2):
        store.write_now(stripe_balance.set_apart, entries[5], now_us=NOW_US)
    assert store.read_now(stripe_balance.unexplained, entries) == []
    assert balance(store, STRIPE_OTHER) == TOP_UP_NANO
