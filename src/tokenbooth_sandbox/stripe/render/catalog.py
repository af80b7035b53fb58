"""Customers, products, prices and set-up in Stripe's form. Pure."""

from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue
from tokenbooth_sandbox.stripe.records import (
    Customer,
    PortalConfiguration,
    PortalSession,
    Price,
    Product,
    TestClock,
    WebhookEndpoint,
)
from tokenbooth_sandbox.stripe.render.shared import copied, head

CLOCK_KEPT_S = 30 * 86_400


def test_clock(record: TestClock) -> JsonObject:
    return {
        **head(record, "test_helpers.test_clock"),
        "deletes_after": record.created + CLOCK_KEPT_S,
        "frozen_time": record.frozen_time,
        "name": record.name,
        "status": "ready",
        "status_details": {},
    }


def customer(record: Customer) -> JsonObject:
    if record.deleted:
        return {"id": record.id, "object": "customer", "deleted": True}
    return {
        **head(record, "customer"),
        "address": None,
        "balance": record.balance,
        "currency": "usd",
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": record.email,
        "invoice_prefix": record.id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": record.default_payment_method,
            "footer": None,
            "rendering_options": None,
        },
        "metadata": copied(record.metadata),
        "name": record.name,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": record.test_clock,
    }


def product(record: Product) -> JsonObject:
    return {
        **head(record, "product"),
        "active": True,
        "default_price": None,
        "description": record.description,
        "images": [],
        "marketing_features": [],
        "metadata": copied(record.metadata),
        "name": record.name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": record.created,
        "url": None,
    }


def price(record: Price) -> JsonObject:
    recurring: JsonObject | None = None
    if record.interval is not None:
        recurring = {
            "interval": record.interval,
            "interval_count": record.interval_count,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        }
    return {
        **head(record, "price"),
        "active": record.active,
        "billing_scheme": "per_unit",
        "currency": record.currency,
        "custom_unit_amount": None,
        "lookup_key": record.lookup_key,
        "metadata": copied(record.metadata),
        "nickname": record.nickname,
        "product": record.product,
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time" if recurring is None else "recurring",
        "unit_amount": record.unit_amount,
        "unit_amount_decimal": str(record.unit_amount),
    }


def plan(record: Price) -> JsonObject:
    """A recurring price in the older form that subscription items still carry."""
    return {
        **head(record, "plan"),
        "active": record.active,
        "amount": record.unit_amount,
        "amount_decimal": str(record.unit_amount),
        "billing_scheme": "per_unit",
        "currency": record.currency,
        "interval": record.interval,
        "interval_count": record.interval_count,
        "metadata": copied(record.metadata),
        "meter": None,
        "nickname": record.nickname,
        "product": record.product,
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def webhook_endpoint(record: WebhookEndpoint) -> JsonObject:
    return {
        **head(record, "webhook_endpoint"),
        "api_version": record.api_version,
        "application": None,
        "description": record.description,
        "enabled_events": list(record.enabled_events),
        "metadata": copied(record.metadata),
        "status": "disabled" if record.disabled else "enabled",
        "url": record.url,
    }


def portal_configuration(record: PortalConfiguration) -> JsonObject:
    features: JsonObject = {
        name: {"enabled": record.features.get(name, False)}
        for name in (
            "customer_update",
            "invoice_history",
            "payment_method_update",
            "subscription_cancel",
            "subscription_update",
        )
    }
    features["subscription_cancel"] = {
        "cancellation_reason": {"enabled": False, "options": []},
        "enabled": record.features.get("subscription_cancel", False),
        "mode": "at_period_end",
        "proration_behavior": "none",
    }
    conditions: list[JsonValue] = [{"type": condition} for condition in record.schedule_conditions]
    features["subscription_update"] = {
        "billing_cycle_anchor": None,
        "default_allowed_updates": [],
        "enabled": record.features.get("subscription_update", False),
        "proration_behavior": "none",
        "schedule_at_period_end": {"conditions": conditions},
        "trial_update_behavior": "end_trial",
    }
    return {
        **head(record, "billing_portal.configuration"),
        "active": True,
        "application": None,
        "business_profile": {"headline": None, "privacy_policy_url": None, "terms_of_service_url": None},
        "default_return_url": record.default_return_url,
        "features": features,
        "is_default": False,
        "login_page": {"enabled": False, "url": None},
        "metadata": copied(record.metadata),
        "name": None,
        "updated": record.created,
    }


def portal_session(record: PortalSession, public_url: str) -> JsonObject:
    return {
        **head(record, "billing_portal.session"),
        "configuration": record.configuration or "bpc_sandbox",
        "customer": record.customer,
        "flow": None,
        "locale": None,
        "on_behalf_of": None,
        "return_url": record.return_url,
        "url": f"{public_url}/p/session/{record.id}",
    }
