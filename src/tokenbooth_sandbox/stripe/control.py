"""The sandbox's own control calls, JSON under `/_control/`: for tests, not Stripe's API.

| call | body | effect |
|---|---|---|
| `POST advance` | `{"seconds": n}` | time goes forward for all without a test clock; what falls due happens |
| `POST delivery` | `{"mode": "normal"/"drop"/"hold", "copies": n}` | how webhooks go out from now on |
| `POST release` | `{"order": [event ids]}` or `{}` | held webhooks go out, in that order |
| `POST resend` | `{"event": id, "copies": n}` | a webhook goes out again, n times at once |
| `POST wait` | `{}` | answers when no first delivery is under way |
| `POST portal_cancel` | `{"subscription": id, "cancel": bool}` | a cancel in the portal, or its undoing |
| `POST portal_change` | `{"subscription": id, "price": id, "at": "now"/"period_end"}` | another price in the portal |
| `POST subscription_status` | `{"subscription": id, "status": s}` | any status, also one that nobody knows |
| `POST card` | `{"payment_method": id, "behaviour": b}` | a saved card behaves as `CardBehaviour` says |
| `POST pay_invoice` | `{"invoice": id}` | another attempt to charge an open invoice |
| `POST settle` | `{"session": id, "succeeds": bool}` | the bank answers for a delayed payment |
| `POST fail_refund` | `{"refund": id}` | a refund bounces |
| `POST dispute` | `{"payment_intent": id}` | the card's bank takes a payment back |
| `POST close_dispute` | `{"dispute": id, "won": bool}` | the bank decides |
| `POST tax` | `{"inclusive": bool}` | whether prices have the tax inside from now on |
| `POST place` | `{"customer": id, "known": bool}` | whether Stripe Tax knows where a customer lives |
| `POST payout` | `{"amount": cents}` | money goes to the operator's bank |
| `GET deliveries` | | every attempt so far, and what is held |
| `GET state` | | the clock and how many objects there are |
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import msgspec

from tokenbooth_sandbox.stripe import checkout, money_flow
from tokenbooth_sandbox.stripe.billing import invoices, proration, schedules, subscriptions
from tokenbooth_sandbox.stripe.billing.passing_time import catch_up
from tokenbooth_sandbox.stripe.billing.records import Invoice, Subscription, SubscriptionSchedule
from tokenbooth_sandbox.stripe.delivery import Postman
from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue, StripeFailure
from tokenbooth_sandbox.stripe.records import (
    CardBehaviour,
    Charge,
    Customer,
    Dispute,
    PaymentIntent,
    PaymentMethod,
    Price,
    Record,
    Refund,
    Session,
)
from tokenbooth_sandbox.stripe.state import KINDS
from tokenbooth_sandbox.stripe.world import World

_TEN_YEARS_S = 10 * 366 * 86_400
_MAX_COPIES = 100


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    """`seconds` to go forward."""

    seconds: int


class Delivery(msgspec.Struct, forbid_unknown_fields=True):
    """How webhooks go out."""

    mode: Literal["normal", "drop", "hold"] = "normal"
    copies: int = 1


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """Held events to let go; None for all."""

    order: list[str] | None = None


class Resend(msgspec.Struct, forbid_unknown_fields=True):
    """An event to send again."""

    event: str
    copies: int = 1


class Wait(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing to say."""


class PortalCancel(msgspec.Struct, forbid_unknown_fields=True):
    """A cancel in the portal, or its undoing."""

    subscription: str
    cancel: bool = True


class PortalChange(msgspec.Struct, forbid_unknown_fields=True):
    """Another price in the portal: at once and prorated, or at the period's end."""

    subscription: str
    price: str
    at: Literal["now", "period_end"] = "period_end"


class TaxMode(msgspec.Struct, forbid_unknown_fields=True):
    """Whether prices have the tax inside."""

    inclusive: bool


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """Whether a customer's place is known."""

    customer: str
    known: bool


