"""Usage: sums by day, key or model over a range of days, and what each request cost and why. Filters are in the URL."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import urlencode

from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tokenbooth.dashboard.chart import Chart, draw
from tokenbooth.dashboard.filters import iso_day
from tokenbooth.dashboard.price_breakdown import explain
from tokenbooth.dashboard.views import Pages, Visitor
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.csv import csv_text, text_cell
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.request_models import Cursor, EndUs, RequestModel, StartUs, names_of, validate
from tokenbooth.services.usage import Grouping, RequestPage, UsageQuery, end_of_day_us, last_days, page_of, sums_of
from tokenbooth.store.accounts.keys import key_names
from tokenbooth.store.usage.request_pages import Position
from tokenbooth.store.usage.usage_reports import GroupBy, Span, Sums

_CHART_DAYS: Final = 92
_PER_PAGE: Final = 25
_GROUPS_SHOWN: Final = 100
_CSV_ROWS_AT_ONCE: Final = 500


class UsageFilters(RequestModel):
    """The filters that stand in the address of the page."""

    from_: StartUs | None = Field(None, alias="from")
    to: EndUs | None = None
    by: Grouping = GroupBy.DAY
    key: str | None = None
    after: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Asked(UsageQuery):
    """What is to be shown; `after` is behind which request the list begins, None for the newest."""

    after: Position | None = None

    def query(self, **changed: str | None) -> str:
        """The query string of these filters, with some of them changed."""
        values: dict[str, str | None] = {
            "from": iso_day(self.span.from_us),
            "to": iso_day(self.span.to_us - 1),
            "by": str(self.group_by),
            "key": self.key_id,
            **changed,
        }
        return urlencode({name: value for name, value in values.items() if value})


@dataclass(frozen=True, slots=True)
class _Seen:
    groups: Mapping[str, Sums]
    chart: Chart | None
    page: RequestPage
    key_names: Mapping[str, str]


class UsagePages(Pages):
    """Usage as a page and as a file."""

    def routes(self) -> list[Route]:
        return [
            Route("/dashboard/usage", self._web.for_visitors(self.show), methods=["GET"]),
            Route("/dashboard/usage.csv", self._web.for_visitors(self.sums_csv), methods=["GET"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        problem = None
        now_us = self._services.clock.now_us()
        try:
            asked = read_filters(request, now_us)
        except InvalidRequest as error:
            problem = error.message.replace("`", "“", 1).replace("`", "”", 1)
            asked = Asked(last_days(end_of_day_us(now_us)), GroupBy.DAY)
        await self._services.live.flush()
        account_id = visitor.account_id
        try:
            seen = await self._services.store.report(account_id, _look, account_id, asked)
        except InvalidRequest as error:
            problem, asked = error.message, Asked(last_days(end_of_day_us(now_us)), GroupBy.DAY)
            seen = await self._services.store.report(account_id, _look, account_id, asked)
        total = sum(seen.groups.values(), Sums())
        shown = sorted(seen.groups.items(), key=lambda item: item[1].charged_nano, reverse=True)
        if asked.group_by is GroupBy.DAY:
            shown = sorted(seen.groups.items(), key=lambda item: int(item[0]), reverse=True)
        return self._web.page(
            request,
            "usage.html",
            visitor,
            status=200 if problem is None else 400,
            problem=problem,
            asked=asked,
            seen=seen,
            groups=shown[:_GROUPS_SHOWN],
            hidden_groups=max(len(shown) - _GROUPS_SHOWN, 0),
            total=total,
            explain=explain,
            group_bys=list(GroupBy),
        )

    async def sums_csv(self, request: Request, visitor: Visitor) -> Response:
        """The sums as a file, exact; every group, also those that the page leaves out."""
        asked = read_filters(request, self._services.clock.now_us())
        await self._services.live.flush()
        seen = await self._services.store.report(visitor.account_id, _sums, visitor.account_id, asked)
        rows = _csv_rows(asked, *seen)
        # A turn of the event loop for each piece: there may be many thousands of keys.
        pieces = (csv_text(piece) for piece in iter(lambda: [*islice(rows, _CSV_ROWS_AT_ONCE)], []))
        name = f"usage-{iso_day(asked.span.from_us)}-{iso_day(asked.span.to_us - 1)}-by-{asked.group_by}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return StreamingResponse(_in_turns(pieces), headers=headers, media_type="text/csv")


def read_filters(request: Request, now_us: int) -> Asked:
    """The filters of a query string; by default the last 30 days, by day.

    Raises:
        InvalidRequest: one has a wrong form, or the span is empty.
    """
    given = request.query_params
    filters = validate(UsageFilters, {name: given[name] for name in names_of(UsageFilters) if given.get(name)})
    default = last_days(end_of_day_us(now_us))
    span = Span(
        default.from_us if filters.from_ is None else filters.from_,
        default.to_us if filters.to is None else filters.to,
    )
    if span.from_us >= span.to_us:
        raise InvalidRequest("invalid_value", "The first day must not be after the last.", param="from")
    after = None if filters.after is None else Position(*filters.after)
    return Asked(span, filters.by, filters.key, after)


def _look(conn: Connection, account_id: str, asked: Asked) -> _Seen:
    groups, names = _sums(conn, account_id, asked)
    page = RequestPage([], None)
    if any(sums.requests for sums in groups.values()):
        page = page_of(conn, account_id, limit=_PER_PAGE, after=asked.after, span=asked.span, key_id=asked.key_id)
    is_drawn = asked.group_by is GroupBy.DAY and asked.span.to_us - asked.span.from_us <= _CHART_DAYS * DAY_US
    return _Seen(
        groups=groups,
        chart=draw(groups, asked.span) if is_drawn else None,
        page=page,
        key_names={**names, **key_names(conn, account_id, {request.key_id for request in page.requests})},
    )


def _sums(conn: Connection, account_id: str, asked: Asked) -> tuple[dict[str, Sums], dict[str, str]]:
    groups = sums_of(conn, account_id, asked)
    wanted = {asked.key_id} if asked.key_id is not None else set()
    if asked.group_by is GroupBy.KEY:
        wanted |= set(groups)
    return groups, key_names(conn, account_id, wanted)


async def _in_turns(pieces: Iterator[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


def _csv_rows(asked: Asked, groups: Mapping[str, Sums], names: Mapping[str, str]) -> Iterator[list[str | int]]:
    heads = ["key", "name"] if asked.group_by is GroupBy.KEY else [str(asked.group_by)]
    yield [*heads, "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd"]
    for name, sums in groups.items():
        first = [text_cell(name)]
        if asked.group_by is GroupBy.DAY:
            first = [iso_day(int(name))]
        elif asked.group_by is GroupBy.KEY:
            first = [name, text_cell(names.get(name, ""))]
        cost = format_usd(sums.charged_nano)
        yield [*first, sums.requests, sums.prompt_tokens, sums.cached_tokens, sums.completion_tokens, cost]
