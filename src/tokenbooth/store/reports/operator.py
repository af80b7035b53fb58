"""What the operator looks at: accounts with spend and margin, events parked for a person, the audit's last result, and
who did what. Margin is what was charged minus what the upstreams cost.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from tokenbooth.domain.ledger import UNCOLLECTED, AccountKind, credit_of, debt_of
from tokenbooth.kit.errors import NotFound
from tokenbooth.store import ledger
from tokenbooth.store.accounts import audit_log as log
from tokenbooth.store.payments.inbox import InboxStatus
from tokenbooth.store.reports.audit import AuditReport
from tokenbooth.store.tables import (
    accounts,
    audit_log,
    inbox,
    ledger_accounts,
    subscription_periods,
    subscriptions,
    usage_days,
    usage_hours,
)
from tokenbooth.store.usage.usage_reports import Span

AUDIT_ACTION: Final = "audit.ran"
_SHOWN_DIFFERENCES: Final = 5


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What an operator watches."""

    requests: int
    charged_nano: int
    uncollected_nano: int
    inbox_due: int
    inbox_parked: int


@dataclass(frozen=True, slots=True)
class Sale:
    """What was sold: requests, what was charged for them, what could not be collected, what the upstreams cost."""

    requests: int = 0
    charged_nano: int = 0
    uncollected_nano: int = 0
    upstream_cost_nano: int = 0

    @property
    def margin_nano(self) -> int:
        """What was charged minus what it cost."""
        return self.charged_nano - self.upstream_cost_nano

    def __add__(self, other: "Sale") -> "Sale":
        return Sale(
            self.requests + other.requests,
            self.charged_nano + other.charged_nano,
            self.uncollected_nano + other.uncollected_nano,
            self.upstream_cost_nano + other.upstream_cost_nano,
        )


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account in the operator's list. Money is nano-USD, times are UTC microseconds."""

    id: str
    email: str
    is_admin: bool
    suspended_at_us: int | None
    created_at_us: int
    balance_nano: int
    debt_nano: int
    sale: Sale


