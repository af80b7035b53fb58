"""What a budget window has spent: its own charges, and those of a subscription that was paid back within it.

A subscription that ends early and is paid back must not begin a window anew as another one. So what it spent in a
window counts in that window for the subscriptions that its account began after it.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, and_, func, or_, select

from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.ledger import window_spend
from tokenbooth.store import ledger
from tokenbooth.store.tables import subscription_periods, subscriptions, usage_events


def window_spent_nano(conn: Connection, starts_us: Mapping[str, int]) -> dict[str, int]:
    """What was spent in the window of each subscription that begins at its instant (UTC microseconds), in nano-USD."""
    accounts = {own_id: window_spend(own_id, start_us) for own_id, start_us in starts_us.items()}
    balances_nano = ledger.balances_nano(conn, accounts.values())
    carried_nano = _carried_nano(conn, starts_us)
    return {own_id: balances_nano[account] + carried_nano.get(own_id, 0) for own_id, account in accounts.items()}


def _carried_nano(conn: Connection, starts_us: Mapping[str, int]) -> dict[str, int]:
    own, former = subscriptions.alias("own"), subscriptions.alias("former")
    refunded = (
        select(subscription_periods.c.subscription_id)
        .where(
            subscription_periods.c.subscription_id == former.c.id,
            subscription_periods.c.refunded_nano > 0,
            subscription_periods.c.end_us > former.c.ended_at_us,
        )
        .exists()
    )
    pairs = conn.execute(
        select(own.c.id, former.c.id.label("former_id"), former.c.account_id, former.c.ended_at_us).where(
            own.c.id.in_([*starts_us]),
            former.c.account_id == own.c.account_id,
            former.c.id != own.c.id,
            # Also one that was begun shortly before the other one ended.
            former.c.created_at_us <= own.c.created_at_us,
            or_(former.c.credited_until_us > former.c.ended_at_us, refunded),
        )
    ).all()
    carried_nano: dict[str, int] = {}
    for pair in pairs:
        start_us = starts_us[pair.id]
        if pair.ended_at_us >= start_us:
            spent = select(func.coalesce(func.sum(usage_events.c.charged_nano), 0)).where(
                and_(
                    usage_events.c.account_id == pair.account_id,
                    usage_events.c.subscription_id == pair.former_id,
                    usage_events.c.pool == PoolKind.WINDOW,
                    usage_events.c.finished_at_us >= start_us,
                )
            )
            carried_nano[pair.id] = carried_nano.get(pair.id, 0) + int(conn.execute(spent).scalar_one())
    return carried_nano
