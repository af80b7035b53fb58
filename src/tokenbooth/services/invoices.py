"""What an account was billed: Stripe's invoices, and a statement of each month."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.csv import csv_text, text_cell
from tokenbooth.kit.errors import InvalidRequest, NotFound, RateLimited
from tokenbooth.payments.stripe.client import PaymentProviderError
from tokenbooth.payments.stripe.customers import CustomerInvoice
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.stripe import call_stripe, configured_stripe
from tokenbooth.store.accounts import accounts
from tokenbooth.store.reports.statement import (
    LINES_AT_ONCE,
    PLAN_LINES_AT_ONCE,
    LinePosition,
    PlanLine,
    Statement,
    plan_lines,
    refunded_nano,
    statement,
)

R = TypeVar("R")

INVOICES_AT_ONCE: Final = 100
CSV_LINES_AT_ONCE: Final = 500
_PIECE_AGAIN_S: Final = 0.25
_MONTH: Final = re.compile(r"(2\d{3})-(0[1-9]|1[0-2])", re.ASCII)
_CSV_FIELDS: Final = ("at", "kind", "reference", "note", "amount", "balance")


@dataclass(frozen=True, slots=True)
class MonthlyStatement:
    """A month's statement.

    Attributes:
        month: such as "2026-03", in UTC.
        start_us, end_us: its first microsecond, and the first one after it.
        content: what moved the credit in it.
    """

    month: str
    start_us: int
    end_us: int
    content: Statement

    @property
    def file_name(self) -> str:
        """What the statement is called as a file."""
        return f"statement-{self.month}.csv"


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
    stripe = configured_stripe(context)
    account = await context.store.read(accounts.find_account, account_id)
    if account is None or account.stripe_customer_id is None:
        return []
    listing = stripe.customers.list_invoices(account.stripe_customer_id, limit=INVOICES_AT_ONCE, after_id=after)
    invoices = await call_stripe(context, _page(listing, after))
    ids = [invoice.invoice_id for invoice in invoices]
    refunded = await context.store.report(account_id, refunded_nano, account_id, ids)
    return [(invoice, refunded.get(invoice.invoice_id, 0)) for invoice in invoices]


async def find_statement(
    context: ServiceContext,
    account_id: str,
    month: str | None,
    *,
    after: LinePosition | None = None,
    limit: int = LINES_AT_ONCE,
) -> MonthlyStatement:
    """A piece of an account's statement of a month such as "2026-03" (None: this one), after every call that has
    finished: at most `limit` lines behind `after` (None: the first ones).

    Raises:
        InvalidRequest: that is no month.
        NotFound: it has not begun.
        RateLimited: too many reports of the account wait already.
    """
    name, start_us, end_us = _month(month, context.clock.now_us())
    await context.live.flush()
    content = await context.store.report(
        account_id, statement, account_id, start_us=start_us, end_us=end_us, after=after, limit=limit
    )
    return MonthlyStatement(name, start_us, end_us, content)


async def statement_csv(context: ServiceContext, account_id: str, found: MonthlyStatement) -> AsyncIterator[str]:
    """The whole statement with a running balance, from its first piece on, in pieces of bounded length; what was paid
    for subscriptions has no balance, it does not move the credit.

    The pieces are read one after the other, so what is charged meanwhile may be in a later one; the closing balance is
    the one that the lines lead to.
    """
    piece, balance_nano = found.content, found.content.opening_nano
    yield csv_text((_CSV_FIELDS, (iso_ms(found.start_us), "opening_balance", "", "", "", format_usd(balance_nano))))
    while True:
        rows = []
        for line in piece.lines:
            balance_nano += line.amount_nano
            texts = text_cell(line.reference), text_cell(line.note)
            rows.append((iso_ms(line.at_us), line.kind, *texts, format_usd(line.amount_nano), format_usd(balance_nano)))
        yield csv_text(rows)
        if piece.next is None:
            break
        read_lines = partial(statement, start_us=found.start_us, end_us=found.end_us, after=piece.next)
        piece = await _next_piece(context, account_id, partial(read_lines, limit=CSV_LINES_AT_ONCE))
    paid, offset = found.content.plan_lines, 0
    while paid:
        yield csv_text(map(_plan_row, paid))
        offset += len(paid)
        read_plans = partial(plan_lines, start_us=found.start_us, end_us=found.end_us, offset=offset)
        paid = tuple(await _next_piece(context, account_id, read_plans)) if len(paid) == PLAN_LINES_AT_ONCE else ()
    yield csv_text(((iso_ms(found.end_us), "closing_balance", "", "", "", format_usd(balance_nano)),))


def _plan_row(paid: PlanLine) -> tuple[str, ...]:
    note = text_cell(f"{paid.plan_slug} ({paid.subscription_id})")
    amount = format_usd(paid.amount_nano)
    return iso_ms(paid.at_us), "subscription_payment", paid.stripe_invoice_id, note, amount, ""


async def _next_piece(context: ServiceContext, account_id: str, read: Callable[[Connection, str], R]) -> R:
    """A further piece of a file that has begun: it cannot be refused any more, so it waits for its turn."""
    while True:
        try:
            return await context.store.report(account_id, read, account_id)
        except RateLimited:
            await asyncio.sleep(_PIECE_AGAIN_S)


async def _page(listing: Awaitable[tuple[CustomerInvoice, ...]], after: str | None) -> tuple[CustomerInvoice, ...]:
    try:
        return await listing
    except PaymentProviderError as failure:
        if after is not None and failure.kind == "invalid":
            # The one thing in the call that the caller chose.
            raise InvalidRequest("invalid_value", "`after` must be an invoice's id.", param="after") from failure
        raise


def _month(text: str | None, now_us: int) -> tuple[str, int, int]:
    """The month's name, its first microsecond, and the first that is not its own any more."""
    now = datetime.fromtimestamp(now_us // SECOND_US, UTC)
    match = _MONTH.fullmatch(text or f"{now:%Y-%m}")
    if match is None:
        raise InvalidRequest("invalid_value", "`month` must be a month such as 2026-03.", param="month")
    year, month = int(match[1]), int(match[2])
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    if start > now:
        raise NotFound("month_not_begun", "That month has not begun.", param="month")
    return match[0], int(start.timestamp()) * SECOND_US, int(end.timestamp()) * SECOND_US
