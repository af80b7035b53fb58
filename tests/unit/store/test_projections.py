"""Projections of the ledger: exact after whatever was written, the same when they are made anew, and audited."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Table, delete, insert, select, update

from tests.support.billing.billing_rows import DAY_US, add_key, add_subscription, by_window, charge
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import PROMOTION, TransferKind
from tokenbooth.domain.windows import month_start_us
from tokenbooth.store import ledger
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.accounts.keys import delete_api_key
from tokenbooth.store.engine import Store
from tokenbooth.store.migrations.versions import r0007_projections as migration
from tokenbooth.store.payments.billing import CreditsView, credits_view
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.reports.statement import LinePosition, Statement, statement
from tokenbooth.store.sales_days import add_subscription_payment
from tokenbooth.store.tables import (
    credit_months,
    key_counts,
    sales_days,
    statement_lines,
    subscription_periods,
)
from tokenbooth.store.usage.settlement import apply_charges

PROJECTIONS = (statement_lines, credit_months, sales_days, key_counts)
USD = 10**9


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer with keys of credit and of a subscription, and a year of charges, grants and debts."""
    dice = random.Random(3)
    customer = new_customer(store, now_us=NOW_US)
    account_id = customer.account_id
    subscription_id = store.write_now(add_subscription, account_id, now_us=NOW_US, paid_until_us=NOW_US + DAY_US)
    store.write_now(_period, subscription_id)
    for name, paid_by in (("key_a", None), ("key_b", None), ("key_s", subscription_id)):
        store.write_now(add_key, account_id, name, subscription_id=paid_by, now_us=NOW_US)
    store.write_now(delete_api_key, account_id, "key_b", actor="test", now_us=NOW_US)
    for n in range(40):
        at_us = NOW_US - dice.randrange(365) * DAY_US
        if n % 3 == 0:
            amount_nano = dice.choice([-1, 2]) * dice.randrange(1, 5) * USD
            kind = TransferKind.ADJUSTMENT if amount_nano < 0 else TransferKind.GRANT
            store.write_now(
                change_credit,
                account=account_id,
                kind=kind,
                amount_nano=amount_nano,
                reason="a",
                reference=None,
                now_us=at_us,
            )
        made = [
            charge(
                account_id, finished_at_us=at_us, key_id=dice.choice(["key_a", "key_b"]), cost_nano=dice.randrange(9)
            )
            for _ in range(3)
        ]
        made.append(by_window(charge(account_id, finished_at_us=at_us, key_id="key_s"), subscription_id))
        store.write_now(apply_charges, made, now_us=at_us)
    return customer


