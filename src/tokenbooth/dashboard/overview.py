"""The overview: how much of each window is used, the credit, spend per day, the last requests, and the first steps.

The part that changes is a fragment of its own, which the page asks for again while it is open.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.chart import Chart, draw
from tokenbooth.dashboard.polling import LivePart
from tokenbooth.dashboard.views import Pages, Visitor
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.usage import end_of_day_us, last_days
from tokenbooth.store.accounts import key_counts
from tokenbooth.store.accounts.key_counts import KeysOf
from tokenbooth.store.accounts.keys import key_names
from tokenbooth.store.payments import billing
from tokenbooth.store.payments.billing import BillingStatus
from tokenbooth.store.usage import usage_reports
from tokenbooth.store.usage.request_pages import RequestView, list_requests
from tokenbooth.store.usage.usage_reports import GroupBy

_LAST_REQUESTS: Final = 8
EXAMPLE_MODEL: Final = "your-model"
_PART: Final = LivePart("overview_live.html", "/dashboard/live")


@dataclass(frozen=True, slots=True)
class _Seen:
    """One snapshot of what the overview shows."""

    status: BillingStatus
    held_nano: int
    key_count: int
    chart: Chart
    requests: list[RequestView]
    key_names: dict[str, str]


class OverviewPages(Pages):
    """The overview and the part of it that changes."""

    def routes(self) -> list[Route]:
        return [
            Route("/dashboard", self._web.for_visitors(self.show), methods=["GET"]),
            Route("/dashboard/live", self._web.for_visitors(self.live), methods=["GET"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return _PART.show(
            self._web,
            request,
            "overview.html",
            visitor,
            seen=await self._look(visitor),
            example_model=first_model(self._services),
        )

    async def live(self, request: Request, visitor: Visitor) -> Response:
        """The part that changes."""
        return _PART.again(self._web, request, visitor, seen=await self._look(visitor))

    async def _look(self, visitor: Visitor) -> _Seen:
        await self._services.live.flush()
        return await self._services.store.report(
            visitor.account_id,
            _read,
            visitor.account_id,
            self._services,
            held_nano=self._services.live.held_nano(visitor.account_id),
        )


def first_model(services: ServiceContext) -> str:
    """A model for examples."""
    return next(iter(services.catalog().models), EXAMPLE_MODEL)


def _read(conn: Connection, account_id: str, services: ServiceContext, *, held_nano: int) -> _Seen:
    now_us = services.clock.now_us()
    span = last_days(end_of_day_us(now_us))
    requests = list_requests(conn, account_id, limit=_LAST_REQUESTS).requests
    return _Seen(
        status=billing.billing_status(conn, account_id, services.catalog().plans, now_us, with_keys=False),
        held_nano=held_nano,
        key_count=key_counts.count(conn, KeysOf.API, account_id).live,
        chart=draw(usage_reports.usage_by(conn, account_id, span, GroupBy.DAY), span),
        requests=requests,
        key_names=key_names(conn, account_id, {request.key_id for request in requests}),
    )
