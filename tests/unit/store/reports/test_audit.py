"""The audit finds every kind of difference, and none where there is none."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, insert, text, update

from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import Customer, at_once, new_customer, unchecked
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import (
    STRIPE_CLEARING,
    SUBSCRIPTION_REVENUE,
    Entry,
    Transfer,
    TransferKind,
    credit_of,
)
from tokenbooth.store import ledger, processes
from tokenbooth.store.accounts.key_counts import KeysOf, note_created
from tokenbooth.store.engine import Store
from tokenbooth.store.processes import NewProcess
from tokenbooth.store.reports.audit import AuditReport, AuditRow, audit
from tokenbooth.store.sales_days import add_subscription_payment
from tokenbooth.store.tables import (
    api_keys,
    gateway_processes,
    ledger_accounts,
    ledger_entries,
    ledger_transfers,
    spend_limits,
    subscription_periods,
    subscriptions,
    usage_days,
    usage_events,
    usage_hours,
)
from tokenbooth.store.usage.retention import prune_usage
from tokenbooth.store.usage.settlement import apply_charges

NOW_US = MARCH_5_2026_US
USD = 10**9
HOUR_US = 3_600_000_000


def _charge(customer: Customer, number: int, pool: PoolKind = PoolKind.CREDIT, *, uncollected_nano: int = 0) -> Charge:
    in_window = pool is PoolKind.WINDOW
    return Charge(
        request_id=f"req_{number}",
        account_id=customer.account_id,
        key_id=f"key_{number % 2}",
        pool=pool,
        subscription_id="sub_1" if in_window else "",
        window_start_us=NOW_US if in_window else 0,
        model="a/model",
        endpoint="chat.completions",
        upstream="one",
        finished_at_us=NOW_US + number,
        prompt_tokens=10,
        cached_tokens=2,
        cache_write_tokens=0,
        completion_tokens=5,
        reasoning_tokens=1,
        input_price=100,
        cached_price=10,
        cache_write_price=100,
        output_price=200,
        per_request_nano=0,
        charged_nano=1_000 + number,
        uncollected_nano=uncollected_nano,
        upstream_cost_nano=500,
        estimated=False,
    )


def _paid_period(conn: Connection, customer: Customer) -> None:
    conn.execute(
        insert(subscriptions).values(
            id="sub_1",
            account_id=customer.account_id,
            plan_slug="pro",
            price_nano=60 * USD,
            stripe_subscription_id="stripe_sub_1",
            status="active",
            paid_until_us=NOW_US + 1,
            created_at_us=NOW_US,
            updated_at_us=NOW_US,
        )
    )
    conn.execute(
        insert(subscription_periods).values(
            stripe_invoice_id="in_1",
            subscription_id="sub_1",
            start_us=NOW_US,
            end_us=NOW_US + 1,
            amount_nano=60 * USD,
            granted_at_us=NOW_US,
        )
    )
    entries = (Entry(STRIPE_CLEARING, -60 * USD), Entry(SUBSCRIPTION_REVENUE, 60 * USD))
    payment = Transfer("tr_payment", TransferKind.SUBSCRIPTION_PAYMENT, "stripe:invoice:in_1", entries)
    ledger.post(conn, payment, now_us=NOW_US)
    add_subscription_payment(conn, 60 * USD, now_us=NOW_US)


@pytest.fixture
def customer(store: Store) -> Customer:
    """A customer with a paid period, credit, and charges on both, some of them not wholly collected."""
    customer = new_customer(store, now_us=NOW_US)
    at_once(store, lambda conn: _paid_period(conn, customer))
    store.write_now(
        ledger.grant,
        account_id=customer.account_id,
        amount_nano=USD,
        reference="grant:1",
        reason="a test",
        now_us=NOW_US,
    )
    charges = [
        *(_charge(customer, number) for number in range(3)),
        _charge(customer, 3, uncollected_nano=77),
        _charge(customer, 4, PoolKind.WINDOW),
        _charge(customer, 5, PoolKind.WINDOW, uncollected_nano=5),
    ]
    store.write_now(apply_charges, charges, now_us=NOW_US)
    store.write_now(apply_charges, [_charge(customer, 6)], now_us=NOW_US)
    return customer


def _audited(store: Store, corrupt: Callable[[Connection], object]) -> AuditReport:
    def work(conn: Connection) -> None:
        corrupt(conn)

    at_once(store, work)
    return store.read_now(audit)


def test_an_empty_database_is_clean(store: Store) -> None:
    """Nothing differs where nothing is."""
    assert store.read_now(audit).clean


def test_real_bookings_are_clean(store: Store, customer: Customer) -> None:
    """Top-ups, payments and charges, booked by the store's own functions, leave no difference."""
    report = store.read_now(audit)
    assert report.differences == ()
    assert (report.transfers, report.usage_events) == (5, 7)


