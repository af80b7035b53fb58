"""Usage: sums by day, key or model, and single requests page by page."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from fastapi import APIRouter
from pydantic import Field, PlainValidator, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.openapi import CREDENTIAL, object_answer, query_parameters
from tokenbooth.api.parsing import read_parameters
from tokenbooth.api.responses import long_success, respond
from tokenbooth.api.schemas import Instant, Payload, Usd
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.keys import Scope
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.request_models import Cursor, EndUs, RequestModel, StartUs, refuse_value
from tokenbooth.services import usage
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.usage import Grouping, UsageQuery
from tokenbooth.store.usage.request_pages import Position, RequestView
from tokenbooth.store.usage.usage_reports import GroupBy, Span, Sums

_MAX_LIMIT: Final = 1_000
_LIMIT: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)


def _read_limit(value: object) -> int:
    text = str(value)
    if _LIMIT.fullmatch(text) is None or int(text) > _MAX_LIMIT:
        raise refuse_value(f"must be a whole number from 1 to {_MAX_LIMIT}")
    return int(text)


class ReportParameters(RequestModel):
    """The span of a report, and what it is summed by."""

    start_date: StartUs | None = Field(
        None, description="A date (UTC), or an instant with a zone. Default: 29 days before the last day."
    )
    end_date: EndUs | None = Field(None, description="A date (UTC), included; or an instant, excluded. Default: today.")
    group_by: Grouping = Field(GroupBy.DAY, description="Default: day.")

    def query(self, now_us: int, *, key_id: str | None = None) -> UsageQuery:
        """What is asked for; by default the last 30 days.

        Raises:
            InvalidRequest: the span is empty.
        """
        to_us = usage.end_of_day_us(now_us) if self.end_date is None else self.end_date
        span = usage.last_days(to_us) if self.start_date is None else Span(self.start_date, to_us)
        if span.from_us >= to_us:
            raise InvalidRequest("invalid_value", "`startDate` must be before `endDate`.", param="startDate")
        return UsageQuery(span, self.group_by, key_id)


class PageParameters(RequestModel):
    """A page of requests."""

    cursor: Cursor | None = Field(None, description="`nextCursor` of the page before.")
    limit: Annotated[
        int,
        PlainValidator(_read_limit),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT}),
    ] = Field(100, description="How many; default 100.")


class UsageSums(Payload):
    """Usage added up; cost in USD."""

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost: Usd


class UsageGroup(UsageSums):
    """The usage of one day, key or model."""

    group: str


class UsageReport(Payload):
    """The usage from `from` until just before `to`."""

    # "from" is a keyword of the language.
    from_: Instant = Field(alias="from")
    to: Instant
    groups: list[UsageGroup]
    total: UsageSums

    @classmethod
    def of(cls, query: UsageQuery, groups: Mapping[str, Sums]) -> Self:
        """A report as an answer shows it; the total is the sum of the groups."""
        return cls(
            from_=query.span.from_us,
            to=query.span.to_us,
            groups=[
                UsageGroup(group=_group_name(query.group_by, name), **_figures(sums)) for name, sums in groups.items()
            ],
            total=UsageSums(**_figures(sum(groups.values(), Sums()))),
        )


class UnitPrices(Payload):
    """What was paid, in USD per million tokens, and per request."""

    input: Usd
    cached_input: Usd
    cache_write: Usd
    output: Usd
    per_request: Usd


class RequestPayload(Payload):
    """A single request; it says nothing of what was asked or answered."""

    id: str
    key_id: str
    key_type: str
    subscription_id: str | None
    model: str
    endpoint: str
    finished_at: Instant
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    prices: UnitPrices
    cost: Usd
    estimated: bool

    @classmethod
    def of(cls, view: RequestView) -> Self:
        """A request as an answer shows it."""
        return cls(
            id=view.request_id,
            key_id=view.key_id,
            key_type="credit" if view.pool == PoolKind.CREDIT else "subscription",
            subscription_id=view.subscription_id or None,
            model=view.model,
            endpoint=view.endpoint,
            finished_at=view.finished_at_us,
            prompt_tokens=view.prompt_tokens,
            cached_tokens=view.cached_tokens,
            cache_write_tokens=view.cache_write_tokens,
            completion_tokens=view.completion_tokens,
            reasoning_tokens=view.reasoning_tokens,
            prices=UnitPrices(
                input=view.input_price,
                cached_input=view.cached_price,
                cache_write=view.cache_write_price,
                output=view.output_price,
                per_request=view.per_request_nano,
            ),
            cost=view.charged_nano,
            estimated=view.estimated,
        )


class RequestPage(Payload):
    """A page of requests, newest first; `nextCursor` is null on the last one."""

    requests: list[RequestPayload]
    next_cursor: str | None

    @classmethod
    def of(cls, page: usage.RequestPage) -> Self:
        """A page as an answer shows it."""
        return cls(requests=[RequestPayload.of(view) for view in page.requests], next_cursor=page.next_cursor)


def router(context: ServiceContext) -> APIRouter:
    """Usage."""
    routes = APIRouter(tags=["usage"], dependencies=[CREDENTIAL])

    @routes.get(
        "/api/usage", responses=object_answer(UsageReport, 400), openapi_extra=query_parameters(ReportParameters)
    )
    async def get_usage(request: Request) -> Response:
        """Sum the account's usage up. Scope `usage:read`."""
        caller = await authenticate(context, request, Scope.USAGE_READ)
        query = read_parameters(request, ReportParameters).query(context.clock.now_us())
        groups = await usage.report(context, caller.account_id, query)
        return respond(await long_success(lambda: UsageReport.of(query, groups)))

    @routes.get(
        "/api/usage/requests",
        responses=object_answer(RequestPage, 400),
        openapi_extra=query_parameters(PageParameters),
    )
    async def get_requests(request: Request) -> Response:
        """List single requests, newest first. Scope `usage:read`."""
        caller = await authenticate(context, request, Scope.USAGE_READ)
        asked = read_parameters(request, PageParameters)
        after = None if asked.cursor is None else Position(*asked.cursor)
        page = await usage.requests_page(context, caller.account_id, limit=asked.limit, after=after)
        return respond(await long_success(lambda: RequestPage.of(page)))

    @routes.get(
        "/api/usage/{key_id}",
        responses=object_answer(UsageReport, 400, 404),
        openapi_extra=query_parameters(ReportParameters),
    )
    async def get_key_usage(request: Request, key_id: str) -> Response:
        """Sum the usage of one key up, also of a deleted one. Scope `usage:read`."""
        caller = await authenticate(context, request, Scope.USAGE_READ)
        query = read_parameters(request, ReportParameters).query(context.clock.now_us(), key_id=key_id)
        groups = await usage.report(context, caller.account_id, query)
        return respond(await long_success(lambda: UsageReport.of(query, groups)))

    return routes


def _figures(sums: Sums) -> dict[str, int]:
    return {
        "requests": sums.requests,
        "prompt_tokens": sums.prompt_tokens,
        "cached_tokens": sums.cached_tokens,
        "completion_tokens": sums.completion_tokens,
        "cost": sums.charged_nano,
    }


def _group_name(group_by: GroupBy, name: str) -> str:
    # A day is named by its first microsecond; its date is the first ten characters of the ISO form.
    return iso_ms(int(name))[:10] if group_by is GroupBy.DAY else name
