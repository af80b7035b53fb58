"""Calls that open checkout pages."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbooth.payments.stripe.connection import StripeCalls, StripeConnection, stripe_call
from tokenbooth.payments.stripe.object_reader import UnexpectedShape
from tokenbooth.payments.stripe.parsing import parse_session
from tokenbooth.payments.stripe.subscriptions import PlanPrice, SubscriptionCalls

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams


@dataclass(frozen=True, slots=True)
class CheckoutCreated:
    """A hosted checkout page waits at `url` until `expires_at_us`."""

    session_id: str
    url: str
    expires_at_us: int


class CheckoutCalls(StripeCalls):
    """Calls about checkout pages."""

    def __init__(self, connection: StripeConnection, subscriptions: SubscriptionCalls) -> None:
        super().__init__(connection)
        self._subscriptions = subscriptions

    @stripe_call
    async def create_subscription(
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
        price_id = await self._subscriptions.ensure_price(price)
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
            "automatic_tax": {"enabled": self.connection.collects_tax},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._create_session(params, idempotency_key)

    @stripe_call
    async def create_topup(
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
            "automatic_tax": {"enabled": self.connection.collects_tax},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return await self._create_session(params, idempotency_key)

    async def _create_session(self, params: "SessionCreateParams", idempotency_key: str) -> CheckoutCreated:
        if self.connection.collects_tax:
            # Stripe taxes by the customer's address, which it asks for on the page and has to keep.
            params["customer_update"] = {"address": "auto", "name": "auto"}
        made = await self._v1.checkout.sessions.create_async(params, {"idempotency_key": idempotency_key})
        session = parse_session(made.to_dict())
        if session.url is None:
            raise UnexpectedShape("session.url", "a text")
        return CheckoutCreated(session.session_id, session.url, session.expires_at_us)
