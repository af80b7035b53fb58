"""The audit: computes again, from rows that are only ever inserted, every figure that is stored beside them.

Every check is one statement over whole tables, so that it works on a large database, on both engines. It must
never change anything. The command line runs it in production, the tests after whatever they wrote.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)

from tokenbooth.domain.ledger import (
    STRIPE_CLEARING,
    SUBSCRIPTION_REVENUE,
    USDC_CLEARING,
    AccountKind,
    TransferKind,
    key_spend,
)
from tokenbooth.domain.payment_commands import ReversalKind
from tokenbooth.store.reports import audit_projections, audit_usage
from tokenbooth.store.reports.audit_usage import Query
from tokenbooth.store.tables import (
    api_keys,
    balance_transactions,
    deposits,
    gateway_processes,
    ledger_accounts,
    ledger_entries,
    ledger_transfers,
    reversals,
    spend_limits,
    subscription_periods,
    usage_events,
)
from tokenbooth.store.usage.retention import pruned_until_us

_INVOICE_REFERENCE: Final = "stripe:invoice:"


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
    kept_after_us = pruned_until_us(conn)
    queries = {
        "balance": _balances(),
        "floor": _floors(),
        "entry_without_account": _entries_without_account(),
        "entry_without_transfer": _entries_without_transfer(),
        "transfer_sum": _transfer_sums(),
        "transfer_entries": _transfer_entries(),
        "event_without_transfer": audit_usage.events_without_transfer(),
        "usage_transfer": audit_usage.usage_transfers(kept_after_us),
        "usage_total": audit_usage.usage_totals(),
        "usage_day": audit_usage.usage_days_of_hours(),
        "statement_line": audit_projections.statement_lines_of_ledger(),
        "credit_month": audit_projections.credit_months_of_lines(conn),
        "sales_day": audit_projections.sales_of_days(),
        "subscription_sales": audit_projections.sales_of_periods(),
        "key_count": audit_projections.counts_of_keys(),
        "subscription_payment": _subscription_payments(),
        "reversal": _reversals(),
        "processor_fee": _processor_fees(),
        "usdc_deposits": _deposits(),
        "spend_limit": _spend_limits(),
        "open_processes": _open_processes(),
    }
    differences = [
        # PostgreSQL sums integers into decimals.
        AuditRow(check, subject, int(stored), int(computed))
        for check, query in queries.items()
        for subject, stored, computed in conn.execute(query)
    ]
    hours = [AuditRow("usage_hours", *row) for row in audit_usage.usage_hour_differences(conn, kept_after_us)]
    return AuditReport(
        checks=(*queries, "usage_hours"),
        ledger_accounts=conn.execute(select(func.count()).select_from(ledger_accounts)).scalar_one(),
        transfers=conn.execute(select(func.count()).select_from(ledger_transfers)).scalar_one(),
        usage_events=conn.execute(select(func.count()).select_from(usage_events)).scalar_one(),
        differences=(*differences, *hours),
    )


def _balances() -> Query:
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


def _floors() -> Query:
    """No credit is below zero, no debt above it."""
    balance_nano = ledger_accounts.c.balance_nano
    below = and_(ledger_accounts.c.kind == AccountKind.CREDIT, balance_nano < 0)
    above = and_(ledger_accounts.c.kind == AccountKind.DEBT, balance_nano > 0)
    return select(ledger_accounts.c.id, balance_nano, literal(0)).where(or_(below, above))


def _entries_without_account() -> Query:
    total = func.sum(ledger_entries.c.amount_nano)
    return (
        select(ledger_entries.c.account_id, literal(0), total)
        .outerjoin(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(ledger_accounts.c.id.is_(None))
        .group_by(ledger_entries.c.account_id)
    )


def _entries_without_transfer() -> Query:
    return (
        select(ledger_entries.c.transfer_id, func.count(), literal(0))
        .outerjoin(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .where(ledger_transfers.c.id.is_(None))
        .group_by(ledger_entries.c.transfer_id)
    )


def _transfer_sums() -> Query:
    """Every transfer sums to zero."""
    total = func.sum(ledger_entries.c.amount_nano)
    return (
        select(ledger_entries.c.transfer_id, total, literal(0))
        .group_by(ledger_entries.c.transfer_id)
        .having(total != 0)
    )


def _transfer_entries() -> Query:
    """Every transfer has at least two entries."""
    entries = func.count(ledger_entries.c.line)
    return (
        select(ledger_transfers.c.id, entries, literal(2))
        .outerjoin(ledger_entries, ledger_entries.c.transfer_id == ledger_transfers.c.id)
        .group_by(ledger_transfers.c.id)
        .having(entries < 2)
    )


def _subscription_payments() -> Query:
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


def _reversals() -> Query:
    """What refunds and disputes hold is what the ledger took back to Stripe's clearing account for them."""
    reference = ledger_transfers.c.reference
    total = func.coalesce(func.sum(reversals.c.taken_nano), 0)
    return _two_sums(or_(*(reference.startswith(f"stripe:{kind}:") for kind in ReversalKind)), total)


