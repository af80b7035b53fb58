"""Usage: sums by day, key or model, and single requests page by page."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.keys import is_id
from tokenbooth.api.openapi import CREDENTIAL, Payload, object_answer, query
from tokenbooth.api.parsing import read_query
from tokenbooth.api.responses import Json, respond, success
from tokenbooth.api.timestamps import read_end, read_start
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.money import format_usd
from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import InvalidRequest, NotFound
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.keys import has_api_key
from tokenbooth.store.usage.usage_reports import (
    GroupBy,
    Position,
    RequestView,
    Span,
    Sums,
    list_requests,
    usage_by,
)

_DEFAULT_DAYS: Final = 30
_DEFAULT_LIMIT: Final = 100
_MAX_LIMIT: Final = 1_000
_LIMIT: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_CURSOR: Final = re.compile(r"(\d{1,17}):([a-z]{2,8}_[0-9a-f]{26})", re.ASCII)
_CURSOR_MAX: Final = 100


class UsageSums(Payload):
    """Usage added up; cost in USD."""

    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost: str


class UsageGroup(UsageSums):
    """The usage of one day, key or model."""

    group: str


class UsageReport(Payload):
    """The usage from `from` until just before `to`."""

    # "from" is a keyword of the language.
    from_: str = Field(alias="from")
    to: str
    groups: list[UsageGroup]
    total: UsageSums


class UnitPrices(Payload):
    """What was paid, in USD per million tokens, and per request."""

    input: str
    cached_input: str
    cache_write: str
    output: str
    per_request: str


class RequestPayload(Payload):
    """A single request; it says nothing of what was asked or answered."""

    id: str
    key_id: str
    key_type: str
    subscription_id: str | None
    model: str
    endpoint: str
    finished_at: str
    prompt_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    prices: UnitPrices
    cost: str
    estimated: bool


class RequestPage(Payload):
    """A page of requests, newest first; `nextCursor` is null on the last one."""

    requests: list[RequestPayload]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """What a report is to show."""

    span: Span
    group_by: GroupBy


_REPORT_PARAMETERS: Final = query(
    startDate=(
        "A date (UTC), or an instant with a zone. Default: 29 days before the last day.",
        {"type": "string"},
    ),
    endDate=("A date (UTC), included; or an instant, excluded. Default: today.", {"type": "string"}),
    groupBy=("Default: day.", {"type": "string", "enum": [str(group) for group in GroupBy]}),
)
_PAGE_PARAMETERS: Final = query(
    cursor=("`nextCursor` of the page before.", {"type": "string"}),
    limit=("How many; default 100.", {"type": "integer", "minimum": 1, "maximum": _MAX_LIMIT}),
)


async def report(
    context: ServiceContext, account_id: str, asked: ReportQuery, *, key_id: str | None = None
) -> dict[str, Json]:
    """The payload of a report, with every finished charge in it; the total is the sum of the groups."""
    await context.live.flush()
    groups = await context.store.read(usage_by, account_id, asked.span, asked.group_by, key_id=key_id)
    return {
        "from": iso_ms(asked.span.from_us),
        "to": iso_ms(asked.span.to_us),
        "groups": [
            {"group": _group_name(asked.group_by, name), **_sums_payload(sums)} for name, sums in groups.items()
        ],
        "total": _sums_payload(sum(groups.values(), Sums())),
    }


def request_payload(view: RequestView) -> dict[str, Json]:
    """A single request as an answer shows it."""
    return {
        "id": view.request_id,
        "keyId": view.key_id,
        "keyType": "credit" if view.pool == PoolKind.CREDIT else "subscription",
        "subscriptionId": view.subscription_id or None,
        "model": view.model,
        "endpoint": view.endpoint,
        "finishedAt": iso_ms(view.finished_at_us),
        "promptTokens": view.prompt_tokens,
        "cachedTokens": view.cached_tokens,
        "cacheWriteTokens": view.cache_write_tokens,
        "completionTokens": view.completion_tokens,
        "reasoningTokens": view.reasoning_tokens,
        "prices": {
            "input": format_usd(view.input_price),
            "cachedInput": format_usd(view.cached_price),
            "cacheWrite": format_usd(view.cache_write_price),
            "output": format_usd(view.output_price),
            "perRequest": format_usd(view.per_request_nano),
        },
        "cost": format_usd(view.charged_nano),
        "estimated": view.estimated,
    }


def read_report_query(request: Request, now_us: int) -> ReportQuery:
    """The span and the grouping that a query string asks for; by default the last 30 days, by day.

    Raises:
        InvalidRequest: a parameter is not known, has a wrong form, or the span is empty.
    """
    given = read_query(request, "startDate", "endDate", "groupBy")
    end_of_today_us = now_us - now_us % DAY_US + DAY_US
    to_us = read_end(given["endDate"], "endDate") if "endDate" in given else end_of_today_us
    last_day_us = (to_us - 1) // DAY_US * DAY_US
    from_us = max(last_day_us - (_DEFAULT_DAYS - 1) * DAY_US, 0)
    if "startDate" in given:
        from_us = read_start(given["startDate"], "startDate")
    if from_us >= to_us:
        raise InvalidRequest("invalid_value", "`startDate` must be before `endDate`.", param="startDate")
    try:
        group_by = GroupBy(given.get("groupBy", GroupBy.DAY))
    except ValueError:
        raise InvalidRequest(
            "invalid_value", f"`groupBy` must be one of {', '.join(GroupBy)}.", param="groupBy"
        ) from None
    return ReportQuery(span=Span(from_us, to_us), group_by=group_by)


def router(context: ServiceContext) -> APIRouter:
    """The routes of this module."""
    routes = APIRouter(tags=["usage"], dependencies=[CREDENTIAL])

    @routes.get("/api/usage", responses=object_answer(UsageReport, 400), openapi_extra=_REPORT_PARAMETERS)
    async def get_usage(request: Request) -> Response:
        """Sum the account's usage up. Scope `usage:read`."""
        caller = await authenticate(context, request, Scope.USAGE_READ)
        asked = read_report_query(request, context.clock.now_us())
        return respond(success(await report(context, caller.account_id, asked)))

    @routes.get("/api/usage/requests", responses=object_answer(RequestPage, 400), openapi_extra=_PAGE_PARAMETERS)
    async def get_requests(request: Request) -> Response:
        """List single requests, newest first. Scope `usage:read`."""
        caller = await authenticate(context, request, Scope.USAGE_READ)
        given = read_query(request, "cursor", "limit")
        limit = _read_limit(given.get("limit"))
        after = read_cursor(given["cursor"]) if "cursor" in given else None
        await context.live.flush()
        # One more than asked for tells whether there is another page.
        found = await context.store.read(list_requests, caller.account_id, limit=limit + 1, after=after)
        page = found[:limit]
        next_cursor = write_cursor(page[-1]) if len(found) > limit else None
        return respond(success({"requests": [request_payload(view) for view in page], "nextCursor": next_cursor}))

    @routes.get(
        "/api/usage/{key_id}",
        responses=object_answer(UsageReport, 400, 404),
        openapi_extra=_REPORT_PARAMETERS,
    )
    async def get_key_usage(request: Request, key_id: str) -> Response:
        """Sum the usage of one key up, also of a deleted one. Scope `usage:read`."""
        caller = await authenticate(context, request, Scope.USAGE_READ)
        asked = read_report_query(request, context.clock.now_us())
        if not is_id(key_id) or not await context.store.read(has_api_key, caller.account_id, key_id):
            raise NotFound("key_not_found", "There is no API key with this id.")
        return respond(success(await report(context, caller.account_id, asked, key_id=key_id)))

    return routes


