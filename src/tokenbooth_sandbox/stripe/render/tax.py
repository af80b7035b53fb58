"""Tax calculations and transactions in Stripe's form. Pure."""

from tokenbooth_sandbox.stripe.http import JsonObject
from tokenbooth_sandbox.stripe.records import TaxCalculation, TaxTransaction
from tokenbooth_sandbox.stripe.render.shared import listing
from tokenbooth_sandbox.stripe.state import State

_KEPT_S = 90 * 86_400
_SHIP_FROM: JsonObject | None = None


def calculation(record: TaxCalculation) -> JsonObject:
    return {
        "id": record.id,
        "object": "tax.calculation",
        "amount_total": record.amount if record.inclusive else record.amount + record.tax,
        "currency": record.currency,
        "customer": record.customer,
        "customer_details": _customer_details(),
        "expires_at": record.created + _KEPT_S,
        "livemode": False,
        "ship_from_details": _SHIP_FROM,
        "shipping_cost": None,
        "tax_amount_exclusive": 0 if record.inclusive else record.tax,
        "tax_amount_inclusive": record.tax if record.inclusive else 0,
        "tax_breakdown": [
            {
                "amount": record.tax,
                "inclusive": record.inclusive,
                "tax_rate_details": {
                    "country": "US",
                    "flat_amount": None,
                    "percentage_decimal": "10.0",
                    "rate_type": "percentage",
                    "state": None,
                    "tax_type": "sales_tax",
                },
                "taxability_reason": "standard_rated",
                "taxable_amount": record.amount - record.tax if record.inclusive else record.amount,
            }
        ],
        "tax_date": record.created,
    }


def transaction(record: TaxTransaction, state: State) -> JsonObject:
    of = state.get(TaxCalculation, record.calculation)
    line: JsonObject = {
        "id": of.line_id,
        "object": "tax.transaction_line_item",
        "amount": of.amount,
        "amount_tax": of.tax,
        "livemode": False,
        "metadata": {},
        "product": None,
        "quantity": 1,
        "reference": of.reference,
        "reversal": None,
        "tax_behavior": "inclusive" if of.inclusive else "exclusive",
        "tax_code": "txcd_10000000",
        "type": "transaction",
    }
    return {
        "id": record.id,
        "object": "tax.transaction",
        "created": record.created,
        "currency": of.currency,
        "customer": of.customer,
        "customer_details": _customer_details(),
        "line_items": listing([line], f"/v1/tax/transactions/{record.id}/line_items"),
        "livemode": False,
        "metadata": {},
        "posted_at": record.created,
        # A transaction that a payment made is found by the payment.
        "reference": record.payment_intent,
        "reversal": None,
        "ship_from_details": _SHIP_FROM,
        "shipping_cost": None,
        "tax_date": record.created,
        "type": "transaction",
    }


def _customer_details() -> JsonObject:
    return {
        "address": {
            "city": None,
            "country": "US",
            "line1": None,
            "line2": None,
            "postal_code": None,
            "state": None,
        },
        "address_source": "billing",
        "ip_address": None,
        "tax_ids": [],
        "taxability_override": "none",
    }
