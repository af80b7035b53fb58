"""Charges into the store: usage events in bulk, one ledger transfer per pool and batch, hourly and daily roll-ups.

Applying a charge again changes nothing: the request id decides. It never fails on a floor: where money was taken back
in the meantime, what is left is charged and the rest is booked as uncollected.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from operator import attrgetter
from typing import Final

from sqlalchemy import Connection, Insert, Table, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import (
    MEMO_CONTRA,
    UNCOLLECTED,
    USAGE_REVENUE,
    Entry,
    LedgerAccount,
    Transfer,
    TransferKind,
    credit_of,
    key_spend,
    window_spend,
)
from tokenbooth.domain.windows import DAY_US
from tokenbooth.ids import IdPrefix, new_id
from tokenbooth.store import ledger
from tokenbooth.store.tables import api_keys, usage_days, usage_events, usage_hours

_HOUR_US: Final = 3_600_000_000
_ID_CHUNK: Final = 500
# dataclasses.asdict copies deeply, which costs more than the insert.
_CHARGE_FIELDS: Final = tuple(field.name for field in fields(Charge))
_values: Final = attrgetter(*_CHARGE_FIELDS)


@dataclass(frozen=True, slots=True)
class _Pool:
    kind: PoolKind
    account: LedgerAccount


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch.

    Attributes:
        fresh: how many charges were not in the store yet.
        short_nano: by request id, what of a charge was booked as uncollected because the credit was taken back.
    """

    fresh: int
    short_nano: dict[str, int]


def apply_charges(conn: Connection, charges: Sequence[Charge], *, now_us: int) -> Applied:
    """Write those charges that are not in the store yet."""
    fresh = _not_applied(conn, charges)
    short_nano: dict[str, int] = {}
    for pool, pool_charges in _by_pool(fresh).items():
        if pool.kind is PoolKind.CREDIT:
            left_nano = ledger.balance_nano(conn, pool.account)
            fitted = _within(pool_charges, left_nano)
            short_nano.update(_shortfalls(pool_charges, fitted))
            pool_charges = fitted
        transfer = _transfer(pool, pool_charges, now_us)
        ledger.post(conn, transfer, now_us=now_us)
        conn.execute(insert(usage_events), [_row(charge, transfer.id) for charge in pool_charges])
        _roll_up(conn, pool_charges)
    _touch_keys(conn, fresh)
    return Applied(fresh=len(fresh), short_nano=short_nano)


def _row(charge: Charge, transfer_id: str) -> dict[str, object]:
    row: dict[str, object] = dict(zip(_CHARGE_FIELDS, _values(charge), strict=True))
    row["transfer_id"] = transfer_id
    return row


def _not_applied(conn: Connection, charges: Sequence[Charge]) -> list[Charge]:
    by_id = {charge.request_id: charge for charge in charges}
    ids = list(by_id)
    known: set[str] = set()
    for start in range(0, len(ids), _ID_CHUNK):
        chunk = ids[start : start + _ID_CHUNK]
        known.update(conn.scalars(select(usage_events.c.request_id).where(usage_events.c.request_id.in_(chunk))))
    return [charge for request_id, charge in by_id.items() if request_id not in known]


def _by_pool(charges: Iterable[Charge]) -> dict[_Pool, list[Charge]]:
    pools: dict[_Pool, list[Charge]] = {}
    for charge in charges:
        pools.setdefault(_pool_of(charge), []).append(charge)
    return pools


def _pool_of(charge: Charge) -> _Pool:
    if charge.pool == PoolKind.CREDIT:
        return _Pool(PoolKind.CREDIT, credit_of(charge.account_id))
    return _Pool(PoolKind.WINDOW, window_spend(charge.subscription_id, charge.window_start_us))


def _within(charges: list[Charge], left_nano: int) -> list[Charge]:
    """The same charges, cut to what is left where a refund or dispute took money back after they were admitted."""
    fitted = []
    for charge in charges:
        paid_nano = min(charge.charged_nano, left_nano)
        left_nano -= paid_nano
        short_nano = charge.charged_nano - paid_nano
        if short_nano:
            charge = replace(charge, charged_nano=paid_nano, uncollected_nano=charge.uncollected_nano + short_nano)
        fitted.append(charge)
    return fitted


