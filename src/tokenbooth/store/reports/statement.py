"""An account's statement of a month: the credit at its beginning and end, and every line between.

All of it comes from the projections of `store.statement_lines`, which only transfers of the month itself change, so a
closed month's statement never changes either. Nothing here reads single charges, and lists are read in pieces.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.windows import month_start_us
from tokenbooth.store.tables import (
    api_keys,
    credit_months,
    ledger_transfers,
    payments,
    reversals,
    statement_lines,
    subscriptions,
)

LINES_AT_ONCE: Final = 5_000
PLAN_LINES_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class LinePosition:
    """A place in the list of lines: behind the one of this time and subject (a key's id, or a transfer's)."""

    at_us: int
    subject: str


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
    """A month, or a piece of it. A balance is credit less debt; the lines of all pieces lead from the first to the
    second exactly.

    Attributes:
        opening_nano, closing_nano: the balances of the month.
        lines: those of this piece.
        plan_lines: the first ones of the month, with the first piece.
        next: behind which line the next piece begins; None behind the last one.
    """

    opening_nano: int
    closing_nano: int
    lines: tuple[Line, ...]
    plan_lines: tuple[PlanLine, ...]
    next: LinePosition | None = None


def statement(
    conn: Connection,
    account_id: str,
    *,
    start_us: int,
    end_us: int,
    after: LinePosition | None = None,
    limit: int = LINES_AT_ONCE,
) -> Statement:
    """The statement from `start_us` up to, not including, `end_us` (UTC microseconds).

    Args:
        conn: the snapshot.
        account_id: whose.
        start_us, end_us: the span; what lies between its ends and the beginnings of their months is added up as well.
        after: behind which line to begin; None for the first.
        limit: how many lines at most.
    """
    # One more than asked for tells whether there is another piece.
    found = _lines(conn, account_id, start_us, end_us, after, limit + 1)
    piece, has_more = found[:limit], len(found) > limit
    return Statement(
        opening_nano=_balance_before(conn, account_id, start_us),
        closing_nano=_balance_before(conn, account_id, end_us),
        lines=tuple(line for _, line in piece),
        plan_lines=() if after is not None else tuple(plan_lines(conn, account_id, start_us=start_us, end_us=end_us)),
        next=piece[-1][0] if has_more else None,
    )


def plan_lines(
    conn: Connection, account_id: str, *, start_us: int, end_us: int, offset: int = 0, limit: int = PLAN_LINES_AT_ONCE
) -> list[PlanLine]:
    """What was paid for subscriptions in a span (UTC microseconds), the first first: at most `limit`, from `offset`."""
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
        .order_by(payments.c.created_at_us, payments.c.stripe_payment_intent_id)
        .limit(limit)
        .offset(offset)
    )
    return [PlanLine(*row) for row in rows]


def totals_nano(conn: Connection, account_id: str) -> Mapping[TransferKind, int]:
    """What transfers of each kind ever moved of an account's credit less its debt, in nano-USD."""
    months = credit_months.c
    rows = conn.execute(
        select(months.kind, func.sum(months.amount_nano)).where(months.account_id == account_id).group_by(months.kind)
    )
    # PostgreSQL adds 64-bit integers up as decimals.
    return {TransferKind(kind): int(total) for kind, total in rows}


def refunded_nano(conn: Connection, account_id: str, invoice_ids: Collection[str]) -> dict[str, int]:
    """What was taken back of those of an account's invoices with these ids of Stripe's, by id."""
    from_rows = conn.execute(
        select(payments.c.stripe_invoice_id, func.sum(reversals.c.taken_nano))
        .join(reversals, reversals.c.stripe_payment_intent_id == payments.c.stripe_payment_intent_id)
        .where(payments.c.account_id == account_id, payments.c.stripe_invoice_id.in_(invoice_ids))
        .group_by(payments.c.stripe_invoice_id)
    )
    return {invoice_id: int(taken_nano) for invoice_id, taken_nano in from_rows}


def _balance_before(conn: Connection, account_id: str, at_us: int) -> int:
    """The sum of the whole months before, and of the lines between the month's beginning and this instant."""
    month_us = month_start_us(at_us)
    months, lines = credit_months.c, statement_lines.c
    total_nano = _sum(conn, months.amount_nano, and_(months.account_id == account_id, months.month_us < month_us))
    if at_us == month_us:
        return total_nano
    since = and_(lines.account_id == account_id, lines.at_us >= month_us, lines.at_us < at_us)
    return total_nano + _sum(conn, lines.amount_nano, since)


def _sum(conn: Connection, amount: ColumnElement[int], which: ColumnElement[bool]) -> int:
    return int(conn.execute(select(func.coalesce(func.sum(amount), 0)).where(which)).scalar_one())


def _lines(
    conn: Connection, account_id: str, start_us: int, end_us: int, after: LinePosition | None, limit: int
) -> list[tuple[LinePosition, Line]]:
    """Lines in their order, each with its place: a movement's words are its transfer's, those of charges the key's."""
    columns = statement_lines.c
    which = [columns.account_id == account_id, columns.at_us < end_us]
    if after is None:
        which.append(columns.at_us >= start_us)
    else:
        # The first condition says nothing new; it is what the index is searched by.
        which += [
            columns.at_us >= after.at_us,
            or_(columns.at_us > after.at_us, columns.subject > after.subject),
        ]
    rows = conn.execute(
        select(
            columns.at_us,
            columns.subject,
            columns.kind,
            columns.amount_nano,
            func.coalesce(ledger_transfers.c.reference, columns.subject).label("reference"),
            func.coalesce(ledger_transfers.c.note, api_keys.c.name, columns.subject).label("note"),
        )
        .outerjoin(ledger_transfers, ledger_transfers.c.id == columns.subject)
        .outerjoin(api_keys, and_(api_keys.c.id == columns.subject, api_keys.c.account_id == account_id))
        .where(*which)
        .order_by(columns.at_us, columns.subject)
        .limit(limit)
    )
    return [
        (LinePosition(row.at_us, row.subject), Line(row.at_us, row.kind, row.reference, row.note, row.amount_nano))
        for row in rows
    ]
