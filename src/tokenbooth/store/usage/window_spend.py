"""What a budget window has spent: its own charges, and those of a subscription that was paid back within it.

A subscription that ends early and is paid back must not begin a window anew as another one. So what it spent in a
window counts in that window for the subscriptions that its account began after it.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, func, or_, select, union_all

from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.ledger import window_spend
from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.store import ledger
from tokenbooth.store.tables import (
    api_keys,
    subscription_periods,
    subscriptions,
    usage_days,
    usage_events,
    usage_hours,
)


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
            spent_nano = _spent_since_nano(conn, pair.account_id, pair.former_id, start_us)
            carried_nano[pair.id] = carried_nano.get(pair.id, 0) + spent_nano
    return carried_nano


def _spent_since_nano(conn: Connection, account_id: str, subscription_id: str, since_us: int) -> int:
    """What a subscription was charged from an instant on: the rest of its hour, the hours of its day, whole days."""
    first_hour_us, first_day_us = -(-since_us // HOUR_US) * HOUR_US, -(-since_us // DAY_US) * DAY_US
    events, hours, days = usage_events.c, usage_hours.c, usage_days.c
    of_hour = select(events.charged_nano).where(
        events.account_id == account_id,
        events.finished_at_us >= since_us,
        events.finished_at_us < first_hour_us,
        events.subscription_id == subscription_id,
        events.pool == PoolKind.WINDOW,
    )
    # An hour's sums don't know subscriptions, but a key is of one for ever.
    of_day = (
        select(hours.charged_nano)
        .join(api_keys, api_keys.c.id == hours.key_id)
        .where(
            hours.account_id == account_id,
            hours.hour_us >= first_hour_us,
            hours.hour_us < first_day_us,
            api_keys.c.subscription_id == subscription_id,
        )
    )
    of_days = select(days.charged_nano).where(
        days.account_id == account_id,
        days.dimension == "subscription",
        days.day_us >= first_day_us,
        days.name == subscription_id,
    )
    parts = union_all(of_hour, of_day, of_days).subquery()
    return int(conn.execute(select(func.coalesce(func.sum(parts.c.charged_nano), 0))).scalar_one())
