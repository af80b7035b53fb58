"""Bounds on an account's rows: which hold for it, and how long it waits at one.

An account that never had money has smaller ones.
"""

from sqlalchemy import Column, ColumnElement, Connection, func, or_, select

from tokenbooth.domain.row_bounds import RowBound
from tokenbooth.domain.windows import DAY_US, SECOND_US
from tokenbooth.store.tables import credit_months, subscriptions


def row_limit(conn: Connection, account_id: str, bound: RowBound) -> int:
    """How many rows an account may have."""
    return bound.of(was_funded=was_funded(conn, account_id))


def was_funded(conn: Connection, account_id: str) -> bool:
    """Whether the account has or had money: its credit ever moved, or it paid for a subscription.

    A few rows are read, however many entries the ledger has of it: calls of free models make entries as well.
    """
    has_moved = (
        select(credit_months.c.month_us)
        .where(credit_months.c.account_id == account_id, credit_months.c.amount_nano != 0)
        .exists()
    )
    has_subscribed = (
        select(subscriptions.c.id)
        .where(subscriptions.c.account_id == account_id, subscriptions.c.paid_until_us.is_not(None))
        .exists()
    )
    return bool(conn.execute(select(or_(has_moved, has_subscribed))).scalar_one())


def wait_for_row_s(conn: Connection, mine: ColumnElement[bool], at_us: Column[int], most: int, *, now_us: int) -> float:
    """How long until there may be another row, in seconds; 0: now.

    Args:
        conn: the transaction.
        mine: which rows are the account's.
        at_us: when one was made, UTC microseconds.
        most: how many may be made in 24 hours.
        now_us: UTC microseconds.
    """
    recent = mine & (at_us > now_us - DAY_US)
    count = conn.execute(select(func.count()).where(recent)).scalar_one()
    if count < most:
        return 0
    # With a bound that was lowered meanwhile, more than one has to leave the day first.
    leaves = conn.execute(select(at_us).where(recent).order_by(at_us).offset(count - most).limit(1)).scalar()
    return ((now_us if leaves is None else leaves) + DAY_US - now_us) / SECOND_US
