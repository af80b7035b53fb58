"""Papers: invoices, and the statement of a month as CSV."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.api.billing.invoices import INVOICES_AT_ONCE, list_invoices, statement_csv
from tokenbooth.dashboard.views import Visitor, Web

_ID_MAX: Final = 100


class PaperPages:
    """The pages of this module."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._management = web.context.management

    def routes(self) -> list[Route]:
        """Where they are."""
        seen = self._web.for_visitors
        return [
            Route("/dashboard/billing/invoices", seen(self.invoices), methods=["GET"]),
            Route("/dashboard/billing/statement", seen(self.statement), methods=["GET"]),
        ]

    async def invoices(self, request: Request, visitor: Visitor) -> Response:
        after = request.query_params.get("after", "")[:_ID_MAX] or None
        papers = await list_invoices(self._management, visitor.account_id, after=after)
        older = papers[-1][0].invoice_id if len(papers) == INVOICES_AT_ONCE else None
        return self._web.page(request, "invoices.html", visitor, papers=papers, older=older)

    async def statement(self, request: Request, visitor: Visitor) -> Response:
        month = request.query_params.get("month")
        response = await statement_csv(self._management, visitor.account_id, month or None)
        response.headers["cache-control"] = "no-store"
        return response
