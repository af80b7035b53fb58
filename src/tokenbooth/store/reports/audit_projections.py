"""The audit's checks of projections: what statements, totals and counts read, against the rows that they come from.

Each is one statement that works on both engines and changes nothing.
"""

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    String,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import Subquery

from tokenbooth.domain.ledger import AccountKind, TransferKind
from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.accounts.key_counts import KeysOf
from tokenbooth.store.dialect import month_of
from tokenbooth.store.reports.audit_usage import Query
from tokenbooth.store.sales_days import SalesDimension
from tokenbooth.store.tables import (
    api_keys,
    credit_months,
    key_counts,
    ledger_accounts,
    ledger_entries,
    ledger_transfers,
    management_keys,
    sales_days,
    statement_lines,
    subscription_periods,
    usage_days,
)

_NOTHING = literal(0, BigInteger)
# A key that lives counts for more than all that an account may make, so that both counts are in one number.
_LIVE = literal(10**9, BigInteger)


def statement_lines_of_ledger() -> Query:
    """Every line of a statement is what the entries of its transfers moved, and every such entry is in a line."""
    transfers, lines = ledger_transfers.c, statement_lines.c
    own = ledger_accounts.c.kind.in_([AccountKind.CREDIT, AccountKind.DEBT])
    movements = (
        select(
            _owner(ledger_accounts.c.id, ledger_accounts.c.kind).label("account_id"),
            transfers.created_at_us.label("at_us"),
            transfers.id.label("subject"),
            _NOTHING.label("stored"),
            ledger_entries.c.amount_nano.label("computed"),
        )
        .join(ledger_entries, ledger_entries.c.transfer_id == transfers.id)
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(transfers.kind != TransferKind.USAGE, own)
    )
    payers, spenders = ledger_accounts.alias("payers"), ledger_accounts.alias("spenders")
    paid, spent = ledger_entries.alias("paid"), ledger_entries.alias("spent")
    charges = (
        select(
            _owner(payers.c.id, payers.c.kind),
            transfers.created_at_us - transfers.created_at_us % DAY_US,
            _owner(spenders.c.id, spenders.c.kind),
            _NOTHING,
            -spent.c.amount_nano,
        )
        .join(paid, paid.c.transfer_id == transfers.id)
        .join(payers, and_(payers.c.id == paid.c.account_id, payers.c.kind == AccountKind.CREDIT))
        .join(spent, spent.c.transfer_id == transfers.id)
        .join(spenders, and_(spenders.c.id == spent.c.account_id, spenders.c.kind == AccountKind.KEY_SPEND))
        .where(transfers.kind == TransferKind.USAGE)
    )
    shown = select(lines.account_id, lines.at_us, lines.subject, lines.amount_nano, _NOTHING)
    facts = union_all(movements, charges, shown).subquery()
    return _differences(facts, facts.c.account_id, cast(facts.c.at_us, String), facts.c.subject)


def credit_months_of_lines(conn: Connection) -> Query:
    """A month's sum of a kind is that of its lines."""
    months, lines = credit_months.c, statement_lines.c
    of_lines = select(
        lines.account_id,
        lines.kind,
        month_of(conn, lines.at_us).label("month_us"),
        _NOTHING.label("stored"),
        lines.amount_nano.label("computed"),
    )
    of_months = select(months.account_id, months.kind, months.month_us, months.amount_nano, _NOTHING)
    facts = union_all(of_lines, of_months).subquery()
    return _differences(facts, facts.c.account_id, facts.c.kind, cast(facts.c.month_us, String))


def sales_of_days() -> Query:
    """What the installation sold on a day is what its accounts bought; of plans only the sum of a day can be told."""
    everything = literal("", String)
    dimension = case(
        (usage_days.c.dimension == "subscription", literal(str(SalesDimension.PLAN), String)),
        else_=usage_days.c.dimension,
    )
    of_accounts = select(
        dimension.label("dimension"),
        usage_days.c.day_us.label("day_us"),
        case((usage_days.c.dimension == "model", usage_days.c.name), else_=everything).label("name"),
        _NOTHING.label("stored"),
        _figure(usage_days).label("computed"),
    ).where(usage_days.c.dimension != "key")
    of_sales = select(
        sales_days.c.dimension,
        sales_days.c.day_us,
        case((sales_days.c.dimension == SalesDimension.PLAN, everything), else_=sales_days.c.name),
        _figure(sales_days),
        _NOTHING,
    ).where(sales_days.c.dimension != SalesDimension.SUBSCRIPTION_PAYMENTS)
    facts = union_all(of_accounts, of_sales).subquery()
    return _differences(facts, facts.c.dimension, cast(facts.c.day_us, String), facts.c.name)


def sales_of_periods() -> Query:
    """What was paid for subscriptions on a day is the sum of the periods that were granted on it."""
    granted_us = subscription_periods.c.granted_at_us
    of_periods = select(
        (granted_us - granted_us % DAY_US).label("day_us"),
        _NOTHING.label("stored"),
        subscription_periods.c.amount_nano.label("computed"),
    )
    of_sales = select(sales_days.c.day_us, sales_days.c.charged_nano, _NOTHING).where(
        sales_days.c.dimension == SalesDimension.SUBSCRIPTION_PAYMENTS
    )
    facts = union_all(of_periods, of_sales).subquery()
    return _differences(facts, cast(facts.c.day_us, String))


def counts_of_keys() -> Query:
    """The counts of live and of all keys of an account, or of a subscription, are those of the rows."""
    of_keys = [
        select(
            owner.label("owner_id"),
            literal(str(kind), String).label("kind"),
            _NOTHING.label("stored"),
            (literal(1, BigInteger) + case((table.c.deleted_at_us.is_(None), _LIVE), else_=_NOTHING)).label("computed"),
        ).where(owner.is_not(None))
        for table, owner, kind in (
            (api_keys, api_keys.c.account_id, KeysOf.API),
            (api_keys, api_keys.c.subscription_id, KeysOf.API),
            (management_keys, management_keys.c.account_id, KeysOf.MANAGEMENT),
        )
    ]
    counts = select(
        key_counts.c.owner_id, key_counts.c.kind, key_counts.c.created + _LIVE * key_counts.c.live, _NOTHING
    )
    facts = union_all(*of_keys, counts).subquery()
    return _differences(facts, facts.c.owner_id, facts.c.kind)


def _differences(facts: Subquery, *place: ColumnElement[str]) -> Query:
    """Where the stored figures of a place don't add up to the computed ones."""
    stored, computed = func.sum(facts.c.stored), func.sum(facts.c.computed)
    subject = place[0]
    for part in place[1:]:
        subject = subject + " " + part
    return select(subject, stored, computed).group_by(*place).having(stored != computed)


def _owner(account: ColumnElement[str], kind: ColumnElement[str]) -> ColumnElement[str]:
    """Whose a ledger account is, by its id."""
    return func.substr(account, func.length(kind) + 2)


def _figure(table: Table) -> ColumnElement[int]:
    """One number that all sums of a row are in: what differs in one differs in it, but for a chance of rare mistakes
    that cancel each other out."""
    columns = table.c
    return columns.requests + columns.charged_nano * 2 + columns.uncollected_nano * 3 + columns.upstream_cost_nano * 4
