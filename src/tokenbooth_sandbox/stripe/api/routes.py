"""The sandbox's API: key, idempotency, routing, and one transaction per call.

A path that is not in the table answers Stripe's own 404; nothing pretends to work.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenbooth_sandbox.stripe.api import billing as api_billing
from tokenbooth_sandbox.stripe.api import catalog as api_catalog
from tokenbooth_sandbox.stripe.api import checkout as api_checkout
from tokenbooth_sandbox.stripe.api import payments as api_payments
from tokenbooth_sandbox.stripe.api import schedules as api_schedules
from tokenbooth_sandbox.stripe.api import tax as api_tax
from tokenbooth_sandbox.stripe.api import test_clocks as api_test_clocks
from tokenbooth_sandbox.stripe.billing.passing_time import catch_up
from tokenbooth_sandbox.stripe.billing.records import Invoice, InvoicePayment, Subscription
from tokenbooth_sandbox.stripe.calls import Call, Handler, Refused, expand, list_of, retrieve
from tokenbooth_sandbox.stripe.forms import Params, parse_form
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import (
    BalanceTransaction,
    Charge,
    Customer,
    Dispute,
    Event,
    KeptAnswer,
    PaymentIntent,
    PaymentMethod,
    Price,
    Product,
    Refund,
    SetupIntent,
    TaxCalculation,
    TaxTransaction,
    TestClock,
    WebhookEndpoint,
)
from tokenbooth_sandbox.stripe.world import API_VERSION, Origin, World

_TABLE: dict[str, Handler] = {
    "POST /v1/customers": api_catalog.create_customer,
    "GET /v1/customers/{id}": retrieve(Customer),
    "DELETE /v1/customers/{id}": api_catalog.delete_customer,
    "GET /v1/customers/{id}/payment_methods": api_catalog.list_customer_payment_methods,
    "POST /v1/products": api_catalog.create_product,
    "GET /v1/products": list_of(Product),
    "GET /v1/products/{id}": retrieve(Product),
    "POST /v1/prices": api_catalog.create_price,
    "GET /v1/prices": api_catalog.list_prices,
    "GET /v1/prices/{id}": retrieve(Price),
    "GET /v1/payment_methods": api_catalog.list_payment_methods,
    "GET /v1/payment_methods/{id}": retrieve(PaymentMethod, "PaymentMethod"),
    "POST /v1/webhook_endpoints": api_catalog.create_webhook_endpoint,
    "GET /v1/webhook_endpoints": list_of(WebhookEndpoint),
    "POST /v1/webhook_endpoints/{id}": api_catalog.update_webhook_endpoint,
    "POST /v1/billing_portal/configurations": api_catalog.create_portal_configuration,
    "GET /v1/billing_portal/configurations": api_catalog.list_portal_configurations,
    "POST /v1/billing_portal/configurations/{id}": api_catalog.update_portal_configuration,
    "POST /v1/billing_portal/sessions": api_catalog.create_portal_session,
    "POST /v1/checkout/sessions": api_checkout.create_session,
    "GET /v1/checkout/sessions": api_checkout.list_sessions,
    "GET /v1/checkout/sessions/{id}": api_checkout.retrieve_session,
    "GET /v1/checkout/sessions/{id}/line_items": api_checkout.list_line_items,
    "POST /v1/checkout/sessions/{id}/expire": api_checkout.expire_session,
    "GET /v1/setup_intents/{id}": retrieve(SetupIntent, "setupintent"),
    "POST /v1/subscriptions": api_billing.create_subscription,
    "GET /v1/subscriptions": api_billing.list_subscriptions,
    "GET /v1/subscriptions/{id}": retrieve(Subscription),
    "POST /v1/subscriptions/{id}": api_billing.update_subscription,
    "DELETE /v1/subscriptions/{id}": api_billing.cancel_subscription,
    "POST /v1/subscription_schedules": api_schedules.create_schedule,
    "GET /v1/subscription_schedules/{id}": api_schedules.retrieve_schedule,
    "POST /v1/subscription_schedules/{id}": api_schedules.update_schedule,
    "POST /v1/subscription_schedules/{id}/release": api_schedules.release_schedule,
    "GET /v1/invoices": api_billing.list_invoices,
    "GET /v1/invoices/{id}": retrieve(Invoice),
    "GET /v1/invoiceitems": api_billing.list_invoice_items,
    "GET /v1/invoice_payments": api_billing.list_invoice_payments,
    "GET /v1/invoice_payments/{id}": retrieve(InvoicePayment, "invoice_payment"),
    "GET /v1/events": api_billing.list_events,
    "GET /v1/events/{id}": retrieve(Event),
    "POST /v1/payment_intents": api_payments.create_payment_intent,
    "GET /v1/payment_intents": list_of(PaymentIntent, "customer"),
    "GET /v1/payment_intents/{id}": retrieve(PaymentIntent, "payment_intent"),
    "GET /v1/charges": list_of(Charge, "customer", "payment_intent"),
    "GET /v1/charges/{id}": retrieve(Charge),
    "POST /v1/refunds": api_payments.create_refund,
    "GET /v1/refunds": list_of(Refund, "charge", "payment_intent"),
    "GET /v1/refunds/{id}": retrieve(Refund),
    "GET /v1/disputes": list_of(Dispute, "charge", "payment_intent"),
    "GET /v1/disputes/{id}": retrieve(Dispute),
    "GET /v1/balance_transactions": list_of(BalanceTransaction, "type", "source"),
    "GET /v1/balance_transactions/{id}": retrieve(BalanceTransaction, "balance_transaction"),
    "GET /v1/balance": api_payments.retrieve_balance,
    "POST /v1/tax/calculations": api_tax.create_calculation,
    "GET /v1/tax/calculations/{id}": retrieve(TaxCalculation, "tax calculation"),
    "GET /v1/tax/transactions/{id}": retrieve(TaxTransaction, "tax transaction"),
    "GET /v1/tax/settings": api_tax.retrieve_settings,
    "POST /v1/test_helpers/test_clocks": api_test_clocks.create_test_clock,
    "GET /v1/test_helpers/test_clocks/{id}": retrieve(TestClock, "test_clock"),
    "POST /v1/test_helpers/test_clocks/{id}/advance": api_test_clocks.advance_test_clock,
    "DELETE /v1/test_helpers/test_clocks/{id}": api_test_clocks.delete_test_clock,
}


def _compiled(entry: str) -> tuple[str, re.Pattern[str]]:
    method, _, template = entry.partition(" ")
    return method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[A-Za-z0-9_]+)", template))


_ROUTES = [(*_compiled(entry), handler) for entry, handler in _TABLE.items()]
_MAX_KEY = 255
_OWNED_PARAMS = ("customer", "payment_intent", "charge", "from_subscription")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `headers` by lower-case names."""

    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


