"""Single requests page by page, newest first. A page reads a bounded number of rows, whoever else used the account."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select

from tokenbooth.domain.windows import DAY_US, HOUR_US
from tokenbooth.store.bulk import is_one_of
from tokenbooth.store.tables import usage_events, usage_hours
from tokenbooth.store.usage.usage_reports import Span, days_of_key

LOOKED_AT: Final = 2_000
"""So many of an account's requests are looked at for those of one key."""


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


@dataclass(frozen=True, slots=True)
class FoundRequests:
    """Requests, and behind which position further ones may be; None when there are none."""

    requests: list[RequestView]
    next: Position | None


def list_requests(
    conn: Connection, account_id: str, *, limit: int, after: Position | None = None, span: Span | None = None
) -> FoundRequests:
    """An account's requests; later ones never move the pages behind `after`.

    Args:
        conn: the snapshot.
        account_id: whose.
        limit: how many at most.
        after: behind which one to begin; None for the newest.
        span: when they were finished; None for any time.
    """
    # One more than asked for tells whether there is another page.
    found = [*map(_view, conn.execute(_newest_first(account_id, after, span, limit + 1)))]
    page = found[:limit]
    return FoundRequests(page, _position(page[-1]) if len(found) > limit else None)


def list_requests_of_key(
    conn: Connection, account_id: str, key_id: str, *, limit: int, after: Position | None, span: Span
) -> FoundRequests:
    """The requests of one key in a span. The hourly sums tell where they begin; from there on a bounded number of the
    account's requests is looked at. So a page may have fewer than `limit`, or none, although there are further ones.

    Args:
        conn: the snapshot.
        account_id: whose.
        key_id: the key.
        limit: how many at most.
        after: behind which position to begin; None for the newest.
        span: when they were finished.
    """
    to_us = span.to_us if after is None else min(span.to_us, after.finished_at_us + 1)
    begins_us = _last_used_hour_us(conn, account_id, key_id, Span(span.from_us, to_us))
    if begins_us is None:
        return FoundRequests([], None)
    before = Span(span.from_us, min(to_us, begins_us + HOUR_US))
    columns = usage_events.c
    places = _newest_first(account_id, after, before, LOOKED_AT).with_only_columns(
        columns.finished_at_us, columns.request_id, columns.key_id
    )
    looked_at = conn.execute(places).all()
    ids = [request_id for _, request_id, of_key in looked_at if of_key == key_id]
    page = [*map(_view, conn.execute(_in_order(columns.request_id.in_(ids[:limit]))))]
    if len(ids) > limit:
        return FoundRequests(page, _position(page[-1]))
    last = Position(*looked_at[-1][:2]) if len(looked_at) == LOOKED_AT else None
    return FoundRequests(page, last)


def _last_used_hour_us(conn: Connection, account_id: str, key_id: str, span: Span) -> int | None:
    """The last hour (its first microsecond, UTC) of a span in which a key was used."""
    columns = usage_hours.c
    for day_us in days_of_key(conn, account_id, key_id, span):
        hours_us = [hour_us for hour_us in range(day_us, day_us + DAY_US, HOUR_US) if hour_us < span.to_us]
        last: int | None = conn.execute(
            select(columns.hour_us)
            .where(
                columns.account_id == account_id, is_one_of(conn, columns.hour_us, hours_us), columns.key_id == key_id
            )
            .order_by(columns.hour_us.desc())
            .limit(1)
        ).scalar()
        # On the last day all of its hours may lie behind the span: then it is the day before.
        if last is not None:
            return last
    return None


def _newest_first(account_id: str, after: Position | None, span: Span | None, limit: int) -> Select[*tuple[Any, ...]]:
    columns = usage_events.c
    conditions: list[ColumnElement[bool]] = [columns.account_id == account_id]
    if span is not None:
        conditions += [columns.finished_at_us >= span.from_us, columns.finished_at_us < span.to_us]
    if after is not None:
        # The first condition says nothing new; it is what the index is searched by.
        conditions += [
            columns.finished_at_us <= after.finished_at_us,
            or_(columns.finished_at_us < after.finished_at_us, columns.request_id < after.request_id),
        ]
    return _in_order(*conditions).limit(limit)


def _in_order(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    columns = usage_events.c
    return (
        select(*(columns[name] for name in RequestView.__slots__))
        .where(*conditions)
        .order_by(columns.finished_at_us.desc(), columns.request_id.desc())
    )


def _view(row: Row[*tuple[Any, ...]]) -> RequestView:
    return RequestView(*row)


def _position(view: RequestView) -> Position:
    return Position(view.finished_at_us, view.request_id)
