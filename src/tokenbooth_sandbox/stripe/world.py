"""The sandbox's one world: its records, its clock, its ids, the events of the call that runs.

Everything that changes state takes the world as its first argument.
"""

import json
import secrets
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tokenbooth_sandbox.stripe.billing.records import (
    Invoice,
    InvoiceItem,
    InvoicePayment,
    Subscription,
    SubscriptionSchedule,
)
from tokenbooth_sandbox.stripe.http import JsonObject, no_such
from tokenbooth_sandbox.stripe.records import (
    BalanceTransaction,
    Charge,
    Customer,
    Dispute,
    Event,
    PaymentIntent,
    PaymentMethod,
    Payout,
    PortalConfiguration,
    PortalSession,
    Price,
    Product,
    Record,
    Refund,
    Session,
    Settings,
    SetupIntent,
    TaxCalculation,
    TaxTransaction,
    TestClock,
    WebhookEndpoint,
)
from tokenbooth_sandbox.stripe.render import billing as render_billing
from tokenbooth_sandbox.stripe.render import catalog as render_catalog
from tokenbooth_sandbox.stripe.render import checkout as render_checkout
from tokenbooth_sandbox.stripe.render import payments as render_payments
from tokenbooth_sandbox.stripe.render import tax as render_tax
from tokenbooth_sandbox.stripe.state import State

API_VERSION = "2026-10-28.endive"
_LETTERS = string.ascii_letters + string.digits
_SETTINGS_ID = "settings"
_SECRET_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Origin:
    """The call that causes events: its request id and idempotency key; both None for what time causes."""

    request_id: str | None = None
    idempotency_key: str | None = None


