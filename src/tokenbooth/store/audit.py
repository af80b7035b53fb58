"""The audit: computes again, from rows that are only ever inserted, every figure that is stored beside them.

Every check is one statement over whole tables, so that it works on a large database, on both engines. It must
never change anything. The command line runs it in production, the tests after whatever they wrote.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    String,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    union_all,
)

from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.ledger import SUBSCRIPTION_REVENUE, UNCOLLECTED, AccountKind, TransferKind
from tokenbooth.store.tables import (
    ledger_accounts,
    ledger_entries,
    ledger_transfers,
    subscription_periods,
    usage_events,
    usage_hours,
)

_HOUR_US: Final = 3_600_000_000
_INVOICE_REFERENCE: Final = "stripe:invoice:"
_HOURLY_SUMS: Final = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "charged_nano",
    "uncollected_nano",
    "upstream_cost_nano",
)
# What a usage transfer says about its events, and with which sign: money leaves the credit.
_USAGE_SIGNS: Final = {
    AccountKind.CREDIT: -1,
    AccountKind.WINDOW_SPEND: 1,
    AccountKind.KEY_SPEND: 1,
    AccountKind.UNCOLLECTED: -1,
}

_Query = Select[str, int, int]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A difference.

    Attributes:
        check: the check that found it.
        subject: the ledger account, transfer, payment or hour that is wrong.
        stored: the figure in the database: nano-USD, or a count.
        computed: what it should be.
    """

    check: str
    subject: str
    stored: int
    computed: int

    @property
    def difference(self) -> int:
        """How far the stored figure is above what it should be."""
        return self.stored - self.computed


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome: the checks that ran, how many rows they looked at, and every difference."""

    checks: tuple[str, ...]
    ledger_accounts: int
    transfers: int
    usage_events: int
    differences: tuple[AuditRow, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def audit(conn: Connection) -> AuditReport:
    """Run every check on the one snapshot that `conn` sees."""
    queries = {
        "balance": _balances(),
        "floor": _floors(),
        "entry_without_account": _entries_without_account(),
        "entry_without_transfer": _entries_without_transfer(),
        "transfer_sum": _transfer_sums(),
        "transfer_entries": _transfer_entries(),
        "event_without_transfer": _events_without_transfer(),
        "usage_transfer": _usage_transfers(),
        "subscription_payment": _subscription_payments(),
    }
    differences = [
        # PostgreSQL sums integers into decimals.
        AuditRow(check, subject, int(stored), int(computed))
        for check, query in queries.items()
        for subject, stored, computed in conn.execute(query)
    ]
    return AuditReport(
        checks=(*queries, "usage_hours"),
        ledger_accounts=conn.execute(select(func.count()).select_from(ledger_accounts)).scalar_one(),
        transfers=conn.execute(select(func.count()).select_from(ledger_transfers)).scalar_one(),
        usage_events=conn.execute(select(func.count()).select_from(usage_events)).scalar_one(),
        differences=(*differences, *_usage_hours(conn)),
    )


def _balances() -> _Query:
    """Every stored balance is the sum of its entries."""
    sums = (
        select(ledger_entries.c.account_id, func.sum(ledger_entries.c.amount_nano).label("total"))
        .group_by(ledger_entries.c.account_id)
        .subquery()
    )
    computed = func.coalesce(sums.c.total, 0)
    return (
        select(ledger_accounts.c.id, ledger_accounts.c.balance_nano, computed)
        .outerjoin(sums, sums.c.account_id == ledger_accounts.c.id)
        .where(ledger_accounts.c.balance_nano != computed)
        .order_by(ledger_accounts.c.id)
    )


def _floors() -> _Query:
    """No credit is below zero, no debt above it."""
    balance_nano = ledger_accounts.c.balance_nano
    below = and_(ledger_accounts.c.kind == AccountKind.CREDIT, balance_nano < 0)
    above = and_(ledger_accounts.c.kind == AccountKind.DEBT, balance_nano > 0)
    return select(ledger_accounts.c.id, balance_nano, literal(0)).where(or_(below, above))


def _entries_without_account() -> _Query:
    total = func.sum(ledger_entries.c.amount_nano)
    return (
        select(ledger_entries.c.account_id, literal(0), total)
        .outerjoin(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(ledger_accounts.c.id.is_(None))
        .group_by(ledger_entries.c.account_id)
    )


def _entries_without_transfer() -> _Query:
    return (
        select(ledger_entries.c.transfer_id, func.count(), literal(0))
        .outerjoin(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .where(ledger_transfers.c.id.is_(None))
        .group_by(ledger_entries.c.transfer_id)
    )


def _transfer_sums() -> _Query:
    """Every transfer sums to zero."""
    total = func.sum(ledger_entries.c.amount_nano)
    return (
        select(ledger_entries.c.transfer_id, total, literal(0))
        .group_by(ledger_entries.c.transfer_id)
        .having(total != 0)
    )


def _transfer_entries() -> _Query:
    """Every transfer has at least two entries."""
    entries = func.count(ledger_entries.c.line)
    return (
        select(ledger_transfers.c.id, entries, literal(2))
        .outerjoin(ledger_entries, ledger_entries.c.transfer_id == ledger_transfers.c.id)
        .group_by(ledger_transfers.c.id)
        .having(entries < 2)
    )


def _events_without_transfer() -> _Query:
    """Every usage event names a usage transfer that exists."""
    known = and_(ledger_transfers.c.id == usage_events.c.transfer_id, ledger_transfers.c.kind == TransferKind.USAGE)
    return (
        select(usage_events.c.transfer_id, func.count(), literal(0))
        .outerjoin(ledger_transfers, known)
        .where(ledger_transfers.c.id.is_(None))
        .group_by(usage_events.c.transfer_id)
    )


def _usage_transfers() -> _Query:
    """What a usage transfer takes from each pool, and writes down for each key, is what its events say."""
    nothing = literal(0)
    of_events = [
        select(
            usage_events.c.transfer_id,
            account.label("account_id"),
            nothing.label("entry"),
            amount.label("event"),
        )
        for account, amount in (
            (_pool_account(), usage_events.c.charged_nano),
            (_joined(AccountKind.KEY_SPEND, usage_events.c.key_id), usage_events.c.charged_nano),
            (literal(UNCOLLECTED.id, String), usage_events.c.uncollected_nano),
        )
    ]
    sign = case(
        *((ledger_accounts.c.kind == str(kind), literal(sign)) for kind, sign in _USAGE_SIGNS.items()),
        else_=nothing,
    )
    of_entries = (
        select(
            ledger_entries.c.transfer_id,
            ledger_entries.c.account_id,
            sign * ledger_entries.c.amount_nano,
            nothing,
        )
        .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(
            ledger_transfers.c.kind == TransferKind.USAGE,
            ledger_accounts.c.kind.in_([str(k) for k in _USAGE_SIGNS]),
        )
    )
    facts = union_all(*of_events, of_entries).subquery()
    stored, computed = func.sum(facts.c.entry), func.sum(facts.c.event)
    return (
        select(facts.c.transfer_id + literal(" ") + facts.c.account_id, stored, computed)
        .group_by(facts.c.transfer_id, facts.c.account_id)
        .having(stored != computed)
    )


def _pool_account() -> ColumnElement[str]:
    """The id of the ledger account that paid for a usage event."""
    window = usage_events.c.subscription_id + literal(":") + cast(usage_events.c.window_start_us, String)
    return case(
        (usage_events.c.pool == PoolKind.CREDIT, _joined(AccountKind.CREDIT, usage_events.c.account_id)),
        else_=_joined(AccountKind.WINDOW_SPEND, window),
    )


def _joined(kind: AccountKind, owner: ColumnElement[str]) -> ColumnElement[str]:
    return literal(f"{kind}:", String) + owner


def _subscription_payments() -> _Query:
    """Every paid period has the one payment of its invoice, and every such payment its period."""
    of_periods = select(
        (literal(_INVOICE_REFERENCE, String) + subscription_periods.c.stripe_invoice_id).label("reference"),
        literal(0).label("payment"),
        subscription_periods.c.amount_nano.label("period"),
    )
    of_payments = (
        select(ledger_transfers.c.reference, ledger_entries.c.amount_nano, literal(0))
        .join(ledger_entries, ledger_entries.c.transfer_id == ledger_transfers.c.id)
        .where(
            ledger_transfers.c.kind == TransferKind.SUBSCRIPTION_PAYMENT,
            ledger_entries.c.account_id == SUBSCRIPTION_REVENUE.id,
        )
    )
    facts = union_all(of_periods, of_payments).subquery()
    stored, computed = func.sum(facts.c.payment), func.sum(facts.c.period)
    return select(facts.c.reference, stored, computed).group_by(facts.c.reference).having(stored != computed)


def _usage_hours(conn: Connection) -> Iterator[AuditRow]:
    """Every hour's roll-up is the sum of the hour's events."""
    hour_us = usage_events.c.finished_at_us - usage_events.c.finished_at_us % _HOUR_US
    keys = (usage_events.c.account_id, hour_us.label("hour_us"), usage_events.c.key_id, usage_events.c.model)
    of_events = select(
        *keys,
        literal(1, Integer).label("events_requests"),
        literal(0).label("hours_requests"),
        *(usage_events.c[name].label(f"events_{name}") for name in _HOURLY_SUMS),
        *(literal(0).label(f"hours_{name}") for name in _HOURLY_SUMS),
    )
    of_hours = select(
        usage_hours.c.account_id,
        usage_hours.c.hour_us,
        usage_hours.c.key_id,
        usage_hours.c.model,
        literal(0),
        usage_hours.c.requests,
        *(literal(0) for _ in _HOURLY_SUMS),
        *(usage_hours.c[name] for name in _HOURLY_SUMS),
    )
    facts = union_all(of_events, of_hours).subquery()
    names = ("requests", *_HOURLY_SUMS)
    sums = {name: func.sum(facts.c[name]) for name in (f"{s}_{n}" for s in ("events", "hours") for n in names)}
    group = (facts.c.account_id, facts.c.hour_us, facts.c.key_id, facts.c.model)
    query = (
        select(*group, *(total.label(name) for name, total in sums.items()))
        .group_by(*group)
        .having(or_(*(sums[f"events_{name}"] != sums[f"hours_{name}"] for name in names)))
    )
    for row in conn.execute(query):
        yield from _hour_differences(row, names)


def _hour_differences(row: Row[*tuple[object, ...]], names: tuple[str, ...]) -> Iterator[AuditRow]:
    """One difference for each figure of an hour that is wrong."""
    figures = row._mapping
    subject = " ".join(str(part) for part in row[:4])
    for name in names:
        stored, computed = int(figures[f"hours_{name}"]), int(figures[f"events_{name}"])
        if stored != computed:
            yield AuditRow("usage_hours", f"{subject} {name}", stored, computed)
