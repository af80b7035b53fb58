"""An account's statement of a month: the credit at its beginning and end, and every line between, from the ledger.

The lines are computed from entries, which never change, so a closed month's statement never changes either.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from tokenbooth.domain.ledger import AccountKind, TransferKind, credit_of, debt_of
from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.tables import (
    api_keys,
    ledger_entries,
    ledger_transfers,
    payments,
    reversals,
    subscriptions,
)

_KEY_PREFIX: Final = f"{AccountKind.KEY_SPEND}:"


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `amount_nano` moves the credit less the debt; `at_us` is UTC microseconds, for charges the day.

    Attributes:
        kind: top_up, grant, adjustment, refund, dispute, reversal or usage.
        reference: the business reference; for charges the key's id.
        note: for people.
    """

    at_us: int
    kind: str
    reference: str
    note: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What was paid for a subscription; it does not move the credit."""

    at_us: int
    subscription_id: str
    plan_slug: str
    stripe_invoice_id: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A month. A balance is credit less debt; the lines lead from the first to the second exactly."""

    opening_nano: int
    closing_nano: int
    lines: tuple[Line, ...]
    plan_lines: tuple[PlanLine, ...]


def statement(conn: Connection, account_id: str, *, start_us: int, end_us: int) -> Statement:
    """The statement from `start_us` up to, not including, `end_us` (UTC microseconds)."""
    own = [credit_of(account_id).id, debt_of(account_id).id]
    lines = [*_movements(conn, own, start_us, end_us), *_charges(conn, account_id, start_us, end_us)]
    return Statement(
        opening_nano=_balance_before(conn, own, start_us),
        closing_nano=_balance_before(conn, own, end_us),
        lines=tuple(sorted(lines, key=lambda line: (line.at_us, line.reference))),
        plan_lines=tuple(_plan_lines(conn, account_id, start_us, end_us)),
    )


def _balance_before(conn: Connection, own: Sequence[str], at_us: int) -> int:
    total = conn.execute(
        select(func.coalesce(func.sum(ledger_entries.c.amount_nano), 0))
        .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .where(ledger_entries.c.account_id.in_(own), ledger_transfers.c.created_at_us < at_us)
    ).scalar_one()
    return int(total)


def _movements(conn: Connection, own: Sequence[str], start_us: int, end_us: int) -> list[Line]:
    """Everything but usage, one line a transfer."""
    transfers = ledger_transfers.c
    rows = conn.execute(
        select(
            transfers.created_at_us,
            transfers.kind,
            transfers.reference,
            transfers.note,
            func.sum(ledger_entries.c.amount_nano).label("amount"),
        )
        .join(ledger_entries, ledger_entries.c.transfer_id == transfers.id)
        .where(
            ledger_entries.c.account_id.in_(own),
            transfers.kind != TransferKind.USAGE,
            transfers.created_at_us >= start_us,
            transfers.created_at_us < end_us,
        )
        .group_by(transfers.id, transfers.created_at_us, transfers.kind, transfers.reference, transfers.note)
    )
    return [Line(row.created_at_us, row.kind, row.reference, row.note, int(row.amount)) for row in rows]


def _charges(conn: Connection, account_id: str, start_us: int, end_us: int) -> list[Line]:
    """Usage paid from credit, a line per day and key: a usage transfer names what each key spent of the credit."""
    transfers = ledger_transfers.c
    paid_by_credit = select(ledger_entries.c.transfer_id).where(ledger_entries.c.account_id == credit_of(account_id).id)
    day = (transfers.created_at_us // DAY_US).label("day")
    rows = conn.execute(
        select(day, ledger_entries.c.account_id, func.sum(ledger_entries.c.amount_nano).label("amount"))
        .join(ledger_transfers, transfers.id == ledger_entries.c.transfer_id)
        .where(
            transfers.kind == TransferKind.USAGE,
            transfers.created_at_us >= start_us,
            transfers.created_at_us < end_us,
            ledger_entries.c.account_id.startswith(_KEY_PREFIX, autoescape=True),
            ledger_entries.c.transfer_id.in_(paid_by_credit),
        )
        .group_by(day, ledger_entries.c.account_id)
    ).all()
    names = _key_names(conn, account_id)
    return [
        Line(
            at_us=int(row.day) * DAY_US,
            kind=str(TransferKind.USAGE),
            reference=key_id,
            note=names.get(key_id, key_id),
            amount_nano=-int(row.amount),
        )
        for row in rows
        for key_id in (row.account_id.removeprefix(_KEY_PREFIX),)
    ]


def _key_names(conn: Connection, account_id: str) -> dict[str, str]:
    rows = conn.execute(select(api_keys.c.id, api_keys.c.name).where(api_keys.c.account_id == account_id))
    return {row.id: row.name for row in rows}


def _plan_lines(conn: Connection, account_id: str, start_us: int, end_us: int) -> list[PlanLine]:
    rows = conn.execute(
        select(
            payments.c.created_at_us,
            payments.c.subscription_id,
            subscriptions.c.plan_slug,
            payments.c.stripe_invoice_id,
            payments.c.paid_nano,
        )
        .join(subscriptions, subscriptions.c.id == payments.c.subscription_id)
        .where(
            payments.c.account_id == account_id,
            payments.c.created_at_us >= start_us,
            payments.c.created_at_us < end_us,
        )
        .order_by(payments.c.created_at_us)
    )
    return [PlanLine(*row) for row in rows]


def refunded_nano(conn: Connection, account_id: str) -> dict[str, int]:
    """What was taken back of each of an account's invoices, by Stripe's id."""
    from_rows = conn.execute(
        select(payments.c.stripe_invoice_id, func.sum(reversals.c.taken_nano))
        .join(reversals, reversals.c.stripe_payment_intent_id == payments.c.stripe_payment_intent_id)
        .where(payments.c.account_id == account_id, payments.c.stripe_invoice_id.is_not(None))
        .group_by(payments.c.stripe_invoice_id)
    )
    return {invoice_id: int(taken_nano) for invoice_id, taken_nano in from_rows}
