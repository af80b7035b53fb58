"""What the operator looks at: accounts with spend and margin, events parked for a person, the audit's last result, and
who did what. Margin is what was charged minus what the upstreams cost.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, text

from tokenbooth.domain.ledger import (
    PROMOTION,
    STRIPE_CLEARING,
    STRIPE_FEES,
    STRIPE_OTHER,
    SUBSCRIPTION_REVENUE,
    TAX_DUE,
    UNCOLLECTED,
    USAGE_REVENUE,
    USDC_CLEARING,
    credit_of,
    debt_of,
)
from tokenbooth.kit.errors import NotFound
from tokenbooth.store import ledger
from tokenbooth.store.accounts import audit_log as log
from tokenbooth.store.bulk import Lookup
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.inbox import InboxStatus
from tokenbooth.store.reports.audit import AuditReport
from tokenbooth.store.sales_days import SalesDimension
from tokenbooth.store.tables import (
    accounts,
    audit_log,
    ledger_accounts,
    sales_days,
    subscription_periods,
    subscriptions,
    usage_days,
)
from tokenbooth.store.tables import inbox as inbox_rows
from tokenbooth.store.usage.usage_reports import Span

AUDIT_ACTION: Final = "audit.ran"
KEYS_SHOWN: Final = 50
MAX_COUNTED: Final = 1_000
"""What there may be very many of is counted up to here, and one further."""
_SHOWN_DIFFERENCES: Final = 5
_LAST_CHARACTER: Final = chr(0x10FFFF)
_OTHER_ACCOUNTS: Final = (
    PROMOTION,
    STRIPE_CLEARING,
    STRIPE_FEES,
    STRIPE_OTHER,
    SUBSCRIPTION_REVENUE,
    TAX_DUE,
    USAGE_REVENUE,
    USDC_CLEARING,
)
"""Every account of the ledger that is no customer's and no memo."""
_PLANS: Final = Lookup(select(subscriptions.c.id, subscriptions.c.plan_slug), subscriptions.c.id)


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
    """One account in a span, by the keys that were charged most, by model and by plan ("" is prepaid credit)."""

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
    """The figures of the whole business, from its own sums of days: a row for each day and model or plan."""
    by_model = _installation_sales(conn, SalesDimension.MODEL, span)
    paid = _installation_sales(conn, SalesDimension.SUBSCRIPTION_PAYMENTS, span)
    first = select(accounts.c.id).limit(MAX_COUNTED + 1).subquery()
    return Business(
        by_model=by_model,
        by_plan=_installation_sales(conn, SalesDimension.PLAN, span),
        total=sum(by_model.values(), Sale()),
        subscriptions_paid_nano=sum(sale.charged_nano for sale in paid.values()),
        credit_owed_nano=_credit_owed_nano(conn),
        uncollected_nano=-ledger.balance_nano(conn, UNCOLLECTED),
        accounts=conn.execute(select(func.count()).select_from(first)).scalar_one(),
        parked=count_parked(conn),
    )


def _credit_owed_nano(conn: Connection) -> int:
    """All credit of all customers: every balance sums to zero, so it is what the few other accounts and the debts
    leave. Memo accounts sum to zero among themselves."""
    others_nano = sum(ledger.balances_nano(conn, _OTHER_ACCOUNTS).values())
    debts = select(func.coalesce(func.sum(ledger_accounts.c.balance_nano), 0)).where(text("kind = 'debt'"))
    return -others_nano - int(conn.execute(debts).scalar_one())


def list_accounts(
    conn: Connection, search: str, span: Span, *, limit: int, offset: int
) -> tuple[list[AccountRow], bool]:
    """Accounts, and whether there are more: all of them newest first, or those that `search` finds.

    Args:
        conn: the snapshot.
        search: the beginning of an email in any letter case, or a whole id; "" for all.
        span: of the sales shown.
        limit, offset: which part of the list.
    """
    query = select(accounts)
    if search:
        begins = accounts.c.email.startswith(search.lower(), autoescape=True)
        if conn.dialect.name == "sqlite":
            # Its LIKE searches no index, because it knows no letter case.
            begins = and_(accounts.c.email >= search.lower(), accounts.c.email < search.lower() + _LAST_CHARACTER)
        query = query.where(or_(begins, accounts.c.id == search)).order_by(accounts.c.email)
    else:
        query = query.order_by(accounts.c.created_at_us.desc(), accounts.c.id.desc())
    rows = conn.execute(query.limit(limit + 1).offset(offset)).all()
    return _account_rows(conn, rows[:limit], span), len(rows) > limit


