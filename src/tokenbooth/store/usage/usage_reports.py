"""What was used: sums over a span of time, and single requests page by page.

Whole days come from the daily sums, whole hours beside them from the hourly ones, the rest of a span from single
requests. Cost is what was charged; what an answer cost the operator, and what was not collected, is not in here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select, union_all

from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.tables import usage_days, usage_events, usage_hours

HOUR_US: Final = 3_600 * 1_000_000


class GroupBy(StrEnum):
    """By what usage is summed."""

    DAY = "day"
    KEY = "key"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Sums:
    """Usage added up: requests, tokens, and what was charged in nano-USD."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    charged_nano: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            charged_nano=self.charged_nano + other.charged_nano,
        )


@dataclass(frozen=True, slots=True)
class Span:
    """From the first microsecond to the first one that is no longer in it, UTC."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list of single requests: behind this one."""

    finished_at_us: int
    request_id: str


@dataclass(frozen=True, slots=True)
class RequestView:
    """One request, as its owner sees it. Prices are nano-USD per million tokens."""

    request_id: str
    key_id: str
    pool: str
    subscription_id: str
    model: str
    endpoint: str
    finished_at_us: int
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    input_price: int
    cached_price: int
    cache_write_price: int
    output_price: int
    per_request_nano: int
    charged_nano: int
    estimated: bool


def usage_by(
    conn: Connection, account_id: str, span: Span, group_by: GroupBy, *, key_id: str | None = None
) -> dict[str, Sums]:
    """The sums of each group that was used at all; the name of a day is its first microsecond.

    Args:
        conn: the snapshot.
        account_id: whose usage.
        span: when the requests were finished.
        group_by: day (UTC), key or model.
        key_id: only this key's; None for all.
    """
    parts = union_all(*_parts(account_id, span, group_by, key_id)).subquery()
    group: ColumnElement[int] | ColumnElement[str]
    match group_by:
        case GroupBy.DAY:
            group = parts.c.at_us - parts.c.at_us % DAY_US
        case GroupBy.KEY:
            group = parts.c.key_id
        case GroupBy.MODEL:
            group = parts.c.model
        case _:
            assert_never(group_by)
    rows = conn.execute(
        select(
            group.label("name"),
            func.sum(parts.c.requests).label("requests"),
            func.sum(parts.c.prompt_tokens).label("prompt_tokens"),
            func.sum(parts.c.cached_tokens).label("cached_tokens"),
            func.sum(parts.c.completion_tokens).label("completion_tokens"),
            func.sum(parts.c.charged_nano).label("charged_nano"),
        )
        .group_by(group)
        .order_by(group)
    )
    return {
        # PostgreSQL adds 64-bit integers up as decimals.
        str(row.name): Sums(
            requests=int(row.requests),
            prompt_tokens=int(row.prompt_tokens),
            cached_tokens=int(row.cached_tokens),
            completion_tokens=int(row.completion_tokens),
            charged_nano=int(row.charged_nano),
        )
        for row in rows
    }


def list_requests(
    conn: Connection,
    account_id: str,
    *,
    limit: int,
    after: Position | None = None,
    span: Span | None = None,
    key_id: str | None = None,
) -> list[RequestView]:
    """Single requests, newest first; later ones never move the pages behind `after`.

    Args:
        conn: the snapshot.
        account_id: whose.
        limit: how many at most.
        after: behind which one to begin; None for the newest.
        span: when they were finished; None for any time.
        key_id: only this key's; None for all.
    """
    columns = usage_events.c
    conditions: list[ColumnElement[bool]] = [columns.account_id == account_id]
    if span is not None:
        conditions += [columns.finished_at_us >= span.from_us, columns.finished_at_us < span.to_us]
    if key_id is not None:
        conditions.append(columns.key_id == key_id)
    if after is not None:
        # The first condition says nothing new; it is what the index is searched by.
        conditions += [
            columns.finished_at_us <= after.finished_at_us,
            or_(columns.finished_at_us < after.finished_at_us, columns.request_id < after.request_id),
        ]
    rows = conn.execute(
        select(*(columns[name] for name in RequestView.__slots__))
        .where(*conditions)
        .order_by(columns.finished_at_us.desc(), columns.request_id.desc())
        .limit(limit)
    )
    return [RequestView(*row) for row in rows]