class SubscriptionStatus(msgspec.Struct, forbid_unknown_fields=True):
    """A status to put on a subscription."""

    subscription: str
    status: str


class CardChange(msgspec.Struct, forbid_unknown_fields=True):
    """How a saved card is to behave."""

    payment_method: str
    behaviour: CardBehaviour


class PayInvoice(msgspec.Struct, forbid_unknown_fields=True):
    """An invoice to try again."""

    invoice: str


class Settle(msgspec.Struct, forbid_unknown_fields=True):
    """The bank's answer for a session's delayed payment."""

    session: str
    succeeds: bool


class FailRefund(msgspec.Struct, forbid_unknown_fields=True):
    """A refund to let bounce."""

    refund: str


class OpenDispute(msgspec.Struct, forbid_unknown_fields=True):
    """A payment to take back."""

    payment_intent: str


class CloseDispute(msgspec.Struct, forbid_unknown_fields=True):
    """The bank's decision."""

    dispute: str
    won: bool


class Payout(msgspec.Struct, forbid_unknown_fields=True):
    """Cents to pay out."""

    amount: int


_BODIES: dict[str, type[msgspec.Struct]] = {
    "advance": Advance,
    "delivery": Delivery,
    "release": Release,
    "resend": Resend,
    "wait": Wait,
    "portal_cancel": PortalCancel,
    "portal_change": PortalChange,
    "tax": TaxMode,
    "place": Place,
    "subscription_status": SubscriptionStatus,
    "card": CardChange,
    "pay_invoice": PayInvoice,
    "settle": Settle,
    "fail_refund": FailRefund,
    "dispute": OpenDispute,
    "close_dispute": CloseDispute,
    "payout": Payout,
}


