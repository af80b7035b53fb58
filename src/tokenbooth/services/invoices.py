"""What an account was billed: Stripe's invoices, and a statement of each month."""

import re
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.csv import csv_text, text_cell
from tokenbooth.kit.errors import InvalidRequest, NotFound
from tokenbooth.payments.stripe.client import PaymentProviderError
from tokenbooth.payments.stripe.customers import CustomerInvoice
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.stripe import call_stripe, configured_stripe
from tokenbooth.store.accounts import accounts
from tokenbooth.store.reports.statement import Statement, refunded_nano, statement

INVOICES_AT_ONCE: Final = 100
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
    refunded = await context.store.read(refunded_nano, account_id)
    return [(invoice, refunded.get(invoice.invoice_id, 0)) for invoice in invoices]


async def find_statement(context: ServiceContext, account_id: str, month: str | None) -> MonthlyStatement:
    """An account's statement of a month such as "2026-03" (None: this one), after every call that has finished.

    Raises:
        InvalidRequest: that is no month.
        NotFound: it has not begun.
    """
    name, start_us, end_us = _month(month, context.clock.now_us())
    await context.live.flush()
    content = await context.store.read(statement, account_id, start_us=start_us, end_us=end_us)
    return MonthlyStatement(name, start_us, end_us, content)


def statement_csv(found: MonthlyStatement) -> str:
    """The lines with a running balance; what was paid for subscriptions has none, it does not move the credit."""
    return csv_text((_CSV_FIELDS, *_csv_rows(found)))


def _csv_rows(found: MonthlyStatement) -> Iterator[tuple[str, ...]]:
    content = found.content
    balance_nano = content.opening_nano
    yield iso_ms(found.start_us), "opening_balance", "", "", "", format_usd(balance_nano)
    for line in content.lines:
        balance_nano += line.amount_nano
        texts = text_cell(line.reference), text_cell(line.note)
        yield iso_ms(line.at_us), line.kind, *texts, format_usd(line.amount_nano), format_usd(balance_nano)
    for paid in content.plan_lines:
        note = text_cell(f"{paid.plan_slug} ({paid.subscription_id})")
        amount = format_usd(paid.amount_nano)
        yield iso_ms(paid.at_us), "subscription_payment", paid.stripe_invoice_id, note, amount, ""
    yield iso_ms(found.end_us), "closing_balance", "", "", "", format_usd(content.closing_nano)


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
