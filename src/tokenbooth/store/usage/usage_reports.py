"""What was used: sums over a span of time.

Whole days come from the daily sums, whole hours beside them from the hourly ones, the rest of a span from single
requests; of one key only its own rows. What would read more rows than a report may is refused. Cost is what was
charged; what an answer cost the operator, and what was not collected, is not in here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, assert_never

from sqlalchemy import Column, ColumnElement, Connection, Select, and_, func, literal, select, union_all
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.store.bulk import is_one_of
from tokenbooth.store.tables import usage_days, usage_events, usage_hours

MAX_ROWS: Final = 400_000
"""So many rows are added up at most: all that an account's 10,000 keys used in 40 days."""
_FEW_HOURS: Final = 48


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

    Raises:
        InvalidRequest: `report_too_large`: more rows than `MAX_ROWS` would have to be read.
    """
    _refuse_too_large(conn, account_id, span, group_by, key_id)
    parts = union_all(*_parts(conn, account_id, span, group_by, key_id)).subquery()
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


_Part = Select[int, str, str, int, int, int, int, int]


def _refuse_too_large(conn: Connection, account_id: str, span: Span, group_by: GroupBy, key_id: str | None) -> None:
    """Count the rows that would be read: an account's of days and hours, where no key is asked for, and single ones."""
    reads: list[Select[Any]] = []
    for part, unit_us in _split(span, _coarsest_us(group_by, key_id)):
        if unit_us == 1:
            reads.append(
                select(literal(1)).where(_within(usage_events.c, usage_events.c.finished_at_us, account_id, part))
            )
        elif key_id is None and unit_us == HOUR_US:
            reads.append(select(literal(1)).where(_within(usage_hours.c, usage_hours.c.hour_us, account_id, part)))
        elif key_id is None and group_by is not GroupBy.DAY:
            in_span = _within(usage_days.c, usage_days.c.day_us, account_id, part)
            reads.append(select(literal(1)).where(in_span, usage_days.c.dimension == str(group_by)))
    if not reads:
        return
    counted = union_all(*reads).limit(MAX_ROWS + 1).subquery()
    if conn.execute(select(func.count()).select_from(counted)).scalar_one() > MAX_ROWS:
        raise InvalidRequest(
            "report_too_large",
            "This report would add up too many rows. Ask for fewer days, for whole hours, or for one key.",
        )


def _coarsest_us(group_by: GroupBy, key_id: str | None) -> int:
    # The sums of a day know one dimension each: a key's models are only in the hours.
    return HOUR_US if key_id is not None and group_by is GroupBy.MODEL else DAY_US


def _parts(conn: Connection, account_id: str, span: Span, group_by: GroupBy, key_id: str | None) -> list[_Part]:
    """The whole days of a span, the whole hours beside them, and what lies before and behind those."""
    parts = []
    for part, unit_us in _split(span, _coarsest_us(group_by, key_id)):
        if unit_us == DAY_US:
            parts.append(_days(account_id, part, group_by, key_id))
        elif unit_us == HOUR_US:
            parts.append(_hours(conn, account_id, part, key_id))
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
    within = [columns.account_id == account_id, columns.dimension == dimension]
    if key_id is None:
        within += [columns.day_us >= span.from_us, columns.day_us < span.to_us]
    else:
        # Each by its whole key: between the rows of a key's days are those of all other keys.
        within += [columns.day_us.in_(_used_days(account_id, span)), columns.name == key_id]
    return select(
        columns.day_us.label("at_us"),
        columns.name.label("key_id"),
        columns.name.label("model"),
        columns.requests,
        columns.prompt_tokens,
        columns.cached_tokens,
        columns.completion_tokens,
        columns.charged_nano,
    ).where(*within)


def _hours(conn: Connection, account_id: str, span: Span, key_id: str | None) -> _Part:
    columns = usage_hours.c
    within = [columns.account_id == account_id]
    if key_id is None:
        within += [columns.hour_us >= span.from_us, columns.hour_us < span.to_us]
    else:
        hours_us = _hours_to_look_at(conn, account_id, span, key_id)
        within += [is_one_of(conn, columns.hour_us, hours_us), columns.key_id == key_id]
    return select(
        columns.hour_us.label("at_us"),
        columns.key_id,
        columns.model,
        columns.requests,
        columns.prompt_tokens,
        columns.cached_tokens,
        columns.completion_tokens,
        columns.charged_nano,
    ).where(*within)


def _hours_to_look_at(conn: Connection, account_id: str, span: Span, key_id: str) -> list[int]:
    """The hours of a span, or of a long one those of the days on which the key was used."""
    if span.to_us - span.from_us <= _FEW_HOURS * HOUR_US:
        return [*range(span.from_us, span.to_us, HOUR_US)]
    days_us = days_of_key(conn, account_id, key_id, span)
    hours_us = (day_us + hour_us for day_us in days_us for hour_us in range(0, DAY_US, HOUR_US))
    return [hour_us for hour_us in hours_us if span.from_us <= hour_us < span.to_us]


def days_of_key(conn: Connection, account_id: str, key_id: str, span: Span) -> list[int]:
    """The days (their first microseconds, UTC) of a span, those at its ends included, on which a key was used, the last
    one first."""
    whole = Span(span.from_us - span.from_us % DAY_US, span.to_us)
    columns = usage_days.c
    rows = conn.execute(
        select(columns.day_us)
        .where(
            columns.account_id == account_id,
            columns.dimension == "key",
            columns.day_us.in_(_used_days(account_id, whole)),
            columns.name == key_id,
        )
        .order_by(columns.day_us.desc())
    )
    return list(rows.scalars())


def _used_days(account_id: str, span: Span) -> Select[int]:
    """The days of a span on which the account used anything: one row each."""
    every = usage_days.alias("every").c
    return select(every.day_us).where(
        every.account_id == account_id,
        every.dimension == "all",
        every.day_us >= span.from_us,
        every.day_us < span.to_us,
    )


def _single_requests(account_id: str, span: Span, key_id: str | None) -> _Part:
    columns = usage_events.c
    within = _within(columns, columns.finished_at_us, account_id, span)
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


def _within(
    columns: ReadOnlyColumnCollection[str, Column[Any]], at_us: Column[int], account_id: str, span: Span
) -> ColumnElement[bool]:
    return and_(columns.account_id == account_id, at_us >= span.from_us, at_us < span.to_us)