def _processor_fees() -> Query:
    """Every fee in Stripe's balance is booked, and nothing else is booked as one."""
    total = func.coalesce(func.sum(balance_transactions.c.fee_nano), 0)
    return _two_sums(ledger_transfers.c.kind == TransferKind.PROCESSOR_FEE, total)


def _two_sums(which: ColumnElement[bool], total: ColumnElement[int]) -> Query:
    """Where the clearing account's entries of some transfers differ from a total over another table."""
    booked = (
        select(func.coalesce(func.sum(ledger_entries.c.amount_nano), 0))
        .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .where(ledger_entries.c.account_id == STRIPE_CLEARING.id, which)
        .scalar_subquery()
    )
    expected = select(total).scalar_subquery()
    return select(literal(STRIPE_CLEARING.id), booked, expected).where(booked != expected)


def _deposits() -> Query:
    """What came in over the chain is the sum of the deposits that were not taken back."""
    came_in = (
        select(func.coalesce(-func.sum(ledger_entries.c.amount_nano), 0))
        .where(ledger_entries.c.account_id == USDC_CLEARING.id)
        .scalar_subquery()
    )
    deposited = (
        select(func.coalesce(func.sum(deposits.c.amount_nano), 0))
        .where(deposits.c.status != "reversed")
        .scalar_subquery()
    )
    return select(literal(USDC_CLEARING.id), came_in, deposited).where(came_in != deposited)


def _spend_limits() -> Query:
    """No window and no key spent more than the highest limit that was ever in force for it.

    A key's cap of today counts as well. Windows from before limits were noted have none to be held to.
    """
    cap_nano = func.coalesce(api_keys.c.max_budget_nano, 0)
    noted_nano = func.coalesce(spend_limits.c.highest_nano, 0)
    limit_nano = case((cap_nano > noted_nano, cap_nano), else_=noted_nano)
    spent_nano = ledger_accounts.c.balance_nano
    return (
        select(ledger_accounts.c.id, spent_nano, limit_nano)
        .outerjoin(spend_limits, spend_limits.c.account_id == ledger_accounts.c.id)
        # By the key's own id, which has an index: there may be as many keys as there are accounts of the ledger.
        .outerjoin(
            api_keys,
            and_(
                ledger_accounts.c.kind == AccountKind.KEY_SPEND,
                api_keys.c.id == func.substr(ledger_accounts.c.id, len(key_spend("").id) + 1),
            ),
        )
        .where(
            ledger_accounts.c.kind.in_([AccountKind.WINDOW_SPEND, AccountKind.KEY_SPEND]),
            or_(spend_limits.c.highest_nano.is_not(None), api_keys.c.max_budget_nano.is_not(None)),
            spent_nano > limit_nano,
        )
        .order_by(ledger_accounts.c.id)
    )


def _open_processes() -> Query:
    """At most one process at a time spends from memory."""
    columns = gateway_processes.c
    open_rows = func.count()
    return (
        select(columns.mode, open_rows, literal(1))
        .where(columns.state != "closed", columns.mode == "whole")
        .group_by(columns.mode)
        .having(open_rows > 1)
    )