def _sums_payload(sums: Sums) -> dict[str, Json]:
    return {
        "requests": sums.requests,
        "promptTokens": sums.prompt_tokens,
        "cachedTokens": sums.cached_tokens,
        "completionTokens": sums.completion_tokens,
        "cost": format_usd(sums.charged_nano),
    }


def _group_name(group_by: GroupBy, name: str) -> str:
    # A day is named by its first microsecond; its date is the first ten characters of the ISO form.
    return iso_ms(int(name))[:10] if group_by is GroupBy.DAY else name


def _read_limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if _LIMIT.fullmatch(text) is None or int(text) > _MAX_LIMIT:
        raise InvalidRequest("invalid_value", f"`limit` must be a whole number from 1 to {_MAX_LIMIT}.", param="limit")
    return int(text)


def write_cursor(view: RequestView) -> str:
    """The `cursor` of the page behind a request."""
    return base64.urlsafe_b64encode(f"{view.finished_at_us}:{view.request_id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> Position:
    """The place that a `cursor` names.

    Raises:
        InvalidRequest: it is none of ours.
    """
    try:
        if len(text) > _CURSOR_MAX:
            raise ValueError("too long")
        plain = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        match = _CURSOR.fullmatch(plain.decode("ascii"))
    except (ValueError, binascii.Error):
        match = None
    if match is None:
        raise InvalidRequest("invalid_value", "`cursor` must be the `nextCursor` of a page.", param="cursor")
    return Position(finished_at_us=int(match[1]), request_id=match[2])