class World:
    """State, clock and the events that await their first delivery."""

    def __init__(self, state: State, clock: Callable[[], float], public_url: str) -> None:
        """`clock`: UTC seconds; the test clock runs ahead of it. `public_url`: where pages are reachable."""
        self.state = state
        self.public_url = public_url.rstrip("/")
        self.origin = Origin()
        self._clock = clock
        self._fresh: list[Event] = []
        self._at_s: int | None = None

    @property
    def settings(self) -> Settings:
        """How the sandbox is set at present."""
        return self.state.find(Settings, _SETTINGS_ID) or Settings(_SETTINGS_ID, self.real_now())

    def real_now(self) -> int:
        """The real clock, UTC seconds; signatures and events carry it."""
        return int(self._clock())

    def now(self) -> int:
        """The present, UTC seconds: of the whole world, or of the customer or the past moment that it stands at."""
        return self._at_s if self._at_s is not None else self.real_now() + self.settings.clock_lead_s

    def now_of(self, customer_id: str | None) -> int:
        """The present of a customer, UTC seconds: its test clock's, or the whole world's."""
        customer = self.state.find(Customer, customer_id)
        clock = None if customer is None else self.state.find(TestClock, customer.test_clock)
        return self.real_now() + self.settings.clock_lead_s if clock is None else clock.frozen_time

    @contextmanager
    def standing_with(self, customer_id: str | None) -> Iterator[None]:
        """Let `now` be this customer's present."""
        self._at_s = self.now_of(customer_id)
        try:
            yield
        finally:
            self._at_s = None

    def customer(self, customer_id: str) -> Customer:
        """A customer that a call's `customer` names. Raises `StripeFailure` when it is not there any more."""
        found = self.state.get(Customer, customer_id, param="customer")
        if found.deleted:
            raise no_such("customer", customer_id, "customer")
        return found

    def owner_of(self, object_id: str) -> str | None:
        """The id of the customer that an object belongs to; None for what is nobody's or not there."""
        match self.state.any_of(object_id):
            case Customer(id=owner):
                return owner
            case (
                Session()
                | PaymentMethod()
                | PaymentIntent()
                | SetupIntent()
                | Charge()
                | Subscription()
                | SubscriptionSchedule()
                | TaxCalculation()
                | Invoice()
                | PortalSession()
            ) as owned:
                return owned.customer
            case Refund() | Dispute() as reversal:
                return self.owner_of(reversal.charge)
            case _:
                return None

    def replay_at(self, at_s: int | None) -> None:
        """Let `now` stand at a past moment whose effects are being made; None ends that."""
        self._at_s = at_s

    def new_id(self, prefix: str) -> str:
        """A fresh id in Stripe's manner."""
        return prefix + "".join(secrets.choice(_LETTERS) for _ in range(_SECRET_LENGTH))

    def count(self, name: str) -> int:
        """The next number of a series, from 1."""
        settings = self.settings
        number = settings.counters.get(name, 0) + 1
        self.state.put(replace(settings, counters=settings.counters | {name: number}))
        return number

    def render(self, record: Record) -> JsonObject:
        """An object in Stripe's form."""
        match record:
            case Session():
                return render_checkout.session(record, self.state, self.public_url)
            case Subscription():
                return render_billing.subscription(record, self.state)
            case SubscriptionSchedule():
                return render_billing.subscription_schedule(record, self.state)
            case Invoice():
                return render_billing.invoice(record, self.state, self.public_url)
            case InvoiceItem():
                return render_billing.invoice_item(record, self.state)
            case InvoicePayment():
                return render_billing.invoice_payment(record)
            case Event():
                shown: JsonObject = json.loads(record.body)
                return shown | {"pending_webhooks": int(record.pending)}
            case _:
                return self._render_payment(record)

    def _render_catalog(self, record: Record) -> JsonObject:
        match record:
            case Customer():
                return render_catalog.customer(record)
            case Product():
                return render_catalog.product(record)
            case Price():
                return render_catalog.price(record)
            case WebhookEndpoint():
                return render_catalog.webhook_endpoint(record)
            case PortalConfiguration():
                return render_catalog.portal_configuration(record)
            case PortalSession():
                return render_catalog.portal_session(record, self.public_url)
            case TestClock():
                return render_catalog.test_clock(record)
            case _:
                raise TypeError(f"{type(record).__name__} is not an object of Stripe's")

    def _render_payment(self, record: Record) -> JsonObject:
        match record:
            case PaymentMethod():
                return render_payments.payment_method(record)
            case PaymentIntent():
                return render_payments.payment_intent(record)
            case SetupIntent():
                return render_payments.setup_intent(record)
            case Charge():
                return render_payments.charge(record, self.state)
            case Refund():
                return render_payments.refund(record)
            case Dispute():
                return render_payments.dispute(record, self.state, self.now())
            case Payout():
                return render_payments.payout(record)
            case BalanceTransaction():
                return render_payments.balance_transaction(record, self.now())
            case TaxCalculation():
                return render_tax.calculation(record)
            case TaxTransaction():
                return render_tax.transaction(record, self.state)
            case _:
                return self._render_catalog(record)

    def emit(self, event_type: str, record: Record, previous: JsonObject | None = None) -> None:
        """Note that something happened to `record`. `previous`: the former values of what was updated."""
        data: JsonObject = {"object": self.render(record)}
        if previous is not None:
            data["previous_attributes"] = previous
        event_id, created = self.new_id("evt_"), self.real_now()
        body: JsonObject = {
            "id": event_id,
            "object": "event",
            "api_version": API_VERSION,
            "created": created,
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
            "type": event_type,
        }
        self._fresh.append(self.state.put(Event(event_id, created, event_type, json.dumps(body), pending=True)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes and events inside are kept together, or none when it raises."""
        before = len(self._fresh)
        try:
            with self.state.transaction():
                yield
        except BaseException:
            del self._fresh[before:]
            raise

    def take_events(self) -> list[Event]:
        """The kept events since the last call, oldest first."""
        fresh, self._fresh = self._fresh, []
        return fresh
