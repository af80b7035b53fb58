"""What an account sees of its subscriptions and credit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, Select, or_, select

from tokenbooth.domain.ledger import TransferKind, credit_of
from tokenbooth.domain.plan_changes import PendingPlan, PlanState, settled
from tokenbooth.domain.plans import Plan
from tokenbooth.domain.subscriptions import SubscriptionStatus, access_ends_us, shown_status
from tokenbooth.domain.windows import DAY_US, Window, window_at
from tokenbooth.store import ledger
from tokenbooth.store import tables as t
from tokenbooth.store.accounts.key_counts import KeyCount, KeysOf, counts
from tokenbooth.store.payments import subscriptions
from tokenbooth.store.payments.plan_rows import state_of
from tokenbooth.store.reports import statement
from tokenbooth.store.usage.window_spend import window_spent_nano

SHOW_ENDED_US: Final = 30 * DAY_US
"""How long an ended subscription stays in the list."""

_Row = Row[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key as a subscription lists it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class BudgetView:
    """The budget of the window that is open now, in nano-USD; `resets_at_us` is UTC microseconds."""

    limit_nano: int
    spent_nano: int
    resets_at_us: int


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """A subscription as its account sees it. `budget` is None when its plan is gone from the catalog; `pending` is the
    plan that it changes to, None while it stays or is to end. `keys` are empty where they were left out, because there
    may be thousands."""

    id: str
    plan_slug: str
    status: SubscriptionStatus
    current_period_end_us: int
    cancel_at_period_end: bool
    key_count: int
    budget: BudgetView | None
    pending: PendingPlan | None = None
    keys: tuple[KeyView, ...] = ()


@dataclass(frozen=True, slots=True)
class BillingStatus:
    """An account's subscriptions, active ones first, newest first; and its credit in nano-USD."""

    subscriptions: tuple[SubscriptionView, ...]
    credit_nano: int


@dataclass(frozen=True, slots=True)
class CreditsView:
    """An account's credit in nano-USD: what is left, what was ever topped up, what usage took."""

    balance_nano: int
    total_topup_nano: int
    total_spent_nano: int


def billing_status(
    conn: Connection, account_id: str, plans: Mapping[str, Plan], now_us: int, *, with_keys: bool = True
) -> BillingStatus:
    """An account's subscriptions, their keys unless they are left out, and its credit at `now_us` (UTC microseconds).

    Ended subscriptions are listed for 30 days, never paid ones not at all. Five statements, however many
    there are, one for the keys, and one for each that another one carries on.
    """
    listed = _listed(conn, account_id, now_us)
    listed.sort(key=lambda row: (row.created_at_us, row.id), reverse=True)
    return BillingStatus(
        subscriptions=_views(conn, listed, plans, now_us, with_keys=with_keys),
        credit_nano=ledger.balance_nano(conn, credit_of(account_id)),
    )


def subscription_view(
    conn: Connection,
    account_id: str,
    subscription_id: str,
    plans: Mapping[str, Plan],
    now_us: int,
    *,
    with_keys: bool = True,
) -> SubscriptionView | None:
    """One subscription of an account; None when there is none, it is another's, or it was never paid."""
    rows = conn.execute(_paid(account_id).where(t.subscriptions.c.id == subscription_id)).all()
    return next(iter(_views(conn, rows, plans, now_us, with_keys=with_keys)), None)


def credits_view(conn: Connection, account_id: str) -> CreditsView:
    """An account's credit. A top-up that paid a debt counts whole."""
    totals_nano = statement.totals_nano(conn, account_id)
    return CreditsView(
        balance_nano=ledger.balance_nano(conn, credit_of(account_id)),
        total_topup_nano=totals_nano.get(TransferKind.TOP_UP, 0),
        total_spent_nano=-totals_nano.get(TransferKind.USAGE, 0),
    )


def _paid(account_id: str) -> Select[tuple[object, ...]]:
    return select(t.subscriptions).where(
        t.subscriptions.c.account_id == account_id, t.subscriptions.c.paid_until_us.is_not(None)
    )


def _listed(conn: Connection, account_id: str, now_us: int) -> list[_Row]:
    forgotten_us = now_us - SHOW_ENDED_US
    rows = conn.execute(
        _paid(account_id).where(
            or_(
                t.subscriptions.c.status != SubscriptionStatus.CANCELED,
                t.subscriptions.c.paid_until_us > forgotten_us,
            )
        )
    )
    return [row for row in rows if _last_day_us(row, now_us) > forgotten_us]


def _last_day_us(row: _Row, now_us: int) -> int:
    """When the subscription ended; now, as long as it has not."""
    terms = subscriptions.terms_of(row)
    if shown_status(terms, now_us) is not SubscriptionStatus.CANCELED:
        return now_us
    return access_ends_us(terms, grace_us=0)


def _views(
    conn: Connection, rows: Sequence[_Row], plans: Mapping[str, Plan], now_us: int, *, with_keys: bool
) -> tuple[SubscriptionView, ...]:
    """The views of `rows` in their order, but active ones first."""
    ids = [row.id for row in rows]
    key_counts = counts(conn, KeysOf.API, ids)
    keys = _keys(conn, ids) if with_keys else {}
    states = {row.id: settled(state_of(row), now_us) for row in rows}
    budgets = _budgets(conn, states, plans, now_us)
    views = [
        SubscriptionView(
            id=row.id,
            plan_slug=states[row.id].present.slug,
            status=shown_status(subscriptions.terms_of(row), now_us),
            current_period_end_us=row.paid_until_us,
            cancel_at_period_end=row.cancel_at_us is not None,
            key_count=key_counts.get(row.id, KeyCount()).live,
            budget=budgets.get(row.id),
            keys=tuple(keys.get(row.id, ())),
            pending=_still_pending(states[row.id].pending, row.cancel_at_us),
        )
        for row in rows
    ]
    return tuple(sorted(views, key=lambda view: view.status is not SubscriptionStatus.ACTIVE))


def _keys(conn: Connection, subscription_ids: Sequence[str]) -> dict[str, list[KeyView]]:
    keys: dict[str, list[KeyView]] = {}
    rows = conn.execute(
        select(t.api_keys.c.id, t.api_keys.c.name, t.api_keys.c.subscription_id)
        .where(t.api_keys.c.subscription_id.in_(subscription_ids), t.api_keys.c.deleted_at_us.is_(None))
        .order_by(t.api_keys.c.created_at_us, t.api_keys.c.id)
    )
    for row in rows:
        keys.setdefault(row.subscription_id, []).append(KeyView(row.id, row.name))
    return keys


def _still_pending(pending: PendingPlan | None, cancel_at_us: int | None) -> PendingPlan | None:
    """A change that comes about; none does after the end."""
    return None if pending is None or (cancel_at_us is not None and cancel_at_us <= pending.at_us) else pending


def _budgets(
    conn: Connection, states: Mapping[str, PlanState], plans: Mapping[str, Plan], now_us: int
) -> dict[str, BudgetView]:
    windows: dict[str, tuple[Plan, Window]] = {}
    for subscription_id, state in states.items():
        plan = plans.get(state.present.slug)
        if plan is not None:
            windows[subscription_id] = (plan, window_at(now_us, plan.window_us))
    spent_nano = window_spent_nano(conn, {own_id: window.start_us for own_id, (_, window) in windows.items()})
    return {
        subscription_id: BudgetView(plan.budget_nano, spent_nano[subscription_id], window.end_us)
        for subscription_id, (plan, window) in windows.items()
    }
