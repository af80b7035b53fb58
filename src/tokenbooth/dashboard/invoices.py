"""Invoices, and the statement of a month as CSV."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tokenbooth.dashboard.views import Pages, Visitor
from tokenbooth.services.invoices import (
    CSV_LINES_AT_ONCE,
    INVOICES_AT_ONCE,
    find_statement,
    list_invoices,
    statement_csv,
)

_ID_MAX: Final = 100


class InvoicePages(Pages):
    """What an account was billed."""

    def routes(self) -> list[Route]:
        page = self._web.for_visitors
        return [
            Route("/dashboard/billing/invoices", page(self.invoices), methods=["GET"]),
            Route("/dashboard/billing/statement", page(self.statement), methods=["GET"]),
        ]

    async def invoices(self, request: Request, visitor: Visitor) -> Response:
        after = request.query_params.get("after", "")[:_ID_MAX] or None
        invoices = await list_invoices(self._services, visitor.account_id, after=after)
        older = invoices[-1][0].invoice_id if len(invoices) == INVOICES_AT_ONCE else None
        return self._web.page(request, "invoices.html", visitor, invoices=invoices, older=older)

    async def statement(self, request: Request, visitor: Visitor) -> Response:
        month = request.query_params.get("month") or None
        found = await find_statement(self._services, visitor.account_id, month, limit=CSV_LINES_AT_ONCE)
        headers = {
            "content-disposition": f'attachment; filename="{found.file_name}"',
            "cache-control": "no-store",
        }
        pieces = statement_csv(self._services, visitor.account_id, found)
        return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)
