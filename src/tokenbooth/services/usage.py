"""An account's usage: sums by day, key or model, and single requests page by page."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from pydantic import PlainValidator, WithJsonSchema
from sqlalchemy import Connection

from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.errors import NotFound
from tokenbooth.kit.ids import is_id
from tokenbooth.kit.pagination import write_cursor
from tokenbooth.kit.request_models import read_choice
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.keys import has_api_key
from tokenbooth.store.usage.request_pages import (
    FoundRequests,
    Position,
    RequestView,
    list_requests,
    list_requests_of_key,
)
from tokenbooth.store.usage.usage_reports import GroupBy, Span, Sums, usage_by

DEFAULT_DAYS: Final = 30
Grouping = Annotated[
    GroupBy,
    PlainValidator(partial(read_choice, choices=GroupBy)),
    WithJsonSchema({"type": "string", "enum": [str(group) for group in GroupBy]}),
]


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a report sums up.

    Attributes:
        span: the time that it covers.
        group_by: what it is summed by.
        key_id: only this key's usage; None for that of all keys.
    """

    span: Span
    group_by: GroupBy
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequestPage:
    """A page of requests, newest first; `next_cursor` is None on the last one."""

    requests: list[RequestView]
    next_cursor: str | None


def end_of_day_us(now_us: int) -> int:
    """The midnight (UTC) that ends today."""
    return now_us // DAY_US * DAY_US + DAY_US


def last_days(to_us: int, days: int = DEFAULT_DAYS) -> Span:
    """The days until `to_us`; its own day is the last one."""
    last_day_us = (to_us - 1) // DAY_US * DAY_US
    return Span(max(last_day_us - (days - 1) * DAY_US, 0), to_us)


async def report(context: ServiceContext, account_id: str, query: UsageQuery) -> dict[str, Sums]:
    """The sums by the name of each group, with every finished charge in them.

    Raises:
        NotFound: the account never had such a key.
    """
    await context.live.flush()
    return await context.store.report(account_id, sums_of, account_id, query)


async def requests_page(context: ServiceContext, account_id: str, *, limit: int, after: Position | None) -> RequestPage:
    """A page of the account's requests, with every finished one in it."""
    await context.live.flush()
    return await context.store.report(account_id, page_of, account_id, limit=limit, after=after)


def sums_of(conn: Connection, account_id: str, query: UsageQuery) -> dict[str, Sums]:
    """As `report`, in the caller's transaction."""
    key_id = query.key_id
    if key_id is not None and not (is_id(key_id) and has_api_key(conn, account_id, key_id)):
        raise NotFound("key_not_found", "There is no API key with this id.")
    return usage_by(conn, account_id, query.span, query.group_by, key_id=key_id)


def page_of(
    conn: Connection,
    account_id: str,
    *,
    limit: int,
    after: Position | None,
    span: Span | None = None,
    key_id: str | None = None,
) -> RequestPage:
    """As `requests_page`, in the caller's transaction; `span` leaves others out, and with it `key_id` other keys'."""
    found: FoundRequests
    if span is not None and key_id is not None:
        found = list_requests_of_key(conn, account_id, key_id, limit=limit, after=after, span=span)
    else:
        found = list_requests(conn, account_id, limit=limit, after=after, span=span)
    cursor = None if found.next is None else write_cursor(found.next.finished_at_us, found.next.request_id)
    return RequestPage(found.requests, cursor)
