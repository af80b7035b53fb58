"""Our client of Stripe's API: the calls that we make, answered in our own values.

Built once, in `runtime.build`.
"""

from dataclasses import dataclass

from tokenbooth.domain.windows import SECOND_US
from tokenbooth.payments.stripe.balance import BalanceCalls
from tokenbooth.payments.stripe.cards import CardCalls
from tokenbooth.payments.stripe.checkouts import CheckoutCalls, CheckoutCreated
from tokenbooth.payments.stripe.connection import (
    API_VERSION,
    PaymentProviderError,
    StripeCalls,
    StripeConnection,
    stripe_call,
)
from tokenbooth.payments.stripe.customers import CustomerCalls
from tokenbooth.payments.stripe.events import ObjectRef
from tokenbooth.payments.stripe.parsing import (
    parse_dispute,
    parse_invoice,
    parse_payment,
    parse_refund,
    parse_schedule,
    parse_session,
)
from tokenbooth.payments.stripe.setup import SetupCalls
from tokenbooth.payments.stripe.snapshots import (
    InvoiceSnapshot,
    OriginSnapshot,
    SessionSnapshot,
    Snapshot,
)
from tokenbooth.payments.stripe.subscriptions import PlanInterval, PlanPrice, SubscriptionCalls
from tokenbooth.payments.stripe.webhooks import WebhookEvent, parse_event

__all__ = [
    "API_VERSION",
    "CheckoutCreated",
    "EventPage",
    "PaymentProviderError",
    "PlanInterval",
    "PlanPrice",
    "StripeClient",
]


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of Stripe's event list, newest first. `last_id` continues it; None when it is empty."""

    events: tuple[WebhookEvent, ...]
    has_more: bool
    last_id: str | None


class StripeClient(StripeCalls):
    """Reads events and objects, and groups all other calls by what they are about. Close it when done."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str | None = None,
        timeout_s: float = 20.0,
        max_network_retries: int = 2,
        collects_tax: bool = False,
    ) -> None:
        """`collects_tax`: whether Stripe adds tax to what is sold. `api_base`: None for Stripe itself, else where
        a twin of its API stands. `timeout_s` is per attempt, in seconds. Raises ValueError for an empty key."""
        super().__init__(
            StripeConnection(
                secret_key,
                api_base=api_base,
                timeout_s=timeout_s,
                max_network_retries=max_network_retries,
                collects_tax=collects_tax,
            )
        )
        self.livemode = self.connection.livemode
        self.customers = CustomerCalls(self.connection)
        self.cards = CardCalls(self.connection)
        self.subscriptions = SubscriptionCalls(self.connection)
        self.checkouts = CheckoutCalls(self.connection, self.subscriptions)
        self.balance = BalanceCalls(self.connection)
        self.setup = SetupCalls(self.connection)

    async def aclose(self) -> None:
        """Let running calls end, and close every connection."""
        await self.connection.aclose()

    @stripe_call
    async def list_events(self, *, created_from_us: int, after_id: str | None = None) -> EventPage:
        """A page of the events since `created_from_us` (UTC microseconds), newest first, older than
        `after_id`."""
        since_s = created_from_us // SECOND_US
        page = await self._v1.events.list_async(
            {"limit": 100, "created": {"gte": since_s}, "starting_after": after_id}
            if after_id
            else {"limit": 100, "created": {"gte": since_s}}
        )
        events = tuple(parse_event(entry.to_dict()) for entry in page.data)
        return EventPage(events, page.has_more, events[-1].event_id if events else None)

    @stripe_call
    async def fetch(self, ref: ObjectRef) -> Snapshot:
        """Whatever `ref` names, as it is now."""
        object_id = ref.object_id
        match ref.kind:
            case "subscription":
                return await self.subscriptions.fetch(object_id)
            case "invoice":
                return await self.fetch_invoice(object_id)
            case "session":
                return await self.fetch_session(object_id)
            case "origin":
                return await self.fetch_origin(object_id)
            case "schedule":
                return parse_schedule((await self._v1.subscription_schedules.retrieve_async(object_id)).to_dict())
            case "payment":
                return parse_payment((await self._v1.payment_intents.retrieve_async(object_id)).to_dict())
            case "refund":
                return parse_refund((await self._v1.refunds.retrieve_async(object_id)).to_dict())
            case "dispute":
                return parse_dispute((await self._v1.disputes.retrieve_async(object_id)).to_dict())

    @stripe_call
    async def fetch_invoice(self, invoice_id: str) -> InvoiceSnapshot:
        """The invoice as it is now."""
        found = await self._v1.invoices.retrieve_async(invoice_id, {"expand": ["payments"]})
        return parse_invoice(found.to_dict())

    @stripe_call
    async def fetch_session(self, session_id: str) -> SessionSnapshot:
        """The checkout session as it is now."""
        return parse_session((await self._v1.checkout.sessions.retrieve_async(session_id)).to_dict())

    @stripe_call
    async def fetch_origin(self, payment_intent_id: str) -> OriginSnapshot:
        """The invoice or the checkout session that a payment paid; payments name neither themselves."""
        of_payment = await self._v1.invoice_payments.list_async(
            {"payment": {"type": "payment_intent", "payment_intent": payment_intent_id}, "limit": 1}
        )
        for entry in of_payment.data:
            invoice = entry.invoice
            return OriginSnapshot(payment_intent_id, invoice if isinstance(invoice, str) else invoice.id, None)
        sessions = await self._v1.checkout.sessions.list_async({"payment_intent": payment_intent_id, "limit": 1})
        session_id = next((session.id for session in sessions.data), None)
        return OriginSnapshot(payment_intent_id, None, session_id)
