"""Which bounds on rows hold for an account: those of one that had money, or the smaller ones of one that never had."""

from sqlalchemy import Connection, or_, select

from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.row_bounds import RowBound
from tokenbooth.store.tables import ledger_accounts, subscriptions, usage_days


def row_limit(conn: Connection, account_id: str, bound: RowBound) -> int:
    """How many rows an account may have."""
    return bound.of(was_funded=was_funded(conn, account_id))


def was_funded(conn: Connection, account_id: str) -> bool:
    """Whether the account has or had money: it has credit, was charged for a call, or paid for a subscription.

    A few rows are read, however many entries the ledger has of it: calls of free models make entries as well.
    """
    has_credit = (
        select(ledger_accounts.c.id)
        .where(ledger_accounts.c.id == credit_of(account_id).id, ledger_accounts.c.balance_nano > 0)
        .exists()
    )
    has_subscribed = (
        select(subscriptions.c.id)
        .where(subscriptions.c.account_id == account_id, subscriptions.c.paid_until_us.is_not(None))
        .exists()
    )
    has_spent = (
        select(usage_days.c.day_us)
        .where(usage_days.c.account_id == account_id, usage_days.c.dimension == "all", usage_days.c.charged_nano > 0)
        .exists()
    )
    return bool(conn.execute(select(or_(has_credit, has_subscribed, has_spent))).scalar_one())
