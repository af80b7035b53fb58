"""Subscriptions and invoices in Stripe's form. Pure."""

from tokenbooth_sandbox.stripe.billing.records import (
    Invoice,
    InvoiceItem,
    InvoicePayment,
    SchedulePhase,
    Subscription,
    SubscriptionSchedule,
)
from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue
from tokenbooth_sandbox.stripe.records import Customer, Price
from tokenbooth_sandbox.stripe.render.catalog import plan, price
from tokenbooth_sandbox.stripe.render.shared import automatic_tax, copied, head, listing
from tokenbooth_sandbox.stripe.state import State


def _test_clock(state: State, customer_id: str) -> str | None:
    owner = state.find(Customer, customer_id)
    return None if owner is None else owner.test_clock


def subscription(record: Subscription, state: State) -> JsonObject:
    known = state.get(Price, record.price)
    item: JsonObject = {
        "id": record.item_id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": record.created,
        "current_period_end": record.period_end,
        "current_period_start": record.period_start,
        "discounts": [],
        "metadata": {},
        "plan": plan(known),
        "price": price(known),
        "quantity": record.quantity,
        "subscription": record.id,
        "tax_rates": [],
    }
    return {
        **head(record, "subscription"),
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": record.is_taxed, "liability": None},
        "billing_cycle_anchor": record.anchor,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_thresholds": None,
        "cancel_at": record.cancel_at,
        "cancel_at_period_end": record.cancel_at_period_end,
        "canceled_at": record.canceled_at,
        "cancellation_details": {"comment": None, "feedback": None, "reason": record.cancel_reason},
        "collection_method": "charge_automatically",
        "currency": record.currency,
        "customer": record.customer,
        "days_until_due": None,
        "default_payment_method": record.default_payment_method,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": record.ended_at,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": listing([item], f"/v1/subscription_items?subscription={record.id}"),
        "latest_invoice": record.latest_invoice,
        "metadata": copied(record.metadata),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": record.schedule,
        "start_date": record.created,
        "status": record.status,
        "test_clock": _test_clock(state, record.customer),
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def subscription_schedule(record: SubscriptionSchedule, state: State) -> JsonObject:
    present: JsonObject | None = None
    owner = state.find(Subscription, record.subscription)
    if owner is not None and record.status == "active":
        found = next((phase for phase in record.phases if phase.start <= owner.period_start < phase.end), None)
        if found is not None:
            present = {"end_date": found.end, "start_date": found.start}
    return {
        **head(record, "subscription_schedule"),
        "application": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "canceled_at": record.canceled_at,
        "completed_at": None,
        "current_phase": present,
        "customer": record.customer,
        "default_settings": {
            "application_fee_percent": None,
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": "automatic",
            "billing_thresholds": None,
            "collection_method": "charge_automatically",
            "default_payment_method": None,
            "description": None,
            "invoice_settings": {"account_tax_ids": None, "days_until_due": None, "issuer": {"type": "self"}},
            "on_behalf_of": None,
            "transfer_data": None,
        },
        "end_behavior": record.end_behavior,
        "metadata": copied(record.metadata),
        "phases": [_phase(phase, state) for phase in record.phases],
        "released_at": record.released_at,
        "released_subscription": record.released_subscription,
        "status": record.status,
        "subscription": record.subscription,
        "test_clock": _test_clock(state, record.customer),
    }


def _phase(phase: SchedulePhase, state: State) -> JsonObject:
    known = state.get(Price, phase.price)
    return {
        "add_invoice_items": [],
        "application_fee_percent": None,
        "billing_cycle_anchor": None,
        "billing_thresholds": None,
        "collection_method": None,
        "currency": known.currency,
        "default_payment_method": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "end_date": phase.end,
        "invoice_settings": None,
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": {},
                "plan": known.id,
                "price": known.id,
                "quantity": phase.quantity,
                "tax_rates": [],
            }
        ],
        "metadata": copied(phase.metadata),
        "on_behalf_of": None,
        "proration_behavior": phase.proration_behavior,
        "start_date": phase.start,
        "transfer_data": None,
        "trial_end": None,
    }


def invoice_path(invoice_id: str) -> str:
    """Where an invoice's page stands below the sandbox's public URL."""
    return f"/i/{invoice_id}"