def test_a_changed_balance_is_found(store: Store, customer: Customer) -> None:
    """A stored balance that is not the sum of its entries is shown with both figures."""
    account = credit_of(customer.account_id).id
    before_nano = store.read_now(ledger.balance_nano, credit_of(customer.account_id))
    report = _audited(
        store,
        lambda conn: conn.execute(
            update(ledger_accounts).where(ledger_accounts.c.id == account).values(balance_nano=before_nano + 5)
        ),
    )
    assert report.differences == (AuditRow("balance", account, before_nano + 5, before_nano),)
    assert report.differences[0].difference == 5


def test_a_balance_without_entries_is_found(store: Store, customer: Customer) -> None:
    """A balance that nothing explains counts as one over nothing."""
    report = _audited(
        store,
        lambda conn: conn.execute(insert(ledger_accounts).values(id="credit:nobody", kind="credit", balance_nano=9)),
    )
    assert report.differences == (AuditRow("balance", "credit:nobody", 9, 0),)


def test_a_negative_credit_is_found(store: Store, customer: Customer) -> None:
    """Credit below zero is found even where the database did not check."""

    unchecked(store, "INSERT INTO ledger_accounts VALUES ('credit:nobody', 'credit', -9)")
    assert AuditRow("floor", "credit:nobody", -9, 0) in store.read_now(audit).differences


def test_a_changed_entry_is_found(store: Store, customer: Customer) -> None:
    """An entry that was changed breaks its transfer and its balance."""
    report = _audited(
        store,
        lambda conn: conn.execute(
            update(ledger_entries)
            .where(ledger_entries.c.transfer_id == "tr_payment", ledger_entries.c.line == 0)
            .values(amount_nano=ledger_entries.c.amount_nano - 1)
        ),
    )
    assert {row.check for row in report.differences} == {"transfer_sum", "balance"}


def test_a_transfer_without_entries_is_found(store: Store, customer: Customer) -> None:
    """A transfer needs at least two entries."""
    report = _audited(
        store,
        lambda conn: conn.execute(
            insert(ledger_transfers).values(id="tr_bare", kind="grant", reference="x", note="", created_at_us=1)
        ),
    )
    assert report.differences == (AuditRow("transfer_entries", "tr_bare", 0, 2),)


def test_entries_of_nothing_are_found(store: Store, customer: Customer) -> None:
    """Entries whose transfer or account is missing are found where the database did not check."""
    unchecked(store, "INSERT INTO ledger_entries VALUES ('tr_gone', 0, 'credit:gone', 3)")
    assert store.read_now(audit).differences == (
        AuditRow("entry_without_account", "credit:gone", 0, 3),
        AuditRow("entry_without_transfer", "tr_gone", 1, 0),
        AuditRow("transfer_sum", "tr_gone", 3, 0),
    )


