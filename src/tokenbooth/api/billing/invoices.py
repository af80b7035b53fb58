"""The papers of an account: Stripe's invoices, and a statement of each month as JSON or CSV.

Only reads requests and writes answers. `management.app` includes it.
"""

import csv
import io
import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api import checkout
from tokenbooth.api.auth import authenticate
from tokenbooth.api.billing.schemas import InvoicePayload, StatementPayload
from tokenbooth.api.openapi import CREDENTIAL, list_answer, object_answer, or_file, query
from tokenbooth.api.parsing import read_query
from tokenbooth.api.responses import Json, respond, success
from tokenbooth.domain.keys import Scope
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import InvalidRequest, NotFound
from tokenbooth.payments.stripe.connection import PaymentProviderError
from tokenbooth.payments.stripe.customers import CustomerInvoice
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts import accounts
from tokenbooth.store.reports.statement import Statement, refunded_nano, statement

_MONTH: Final = re.compile(r"(2\d{3})-(0[1-9]|1[0-2])", re.ASCII)
_ID_MAX: Final = 100
INVOICES_AT_ONCE: Final = 100
_US_PER_S: Final = 1_000_000
_CSV_FIELDS: Final = ("at", "kind", "reference", "note", "amount", "balance")
# A cell that begins so would be run as a formula by a spreadsheet.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def router(context: ServiceContext) -> APIRouter:
    """The routes, for an application that answers `TokenboothError`."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.get(
        "/invoices",
        responses=list_answer(InvoicePayload, 400, 502, 504),
        openapi_extra=query(after=("An invoice's id; older ones are listed.", {"type": "string"})),
    )
    async def invoices(request: Request) -> Response:
        """The account's invoices, newest first, a hundred at a time, with Stripe's pages of them."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        after = read_query(request, "after").get("after")
        if after is not None and not 1 <= len(after) <= _ID_MAX:
            raise InvalidRequest("invalid_value", "`after` must be an invoice's id.", param="after")
        papers = await list_invoices(context, caller.account_id, after=after)
        return respond(success([_invoice_json(paper, taken_nano) for paper, taken_nano in papers]))

    @routes.get(
        "/statement",
        responses=or_file(object_answer(StatementPayload, 400, 404), "text/csv"),
        openapi_extra=query(
            month=("A month in UTC, such as 2026-03; this one by default.", {"type": "string"}),
            format=("`json` or `csv`.", {"type": "string", "enum": ["json", "csv"]}),
        ),
    )
    async def monthly_statement(request: Request) -> Response:
        """Every top-up, charge per day and key, and adjustment of a month, with both balances."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        asked = read_query(request, "month", "format")
        form = asked.get("format", "json")
        if form not in ("json", "csv"):
            raise InvalidRequest("invalid_value", "`format` must be `json` or `csv`.", param="format")
        if form == "csv":
            return await statement_csv(context, caller.account_id, asked.get("month"))
        month, start_us, end_us = _month(asked.get("month"), context.clock.now_us())
        found = await _statement(context, caller.account_id, start_us, end_us)
        return respond(success(_statement_json(month, found)))

    return routes


async def list_invoices(
    context: ServiceContext, account_id: str, *, after: str | None
) -> list[tuple[CustomerInvoice, int]]:
    """An account's invoices, newest first, each with what was refunded of it, in nano-USD.

    Args:
        context: the dependencies.
        account_id: whose.
        after: an invoice's id; older ones are listed. None for the newest.

    Raises:
        InvalidRequest: `after` is no invoice of theirs.
        ProviderFailed, ProviderTimeout: Stripe did not list them.
        Unavailable: Stripe is not configured.
    """
    stripe = checkout.configured_stripe(context)
    account = await context.store.read(accounts.find_account, account_id)
    if account is None or account.stripe_customer_id is None:
        return []
    listing = stripe.customers.list_invoices(account.stripe_customer_id, limit=INVOICES_AT_ONCE, after_id=after)
    papers = await checkout.asked(context, _page(listing, after))
    taken = await context.store.read(refunded_nano, account_id)
    return [(paper, taken.get(paper.invoice_id, 0)) for paper in papers]


async def _page(listing: Awaitable[tuple[CustomerInvoice, ...]], after: str | None) -> tuple[CustomerInvoice, ...]:
    try:
        return await listing
    except PaymentProviderError as failure:
        if after is not None and failure.kind == "invalid":
            # The one thing in the call that the caller chose.
            raise InvalidRequest("invalid_value", "`after` must be an invoice's id.", param="after") from failure
        raise


async def statement_csv(context: ServiceContext, account_id: str, month: str | None) -> Response:
    """An account's statement of a month such as "2026-03" (None: this one) as a file.

    Raises:
        InvalidRequest: that is no month.
        NotFound: it has not begun.
    """
    name, start_us, end_us = _month(month, context.clock.now_us())
    return _csv(name, await _statement(context, account_id, start_us, end_us), start_us, end_us)


async def _statement(context: ServiceContext, account_id: str, start_us: int, end_us: int) -> Statement:
    await context.live.flush()
    return await context.store.read(statement, account_id, start_us=start_us, end_us=end_us)


def _month(text: str | None, now_us: int) -> tuple[str, int, int]:
    """The month's name, its first microsecond, and the first that is not its own any more."""
    now = datetime.fromtimestamp(now_us // _US_PER_S, UTC)
    match = _MONTH.fullmatch(text or f"{now:%Y-%m}")
    if match is None:
        raise InvalidRequest("invalid_value", "`month` must be a month such as 2026-03.", param="month")
    year, month = int(match[1]), int(match[2])
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    if start > now:
        raise NotFound("month_not_begun", "That month has not begun.", param="month")
    return match[0], int(start.timestamp()) * _US_PER_S, int(end.timestamp()) * _US_PER_S


def _invoice_json(paper: CustomerInvoice, taken_nano: int) -> dict[str, Json]:
    return {
        "id": paper.invoice_id,
        "number": paper.number,
        "status": paper.status,
        "currency": paper.currency,
        "total": format_usd(paper.total_nano),
        "paid": format_usd(paper.paid_nano),
        "refunded": format_usd(taken_nano),
        "createdAt": iso_ms(paper.created_at_us),
        "hostedUrl": paper.hosted_url,
        "pdfUrl": paper.pdf_url,
    }


def _statement_json(month: str, found: Statement) -> dict[str, Json]:
    return {
        "month": month,
        "currency": "usd",
        "openingBalance": format_usd(found.opening_nano),
        "closingBalance": format_usd(found.closing_nano),
        "lines": [
            {
                "at": iso_ms(line.at_us),
                "kind": line.kind,
                "reference": line.reference,
                "note": line.note,
                "amount": format_usd(line.amount_nano),
            }
            for line in found.lines
        ],
        "subscriptionPayments": [
            {
                "at": iso_ms(line.at_us),
                "subscriptionId": line.subscription_id,
                "planSlug": line.plan_slug,
                "invoiceId": line.stripe_invoice_id,
                "amount": format_usd(line.amount_nano),
            }
            for line in found.plan_lines
        ],
    }


def _csv(month: str, found: Statement, start_us: int, end_us: int) -> Response:
    """The lines with a running balance; what was paid for subscriptions has none, it does not move the credit."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_CSV_FIELDS)
    balance_nano = found.opening_nano
    writer.writerow((iso_ms(start_us), "opening_balance", "", "", "", format_usd(balance_nano)))
    for line in found.lines:
        balance_nano += line.amount_nano
        writer.writerow(
            (
                iso_ms(line.at_us),
                line.kind,
                _cell(line.reference),
                _cell(line.note),
                format_usd(line.amount_nano),
                format_usd(balance_nano),
            )
        )
    for paid in found.plan_lines:
        note = f"{paid.plan_slug} ({paid.subscription_id})"
        writer.writerow(
            (
                iso_ms(paid.at_us),
                "subscription_payment",
                paid.stripe_invoice_id,
                _cell(note),
                format_usd(paid.amount_nano),
                "",
            )
        )
    writer.writerow((iso_ms(end_us), "closing_balance", "", "", "", format_usd(found.closing_nano)))
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="statement-{month}.csv"'},
    )


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