class Control:
    """Answers the control calls of one sandbox."""

    def __init__(self, world: World, postman: Postman) -> None:
        self._world = world
        self._postman = postman

    async def handle(self, name: str, raw: bytes) -> JsonObject:
        """Run one `POST` call; it answers after its webhooks were answered. Raises `StripeFailure`."""
        kind = _BODIES.get(name)
        if kind is None:
            raise StripeFailure(f"No such control call: {name}", status=404)
        try:
            body = msgspec.json.decode(raw or b"{}", type=kind)
        except msgspec.DecodeError as error:
            raise StripeFailure(str(error)) from error
        match body:
            case Release():
                await self._postman.release(body.order)
            case Resend():
                _bounded(body.copies, 1, _MAX_COPIES, "copies")
                await self._postman.resend(body.event, body.copies)
            case Wait():
                await self._postman.idle()
            case _:
                await self._change(body)
        return self.state()

    async def _change(self, body: msgspec.Struct) -> None:
        with self._world.transaction():
            catch_up(self._world)
            effect = self._effect(body)
            if isinstance(body, Advance):
                effect()
            else:
                with self._world.standing_with(self._owner(body)):
                    effect()
        await self._postman.deliver(self._world.take_events())

    def _owner(self, body: msgspec.Struct) -> str | None:
        named = (value for value in msgspec.structs.asdict(body).values() if isinstance(value, str))
        owners = (self._world.owner_of(name) for name in named)
        return next((owner for owner in owners if owner is not None), None)

    def _effect(self, body: msgspec.Struct) -> Callable[[], object]:
        world, state = self._world, self._world.state
        match body:
            case Advance():
                return lambda: self._advance(body)
            case Delivery():
                _bounded(body.copies, 1, _MAX_COPIES, "copies")
                return lambda: state.put(replace(world.settings, delivery=body.mode, copies=body.copies))
            case PortalCancel() | PortalChange() | SubscriptionStatus():
                return self._subscription_effect(body)
            case CardChange():
                card = state.get(PaymentMethod, body.payment_method)
                return lambda: state.put(replace(card, behaviour=body.behaviour))
            case PayInvoice():
                return lambda: self._pay_invoice(body.invoice)
            case Settle():
                session = state.get(Session, body.session)
                return lambda: checkout.settle_delayed(world, session, succeeds=body.succeeds)
            case FailRefund():
                return lambda: money_flow.fail_refund(world, state.get(Refund, body.refund))
            case TaxMode() | Place():
                return self._tax_effect(body)
            case OpenDispute() | CloseDispute() | Payout():
                return self._money_effect(body)
            case _:
                raise StripeFailure("No such control call.", status=404)

    def _subscription_effect(self, body: PortalCancel | PortalChange | SubscriptionStatus) -> Callable[[], object]:
        world, found = self._world, self._world.state.get(Subscription, body.subscription)
        match body:
            case PortalCancel():
                return lambda: schedules.cancel_in_portal(world, found, body.cancel)
            case PortalChange():
                return lambda: self._portal_change(body)
            case SubscriptionStatus():
                changed = replace(found, status=body.status)
                return lambda: subscriptions.update(world, changed, {"status": found.status})

    def _tax_effect(self, body: TaxMode | Place) -> Callable[[], object]:
        world, state = self._world, self._world.state
        if isinstance(body, TaxMode):
            return lambda: state.put(replace(world.settings, inclusive_tax=body.inclusive))
        customer = state.get(Customer, body.customer)
        return lambda: state.put(replace(customer, untaxable=not body.known))

    def _money_effect(self, body: OpenDispute | CloseDispute | Payout) -> Callable[[], object]:
        world, state = self._world, self._world.state
        match body:
            case OpenDispute():
                intent = state.get(PaymentIntent, body.payment_intent)
                charge = state.get(Charge, intent.latest_charge or "")
                return lambda: money_flow.dispute_charge(world, charge)
            case CloseDispute():
                return lambda: money_flow.close_dispute(world, state.get(Dispute, body.dispute), won=body.won)
            case Payout():
                return lambda: money_flow.pay_out(world, body.amount)

    def _portal_change(self, body: PortalChange) -> None:
        subscription = self._world.state.get(Subscription, body.subscription)
        price = self._world.state.get(Price, body.price)
        if body.at == "period_end":
            schedules.schedule_price(self._world, subscription, price)
            return
        schedule = self._world.state.find(SubscriptionSchedule, subscription.schedule)
        if schedule is not None:
            schedules.release(self._world, schedule)
            subscription = self._world.state.get(Subscription, body.subscription)
        proration.change_price(self._world, subscription, price, proration="always_invoice")

    def _advance(self, body: Advance) -> None:
        settings = self._world.settings
        _bounded(body.seconds, 0, _TEN_YEARS_S - settings.clock_lead_s, "seconds")
        lead_s = settings.clock_lead_s + body.seconds
        self._world.state.put(replace(settings, clock_lead_s=lead_s))
        catch_up(self._world)

    def _pay_invoice(self, invoice_id: str) -> None:
        invoice = self._world.state.get(Invoice, invoice_id)
        if invoice.status != "open":
            raise StripeFailure(f"The invoice is {invoice.status}.", param="invoice")
        invoices.charge_invoice(self._world, invoice, on_session=False)

    def state(self) -> JsonObject:
        """The clock, the delivery mode, and how many objects of each kind there are."""
        settings = self._world.settings
        return {
            "now": self._world.now(),
            "delivery": settings.delivery,
            "copies": settings.copies,
            "held": [*self._postman.held],
            "counts": {kind.__name__: self._count(kind) for kind in KINDS},
        }

    def _count(self, kind: type[Record]) -> int:
        return len(self._world.state.newest(kind))

    def deliveries(self) -> JsonObject:
        """Every attempt so far, oldest first."""
        attempts: list[JsonValue] = [
            {
                "event": attempt.event_id,
                "type": attempt.type,
                "attempt": attempt.number,
                "outcome": attempt.outcome,
                "status": attempt.status,
            }
            for attempt in self._postman.attempts
        ]
        return {"attempts": attempts, "held": [*self._postman.held]}


def _bounded(value: int, low: int, high: int, name: str) -> None:
    if not low <= value <= high:
        raise StripeFailure(f"{name} must be between {low} and {high}.", param=name)
