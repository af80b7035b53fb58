"""Calls about a customer: made, its invoices, and its page at Stripe."""

from dataclasses import dataclass

import stripe

from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.payments.stripe.connection import StripeCalls, stripe_call
from tokenbooth.payments.stripe.object_reader import ObjectReader
from tokenbooth.payments.stripe.setup import is_our_portal


@dataclass(frozen=True, slots=True)
class CustomerInvoice:
    """An invoice as a customer may see it. Amounts in nano-USD, times in UTC microseconds."""

    invoice_id: str
    number: str | None
    status: str
    currency: str
    total_nano: int
    paid_nano: int
    created_at_us: int
    hosted_url: str | None
    pdf_url: str | None


class CustomerCalls(StripeCalls):
    """Calls about customers."""

    @stripe_call
    async def ensure(self, account_id: str, email: str, existing_id: str | None, idempotency_key: str) -> str:
        """The id of the account's Stripe customer; made when `existing_id` is None or was deleted at
        Stripe."""
        if existing_id is not None and await self._exists(existing_id):
            return existing_id
        made = await self._v1.customers.create_async(
            {"email": email, "metadata": {"account_id": account_id}}, {"idempotency_key": idempotency_key}
        )
        return made.id

    @stripe_call
    async def list_invoices(self, customer_id: str, *, limit: int, after_id: str | None) -> tuple[CustomerInvoice, ...]:
        """A customer's invoices, newest first, older than `after_id`; drafts are left out."""
        page = await self._v1.invoices.list_async(
            {"customer": customer_id, "limit": limit, "starting_after": after_id}
            if after_id
            else {"customer": customer_id, "limit": limit}
        )
        invoices = (parse_customer_invoice(entry.to_dict()) for entry in page.data)
        return tuple(invoice for invoice in invoices if invoice.status != "draft")

    @stripe_call
    async def portal_url(self, customer_id: str, return_url: str) -> str:
        """A page at Stripe on which the customer changes cards and subscriptions."""
        configurations = await self._v1.billing_portal.configurations.list_async({"active": True, "limit": 100})
        ours = next((entry.id for entry in configurations.data if is_our_portal(entry.to_dict())), None)
        made = await self._v1.billing_portal.sessions.create_async(
            {"customer": customer_id, "return_url": return_url, "configuration": ours}
            if ours is not None
            else {"customer": customer_id, "return_url": return_url}
        )
        return made.url

    async def _exists(self, customer_id: str) -> bool:
        try:
            found = await self._v1.customers.retrieve_async(customer_id)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return False
            raise
        return found.to_dict().get("deleted") is not True


def parse_customer_invoice(value: object) -> CustomerInvoice:
    """Read an invoice for its customer. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "invoice")
    return CustomerInvoice(
        invoice_id=fields.text("id"),
        number=fields.opt_text("number"),
        status=fields.text("status"),
        currency=fields.text("currency"),
        total_nano=fields.number("total") * NANO_PER_CENT,
        paid_nano=fields.number("amount_paid") * NANO_PER_CENT,
        created_at_us=fields.time_us("created"),
        hosted_url=fields.opt_text("hosted_invoice_url") if fields.has("hosted_invoice_url") else None,
        pdf_url=fields.opt_text("invoice_pdf") if fields.has("invoice_pdf") else None,
    )
