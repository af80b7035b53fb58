"""The audit's checks of usage: events, the transfers that paid for them, and the hourly and daily roll-ups.

Each is one statement that works on both engines and changes nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    String,
    Table,
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
from tokenbooth.domain.ledger import UNCOLLECTED, AccountKind, TransferKind
from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.store.tables import (
    ledger_accounts,
    ledger_entries,
    ledger_transfers,
    usage_days,
    usage_events,
    usage_hours,
)

Query = Select[str, int, int]
"""Rows of what is wrong: the subject, the stored figure, the figure as it should be."""
Difference = tuple[str, int, int]

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


def events_without_transfer() -> Query:
    """Every usage event names a usage transfer that exists."""
    known = and_(ledger_transfers.c.id == usage_events.c.transfer_id, ledger_transfers.c.kind == TransferKind.USAGE)
    return (
        select(usage_events.c.transfer_id, func.count(), literal(0))
        .outerjoin(ledger_transfers, known)
        .where(ledger_transfers.c.id.is_(None))
        .group_by(usage_events.c.transfer_id)
    )


def usage_transfers(kept_after_us: int) -> Query:
    """What a usage transfer takes from each pool, and writes down for each key, is what its events say.

    The events of transfers up to `kept_after_us` may be gone; `usage_totals` covers those.
    """
    transfers = ledger_transfers.c
    kept = and_(transfers.kind == TransferKind.USAGE, transfers.created_at_us > kept_after_us)
    nothing = literal(0)
    of_events = [
        select(
            usage_events.c.transfer_id,
            account.label("account_id"),
            nothing.label("entry"),
            amount.label("event"),
        )
        .join(ledger_transfers, transfers.id == usage_events.c.transfer_id)
        .where(kept)
        for account, amount in (
            (_pool_account(), usage_events.c.charged_nano),
            (_joined(AccountKind.KEY_SPEND, usage_events.c.key_id), usage_events.c.charged_nano),
            (literal(UNCOLLECTED.id, String), usage_events.c.uncollected_nano),
        )
    ]
    facts = union_all(*of_events, _usage_entries(_USAGE_SIGNS, ledger_entries.c.transfer_id).where(kept)).subquery()
    stored, computed = func.sum(facts.c.entry), func.sum(facts.c.event)
    return (
        select(facts.c.transfer_id + literal(" ") + facts.c.account_id, stored, computed)
        .group_by(facts.c.transfer_id, facts.c.account_id)
        .having(stored != computed)
    )


def usage_totals() -> Query:
    """What was ever charged through a key, and what was never collected, is what the roll-ups of all hours say."""
    everything, nothing = literal("", String), literal(0)
    of_hours = [
        select(everything.label("group"), account.label("account_id"), nothing.label("entry"), amount.label("hour"))
        for account, amount in (
            (_joined(AccountKind.KEY_SPEND, usage_hours.c.key_id), usage_hours.c.charged_nano),
            (literal(UNCOLLECTED.id, String), usage_hours.c.uncollected_nano),
        )
    ]
    signs = {kind: _USAGE_SIGNS[kind] for kind in (AccountKind.KEY_SPEND, AccountKind.UNCOLLECTED)}
    facts = union_all(*of_hours, _usage_entries(signs, everything)).subquery()
    stored, computed = func.sum(facts.c.entry), func.sum(facts.c.hour)
    return select(facts.c.account_id, stored, computed).group_by(facts.c.account_id).having(stored != computed)


def _usage_entries(signs: Mapping[AccountKind, int], group: ColumnElement[str]) -> Select[str, str, int, int]:
    """The entries of usage transfers on accounts of these kinds, each with the sign in which events say it."""
    sign = case(
        *((ledger_accounts.c.kind == str(kind), literal(sign)) for kind, sign in signs.items()), else_=literal(0)
    )
    return (
        select(group, ledger_entries.c.account_id, sign * ledger_entries.c.amount_nano, literal(0))
        .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .join(ledger_accounts, ledger_accounts.c.id == ledger_entries.c.account_id)
        .where(
            ledger_transfers.c.kind == TransferKind.USAGE,
            ledger_accounts.c.kind.in_([str(kind) for kind in signs]),
        )
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


def usage_hour_differences(conn: Connection, kept_after_us: int) -> Iterator[Difference]:
    """The roll-up of every hour whose events are all kept is the sum of these events."""
    hour_us = usage_events.c.finished_at_us - usage_events.c.finished_at_us % HOUR_US
    keys = (usage_events.c.account_id, hour_us.label("hour_us"), usage_events.c.key_id, usage_events.c.model)
    of_events = select(
        *keys,
        literal(1, Integer).label("events_requests"),
        literal(0).label("hours_requests"),
        *(usage_events.c[name].label(f"events_{name}") for name in _HOURLY_SUMS),
        *(literal(0).label(f"hours_{name}") for name in _HOURLY_SUMS),
    ).where(hour_us > kept_after_us)
    of_hours = select(
        usage_hours.c.account_id,
        usage_hours.c.hour_us,
        usage_hours.c.key_id,
        usage_hours.c.model,
        literal(0),
        usage_hours.c.requests,
        *(literal(0) for _ in _HOURLY_SUMS),
        *(usage_hours.c[name] for name in _HOURLY_SUMS),
    ).where(usage_hours.c.hour_us > kept_after_us)
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


def _hour_differences(row: Row[*tuple[object, ...]], names: tuple[str, ...]) -> Iterator[Difference]:
    """One difference for each figure of an hour that is wrong."""
    figures = row._mapping
    subject = " ".join(str(part) for part in row[:4])
    for name in names:
        stored, computed = int(figures[f"hours_{name}"]), int(figures[f"events_{name}"])
        if stored != computed:
            yield f"{subject} {name}", stored, computed


def usage_days_of_hours() -> Query:
    """A day's sums by each dimension are those of its hours: requests and every figure, added up."""
    day_us = usage_hours.c.hour_us - usage_hours.c.hour_us % DAY_US
    everything, nothing = literal("", String), literal(0)
    figure = _figure(usage_hours)
    of_hours = [
        select(
            usage_hours.c.account_id,
            literal(dimension, String).label("dimension"),
            day_us.label("day_us"),
            name.label("name"),
            nothing.label("stored"),
            figure.label("computed"),
        )
        for dimension, name in (
            ("all", everything),
            ("key", usage_hours.c.key_id),
            ("model", usage_hours.c.model),
            # The hours don't know subscriptions: these must only add up to the same.
            ("subscription", everything),
        )
    ]
    of_days = select(
        usage_days.c.account_id,
        usage_days.c.dimension,
        usage_days.c.day_us,
        case((usage_days.c.dimension == "subscription", everything), else_=usage_days.c.name),
        _figure(usage_days),
        nothing,
    )
    facts = union_all(*of_hours, of_days).subquery()
    stored, computed = func.sum(facts.c.stored), func.sum(facts.c.computed)
    place = (facts.c.account_id, facts.c.dimension, facts.c.day_us, facts.c.name)
    subject = facts.c.account_id + " " + facts.c.dimension + " " + cast(facts.c.day_us, String) + " " + facts.c.name
    return select(subject, stored, computed).group_by(*place).having(stored != computed)


def _figure(table: Table) -> ColumnElement[int]:
    """One number that all sums of a row are in: what differs in one differs in it, but for a chance of rare mistakes
    that cancel each other out."""
    total: ColumnElement[int] = table.c.requests * 1
    for weight, name in enumerate(_HOURLY_SUMS, start=2):
        total = total + table.c[name] * weight
    return total
