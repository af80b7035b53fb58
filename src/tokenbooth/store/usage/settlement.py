"""Charges into the store: usage events in bulk, one ledger transfer per pool and batch, hourly and daily roll-ups.

Applying a charge again changes nothing: the request id decides. It never fails on a floor: where money was taken back
in the meantime, what is left is charged and the rest is booked as uncollected. Charges of a run that is over come late:
others may have spent the same windows and caps since, so they get what is left there as well.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import add, attrgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import (
    MEMO_CONTRA,
    UNCOLLECTED,
    USAGE_REVENUE,
    AccountKind,
    Entry,
    LedgerAccount,
    Transfer,
    TransferKind,
    credit_of,
    key_spend,
    window_spend,
)
from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger, processes, sales_days
from tokenbooth.store.bulk import Bulk, Lookup, adding
from tokenbooth.store.sales_days import SalesDimension, Sold
from tokenbooth.store.tables import api_keys, subscriptions, usage_days, usage_events, usage_hours
from tokenbooth.store.usage import spend_limits

_KNOWN: Final = Lookup(select(usage_events.c.request_id), usage_events.c.request_id)
_CAPS: Final = Lookup(select(api_keys.c.id, api_keys.c.max_budget_nano), api_keys.c.id)
_PLANS: Final = Lookup(select(subscriptions.c.id, subscriptions.c.plan_slug), subscriptions.c.id)
_ADD_EVENTS: Final = Bulk(lambda _dialect: insert(usage_events))
_ADD_TO_HOURS: Final = adding(usage_hours)
_ADD_TO_DAYS: Final = adding(usage_days)
_TOUCH_KEYS: Final = Bulk(
    lambda _dialect: (
        update(api_keys).values(last_used_at_us=bindparam("at_us")).where(api_keys.c.id == bindparam("key_id"))
    )
)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a batch.

    Attributes:
        inserted: how many charges were not in the store yet.
        shortfall_nano: by request id, what of a charge was booked as uncollected because nothing was left to pay it.
        late: whether the run that made the charges is over: its row is closed.
    """

    inserted: int
    shortfall_nano: dict[str, int]
    late: bool = False


class _Sums(NamedTuple):
    """How many requests, and their figures added up; in the order of the roll-ups' columns."""

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    charged_nano: int
    uncollected_nano: int
    upstream_cost_nano: int


@dataclass(frozen=True, slots=True)
class ChargeGroup:
    """Charges of one pool, key, model and hour, added up: everything else is made of these few instead of the many."""

    account_id: str
    key_id: str
    pool_kind: PoolKind
    subscription_id: str
    window_start_us: int
    model: str
    hour_us: int
    charges: list[Charge]
    sums: _Sums

    @property
    def pool(self) -> LedgerAccount:
        """What pays."""
        return _pool(self.charges[0])


_group_key: Final = attrgetter("account_id", "key_id", "pool", "subscription_id", "window_start_us", "model")
_figures: Final = attrgetter(*_Sums._fields[1:])
_finished_at_us: Final = attrgetter("finished_at_us")


def book(
    conn: Connection,
    charges: Sequence[Charge],
    *,
    epoch: str,
    limits_nano: Mapping[str, int],
    budgets_nano: Mapping[str, int],
    now_us: int,
) -> Applied:
    """Write charges of a run; when its row is closed, as late ones.

    Args:
        conn: the transaction.
        charges: what was charged.
        epoch: the run that charged it.
        limits_nano: limits that the charges were admitted under and that the store does not know yet, by the ledger
            account of the window or key.
        budgets_nano: what a window of each plan may spend today.
        now_us: UTC microseconds.
    """
    spend_limits.raise_to(conn, limits_nano)
    if processes.hold_open(conn, epoch):
        return apply_charges(conn, charges, now_us=now_us)
    applied = apply_late_charges(conn, charges, budgets_nano=budgets_nano, now_us=now_us)
    return replace(applied, late=True)


def apply_charges(conn: Connection, charges: Sequence[Charge], *, now_us: int) -> Applied:
    """Write those charges that are not in the store yet; who admitted them has kept to windows and caps."""
    return _apply(conn, charges, _overdrawn, now_us)


def apply_late_charges(
    conn: Connection, charges: Sequence[Charge], *, budgets_nano: Mapping[str, int], now_us: int
) -> Applied:
    """Write charges of a run that is over: what its credit, window and cap have left now, and the rest uncollected.

    Args:
        conn: the transaction.
        charges: what was charged; of each the first ones are paid first.
        budgets_nano: what a window of each plan may spend today; for windows whose limit was never noted.
        now_us: UTC microseconds.
    """

    def left(conn: Connection, groups: list[ChargeGroup]) -> dict[str, int]:
        return _left(conn, groups, budgets_nano)

    return _apply(conn, charges, left, now_us)


_LeftNano = Callable[[Connection, list[ChargeGroup]], dict[str, int]]


