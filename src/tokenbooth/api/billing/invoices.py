"""The calls about what was billed: Stripe's invoices, and a statement of each month as JSON or CSV."""

from typing import Annotated, Final, Literal, Self

from fastapi import APIRouter
from pydantic import Field, PlainValidator, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tokenbooth.api.auth import authenticate
from tokenbooth.api.openapi import CREDENTIAL, list_answer, object_answer, or_file, query_parameters
from tokenbooth.api.parsing import read_parameters
from tokenbooth.api.responses import long_success, respond, success
from tokenbooth.api.schemas import Instant, Payload, UnsignedUsd, Usd
from tokenbooth.domain.keys import Scope
from tokenbooth.kit.pagination import write_cursor
from tokenbooth.kit.request_models import Cursor, RequestModel, refuse_value
from tokenbooth.payments.stripe.customers import CustomerInvoice
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.invoices import (
    CSV_LINES_AT_ONCE,
    MonthlyStatement,
    find_statement,
    list_invoices,
    statement_csv,
)
from tokenbooth.store.reports.statement import LinePosition

_ID_MAX: Final = 100


def _read_invoice_id(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _ID_MAX:
        raise refuse_value("must be an invoice's id")
    return value


def _read_format(value: object) -> str:
    if value not in ("json", "csv"):
        raise refuse_value("must be `json` or `csv`")
    return str(value)


class InvoiceParameters(RequestModel):
    """Which invoices are listed."""

    after: Annotated[str, PlainValidator(_read_invoice_id), WithJsonSchema({"type": "string"})] | None = Field(
        None, description="An invoice's id; older ones are listed."
    )


class StatementParameters(RequestModel):
    """Which month's statement is wanted, and as what; a file is always whole."""

    month: str | None = Field(None, description="A month in UTC, such as 2026-03; this one by default.")
    format: Annotated[
        str, PlainValidator(_read_format), WithJsonSchema({"type": "string", "enum": ["json", "csv"]})
    ] = Field("json", description="`json` or `csv`.")
    cursor: Cursor | None = Field(None, description="`nextCursor` of the page before; for `json` alone.")


class InvoicePayload(Payload):
    """An invoice at Stripe; `refunded` is what was given back of it."""

    id: str
    number: str | None
    status: str
    currency: str
    total: UnsignedUsd
    paid: UnsignedUsd
    refunded: UnsignedUsd
    created_at: Instant
    hosted_url: str | None
    pdf_url: str | None

    @classmethod
    def of(cls, invoice: CustomerInvoice, refunded_nano: int) -> Self:
        """An invoice as an answer shows it."""
        return cls(
            id=invoice.invoice_id,
            number=invoice.number,
            status=invoice.status,
            currency=invoice.currency,
            total=invoice.total_nano,
            paid=invoice.paid_nano,
            refunded=refunded_nano,
            created_at=invoice.created_at_us,
            hosted_url=invoice.hosted_url,
            pdf_url=invoice.pdf_url,
        )


class StatementLine(Payload):
    """What moved the credit; charges are summed per day and key, whose id is the reference."""

    at: Instant
    kind: str
    reference: str
    note: str
    amount: Usd


class SubscriptionPayment(Payload):
    """What was paid for a subscription."""

    at: Instant
    subscription_id: str
    plan_slug: str
    invoice_id: str
    amount: UnsignedUsd


class StatementPayload(Payload):
    """A month; a balance is credit less debt, and the lines of all pages lead from the first to the second.
    `nextCursor` is null on the last page; what was paid for subscriptions stands on the first one."""

    month: str
    currency: Literal["usd"]
    opening_balance: Usd
    closing_balance: Usd
    lines: list[StatementLine]
    subscription_payments: list[SubscriptionPayment]
    next_cursor: str | None

    @classmethod
    def of(cls, found: MonthlyStatement) -> Self:
        """A month's statement as an answer shows it."""
        content = found.content
        return cls(
            month=found.month,
            currency="usd",
            opening_balance=content.opening_nano,
            closing_balance=content.closing_nano,
            lines=[
                StatementLine(
                    at=line.at_us,
                    kind=line.kind,
                    reference=line.reference,
                    note=line.note,
                    amount=line.amount_nano,
                )
                for line in content.lines
            ],
            subscription_payments=[
                SubscriptionPayment(
                    at=line.at_us,
                    subscription_id=line.subscription_id,
                    plan_slug=line.plan_slug,
                    invoice_id=line.stripe_invoice_id,
                    amount=line.amount_nano,
                )
                for line in content.plan_lines
            ],
            next_cursor=None if content.next is None else write_cursor(content.next.at_us, content.next.subject),
        )


def router(context: ServiceContext) -> APIRouter:
    """Invoices and statements."""
    routes = APIRouter(prefix="/api/billing", tags=["billing"], dependencies=[CREDENTIAL])

    @routes.get(
        "/invoices",
        responses=list_answer(InvoicePayload, 400, 502, 504),
        openapi_extra=query_parameters(InvoiceParameters),
    )
    async def invoices(request: Request) -> Response:
        """The account's invoices, newest first, a hundred at a time, with Stripe's pages of them."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        asked = read_parameters(request, InvoiceParameters)
        found = await list_invoices(context, caller.account_id, after=asked.after)
        return respond(success([InvoicePayload.of(invoice, refunded_nano) for invoice, refunded_nano in found]))

    @routes.get(
        "/statement",
        responses=or_file(object_answer(StatementPayload, 400, 404), "text/csv"),
        openapi_extra=query_parameters(StatementParameters),
    )
    async def monthly_statement(request: Request) -> Response:
        """Every top-up, charge per day and key, and adjustment of a month, with both balances."""
        caller = await authenticate(context, request, Scope.BILLING_READ)
        asked = read_parameters(request, StatementParameters)
        account_id = caller.account_id
        if asked.format == "json":
            after = None if asked.cursor is None else LinePosition(*asked.cursor)
            found = await find_statement(context, account_id, asked.month, after=after)
            return respond(await long_success(lambda: StatementPayload.of(found)))
        found = await find_statement(context, account_id, asked.month, limit=CSV_LINES_AT_ONCE)
        return StreamingResponse(
            statement_csv(context, account_id, found),
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{found.file_name}"'},
        )

    return routes
