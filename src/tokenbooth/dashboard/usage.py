"""Usage: sums by day, key or model over a range of days, and what each request cost and why. Filters are in the URL."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.api.keys import is_id
from tokenbooth.api.timestamps import read_end, read_start
from tokenbooth.api.usage import read_cursor, write_cursor
from tokenbooth.dashboard.chart import Chart, draw
from tokenbooth.dashboard.filters import iso_day
from tokenbooth.dashboard.price_breakdown import explain
from tokenbooth.dashboard.views import Visitor, Web
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.errors import InvalidRequest, NotFound
from tokenbooth.store.accounts.keys import has_api_key, key_names
from tokenbooth.store.usage.usage_reports import GroupBy, Position, RequestView, Span, Sums, list_requests, usage_by

_DEFAULT_DAYS: Final = 30
_CHART_DAYS: Final = 92
_PER_PAGE: Final = 25
_GROUPS_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be shown.

    Attributes:
        span: whole days, UTC.
        group_by: of the table of sums.
        key_id: only this key's; None for all.
        after: behind which request the list begins; None for the newest.
    """

    span: Span
    group_by: GroupBy
    key_id: str | None
    after: Position | None

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
    requests: list[RequestView]
    more: str | None
    key_names: Mapping[str, str]


class UsagePages:
    """The pages of this module."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._management = web.context.management

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/dashboard/usage", self._web.for_visitors(self.show), methods=["GET"]),
            Route("/dashboard/usage.csv", self._web.for_visitors(self.sums_csv), methods=["GET"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        problem = None
        now_us = self._management.clock.now_us()
        try:
            asked = read_filters(request, now_us)
        except InvalidRequest as error:
            problem, asked = error.message.replace("`", "“", 1).replace("`", "”", 1), _default(now_us)
        await self._management.live.flush()
        seen = await self._management.store.read(_look, visitor.account_id, asked)
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
        asked = read_filters(request, self._management.clock.now_us())
        await self._management.live.flush()
        seen = await self._management.store.read(_sums, visitor.account_id, asked)
        text = "".join(_csv_lines(asked, *seen))
        name = f"usage-{iso_day(asked.span.from_us)}-{iso_day(asked.span.to_us - 1)}-by-{asked.group_by}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return Response(text, headers=headers, media_type="text/csv")


def read_filters(request: Request, now_us: int) -> Asked:
    """The filters of a query string; by default the last 30 days, by day.

    Raises:
        InvalidRequest: one has a wrong form, or the span is empty.
    """
    given = request.query_params
    default = _default(now_us)
    from_us = read_start(given["from"], "from") if given.get("from") else default.span.from_us
    to_us = read_end(given["to"], "to") if given.get("to") else default.span.to_us
    if from_us >= to_us:
        raise InvalidRequest("invalid_value", "The first day must not be after the last.", param="from")
    try:
        group_by = GroupBy(given.get("by") or GroupBy.DAY)
    except ValueError:
        raise InvalidRequest("invalid_value", "Usage is summed by day, key or model.", param="by") from None
    key_id = given.get("key") or None
    if key_id is not None and not is_id(key_id):
        raise NotFound("key_not_found", "There is no API key with this id.")
    after = read_cursor(given["after"]) if given.get("after") else None
    return Asked(Span(from_us, to_us), group_by, key_id, after)


def _default(now_us: int) -> Asked:
    to_us = now_us // DAY_US * DAY_US + DAY_US
    return Asked(Span(to_us - _DEFAULT_DAYS * DAY_US, to_us), GroupBy.DAY, None, None)


def _look(conn: Connection, account_id: str, asked: Asked) -> _Seen:
    groups, names = _sums(conn, account_id, asked)
    is_used = any(sums.requests for sums in groups.values())
    requests = (
        list_requests(conn, account_id, limit=_PER_PAGE + 1, after=asked.after, span=asked.span, key_id=asked.key_id)
        if is_used
        else []
    )
    shown = requests[:_PER_PAGE]
    by_day = groups if asked.group_by is GroupBy.DAY else None
    is_drawn = by_day is not None and asked.span.to_us - asked.span.from_us <= _CHART_DAYS * DAY_US
    return _Seen(
        groups=groups,
        chart=draw(by_day, asked.span) if by_day is not None and is_drawn else None,
        requests=shown,
        more=write_cursor(shown[-1]) if len(requests) > _PER_PAGE else None,
        key_names={**names, **key_names(conn, account_id, {request.key_id for request in shown})},
    )


def _sums(conn: Connection, account_id: str, asked: Asked) -> tuple[dict[str, Sums], dict[str, str]]:
    if asked.key_id is not None and not has_api_key(conn, account_id, asked.key_id):
        raise NotFound("key_not_found", "There is no API key with this id.")
    groups = usage_by(conn, account_id, asked.span, asked.group_by, key_id=asked.key_id)
    wanted = {asked.key_id} if asked.key_id is not None else set()
    if asked.group_by is GroupBy.KEY:
        wanted |= set(groups)
    return groups, key_names(conn, account_id, wanted)


def _csv_lines(asked: Asked, groups: Mapping[str, Sums], names: Mapping[str, str]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    heads = ["key", "name"] if asked.group_by is GroupBy.KEY else [str(asked.group_by)]
    writer.writerow([*heads, "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd"])
    for name, sums in groups.items():
        first = [_harmless(name)]
        if asked.group_by is GroupBy.DAY:
            first = [iso_day(int(name))]
        elif asked.group_by is GroupBy.KEY:
            first = [name, _harmless(names.get(name, ""))]
        writer.writerow(
            [
                *first,
                sums.requests,
                sums.prompt_tokens,
                sums.cached_tokens,
                sums.completion_tokens,
                format_usd(sums.charged_nano),
            ]
        )
    yield buffer.getvalue()


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