def _period(conn: Connection, subscription_id: str) -> None:
    conn.execute(
        insert(subscription_periods).values(
            stripe_invoice_id="in_1",
            subscription_id=subscription_id,
            start_us=NOW_US,
            end_us=NOW_US + DAY_US,
            amount_nano=20 * USD,
            granted_at_us=NOW_US,
        )
    )
    add_subscription_payment(conn, 20 * USD, now_us=NOW_US)


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every projection."""

    def read(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
        return {table.name: sorted(tuple(row) for row in conn.execute(select(table))) for table in PROJECTIONS}

    return store.read_now(read)


def differences(store: Store) -> set[str]:
    """The checks of the audit that found something, but for the period that was not paid through the ledger."""
    return {row.check for row in store.read_now(audit).differences} - {"subscription_payment"}


def test_nothing_differs_after_a_year(store: Store, ada: Customer) -> None:
    """P2 for projections: every check of the audit."""
    assert differences(store) == set()


def test_the_migration_makes_what_was_kept(store: Store, ada: Customer) -> None:
    """Made anew from the ledger, the daily sums and the keys, every row is the one that was kept as things happened."""
    kept = rows_of(store)
    assert all(kept.values())

    def anew(conn: Connection) -> None:
        for table in PROJECTIONS:
            conn.execute(delete(table))
        with Operations.context(MigrationContext.configure(conn)):
            migration._fill_statements()
            migration._fill_sales()
            migration._fill_key_counts()

    store.write_now(anew)
    assert rows_of(store) == kept


@pytest.mark.parametrize(
    ("table", "check", "column"),
    [
        (statement_lines, "statement_line", "amount_nano"),
        (credit_months, "credit_month", "amount_nano"),
        (sales_days, "sales_day", "charged_nano"),
        (sales_days, "subscription_sales", "charged_nano"),
        (key_counts, "key_count", "live"),
        (key_counts, "key_count", "created"),
    ],
)
def test_a_wrong_figure_is_found(store: Store, ada: Customer, table: Table, check: str, column: str) -> None:
    """One too much, and a row that is gone."""
    changes: list[Callable[[Connection], object]] = [
        lambda conn: conn.execute(update(table).values({column: table.c[column] + 1})),
        lambda conn: conn.execute(delete(table)),
    ]
    for change in changes:
        store.write_now(change)
        assert check in differences(store)


def test_totals_are_what_all_transfers_say(store: Store) -> None:
    """A top-up that paid a debt counts whole; what is taken back is not spent."""
    customer = new_customer(store, now_us=NOW_US)
    ledger_of = {"account_id": customer.account_id, "note": ""}
    for number, (amount_nano, month_us) in enumerate(((5, 0), (7, -40), (11, -400))):
        store.write_now(
            ledger.add_credit,
            source=PROMOTION,
            amount_nano=amount_nano,
            kind=TransferKind.TOP_UP,
            reference=f"top-up:{number}",
            now_us=NOW_US + month_us * DAY_US,
            **ledger_of,
        )
    store.write_now(
        ledger.take_back,
        target=PROMOTION,
        amount_nano=20,
        kind=TransferKind.REFUND,
        reference="refund",
        now_us=NOW_US,
        **ledger_of,
    )
    made = charge(customer.account_id, finished_at_us=NOW_US, cost_nano=2)
    store.write_now(apply_charges, [made], now_us=NOW_US)
    store.write_now(
        ledger.add_credit,
        source=PROMOTION,
        amount_nano=30,
        kind=TransferKind.TOP_UP,
        reference="top-up:later",
        now_us=NOW_US,
        **ledger_of,
    )
    assert store.read_now(credits_view, customer.account_id) == CreditsView(31, 53, 2)
    assert differences(store) == set()


def test_pieces_of_a_statement_are_the_whole(store: Store, ada: Customer) -> None:
    """Every line once and in order, whatever the length of a piece; each piece has the same balances."""
    start_us, end_us = month_start_us(NOW_US - 180 * DAY_US), month_start_us(NOW_US)
    whole = store.read_now(statement, ada.account_id, start_us=start_us, end_us=end_us)
    assert (len(whole.lines) > 20, whole.next) == (True, None)
    assert whole.opening_nano + sum(line.amount_nano for line in whole.lines) == whole.closing_nano
    for limit in (1, 7, len(whole.lines)):
        pieces: list[Statement] = []
        after: LinePosition | None = None
        while not pieces or after is not None:
            piece = store.read_now(
                statement, ada.account_id, start_us=start_us, end_us=end_us, after=after, limit=limit
            )
            pieces.append(piece)
            after = piece.next
        assert [line for piece in pieces for line in piece.lines] == [*whole.lines]
        assert {(piece.opening_nano, piece.closing_nano) for piece in pieces} == {
            (whole.opening_nano, whole.closing_nano)
        }


def test_many_writers_at_once_keep_them_exact(store: Store) -> None:
    """Batches of charges of the same accounts and keys, in every order, beside credit that is given and taken: nobody
    waits for ever, and nothing is lost."""
    accounts = [
        new_customer(store, now_us=NOW_US, email=f"{name}@example.com").account_id for name in ("ada", "bob", "eve")
    ]
    for account_id in accounts:
        store.write_now(
            ledger.grant, account_id=account_id, amount_nano=USD, reference=account_id, reason="a", now_us=0
        )
    begin = Barrier(4)

    def work(number: int) -> None:
        dice = random.Random(number)
        begin.wait()
        for turn in range(12):
            at_us = NOW_US - dice.randrange(3) * 40 * DAY_US
            charges = [
                charge(account_id, finished_at_us=at_us, key_id=f"key_{dice.randrange(4)}", cost_nano=1)
                for account_id in dice.sample(accounts, 3)
                for _ in range(3)
            ]
            store.write_now(apply_charges, charges, now_us=at_us)
            store.write_now(
                change_credit,
                account=dice.choice(accounts),
                kind=TransferKind.ADJUSTMENT,
                amount_nano=dice.choice([-1, 1]),
                reason="a",
                reference=f"{number}-{turn}",
                now_us=at_us,
            )

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work, number) for number in range(4)]:
            done.result(120)
    assert differences(store) == set()
    spent = [store.read_now(credits_view, account_id).total_spent_nano for account_id in accounts]
    assert spent == [4 * 12 * 3] * 3
