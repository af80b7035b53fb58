"""What was used: sums over a span of time, and single requests page by page.

Whole hours come from the hourly sums, the rest of a span from single requests. Cost is what was charged; what
an answer cost the operator, and what was not collected, is not in here. Anyone above `store` may import this.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select, union_all

from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.tables import usage_events, usage_hours

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
    parts = union_all(*_parts(account_id, span, key_id)).subquery()
    group: ColumnElement[int] | ColumnElement[str]
    match group_by:
        case GroupBy.DAY:
            group = parts.c.at_us - parts.c.at_us % DAY_US
        case GroupBy.KEY:
            group = parts.c.key_id
        case GroupBy.MODEL:
            group = parts.c.model
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


def list_requests(conn: Connection, account_id: str, *, limit: int, after: Position | None = None) -> list[RequestView]:
    """Single requests, newest first; later ones never move the pages behind `after`."""
    columns = usage_events.c
    conditions: list[ColumnElement[bool]] = [columns.account_id == account_id]
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


def _parts(account_id: str, span: Span, key_id: str | None) -> list[_Part]:
    """The whole hours of a span, and what lies before and behind them."""
    first_hour_us = -(-span.from_us // HOUR_US) * HOUR_US
    last_hour_us = span.to_us // HOUR_US * HOUR_US
    if first_hour_us >= last_hour_us:
        return [_single_requests(account_id, span, key_id)]
    parts = [_hours(account_id, Span(first_hour_us, last_hour_us), key_id)]
    if span.from_us < first_hour_us:
        parts.append(_single_requests(account_id, Span(span.from_us, first_hour_us), key_id))
    if last_hour_us < span.to_us:
        parts.append(_single_requests(account_id, Span(last_hour_us, span.to_us), key_id))
    return parts


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