def test_a_lost_usage_event_is_found(store: Store, customer: Customer) -> None:
    """A charge without its event differs on the pool, on the key and in the hour."""
    report = _audited(
        store, lambda conn: conn.execute(delete(usage_events).where(usage_events.c.request_id == "req_4"))
    )
    usage = [row for row in report.differences if row.check == "usage_transfer"]
    assert sorted((row.subject.split()[1], row.difference) for row in usage) == [
        ("key_spend:key_0", 1_004),
        (f"window_spend:sub_1:{NOW_US}", 1_004),
    ]
    hours = {row.subject.split()[-1]: row.difference for row in report.differences if row.check == "usage_hours"}
    assert hours == {
        "requests": 1,
        "prompt_tokens": 10,
        "cached_tokens": 2,
        "completion_tokens": 5,
        "charged_nano": 1_004,
        "upstream_cost_nano": 500,
    }


def test_an_event_of_no_transfer_is_found(store: Store, customer: Customer) -> None:
    """An event that names a transfer that is not there, or no usage transfer, was never paid."""
    report = _audited(
        store,
        lambda conn: conn.execute(
            update(usage_events).where(usage_events.c.request_id == "req_6").values(transfer_id="tr_payment")
        ),
    )
    assert AuditRow("event_without_transfer", "tr_payment", 1, 0) in report.differences


def test_what_was_not_collected_is_compared(store: Store, customer: Customer) -> None:
    """The uncollected part of events is booked, too."""
    report = _audited(
        store,
        lambda conn: conn.execute(
            update(usage_events).where(usage_events.c.request_id == "req_3").values(uncollected_nano=70)
        ),
    )
    assert [(row.check, row.difference) for row in report.differences] == [
        ("usage_transfer", 7),
        ("usage_hours", 7),
    ]


def test_an_hour_that_charges_differently_is_found(store: Store, customer: Customer) -> None:
    """Roll-ups are compared with the ledger, too, over all time."""
    report = _audited(
        store,
        lambda conn: conn.execute(update(usage_hours).where(usage_hours.c.key_id == "key_0").values(charged_nano=1)),
    )
    assert [(row.check, row.subject.split()[0], row.stored, row.computed) for row in _but_days(report)] == [
        ("usage_total", "key_spend:key_0", 4_012, 1),
        ("usage_hours", customer.account_id, 1, 4_012),
    ]


def test_forgotten_events_are_no_difference(store: Store, customer: Customer) -> None:
    """After single requests were forgotten, the ledger is matched with the roll-ups that stay."""
    while store.write_now(prune_usage, NOW_US + HOUR_US):
        pass
    report = store.read_now(audit)
    assert (report.usage_events, report.differences) == (0, ())


def test_a_roll_up_of_forgotten_events_is_checked(store: Store, customer: Customer) -> None:
    """A changed roll-up is found by the ledger where its events are gone."""
    while store.write_now(prune_usage, NOW_US + HOUR_US):
        pass
    report = _audited(store, lambda conn: conn.execute(update(usage_hours).values(uncollected_nano=0)))
    assert _but_days(report) == [AuditRow("usage_total", "uncollected:all", 82, 0)]


def test_a_changed_hour_is_found(store: Store, customer: Customer) -> None:
    """A roll-up that is not the sum of its events is found."""
    report = _audited(
        store,
        lambda conn: conn.execute(update(usage_hours).where(usage_hours.c.key_id == "key_0").values(prompt_tokens=1)),
    )
    assert [(row.check, row.stored, row.computed) for row in _but_days(report)] == [("usage_hours", 1, 40)]


@pytest.mark.parametrize("dimension", ["all", "key", "model", "subscription"])
def test_a_changed_day_is_found(store: Store, customer: Customer, dimension: str) -> None:
    """A daily sum, by whatever it is summed, is that of its hours."""
    days = usage_days.c
    report = _audited(
        store,
        lambda conn: conn.execute(update(usage_days).where(days.dimension == dimension).values(cached_tokens=0)),
    )
    assert {(row.check, row.subject.split()[1]) for row in report.differences} == {("usage_day", dimension)}


