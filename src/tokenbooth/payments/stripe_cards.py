"""Stripe's calls about what a customer has already: saved cards charged, subscriptions begun, changed and ended.

Answered in our own values. Only `stripe_client` builds on this.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tokenbooth.payments.stripe_calls import StripeCalls, whole_cents
from tokenbooth.payments.stripe_events import DIRECT
from tokenbooth.payments.stripe_snapshots import (
    Fields,
    PaymentSnapshot,
    RefundSnapshot,
    SubscriptionSnapshot,
    parse_payment,
    parse_refund,
    parse_subscription,
)

if TYPE_CHECKING:
    from stripe.params import RefundCreateParams, SubscriptionUpdateParams

PlanInterval = Literal["day", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """A plan's price at Stripe: `price_nano` per interval, a whole number of cents."""

    plan_slug: str
    plan_name: str
    price_nano: int
    interval: PlanInterval

    @property
    def lookup_key(self) -> str:
        """The name by which the price is found; another price of the same plan has another one."""
        return f"tokenbooth-{self.plan_slug}-{whole_cents(self.price_nano)}-{self.interval}"


class CardCalls(StripeCalls):
    """Calls about saved cards and existing subscriptions."""

    async def ensure_price(self, price: PlanPrice) -> str:
        """The id of a plan's price, made with its product when there is none."""
        known = self._price_ids.get(price.lookup_key)
        if known is not None:
            return known

        def work() -> str:
            found = self._client.v1.prices.list({"lookup_keys": [price.lookup_key], "active": True, "limit": 1})
            for entry in found.data:
                return entry.id
            made = self._client.v1.prices.create(
                {
                    "currency": "usd",
                    "unit_amount": whole_cents(price.price_nano),
                    "recurring": {"interval": price.interval},
                    "product_data": {"name": price.plan_name, "metadata": {"plan_slug": price.plan_slug}},
                    "lookup_key": price.lookup_key,
                    "metadata": {"plan_slug": price.plan_slug},
                },
                {"idempotency_key": f"price-{price.lookup_key}"},
            )
            return made.id

        price_id = self._price_ids[price.lookup_key] = await self._call(work)
        return price_id

    async def saved_card(self, customer_id: str) -> str | None:
        """The card to charge without the customer: the default one, else the newest; None when none is saved."""

        def work() -> str | None:
            customer = self._client.v1.customers.retrieve(customer_id)
            settings = None if customer.to_dict().get("deleted") else customer.invoice_settings
            default = None if settings is None else settings.default_payment_method
            if default is not None:
                return default if isinstance(default, str) else default.id
            cards = self._client.v1.customers.payment_methods.list(customer_id, {"type": "card", "limit": 1})
            return next((card.id for card in cards.data), None)

        return await self._call(work)

    async def charge_saved_card(
        self, *, customer_id: str, card_id: str, amount_cents: int, account_id: str, checkout_id: str
    ) -> PaymentSnapshot:
        """Charge a saved card for a top-up, once for its checkout. A refusal is a `declined` failure."""

        def work() -> PaymentSnapshot:
            made = self._client.v1.payment_intents.create(
                {
                    "amount": amount_cents,
                    "currency": "usd",
                    "customer": customer_id,
                    "payment_method": card_id,
                    "confirm": True,
                    "off_session": True,
                    "description": "Prepaid credit",
                    "metadata": {"account_id": account_id, "checkout_id": checkout_id, "purpose": DIRECT},
                },
                {"idempotency_key": f"charge-{checkout_id}"},
            )
            return parse_payment(made.to_dict())

        return await self._call(work)

    async def find_charge(self, customer_id: str, checkout_id: str, *, since_us: int) -> PaymentSnapshot | None:
        """The payment that a charge for this checkout made, read back; `since_us` is UTC microseconds."""

        def work() -> PaymentSnapshot | None:
            listing = self._client.v1.payment_intents.list(
                {"customer": customer_id, "created": {"gte": since_us // 1_000_000}, "limit": 100}
            )
            for entry in listing.auto_paging_iter():
                payment = parse_payment(entry.to_dict())
                if payment.owner.checkout_id == checkout_id:
                    return payment
            return None

        return await self._call(work)

    async def subscribe(
        self, *, customer_id: str, card_id: str, price: PlanPrice, account_id: str, checkout_id: str
    ) -> SubscriptionSnapshot:
        """Begin a subscription with a saved card; a card that is refused leaves nothing behind."""
        price_id = await self.ensure_price(price)
        marks = {"account_id": account_id, "plan_slug": price.plan_slug, "checkout_id": checkout_id}

        def work() -> SubscriptionSnapshot:
            made = self._client.v1.subscriptions.create(
                {
                    "customer": customer_id,
                    "items": [{"price": price_id, "quantity": 1}],
                    "default_payment_method": card_id,
                    "payment_behavior": "error_if_incomplete",
                    "off_session": True,
                    "automatic_tax": {"enabled": self.collects_tax},
                    "metadata": marks,
                },
                {"idempotency_key": f"subscribe-{checkout_id}"},
            )
            return parse_subscription(made.to_dict())

        return await self._call(work)

    async def change_plan(
        self, subscription_id: str, item_id: str, price: PlanPrice, checkout_id: str
    ) -> SubscriptionSnapshot:
        """Move a subscription to another price now; the difference is invoiced and charged at once, and a card
        that is refused changes nothing."""
        price_id = await self.ensure_price(price)

        def work() -> SubscriptionSnapshot:
            changed = self._client.v1.subscriptions.update(
                subscription_id,
                {
                    "items": [{"id": item_id, "price": price_id}],
                    "proration_behavior": "always_invoice",
                    "payment_behavior": "error_if_incomplete",
                    "metadata": {"plan_slug": price.plan_slug, "checkout_id": checkout_id},
                },
                {"idempotency_key": f"change-{checkout_id}"},
            )
            return parse_subscription(changed.to_dict())

        return await self._call(work)

    async def cancel_at_period_end(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Let the subscription end with its period; asked again, the same."""
        return await self._update(subscription_id, {"cancel_at_period_end": True}, idempotency_key)

    async def resume(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """Undo a cancel that has not come about, however it was made; asked again, the same."""
        present = await self._call(
            lambda: parse_subscription(self._client.v1.subscriptions.retrieve(subscription_id).to_dict())
        )
        if present.cancel_at_period_end:
            return await self._update(subscription_id, {"cancel_at_period_end": False}, idempotency_key)
        if present.cancel_at_us is not None:
            # As the portal cancels in flexible billing mode: a date alone.
            return await self._update(subscription_id, {"cancel_at": ""}, f"{idempotency_key}-date")
        return present

    async def end_subscription(self, subscription_id: str, idempotency_key: str) -> SubscriptionSnapshot:
        """End a subscription at once, without giving anything back."""

        def work() -> SubscriptionSnapshot:
            ended = self._client.v1.subscriptions.cancel(
                subscription_id, {"prorate": False, "invoice_now": False}, {"idempotency_key": idempotency_key}
            )
            return parse_subscription(ended.to_dict())

        return await self._call(work)

    async def refund(self, payment_intent_id: str, amount_cents: int | None, *, idempotency_key: str) -> RefundSnapshot:
        """Give a payment back; `amount_cents` None for all that is left of it."""
        params: RefundCreateParams = {"payment_intent": payment_intent_id, "reason": "requested_by_customer"}
        if amount_cents is not None:
            params["amount"] = amount_cents

        def work() -> RefundSnapshot:
            made = self._client.v1.refunds.create(params, {"idempotency_key": idempotency_key})
            return parse_refund(made.to_dict())

        return await self._call(work)

    async def portal_url(self, customer_id: str, return_url: str) -> str:
        """A page at Stripe on which the customer changes cards and subscriptions."""

        def work() -> str:
            configurations = self._client.v1.billing_portal.configurations.list({"active": True, "limit": 100})
            ours = next((entry.id for entry in configurations.data if _is_ours(entry.to_dict())), None)
            made = self._client.v1.billing_portal.sessions.create(
                {"customer": customer_id, "return_url": return_url, "configuration": ours}
                if ours is not None
                else {"customer": customer_id, "return_url": return_url}
            )
            return made.url

        return await self._call(work)

    async def _update(
        self, subscription_id: str, params: "SubscriptionUpdateParams", idempotency_key: str
    ) -> SubscriptionSnapshot:
        def work() -> SubscriptionSnapshot:
            updated = self._client.v1.subscriptions.update(
                subscription_id, params, {"idempotency_key": idempotency_key}
            )
            return parse_subscription(updated.to_dict())

        return await self._call(work)


def _is_ours(configuration: object) -> bool:
    return "tokenbooth" in Fields(configuration, "configuration").texts("metadata")
