"""Cards, payments and the balance in Stripe's form. Pure."""

from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue
from tokenbooth_sandbox.stripe.records import (
    BalanceTransaction,
    Charge,
    Dispute,
    PaymentIntent,
    PaymentMethod,
    Payout,
    Refund,
    SetupIntent,
)
from tokenbooth_sandbox.stripe.render.shared import NO_ADDRESS, copied, head
from tokenbooth_sandbox.stripe.state import State


def payment_method(record: PaymentMethod) -> JsonObject:
    return {
        **head(record, "payment_method"),
        "allow_redisplay": "limited",
        "billing_details": _billing_details(),
        "card": {**_card(record), "display_brand": record.brand, "generated_from": None},
        "customer": record.customer,
        "metadata": {},
        "type": "card",
    }


def _billing_details() -> JsonObject:
    return {"address": dict(NO_ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None}


def _card(record: PaymentMethod) -> JsonObject:
    return {
        "brand": record.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "exp_month": record.exp_month,
        "exp_year": record.exp_year,
        "fingerprint": f"sandbox{record.brand}{record.last4}",
        "funding": "credit",
        "last4": record.last4,
        "networks": {"available": [record.brand], "preferred": None},
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def payment_intent(record: PaymentIntent) -> JsonObject:
    paid = record.status == "succeeded"
    last_error: JsonObject | None = None
    if record.failure_code is not None:
        last_error = {"type": "card_error", "code": record.failure_code, "message": record.failure_message}
        if record.failure_code == "card_declined":
            last_error["decline_code"] = "generic_decline"
    return {
        **head(record, "payment_intent"),
        "amount": record.amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": record.amount if paid else 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{record.id}_secret_sandbox",
        "confirmation_method": "automatic",
        "currency": record.currency,
        "customer": record.customer,
        "description": record.description,
        "hooks": {"inputs": {"tax": {"calculation": record.tax_calculation}}} if record.tax_calculation else None,
        "last_payment_error": last_error,
        "latest_charge": record.latest_charge,
        "metadata": copied(record.metadata),
        "next_action": None,
        "on_behalf_of": None,
        # A refused card is taken off the intent again.
        "payment_method": None if record.failure_code else record.payment_method,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": record.setup_future_usage,
        "shipping": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": record.status,
        "transfer_data": None,
        "transfer_group": None,
    }


def setup_intent(record: SetupIntent) -> JsonObject:
    return {
        **head(record, "setup_intent"),
        "application": None,
        "cancellation_reason": None,
        "client_secret": f"{record.id}_secret_sandbox",
        "customer": record.customer,
        "description": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "mandate": None,
        "metadata": copied(record.metadata),
        "next_action": None,
        "payment_method": record.payment_method,
        "payment_method_types": ["card"],
        "status": "succeeded",
        "usage": "off_session",
    }


def charge(record: Charge, state: State) -> JsonObject:
    card = state.get(PaymentMethod, record.payment_method)
    failed = record.status == "failed"
    outcome: JsonObject = {
        "network_status": "declined_by_network" if failed else "approved_by_network",
        "reason": record.failure_code,
        "seller_message": "The bank did not approve the charge." if failed else "Payment complete.",
        "type": "issuer_declined" if failed else "authorized",
    }
    return {
        **head(record, "charge"),
        "amount": record.amount,
        "amount_captured": 0 if failed else record.amount,
        "amount_refunded": record.amount_refunded,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": record.balance_transaction,
        "billing_details": _billing_details(),
        "calculated_statement_descriptor": "SANDBOX",
        "captured": not failed,
        "currency": record.currency,
        "customer": record.customer,
        "description": record.description,
        "disputed": any(known.charge == record.id for known in state.newest(Dispute)),
        "failure_balance_transaction": None,
        "failure_code": record.failure_code,
        "failure_message": record.failure_message,
        "fraud_details": {},
        "metadata": copied(record.metadata),
        "on_behalf_of": None,
        "outcome": outcome,
        "paid": not failed,
        "payment_intent": record.payment_intent,
        "payment_method": record.payment_method,
        "payment_method_details": {"card": _card(card), "type": "card"},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": not failed and record.amount_refunded == record.amount,
        "review": None,
        "shipping": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": record.status,
        "transfer_data": None,
        "transfer_group": None,
    }


def refund(record: Refund) -> JsonObject:
    shown: JsonObject = {
        "id": record.id,
        "object": "refund",
        "created": record.created,
        "amount": record.amount,
        "balance_transaction": record.balance_transaction,
        "charge": record.charge,
        "currency": record.currency,
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": copied(record.metadata),
        "payment_intent": record.payment_intent,
        "reason": record.reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": record.status,
        "transfer_reversal": None,
    }
    if record.status == "failed":
        shown["failure_reason"] = "expired_or_canceled_card"
        shown["failure_balance_transaction"] = record.failure_balance_transaction
    return shown


def dispute(record: Dispute, state: State, now_s: int) -> JsonObject:
    booked: list[JsonValue] = [balance_transaction(state.get(BalanceTransaction, txn), now_s) for txn in record.booked]
    return {
        **head(record, "dispute"),
        "amount": record.amount,
        "balance_transactions": booked,
        "charge": record.charge,
        "currency": record.currency,
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": record.created + 7 * 86_400,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "metadata": {},
        "payment_intent": record.payment_intent,
        "payment_method_details": {
            "card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"},
            "type": "card",
        },
        "reason": record.reason,
        "status": record.status,
    }


def payout(record: Payout) -> JsonObject:
    return {
        **head(record, "payout"),
        "amount": record.amount,
        "arrival_date": record.created,
        "automatic": True,
        "balance_transaction": None,
        "currency": record.currency,
        "method": "standard",
        "status": "paid",
        "type": "bank_account",
    }


def balance_transaction(record: BalanceTransaction, now_s: int) -> JsonObject:
    fee_details: list[JsonValue] = []
    if record.fee:
        fee_details.append(
            {
                "amount": record.fee,
                "application": None,
                "currency": record.currency,
                "description": "Processing fees",
                "type": "stripe_fee",
            }
        )
    return {
        "id": record.id,
        "object": "balance_transaction",
        "amount": record.amount,
        "available_on": available_on(record),
        "balance_type": "payments",
        "created": record.created,
        "currency": record.currency,
        "description": record.description,
        "exchange_rate": None,
        "fee": record.fee,
        "fee_details": fee_details,
        "net": record.amount - record.fee,
        "reporting_category": record.type,
        "source": record.source,
        "status": "available" if available_on(record) <= now_s else "pending",
        "type": record.type,
    }


def available_on(record: BalanceTransaction) -> int:
    """When the money can be paid out, UTC seconds: two days after a charge, at once for what leaves us."""
    return record.created + (2 * 86_400 if record.type == "charge" else 0)