def _but_days(report: AuditReport) -> list[AuditRow]:
    """The differences without those of days, which a changed hour always brings along."""
    return [row for row in report.differences if row.check != "usage_day"]


def test_a_period_that_nobody_paid_is_found(store: Store, customer: Customer) -> None:
    """A paid period and its invoice's payment come together or not at all."""
    report = _audited(store, lambda conn: conn.execute(update(subscription_periods).values(stripe_invoice_id="in_2")))
    assert set(report.differences) == {
        AuditRow("subscription_payment", "stripe:invoice:in_1", 60 * USD, 0),
        AuditRow("subscription_payment", "stripe:invoice:in_2", 0, 60 * USD),
    }


def _limit(conn: Connection, account_id: str, highest_nano: int) -> None:
    conn.execute(insert(spend_limits).values(account_id=account_id, highest_nano=highest_nano))


def test_spending_above_a_limit_is_found(store: Store, customer: Customer) -> None:
    """A window above its budget and a key above its cap are shown with both figures; what is within is not."""
    window = f"window_spend:sub_1:{NOW_US}"

    def limit(conn: Connection) -> None:
        _limit(conn, window, 2_008)
        _limit(conn, "key_spend:key_0", 4_012)

    report = _audited(store, limit)
    assert report.differences == (AuditRow("spend_limit", window, 2_009, 2_008),)


def _cap_keys(conn: Connection, customer: Customer) -> None:
    """A cap below what `key_0` spent, and one that `key_1` spent to the last nano-dollar."""
    for key_id, cap_nano in (("key_0", 4_000), ("key_1", 3_009)):
        conn.execute(
            insert(api_keys).values(
                id=key_id,
                account_id=customer.account_id,
                name="a",
                digest=key_id.encode(),
                prefix="sk",
                max_budget_nano=cap_nano,
                created_at_us=NOW_US,
            )
        )
        note_created(conn, KeysOf.API, customer.account_id)


def test_a_cap_above_which_was_spent_is_found_without_a_note(store: Store, customer: Customer) -> None:
    """A key's cap of today is in its own row."""
    report = _audited(store, lambda conn: _cap_keys(conn, customer))
    assert report.differences == (AuditRow("spend_limit", "key_spend:key_0", 4_012, 4_000),)


def test_a_limit_that_was_lowered_below_what_is_spent_is_no_difference(store: Store, customer: Customer) -> None:
    """What was spent was allowed when it was spent: the highest limit counts."""
    at_once(store, lambda conn: _limit(conn, "key_spend:key_0", 4_012))
    assert _audited(store, lambda conn: _cap_keys(conn, customer)).clean


def test_two_open_processes_are_found(store: Store, customer: Customer) -> None:
    """Two runs that take model calls at once spend the same money twice."""

    def open_two(conn: Connection) -> None:
        for name in ("one", "two"):
            processes.register(conn, NewProcess(name, name, name, "host", 1, "1", ""), now_us=NOW_US)
            conn.execute(update(gateway_processes).where(gateway_processes.c.epoch == name).values(mode="none"))
        conn.execute(update(gateway_processes).values(mode="whole"))

    assert _audited(store, open_two).differences == (AuditRow("open_processes", "whole", 2, 1),)


def test_the_audit_changes_nothing(store: Store, customer: Customer) -> None:
    """The audit only reads: it succeeds on a connection that may not write."""
    begin, end = ("PRAGMA query_only = ON", "PRAGMA query_only = OFF")
    if not store.is_sqlite:
        begin, end = ("SET TRANSACTION READ ONLY", "SELECT 1")
    with store.engine.connect() as conn, conn.begin():
        conn.execute(text(begin))
        report = audit(conn)
        conn.execute(text(end))
    assert report.clean