def _shortfalls(charges: Iterable[Charge], fitted: Iterable[Charge]) -> Iterator[tuple[str, int]]:
    for charge, cut in zip(charges, fitted, strict=True):
        if cut.charged_nano < charge.charged_nano:
            yield charge.request_id, charge.charged_nano - cut.charged_nano


def _transfer(pool: _Pool, charges: list[Charge], now_us: int) -> Transfer:
    charged_nano = sum(charge.charged_nano for charge in charges)
    uncollected_nano = sum(charge.uncollected_nano for charge in charges)
    entries = _pool_entries(pool, charged_nano)
    by_key: dict[str, int] = {}
    for charge in charges:
        by_key[charge.key_id] = by_key.get(charge.key_id, 0) + charge.charged_nano
    entries += [Entry(key_spend(key_id), spent_nano) for key_id, spent_nano in by_key.items()]
    if uncollected_nano:
        entries.append(Entry(UNCOLLECTED, -uncollected_nano))
    # Memo accounts stand against one contra account, so that every transfer sums to zero.
    entries.append(Entry(MEMO_CONTRA, -sum(entry.amount_nano for entry in entries)))
    transfer_id = new_id(IdPrefix.TRANSFER, now_us)
    return Transfer(id=transfer_id, kind=TransferKind.USAGE, reference=f"usage:{transfer_id}", entries=tuple(entries))


def _pool_entries(pool: _Pool, charged_nano: int) -> list[Entry]:
    if pool.kind == PoolKind.CREDIT:
        return [Entry(pool.account, -charged_nano), Entry(USAGE_REVENUE, charged_nano)]
    return [Entry(pool.account, charged_nano)]


@dataclass(slots=True)
class _Sums:
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    charged_nano: int = 0
    uncollected_nano: int = 0
    upstream_cost_nano: int = 0

    def add(self, charge: Charge) -> None:
        self.requests += 1
        self.prompt_tokens += charge.prompt_tokens
        self.cached_tokens += charge.cached_tokens
        self.completion_tokens += charge.completion_tokens
        self.charged_nano += charge.charged_nano
        self.uncollected_nano += charge.uncollected_nano
        self.upstream_cost_nano += charge.upstream_cost_nano


_SUM_FIELDS: Final = tuple(field.name for field in fields(_Sums))
_sum_values: Final = attrgetter(*_SUM_FIELDS)
_Place = tuple[str | int, ...]


def _roll_up(conn: Connection, charges: Iterable[Charge]) -> None:
    """Add charges to the sums of their hours, and of their days by each dimension that reports group by."""
    hours: dict[_Place, _Sums] = {}
    days: dict[_Place, _Sums] = {}
    for charge in charges:
        hour_us = charge.finished_at_us - charge.finished_at_us % _HOUR_US
        day_us = charge.finished_at_us - charge.finished_at_us % DAY_US
        hours.setdefault((charge.account_id, hour_us, charge.key_id, charge.model), _Sums()).add(charge)
        for dimension, name in (
            ("all", ""),
            ("key", charge.key_id),
            ("model", charge.model),
            ("subscription", charge.subscription_id),
        ):
            days.setdefault((charge.account_id, dimension, day_us, name), _Sums()).add(charge)
    _add_up(conn, usage_hours, hours)
    _add_up(conn, usage_days, days)


def _add_up(conn: Connection, table: Table, sums: Mapping[_Place, _Sums]) -> None:
    place = [column.name for column in table.primary_key]
    # In the order of the key, so that two transactions never wait for each other's rows.
    rows = [
        {**dict(zip(place, at, strict=True)), **dict(zip(_SUM_FIELDS, _sum_values(one), strict=True))}
        for at, one in sorted(sums.items(), key=lambda item: item[0])
    ]
    conn.execute(_adding(table, conn.dialect.name), rows)


@cache
def _adding(table: Table, dialect: str) -> Insert:
    """Insert sums, or add them to those that are there; kept, because making it costs more than running it."""
    upsert = (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table)
    return upsert.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={column.name: column + upsert.excluded[column.name] for column in table.c if not column.primary_key},
    )


def _touch_keys(conn: Connection, charges: Iterable[Charge]) -> None:
    last_used: dict[str, int] = {}
    for charge in charges:
        last_used[charge.key_id] = max(charge.finished_at_us, last_used.get(charge.key_id, 0))
    for key_id, at_us in sorted(last_used.items()):
        conn.execute(api_keys.update().where(api_keys.c.id == key_id).values(last_used_at_us=at_us))
