"""Calls about saved cards: charged for credit, with the tax on it; and payments given back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenbooth.domain.windows import SECOND_US
from tokenbooth.payments.stripe.connection import StripeCalls, stripe_call
from tokenbooth.payments.stripe.events import DIRECT
from tokenbooth.payments.stripe.object_reader import ObjectReader
from tokenbooth.payments.stripe.parsing import parse_payment, parse_refund
from tokenbooth.payments.stripe.snapshots import NO_TAX, PaymentSnapshot, RefundSnapshot, TaxNote

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams, RefundCreateParams


@dataclass(frozen=True, slots=True)
class PricedTopUp:
    """What a top-up costs with its tax, in cents; `calculation_id` is Stripe's of the tax, None without any."""

    total_cents: int
    tax: TaxNote = NO_TAX
    calculation_id: str | None = None


class CardCalls(StripeCalls):
    """Calls about saved cards and their payments."""

    @stripe_call
    async def find_saved(self, customer_id: str) -> str | None:
        """The card to charge without the customer: the default one, else the newest; None when none is saved, or the
        customer was deleted at Stripe."""
        customer = await self._v1.customers.retrieve_async(customer_id)
        if customer.to_dict().get("deleted") is True:
            return None
        settings = customer.invoice_settings
        default = None if settings is None else settings.default_payment_method
        if default is not None:
            return default if isinstance(default, str) else default.id
        cards = await self._v1.customers.payment_methods.list_async(customer_id, {"type": "card", "limit": 1})
        return next((card.id for card in cards.data), None)

    @stripe_call
    async def price_top_up(self, *, customer_id: str, amount_cents: int, checkout_id: str) -> PricedTopUp:
        """What credit of `amount_cents` costs this customer: as much, or with the tax that the page would add. An
        `invalid` failure says that Stripe cannot calculate it."""
        if not self.connection.collects_tax:
            return PricedTopUp(amount_cents)
        # The page leaves it to the account's settings whether a price has its tax inside.
        settings = await self._v1.tax.settings.retrieve_async()
        defaults = ObjectReader(settings.to_dict(), "tax.settings").child("defaults")
        behavior = "inclusive" if defaults.opt_text("tax_behavior") == "inclusive" else "exclusive"
        made = await self._v1.tax.calculations.create_async(
            {
                "currency": "usd",
                "customer": customer_id,
                "line_items": [{"amount": amount_cents, "reference": checkout_id, "tax_behavior": behavior}],
            },
            {"idempotency_key": f"tax-{checkout_id}"},
        )
        return parse_calculation(made.to_dict())

    @stripe_call
    async def charge(
        self, *, customer_id: str, card_id: str, price: PricedTopUp, account_id: str, checkout_id: str
    ) -> PaymentSnapshot:
        """Charge a saved card for a top-up, once for its checkout. A refusal is a `declined` failure."""
        metadata = {"account_id": account_id, "checkout_id": checkout_id, "purpose": DIRECT}
        params: PaymentIntentCreateParams = {
            "amount": price.total_cents,
            "currency": "usd",
            "customer": customer_id,
            "payment_method": card_id,
            "confirm": True,
            "off_session": True,
            "description": "Prepaid credit",
            "metadata": metadata,
        }
        if price.calculation_id is not None:
            # So Stripe records the tax with the payment, and takes it back with its refunds.
            params["hooks"] = {"inputs": {"tax": {"calculation": price.calculation_id}}}
            metadata["tax_added"] = str(price.tax.added_cents)
            metadata["tax_included"] = str(price.tax.included_cents)
        made = await self._v1.payment_intents.create_async(params, {"idempotency_key": f"charge-{checkout_id}"})
        return parse_payment(made.to_dict())

    @stripe_call
    async def find_charge(self, customer_id: str, checkout_id: str, *, since_us: int) -> PaymentSnapshot | None:
        """The payment that a charge for this checkout made, read back; `since_us` is UTC microseconds."""
        listing = await self._v1.payment_intents.list_async(
            {"customer": customer_id, "created": {"gte": since_us // SECOND_US}, "limit": 100}
        )
        async for entry in listing.auto_paging_iter():
            payment = parse_payment(entry.to_dict())
            if payment.owner.checkout_id == checkout_id:
                return payment
        return None

    @stripe_call
    async def refund(self, payment_intent_id: str, amount_cents: int | None, *, idempotency_key: str) -> RefundSnapshot:
        """Give a payment back; `amount_cents` None for all that is left of it."""
        params: RefundCreateParams = {"payment_intent": payment_intent_id, "reason": "requested_by_customer"}
        if amount_cents is not None:
            params["amount"] = amount_cents
        made = await self._v1.refunds.create_async(params, {"idempotency_key": idempotency_key})
        return parse_refund(made.to_dict())


def parse_calculation(value: object) -> PricedTopUp:
    """Read a tax calculation. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "tax.calculation")
    return PricedTopUp(
        total_cents=fields.number("amount_total"),
        tax=TaxNote(fields.number("tax_amount_exclusive"), fields.number("tax_amount_inclusive")),
        calculation_id=fields.text("id"),
    )
