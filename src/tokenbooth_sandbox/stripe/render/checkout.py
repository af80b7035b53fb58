"""Checkout sessions in Stripe's form. Pure."""

from tokenbooth_sandbox.stripe.http import JsonObject
from tokenbooth_sandbox.stripe.records import Customer, LineItem, Price, Session
from tokenbooth_sandbox.stripe.render.catalog import price
from tokenbooth_sandbox.stripe.render.shared import NO_ADDRESS, automatic_tax, copied, head
from tokenbooth_sandbox.stripe.state import State


def session_path(session_id: str) -> str:
    """Where a session's page stands below the sandbox's public URL."""
    return f"/c/pay/{session_id}"


def session(record: Session, state: State, public_url: str) -> JsonObject:
    known = state.find(Customer, record.customer)
    email = known.email if known is not None else record.customer_email
    details: JsonObject | None = None
    if record.status == "complete" or email is not None:
        details = {
            "address": dict(NO_ADDRESS),
            "business_name": None,
            "email": email,
            "individual_name": None,
            "name": None,
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        }
    open_url = public_url + session_path(record.id) if record.status == "open" else None
    totals: JsonObject | None = None
    if record.amount_total is not None:
        totals = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": record.tax}
    return {
        **head(record, "checkout.session"),
        "adaptive_pricing": {"enabled": record.adaptive_pricing},
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": _subtotal(record),
        "amount_total": record.amount_total,
        "automatic_tax": {**automatic_tax(record.is_taxed), "status": "complete" if record.is_taxed else None},
        "billing_address_collection": None,
        "cancel_url": record.cancel_url,
        "client_reference_id": record.client_reference_id,
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "currency": record.currency,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": record.customer,
        "customer_creation": None if record.customer else "always",
        "customer_details": details,
        "customer_email": record.customer_email,
        "discounts": [],
        "expires_at": record.expires_at,
        "invoice": record.invoice,
        "invoice_creation": None,
        "locale": None,
        "metadata": copied(record.metadata),
        "mode": record.mode,
        "origin_context": None,
        "payment_intent": record.payment_intent,
        "payment_link": None,
        "payment_method_collection": "always" if record.mode == "subscription" else "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "payment_status": record.payment_status,
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": record.setup_intent,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": record.status,
        "submit_type": None,
        "subscription": record.subscription,
        "success_url": record.success_url,
        "total_details": totals,
        "ui_mode": "hosted_page",
        "url": open_url,
        "wallet_options": None,
    }


def _subtotal(record: Session) -> int | None:
    """The prices alone, which have the tax inside where it is inclusive."""
    if record.amount_total is None or record.inclusive:
        return record.amount_total
    return record.amount_total - record.tax


def line_item(item: LineItem, state: State) -> JsonObject:
    known = state.get(Price, item.price)
    total = known.unit_amount * item.quantity
    return {
        "id": item.id,
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": known.currency,
        "description": item.description,
        "metadata": {},
        "price": price(known),
        "quantity": item.quantity,
    }