@dataclass(frozen=True, slots=True)
class Business:
    """The whole business in a span: what was sold by model and by plan, what subscriptions paid, what is open."""

    by_model: dict[str, Sale]
    by_plan: dict[str, Sale]
    total: Sale
    subscriptions_paid_nano: int
    credit_owed_nano: int
    uncollected_nano: int
    accounts: int
    parked: int


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account in a span, by key, by model and by plan ("" is prepaid credit)."""

    row: AccountRow
    by_key: dict[str, Sale]
    by_model: dict[str, Sale]
    by_plan: dict[str, Sale]
    subscriptions_paid_nano: int


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """An event that waits for a person."""

    id: str
    source: str
    type: str
    external_id: str
    error: str | None
    attempts: int
    received_at_us: int


@dataclass(frozen=True, slots=True)
class LogRow:
    """Who did what, and from which address. `actor` and `account` are emails where they are known."""

    at_us: int
    actor: str
    action: str
    account: str | None
    detail: str
    address: str | None


def business(conn: Connection, span: Span) -> Business:
    """The figures of the whole business."""
    credit = and_(ledger_accounts.c.kind == AccountKind.CREDIT, ledger_accounts.c.balance_nano > 0)
    owed = select(func.coalesce(func.sum(ledger_accounts.c.balance_nano), 0)).where(credit)
    by_model = _sales(conn, "model", span)
    return Business(
        by_model=by_model,
        by_plan=_by_plan(conn, _sales(conn, "subscription", span)),
        total=sum(by_model.values(), Sale()),
        subscriptions_paid_nano=_paid_nano(conn, span),
        credit_owed_nano=int(conn.execute(owed).scalar_one()),
        uncollected_nano=-ledger.balance_nano(conn, UNCOLLECTED),
        accounts=conn.execute(select(func.count()).select_from(accounts)).scalar_one(),
        parked=count_parked(conn),
    )


def list_accounts(
    conn: Connection, search: str, span: Span, *, limit: int, offset: int
) -> tuple[list[AccountRow], bool]:
    """Accounts whose email or id holds `search`, newest first, and whether there are more.

    Args:
        conn: the snapshot.
        search: any letter case; "" for all.
        span: of the sales shown.
        limit, offset: which part of the list.
    """
    pattern = f"%{search.lower().replace('%', '').replace('_', chr(92) + '_')}%"
    rows = conn.execute(
        select(accounts)
        .where(or_(accounts.c.email.like(pattern, escape="\\"), accounts.c.id == search))
        .order_by(accounts.c.created_at_us.desc(), accounts.c.id.desc())
        .limit(limit + 1)
        .offset(offset)
    ).all()
    ids = [row.id for row in rows[:limit]]
    sales = _sales_of_accounts(conn, ids, span)
    balances = ledger.balances_nano(conn, [make(account_id) for account_id in ids for make in (credit_of, debt_of)])
    found = [
        AccountRow(
            id=row.id,
            email=row.email,
            is_admin=row.is_admin,
            suspended_at_us=row.suspended_at_us,
            created_at_us=row.created_at_us,
            balance_nano=balances[credit_of(row.id)],
            debt_nano=-balances[debt_of(row.id)],
            sale=sales.get(row.id, Sale()),
        )
        for row in rows[:limit]
    ]
    return found, len(rows) > limit


def account_report(conn: Connection, account_id: str, span: Span) -> AccountReport:
    """One account.

    Raises:
        NotFound: there is none.
    """
    found, _ = list_accounts(conn, account_id, span, limit=1, offset=0)
    if not found or found[0].id != account_id:
        raise NotFound("account_not_found", "There is no such account.")
    return AccountReport(
        row=found[0],
        by_key=_sales(conn, "key", span, account_id),
        by_model=_sales(conn, "model", span, account_id),
        by_plan=_by_plan(conn, _sales(conn, "subscription", span, account_id)),
        subscriptions_paid_nano=_paid_nano(conn, span, account_id),
    )


def list_parked(conn: Connection, limit: int = 200) -> list[ParkedRow]:
    """Events that wait for a person, the newest first."""
    columns = inbox.c
    rows = conn.execute(
        select(
            columns.id,
            columns.source,
            columns.type,
            columns.external_id,
            columns.error,
            columns.attempts,
            columns.received_at_us,
        )
        .where(columns.status == InboxStatus.PARKED)
        .order_by(columns.received_at_us.desc(), columns.id.desc())
        .limit(limit)
    )
    return [ParkedRow(*row) for row in rows]


def count_parked(conn: Connection) -> int:
    """How many events wait for a person."""
    parked = inbox.c.status == InboxStatus.PARKED
    return conn.execute(select(func.count()).select_from(inbox).where(parked)).scalar_one()


def plans_in_use(conn: Connection, *, now_us: int) -> dict[str, int]:
    """How many subscriptions that were paid and have not ended each plan has, or is to have."""
    columns = subscriptions.c
    in_use: dict[str, int] = {}
    for slug in (columns.plan_slug, columns.pending_plan_slug):
        rows = conn.execute(
            select(slug.label("slug"), func.count().label("subscribers"))
            .where(
                slug.is_not(None),
                columns.paid_until_us.is_not(None),
                or_(columns.ended_at_us.is_(None), columns.ended_at_us > now_us),
            )
            .group_by(slug)
        )
        for row in rows:
            in_use[row.slug] = in_use.get(row.slug, 0) + row.subscribers
    return dict(sorted(in_use.items()))


def figures(conn: Connection) -> StoreFigures:
    """The figures as the store has them."""
    used = conn.execute(
        select(
            func.coalesce(func.sum(usage_hours.c.requests), 0),
            func.coalesce(func.sum(usage_hours.c.charged_nano), 0),
        )
    ).one()
    rows = conn.execute(
        select(inbox.c.status, func.count().label("waiting"))
        .where(inbox.c.status != "handled")
        .group_by(inbox.c.status)
    )
    waiting = {row.status: row.waiting for row in rows}
    return StoreFigures(
        requests=int(used[0]),
        charged_nano=int(used[1]),
        uncollected_nano=-ledger.balance_nano(conn, UNCOLLECTED),
        inbox_due=waiting.get("due", 0),
        inbox_parked=waiting.get("parked", 0),
    )


def record_audit(conn: Connection, report: AuditReport, *, actor: str, now_us: int) -> None:
    """Note that the audit ran, and what it found."""
    differences = [f"{row.check}: {row.subject}" for row in report.differences[:_SHOWN_DIFFERENCES]]
    said = "clean" if report.clean else f"{len(report.differences)} differences: {'; '.join(differences)}"
    detail = f"{said} ({report.ledger_accounts} ledger accounts, {report.transfers} transfers)"
    log.record(conn, actor=actor, action=AUDIT_ACTION, account_id=None, detail=detail, now_us=now_us)


def last_audit(conn: Connection) -> LogRow | None:
    """When the audit ran last, and what it found; None when it never did."""
    found = list_log(conn, action=AUDIT_ACTION, limit=1)
    return found[0] if found else None


def list_log(
    conn: Connection, *, account_id: str | None = None, action: str | None = None, limit: int = 100
) -> list[LogRow]:
    """Who did what, the last first; of one account or of all, of one action or of all."""
    actors = accounts.alias("actors")
    subjects = accounts.alias("subjects")
    statement = (
        select(
            audit_log.c.at_us,
            func.coalesce(actors.c.email, audit_log.c.actor),
            audit_log.c.action,
            func.coalesce(subjects.c.email, audit_log.c.account_id),
            audit_log.c.detail,
            audit_log.c.address,
        )
        .outerjoin(actors, actors.c.id == audit_log.c.actor)
        .outerjoin(subjects, subjects.c.id == audit_log.c.account_id)
        .order_by(audit_log.c.at_us.desc(), audit_log.c.id.desc())
        .limit(limit)
    )
    if account_id is not None:
        statement = statement.where(audit_log.c.account_id == account_id)
    if action is not None:
        statement = statement.where(audit_log.c.action == action)
    return [LogRow(*row) for row in conn.execute(statement)]


def _sales(conn: Connection, dimension: str, span: Span, account_id: str | None = None) -> dict[str, Sale]:
    within = _within(dimension, span)
    if account_id is not None:
        within = and_(within, usage_days.c.account_id == account_id)
    rows = conn.execute(select(usage_days.c.name, *_SUMS).where(within).group_by(usage_days.c.name))
    return {name: Sale(*map(int, sums)) for name, *sums in rows}


def _sales_of_accounts(conn: Connection, ids: Collection[str], span: Span) -> dict[str, Sale]:
    within = and_(usage_days.c.account_id.in_(ids), _within("all", span))
    rows = conn.execute(select(usage_days.c.account_id, *_SUMS).where(within).group_by(usage_days.c.account_id))
    return {account_id: Sale(*map(int, sums)) for account_id, *sums in rows}


def _by_plan(conn: Connection, by_subscription: dict[str, Sale]) -> dict[str, Sale]:
    rows = conn.execute(select(subscriptions.c.id, subscriptions.c.plan_slug))
    plans = {row.id: row.plan_slug for row in rows}
    by_plan: dict[str, Sale] = {}
    for subscription_id, sale in by_subscription.items():
        plan = plans.get(subscription_id, subscription_id)
        by_plan[plan] = by_plan.get(plan, Sale()) + sale
    return by_plan


def _paid_nano(conn: Connection, span: Span, account_id: str | None = None) -> int:
    granted = subscription_periods.c.granted_at_us
    within = and_(granted >= span.from_us, granted < span.to_us)
    statement = select(func.coalesce(func.sum(subscription_periods.c.amount_nano), 0)).where(within)
    if account_id is not None:
        statement = statement.join(subscriptions, subscriptions.c.id == subscription_periods.c.subscription_id).where(
            subscriptions.c.account_id == account_id
        )
    return int(conn.execute(statement).scalar_one())


_SUMS: Final = (
    func.sum(usage_days.c.requests),
    func.sum(usage_days.c.charged_nano),
    func.sum(usage_days.c.uncollected_nano),
    func.sum(usage_days.c.upstream_cost_nano),
)


def _within(dimension: str, span: Span) -> ColumnElement[bool]:
    return and_(
        usage_days.c.dimension == dimension, usage_days.c.day_us >= span.from_us, usage_days.c.day_us < span.to_us
    )