_Part = Select[int, str, str, int, int, int, int, int]


def _parts(account_id: str, span: Span, group_by: GroupBy, key_id: str | None) -> list[_Part]:
    """The whole days of a span, the whole hours beside them, and what lies before and behind those."""
    # The sums of a day know one dimension each: a key's models are only in the hours.
    coarsest_us = HOUR_US if key_id is not None and group_by is GroupBy.MODEL else DAY_US
    parts = []
    for part, unit_us in _split(span, coarsest_us):
        if unit_us == DAY_US:
            parts.append(_days(account_id, part, group_by, key_id))
        elif unit_us == HOUR_US:
            parts.append(_hours(account_id, part, key_id))
        else:
            parts.append(_single_requests(account_id, part, key_id))
    return parts


def _split(span: Span, unit_us: int) -> list[tuple[Span, int]]:
    """A span as parts of whole units, where there are any, with smaller units around them; the smallest is 1."""
    if unit_us == 1:
        return [(span, 1)]
    smaller_us = HOUR_US if unit_us == DAY_US else 1
    first_us, last_us = -(-span.from_us // unit_us) * unit_us, span.to_us // unit_us * unit_us
    if first_us >= last_us:
        return _split(span, smaller_us)
    parts = [(Span(first_us, last_us), unit_us)]
    if span.from_us < first_us:
        parts += _split(Span(span.from_us, first_us), smaller_us)
    if last_us < span.to_us:
        parts += _split(Span(last_us, span.to_us), smaller_us)
    return parts


def _days(account_id: str, span: Span, group_by: GroupBy, key_id: str | None) -> _Part:
    columns = usage_days.c
    dimension = "key" if key_id is not None or group_by is GroupBy.KEY else "all"
    if group_by is GroupBy.MODEL:
        dimension = "model"
    within = and_(
        columns.account_id == account_id,
        columns.dimension == dimension,
        columns.day_us >= span.from_us,
        columns.day_us < span.to_us,
    )
    if key_id is not None:
        within = and_(within, columns.name == key_id)
    return select(
        columns.day_us.label("at_us"),
        columns.name.label("key_id"),
        columns.name.label("model"),
        columns.requests,
        columns.prompt_tokens,
        columns.cached_tokens,
        columns.completion_tokens,
        columns.charged_nano,
    ).where(within)


def _hours(account_id: str, span: Span, key_id: str | None) -> _Part:
    columns = usage_hours.c
    within = and_(columns.account_id == account_id, columns.hour_us >= span.from_us, columns.hour_us < span.to_us)
    if key_id is not None:
        within = and_(within, columns.key_id == key_id)
    return select(
        columns.hour_us.label("at_us"),
        columns.key_id,
        columns.model,
        columns.requests,
        columns.prompt_tokens,
        columns.cached_tokens,
        columns.completion_tokens,
        columns.charged_nano,
    ).where(within)


def _single_requests(account_id: str, span: Span, key_id: str | None) -> _Part:
    columns = usage_events.c
    within = and_(
        columns.account_id == account_id,
        columns.finished_at_us >= span.from_us,
        columns.finished_at_us < span.to_us,
    )
    if key_id is not None:
        within = and_(within, columns.key_id == key_id)
    return select(
        columns.finished_at_us.label("at_us"),
        columns.key_id,
        columns.model,
        literal(1).label("requests"),
        columns.prompt_tokens,
        columns.cached_tokens,
        columns.completion_tokens,
        columns.charged_nano,
    ).where(within)