class Api:
    """Answers the calls of the official SDK."""

    def __init__(self, world: World, api_key: str) -> None:
        self._world = world
        self._api_key = api_key

    def handle(self, request: Request) -> Reply:
        """Answer one call. Its events, if it is kept, are in the world's `take_events` afterwards."""
        world = self._world
        request_id = world.new_id("req_")
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        world.origin = Origin(request_id, key)
        try:
            self._check_key(request)
            with world.transaction():
                catch_up(world)
            with world.transaction():
                reply = self._answer(request, key)
        except StripeFailure as failure:
            reply = Reply(failure.status, json.dumps(failure.body()))
        finally:
            world.origin = Origin()
        about = {
            "Request-Id": request_id,
            "Stripe-Version": request.headers.get("stripe-version", API_VERSION),
        }
        if key is not None:
            about["Idempotency-Key"] = key
        return Reply(reply.status, reply.body, about | reply.headers)

    def _check_key(self, request: Request) -> None:
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            credential = _basic_user(credential)
        if not credential:
            raise StripeFailure("You did not provide an API key.", status=401)
        if not hmac.compare_digest(credential.strip().encode(), self._api_key.encode()):
            raise StripeFailure("Invalid API Key provided.", status=401, code="api_key_invalid")

    def _answer(self, request: Request, key: str | None) -> Reply:
        if key is None:
            return self._run(request)
        if len(key) > _MAX_KEY:
            raise StripeFailure("Idempotency-Key is too long.", kind="idempotency_error")
        asked = b"\n".join((request.method.encode(), request.path.encode(), request.body))
        digest = hashlib.sha256(asked).hexdigest()
        kept = self._world.state.find(KeptAnswer, key)
        if kept is None:
            reply = self._run(request)
            self._world.state.put(KeptAnswer(key, self._world.real_now(), digest, reply.status, reply.body))
            return reply
        if kept.request != digest:
            message = "A key for idempotent requests can only be used again with the same parameters."
            raise StripeFailure(message, kind="idempotency_error")
        return Reply(kept.status, kept.body, {"Idempotent-Replayed": "true"})

    def _run(self, request: Request) -> Reply:
        handler, ids = self._route(request)
        sent = parse_form("&".join(part for part in (request.query, _form(request)) if part))
        params = Params(sent)
        paths = params.texts("expand")
        named = (ids.get("id"), *(sent.get(name) for name in _OWNED_PARAMS))
        owners = (self._world.owner_of(name) for name in named if isinstance(name, str))
        owner = next((owner for owner in owners if owner is not None), None)
        # One who has a test clock lives in another time than the rest of the world; without one this is everybody's.
        with self._world.standing_with(owner):
            answer = handler(Call(self._world, params, request.path, ids))
        params.finish()
        if isinstance(answer, Refused):
            failure = answer.failure
            return Reply(failure.status, json.dumps(failure.body({"payment_intent": answer.payment_intent})))
        expand(self._world, answer, paths)
        return Reply(200, json.dumps(answer))

    def _route(self, request: Request) -> tuple[Handler, dict[str, str]]:
        for method, pattern, handler in _ROUTES:
            match = pattern.fullmatch(request.path)
            if match is not None and method == request.method:
                return handler, match.groupdict()
        message = f"Unrecognized request URL ({request.method}: {request.path})."
        raise StripeFailure(message, status=404)


def _form(request: Request) -> str:
    try:
        return request.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StripeFailure("Invalid request: the body is not UTF-8.") from error


def _basic_user(credential: str) -> str:
    """The user of HTTP Basic, which is where curl's `-u KEY:` puts a key; empty for anything malformed."""
    try:
        return base64.b64decode(credential, validate=True).decode("utf-8").partition(":")[0]
    except ValueError:
        return ""
