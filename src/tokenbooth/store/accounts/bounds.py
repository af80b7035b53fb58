"""Which bounds on rows hold for an account: those of one that had money, or the smaller ones of one that never had."""

from sqlalchemy import Connection, or_, select

from tokenbooth.domain.row_bounds import RowBound
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
