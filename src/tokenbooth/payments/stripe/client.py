"""Our side of Stripe's API: the few calls we make, answered in our own values.

Customers, checkout pages and fetching are here; what concerns saved cards, and the operator's books, is in the
two classes that this one is made of. Built once by the composition root; imported by it, by the management plane
and by the jobs.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import stripe

from tokenbooth.payments.stripe.balance import BookCalls, EventPage
from tokenbooth.payments.stripe.calls import API_VERSION, PaymentProviderError
from tokenbooth.payments.stripe.cards import CardCalls
from tokenbooth.payments.stripe.events import ObjectRef
from tokenbooth.payments.stripe.plans import PlanInterval, PlanPrice
from tokenbooth.payments.stripe.snapshots import (
    DisputeSnapshot,
    InvoiceSnapshot,
    OriginSnapshot,
    PaymentSnapshot,
    RefundSnapshot,
    ScheduleSnapshot,
    SessionSnapshot,
    Snapshot,
    UnexpectedShape,
    parse_dispute,
    parse_invoice,
    parse_payment,
    parse_refund,
    parse_schedule,
    parse_session,
)

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

__all__ = [
    "API_VERSION",
    "CheckoutCreated",
    "EventPage",
    "PaymentProviderError",
    "PlanInterval",
    "PlanPrice",
    "StripeGateway",
]


@dataclass(frozen=True, slots=True)
class CheckoutCreated:
    """A hosted checkout page waits at `url` until `expires_at_us`."""

    session_id: str
    url: str
    expires_at_us: int


class StripeGateway(CardCalls, BookCalls):
    """The calls to Stripe. Close it when done."""

    async def ensure_customer(self, account_id: str, email: str, existing_id: str | None, idempotency_key: str) -> str:
        """The id of the account's Stripe customer; made when `existing_id` is None or was deleted at
        Stripe."""

        def work() -> str:
            if existing_id is not None and self._customer_exists(existing_id):
                return existing_id
            made = self._client.v1.customers.create(
                {"email": email, "metadata": {"account_id": account_id}}, {"idempotency_key": idempotency_key}
            )
            return made.id

        return await self._call(work)

    def _customer_exists(self, customer_id: str) -> bool:
        try:
            found = self._client.v1.customers.retrieve(customer_id)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return False
            raise
        return found.to_dict().get("deleted") is not True

    async def create_subscription_checkout(
        self,
        *,
        customer_id: str,
        price: PlanPrice,
        account_id: str,
        checkout_id: str,
        success_url: str,
        cancel_url: str,
        idempotency_key: str,
    ) -> CheckoutCreated:
        """A checkout page for a plan at its price."""
        price_id = await self.ensure_price(price)
        marks = {"account_id": account_id, "plan_slug": price.plan_slug, "checkout_id": checkout_id}
        params: SessionCreateParams = {
            "mode": "subscription",
            "customer": customer_id,
            "client_reference_id": checkout_id,
            "line_items": [{"quantity": 1, "price": price_id}],
            "metadata": marks,
            "subscription_data": {"metadata": marks},
            # In another currency the amount would differ from what our record says.
            "adaptive_pricing": {"enabled": False},
            "automatic_tax": {"enabled": self.collects_tax},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._create_session(params, idempotency_key)

    async def create_topup_checkout(
        self,
        *,
        customer_id: str,
        amount_cents: int,
        account_id: str,
        checkout_id: str,
        success_url: str,
        cancel_url: str,
        idempotency_key: str,
    ) -> CheckoutCreated:
        """A checkout page for prepaid credit; the card is kept for later top-ups."""
        marks = {"account_id": account_id, "checkout_id": checkout_id}
        params: SessionCreateParams = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": checkout_id,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": amount_cents,
                        "product_data": {"name": "Prepaid credit"},
                    },
                }
            ],
            "metadata": marks,
            "payment_intent_data": {"metadata": marks, "setup_future_usage": "off_session"},
            "adaptive_pricing": {"enabled": False},
            "automatic_tax": {"enabled": self.collects_tax},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._create_session(params, idempotency_key)

    async def _create_session(self, params: "SessionCreateParams", idempotency_key: str) -> CheckoutCreated:
        if self.collects_tax:
            # Stripe taxes by the customer's address, which it asks for on the page and has to keep.
            params["customer_update"] = {"address": "auto", "name": "auto"}

        def work() -> CheckoutCreated:
            made = self._client.v1.checkout.sessions.create(params, {"idempotency_key": idempotency_key})
            session = parse_session(made.to_dict())
            if session.url is None:
                raise UnexpectedShape("session.url", "a text")
            return CheckoutCreated(session.session_id, session.url, session.expires_at_us)

        return await self._call(work)

    async def fetch_schedule(self, schedule_id: str) -> ScheduleSnapshot:
        """The subscription schedule as it is now."""
        return await self._call(
            lambda: parse_schedule(self._client.v1.subscription_schedules.retrieve(schedule_id).to_dict())
        )

    async def fetch_invoice(self, invoice_id: str) -> InvoiceSnapshot:
        """The invoice as it is now."""
        return await self._call(
            lambda: parse_invoice(self._client.v1.invoices.retrieve(invoice_id, {"expand": ["payments"]}).to_dict())
        )

    async def fetch_session(self, session_id: str) -> SessionSnapshot:
        """The checkout session as it is now."""
        return await self._call(lambda: parse_session(self._client.v1.checkout.sessions.retrieve(session_id).to_dict()))

    async def fetch_payment(self, payment_intent_id: str) -> PaymentSnapshot:
        """The payment intent as it is now."""
        return await self._call(
            lambda: parse_payment(self._client.v1.payment_intents.retrieve(payment_intent_id).to_dict())
        )

    async def fetch_origin(self, payment_intent_id: str) -> OriginSnapshot:
        """The invoice or the checkout session that a payment paid; payments name neither themselves."""

        def work() -> OriginSnapshot:
            of_payment = self._client.v1.invoice_payments.list(
                {"payment": {"type": "payment_intent", "payment_intent": payment_intent_id}, "limit": 1}
            )
            for entry in of_payment.data:
                invoice = entry.invoice
                return OriginSnapshot(payment_intent_id, invoice if isinstance(invoice, str) else invoice.id, None)
            sessions = self._client.v1.checkout.sessions.list({"payment_intent": payment_intent_id, "limit": 1})
            session_id = next((session.id for session in sessions.data), None)
            return OriginSnapshot(payment_intent_id, None, session_id)

        return await self._call(work)

    async def fetch_refund(self, refund_id: str) -> RefundSnapshot:
        """The refund as it is now."""
        return await self._call(lambda: parse_refund(self._client.v1.refunds.retrieve(refund_id).to_dict()))

    async def fetch_dispute(self, dispute_id: str) -> DisputeSnapshot:
        """The dispute as it is now."""
        return await self._call(lambda: parse_dispute(self._client.v1.disputes.retrieve(dispute_id).to_dict()))

    async def fetch(self, ref: ObjectRef) -> Snapshot:
        """Whatever `ref` names, as it is now."""
        match ref.kind:
            case "subscription":
                return await self.fetch_subscription(ref.object_id)
            case "schedule":
                return await self.fetch_schedule(ref.object_id)
            case "invoice":
                return await self.fetch_invoice(ref.object_id)
            case "session":
                return await self.fetch_session(ref.object_id)
            case "payment":
                return await self.fetch_payment(ref.object_id)
            case "origin":
                return await self.fetch_origin(ref.object_id)
            case "refund":
                return await self.fetch_refund(ref.object_id)
            case "dispute":
                return await self.fetch_dispute(ref.object_id)