def invoice(record: Invoice, state: State, public_url: str) -> JsonObject:
    paid = record.amount_due if record.status == "paid" else 0
    page_url = None if record.number is None else public_url + invoice_path(record.id)
    owner = state.find(Customer, record.customer)
    return {
        **head(record, "invoice"),
        "account_country": "US",
        "account_name": "Sandbox",
        "account_tax_ids": None,
        "amount_due": record.amount_due,
        "amount_overpaid": 0,
        "amount_paid": paid,
        "amount_remaining": record.amount_due - paid,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": record.attempt_count,
        "attempted": record.attempt_count > 0,
        "auto_advance": record.status in ("draft", "open"),
        "automatic_tax": {
            **automatic_tax(record.is_taxed),
            "disabled_reason": None,
            "status": "complete" if record.is_taxed else None,
        },
        "automatically_finalizes_at": record.finalizes_at,
        "billing_reason": record.billing_reason,
        "collection_method": "charge_automatically",
        "currency": record.currency,
        "custom_fields": None,
        "customer": record.customer,
        "customer_address": None,
        "customer_email": None if owner is None else owner.email,
        "customer_name": None if owner is None else owner.name,
        "customer_phone": None,
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": record.finalized_at,
        "ending_balance": None if record.finalized_at is None else min(record.total, 0),
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": page_url,
        "invoice_pdf": None if page_url is None else f"{page_url}/pdf",
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": listing(_invoice_lines(record, state), f"/v1/invoices/{record.id}/lines"),
        "metadata": {},
        "next_payment_attempt": record.finalizes_at or record.next_attempt_at,
        "number": record.number,
        "on_behalf_of": None,
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": copied(record.subscription_metadata),
                "subscription": record.subscription,
            },
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": record.period_start,
        "period_start": record.period_start,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": -record.applied,
        "statement_descriptor": None,
        "status": record.status,
        "status_transitions": {
            "finalized_at": record.finalized_at,
            "marked_uncollectible_at": None,
            "paid_at": record.paid_at,
            "voided_at": None,
        },
        "subtotal": record.amount,
        "subtotal_excluding_tax": record.total - record.tax,
        "test_clock": _test_clock(state, record.customer),
        "total": record.total,
        "total_discount_amounts": [],
        "total_excluding_tax": record.total - record.tax,
        "total_pretax_credit_amounts": [],
        "total_taxes": _total_taxes(record),
        "webhooks_delivered_at": record.created,
    }


def _total_taxes(record: Invoice) -> list[JsonValue]:
    if not record.is_taxed:
        return []
    return [
        {
            "amount": record.tax,
            "tax_behavior": "inclusive" if record.inclusive else "exclusive",
            "tax_rate_details": None,
            "taxability_reason": "standard_rated",
            "taxable_amount": record.total - record.tax,
            "type": "tax_rate_details",
        }
    ]


def _invoice_lines(record: Invoice, state: State) -> list[JsonValue]:
    lines: list[JsonValue] = [
        _invoice_line(record, state, line.id, line.price, line.amount, line.description, proration=True)
        for line in record.prorations
    ]
    if record.billing_reason != "subscription_update":
        lines.append(
            _invoice_line(
                record, state, record.line_id, record.price, record.ordinary, record.description, proration=False
            )
        )
    return lines


def _invoice_line(
    record: Invoice, state: State, line_id: str, price_id: str, amount: int, description: str, *, proration: bool
) -> JsonObject:
    known = state.get(Price, price_id)
    source: JsonObject = {
        "invoice_item": None,
        "proration": proration,
        "proration_details": {"credited_items": None},
        "subscription": record.subscription,
        "subscription_item": record.item_id,
    }
    pricing: JsonObject = {
        "price_details": {"price": known.id, "product": known.product},
        "type": "price_details",
        "unit_amount_decimal": str(known.unit_amount),
    }
    return {
        "id": line_id,
        "object": "line_item",
        "amount": amount,
        "currency": record.currency,
        "description": description,
        "discount_amounts": [],
        "discountable": not proration,
        "discounts": [],
        "invoice": record.id,
        "livemode": False,
        "metadata": copied(record.subscription_metadata),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": source,
            "type": "subscription_item_details",
        },
        "period": {"end": record.period_end, "start": record.period_start},
        "pretax_credit_amounts": [],
        "pricing": pricing,
        "quantity": record.quantity,
        "subtotal": amount,
        "taxes": [],
    }


def invoice_item(record: InvoiceItem, state: State) -> JsonObject:
    return {
        "id": record.id,
        "object": "invoiceitem",
        "amount": record.amount,
        "currency": record.currency,
        "customer": record.customer,
        "date": record.created,
        "description": record.description,
        "discountable": False,
        "discounts": [],
        "invoice": record.invoice,
        "livemode": False,
        "metadata": {},
        "net_amount": record.amount,
        "parent": {
            "subscription_details": {"subscription": record.subscription, "subscription_item": None},
            "type": "subscription_details",
        },
        "period": {"end": record.end, "start": record.start},
        "pricing": {
            "price_details": {"price": record.price, "product": state.get(Price, record.price).product},
            "type": "price_details",
            "unit_amount_decimal": str(record.amount),
        },
        "proration": True,
        "proration_details": {"discount_amounts": []},
        "quantity": 1,
        "tax_rates": [],
        "test_clock": _test_clock(state, record.customer),
    }


def invoice_payment(record: InvoicePayment) -> JsonObject:
    paid: JsonValue = record.amount if record.status == "paid" else None
    return {
        **head(record, "invoice_payment"),
        "amount_paid": paid,
        "amount_requested": record.amount,
        "currency": record.currency,
        "invoice": record.invoice,
        "is_default": True,
        "payment": {"payment_intent": record.payment_intent, "type": "payment_intent"},
        "status": record.status,
        "status_transitions": {"canceled_at": None, "paid_at": record.paid_at},
    }