def _account_rows(conn: Connection, rows: Sequence[Row[Any]], span: Span) -> list[AccountRow]:
    ids = [row.id for row in rows]
    sales = _sales_of_accounts(conn, ids, span)
    balances = ledger.balances_nano(conn, [make(account_id) for account_id in ids for make in (credit_of, debt_of)])
    return [
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
        for row in rows
    ]


def account_report(conn: Connection, account_id: str, span: Span) -> AccountReport:
    """One account.

    Raises:
        NotFound: there is none.
    """
    found = conn.execute(select(accounts).where(accounts.c.id == account_id)).all()
    if not found:
        raise NotFound("account_not_found", "There is no such account.")
    return AccountReport(
        row=_account_rows(conn, found, span)[0],
        by_key=_sales(conn, "key", span, account_id, limit=KEYS_SHOWN),
        by_model=_sales(conn, "model", span, account_id),
        by_plan=_by_plan(conn, _sales(conn, "subscription", span, account_id)),
        subscriptions_paid_nano=_paid_nano(conn, span, account_id),
    )


def list_parked(conn: Connection, limit: int = 200) -> list[ParkedRow]:
    """Events that wait for a person, the newest first."""
    columns = inbox_rows.c
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
    """How many events wait for a person; at most one more than `MAX_COUNTED` is counted."""
    return inbox.count_up_to(conn, InboxStatus.PARKED, MAX_COUNTED + 1)


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


def _sales(
    conn: Connection, dimension: str, span: Span, account_id: str, *, limit: int | None = None
) -> dict[str, Sale]:
    """An account's sales by name; with a limit those that were charged most."""
    within = and_(usage_days.c.account_id == account_id, _within(dimension, span))
    query = select(usage_days.c.name, *_SUMS).where(within).group_by(usage_days.c.name)
    if limit is not None:
        query = query.order_by(func.sum(usage_days.c.charged_nano).desc(), usage_days.c.name).limit(limit)
    return {name: Sale(*map(int, sums)) for name, *sums in conn.execute(query)}


def _installation_sales(conn: Connection, dimension: SalesDimension, span: Span) -> dict[str, Sale]:
    columns = sales_days.c
    sums = (columns.requests, columns.charged_nano, columns.uncollected_nano, columns.upstream_cost_nano)
    rows = conn.execute(
        select(columns.name, *map(func.sum, sums))
        .where(columns.dimension == dimension, columns.day_us >= span.from_us, columns.day_us < span.to_us)
        .group_by(columns.name)
    )
    return {name: Sale(*map(int, totals)) for name, *totals in rows}


def _sales_of_accounts(conn: Connection, ids: Collection[str], span: Span) -> dict[str, Sale]:
    within = and_(usage_days.c.account_id.in_(ids), _within("all", span))
    rows = conn.execute(select(usage_days.c.account_id, *_SUMS).where(within).group_by(usage_days.c.account_id))
    return {account_id: Sale(*map(int, sums)) for account_id, *sums in rows}


def _by_plan(conn: Connection, by_subscription: dict[str, Sale]) -> dict[str, Sale]:
    plans = {row.id: row.plan_slug for row in _PLANS.find(conn, [*by_subscription])}
    by_plan: dict[str, Sale] = {}
    for subscription_id, sale in by_subscription.items():
        plan = plans.get(subscription_id, subscription_id)
        by_plan[plan] = by_plan.get(plan, Sale()) + sale
    return by_plan


def _paid_nano(conn: Connection, span: Span, account_id: str) -> int:
    granted = subscription_periods.c.granted_at_us
    total = conn.execute(
        select(func.coalesce(func.sum(subscription_periods.c.amount_nano), 0))
        .join(subscriptions, subscriptions.c.id == subscription_periods.c.subscription_id)
        .where(granted >= span.from_us, granted < span.to_us, subscriptions.c.account_id == account_id)
    ).scalar_one()
    return int(total)


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