def _apply(conn: Connection, charges: Sequence[Charge], left: _LeftNano, now_us: int) -> Applied:
    new = _not_applied(conn, charges)
    if not new:
        return Applied(inserted=0, shortfall_nano={})
    groups = _grouped(new)
    shortfall_nano = _shortfalls(new, left(conn, groups))
    if shortfall_nano:
        groups = _grouped([_reduce(charge, shortfall_nano.get(charge.request_id, 0)) for charge in new])
    _book(conn, groups, now_us)
    _roll_up(conn, groups)
    _touch_keys(conn, groups)
    return Applied(inserted=len(new), shortfall_nano=shortfall_nano)


def stored_requests(conn: Connection, request_ids: Iterable[str]) -> frozenset[str]:
    """Those of the requests whose charges are in the store."""
    return frozenset(request_id for (request_id,) in _KNOWN.find(conn, [*request_ids]))


def _not_applied(conn: Connection, charges: Sequence[Charge]) -> list[Charge]:
    by_id = {charge.request_id: charge for charge in charges}
    for request_id in stored_requests(conn, by_id):
        del by_id[request_id]
    return [*by_id.values()]


def _grouped(charges: Iterable[Charge]) -> list[ChargeGroup]:
    by_key: dict[tuple[tuple[str, str, PoolKind, str, int, str], int], list[Charge]] = {}
    for charge in charges:
        by_key.setdefault((_group_key(charge), charge.finished_at_us // HOUR_US), []).append(charge)
    return [
        ChargeGroup(*key, hour * HOUR_US, group, _Sums(len(group), *map(sum, zip(*map(_figures, group), strict=True))))
        for (key, hour), group in by_key.items()
    ]


def _overdrawn(conn: Connection, groups: list[ChargeGroup]) -> dict[str, int]:
    """The credit of those accounts that were charged above it: a refund or dispute took money back in the meantime."""
    charged_nano: dict[str, int] = {}
    for group in groups:
        if group.pool_kind is PoolKind.CREDIT:
            charged_nano[group.account_id] = charged_nano.get(group.account_id, 0) + group.sums.charged_nano
    left_nano = ledger.balances_nano(conn, map(credit_of, charged_nano))
    return {
        credit.id: balance_nano
        for credit, balance_nano in left_nano.items()
        if charged_nano[credit.owner] > balance_nano
    }


def _left(conn: Connection, groups: list[ChargeGroup], budgets_nano: Mapping[str, int]) -> dict[str, int]:
    """What is left of each credit, window and cap that has to pay, by ledger account."""
    spend_limits.raise_to(conn, _limits(conn, groups, budgets_nano))
    payers = {payer for group in groups for payer in (group.pool, key_spend(group.key_id))}
    limits_nano = spend_limits.highest_nano(conn, [payer.id for payer in payers])
    left_nano: dict[str, int] = {}
    for payer, balance_nano in ledger.balances_nano(conn, payers).items():
        if payer.kind is AccountKind.CREDIT:
            left_nano[payer.id] = balance_nano
        elif payer.id in limits_nano:
            left_nano[payer.id] = max(limits_nano[payer.id] - balance_nano, 0)
    return left_nano


def _limits(conn: Connection, groups: list[ChargeGroup], budgets_nano: Mapping[str, int]) -> dict[str, int]:
    """The limits of today, by ledger account: the keys' caps, and the budgets of the subscriptions' plans."""
    caps = {row.id: row.max_budget_nano for row in _CAPS.find(conn, [*{group.key_id for group in groups}])}
    plans = {row.id: row.plan_slug for row in _PLANS.find(conn, [*{group.subscription_id for group in groups}])}
    limits_nano = {key_spend(key_id).id: cap_nano for key_id, cap_nano in caps.items() if cap_nano is not None}
    for group in groups:
        budget_nano = budgets_nano.get(plans.get(group.subscription_id, ""))
        if group.pool_kind is PoolKind.WINDOW and budget_nano is not None:
            limits_nano[group.pool.id] = budget_nano
    return limits_nano


def _pool(charge: Charge) -> LedgerAccount:
    if charge.pool is PoolKind.CREDIT:
        return credit_of(charge.account_id)
    return window_spend(charge.subscription_id, charge.window_start_us)


def _shortfalls(charges: Iterable[Charge], left_nano: dict[str, int]) -> dict[str, int]:
    """By request id, what of a charge is above what is left to pay it; the first charges are paid first."""
    shortfall_nano: dict[str, int] = {}
    if not left_nano:
        return shortfall_nano
    for charge in charges:
        payers = [payer for payer in (_pool(charge).id, key_spend(charge.key_id).id) if payer in left_nano]
        paid_nano = min([charge.charged_nano, *(left_nano[payer] for payer in payers)])
        for payer in payers:
            left_nano[payer] -= paid_nano
        if paid_nano < charge.charged_nano:
            shortfall_nano[charge.request_id] = charge.charged_nano - paid_nano
    return shortfall_nano


def _reduce(charge: Charge, shortfall_nano: int) -> Charge:
    return charge._replace(
        charged_nano=charge.charged_nano - shortfall_nano, uncollected_nano=charge.uncollected_nano + shortfall_nano
    )


def _book(conn: Connection, groups: Iterable[ChargeGroup], now_us: int) -> None:
    """Write the usage events, and one transfer for each pool."""
    by_pool: dict[LedgerAccount, list[ChargeGroup]] = {}
    for group in groups:
        by_pool.setdefault(group.pool, []).append(group)
    transfers: list[Transfer] = []
    rows: list[tuple[object, ...]] = []
    for pool, paid in by_pool.items():
        transfer = _transfer(pool, paid, now_us)
        transfers.append(transfer)
        # The table's columns are a charge's fields, in their order, and the transfer.
        last_column = (transfer.id,)
        rows += [charge + last_column for group in paid for charge in group.charges]
    ledger.post_all(conn, transfers, now_us=now_us)
    _ADD_EVENTS.run(conn, rows)


def _transfer(pool: LedgerAccount, groups: list[ChargeGroup], now_us: int) -> Transfer:
    by_key: dict[str, int] = {}
    for group in groups:
        by_key[group.key_id] = by_key.get(group.key_id, 0) + group.sums.charged_nano
    entries = _pool_entries(pool, sum(by_key.values()))
    entries += [Entry(key_spend(key_id), spent_nano) for key_id, spent_nano in by_key.items()]
    if uncollected_nano := sum(group.sums.uncollected_nano for group in groups):
        entries.append(Entry(UNCOLLECTED, -uncollected_nano))
    # Memo accounts stand against one contra account, so that every transfer sums to zero.
    entries.append(Entry(MEMO_CONTRA, -sum(entry.amount_nano for entry in entries)))
    transfer_id = new_id(IdPrefix.TRANSFER, now_us)
    return Transfer(id=transfer_id, kind=TransferKind.USAGE, reference=f"usage:{transfer_id}", entries=tuple(entries))


def _pool_entries(pool: LedgerAccount, charged_nano: int) -> list[Entry]:
    if pool.kind is AccountKind.CREDIT:
        return [Entry(pool, -charged_nano), Entry(USAGE_REVENUE, charged_nano)]
    return [Entry(pool, charged_nano)]


_RowKey = tuple[str | int, ...]
_SALES_OF: Final = {"all": SalesDimension.ALL, "model": SalesDimension.MODEL, "subscription": SalesDimension.PLAN}
"""The dimensions of accounts' days that the installation's have as well."""


def _roll_up(conn: Connection, groups: Iterable[ChargeGroup]) -> None:
    """Add charges to the sums of their hours, and of their days by each dimension that reports group by."""
    hours: dict[_RowKey, _Sums] = {}
    days: dict[_RowKey, _Sums] = {}
    for group in groups:
        _add_up(hours, (group.account_id, group.hour_us, group.key_id, group.model), group.sums)
        day_us = group.hour_us - group.hour_us % DAY_US
        for dimension, name in (
            ("all", ""),
            ("key", group.key_id),
            ("model", group.model),
            ("subscription", group.subscription_id),
        ):
            _add_up(days, (group.account_id, dimension, day_us, name), group.sums)
    # In the order of the key, so that two transactions never wait for each other's rows.
    _ADD_TO_HOURS.run(conn, [key + sums for key, sums in sorted(hours.items())])
    _ADD_TO_DAYS.run(conn, [key + sums for key, sums in sorted(days.items())])
    sales_days.add(conn, _sales(conn, days))


def _sales(conn: Connection, days: Mapping[_RowKey, _Sums]) -> dict[tuple[str, int, str], Sold]:
    """What the sums of accounts' days add to those of the installation; a subscription counts for its plan of now."""
    ids = [str(name) for _, dimension, _, name in days if dimension == "subscription" and name]
    plans = {row.id: row.plan_slug for row in _PLANS.find(conn, ids)} if ids else {}
    sales: dict[tuple[str, int, str], Sold] = {}
    for (_, own_dimension, day_us, own_name), sums in days.items():
        dimension = _SALES_OF.get(str(own_dimension))
        if dimension is None:
            continue
        name = str(own_name)
        key = (str(dimension), int(day_us), plans.get(name, name) if dimension is SalesDimension.PLAN else name)
        sold = Sold(sums.requests, sums.charged_nano, sums.uncollected_nano, sums.upstream_cost_nano)
        sales[key] = Sold(*map(add, sales[key], sold)) if key in sales else sold
    return sales


def _add_up(totals: dict[_RowKey, _Sums], key: _RowKey, sums: _Sums) -> None:
    before = totals.get(key)
    totals[key] = sums if before is None else _Sums(*map(add, before, sums))


def _touch_keys(conn: Connection, groups: Iterable[ChargeGroup]) -> None:
    last_used: dict[str, int] = {}
    for group in groups:
        last_us = max(map(_finished_at_us, group.charges))
        last_used[group.key_id] = max(last_us, last_used.get(group.key_id, 0))
    _TOUCH_KEYS.run(conn, [(at_us, key_id) for key_id, at_us in sorted(last_used.items())])
