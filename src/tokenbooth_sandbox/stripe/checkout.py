"""Hosted checkout sessions: made, paid, refused, run out."""

from dataclasses import replace

from tokenbooth_sandbox.stripe import money_flow
from tokenbooth_sandbox.stripe.billing import renewals
from tokenbooth_sandbox.stripe.cards import Card, declined
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import (
    Customer,
    PaymentIntent,
    PaymentMethod,
    Price,
    Session,
    SetupIntent,
)
from tokenbooth_sandbox.stripe.world import World

_MAX_EXPIRY_YEARS = 50


def pay(world: World, session: Session, card: Card, *, exp_month: int, exp_year: int) -> Session:
    """The customer submits the page. Raises `StripeFailure` for a closed session or a refused card."""
    if session.status != "open":
        message = f"This checkout session is {session.status}."
        raise StripeFailure(message, status=409, code="checkout_session_not_open")
    if card.behaviour == "declines":
        raise declined(card.decline_code)
    customer = world.state.find(Customer, session.customer) or _new_customer(world, session)
    method = money_flow.attach_card(
        world,
        card,
        customer.id if _keeps_card(session) else None,
        exp_month=exp_month,
        exp_year=exp_year,
    )
    session = replace(session, customer=customer.id, status="complete")
    match session.mode:
        case "subscription":
            return _pay_subscription(world, session, customer, method, card)
        case "payment":
            return _pay_once(world, session, customer, method, card)
        case "setup":
            return _set_up(world, session, customer, method)


def _keeps_card(session: Session) -> bool:
    return session.mode != "payment" or session.setup_future_usage is not None


def _new_customer(world: World, session: Session) -> Customer:
    fresh = Customer(world.new_id("cus_"), world.now(), email=session.customer_email, name=None, metadata={})
    world.state.put(fresh)
    world.emit("customer.created", fresh)
    return fresh


def _pay_subscription(world: World, session: Session, customer: Customer, method: PaymentMethod, card: Card) -> Session:
    if card.delayed:
        raise StripeFailure("The sandbox confirms delayed methods in payment mode only.", param="card")
    item = session.line_items[0]
    subscription, invoice = renewals.begin(
        world,
        customer=customer.id,
        price=world.state.get(Price, item.price),
        quantity=item.quantity,
        metadata=session.subscription_metadata,
        method=method,
        on_session=True,
        is_taxed=session.is_taxed,
    )
    done = replace(session, subscription=subscription.id, invoice=invoice.id, payment_status="paid")
    return _completed(world, done)


def _pay_once(world: World, session: Session, customer: Customer, method: PaymentMethod, card: Card) -> Session:
    if session.amount_total is None or session.currency is None:
        raise StripeFailure("This checkout session has nothing to pay.")
    payment = money_flow.Payment(
        amount=session.amount_total,
        currency=session.currency,
        customer=customer.id,
        method=method,
        description=None,
        metadata=session.intent_metadata,
        setup_future_usage=session.setup_future_usage,
    )
    if card.delayed:
        pending = money_flow.open_intent(world, payment)
        world.emit("payment_intent.processing", pending)
        return _completed(world, replace(session, payment_intent=pending.id))
    intent = money_flow.pay(world, payment, on_session=True)
    return _completed(world, replace(session, payment_intent=intent.id, payment_status="paid"))


def _set_up(world: World, session: Session, customer: Customer, method: PaymentMethod) -> Session:
    intent = world.state.put(
        SetupIntent(
            world.new_id("seti_"),
            world.now(),
            customer=customer.id,
            payment_method=method.id,
            metadata=session.metadata,
        )
    )
    world.emit("setup_intent.succeeded", intent)
    done = replace(session, setup_intent=intent.id, payment_status="no_payment_required")
    return _completed(world, done)


def _completed(world: World, session: Session) -> Session:
    world.state.put(session)
    world.emit("checkout.session.completed", session)
    return session


def settle_delayed(world: World, session: Session, *, succeeds: bool) -> Session:
    """The bank answers for a delayed payment, days after the page. Raises `StripeFailure` when none is
    open."""
    intent = world.state.find(PaymentIntent, session.payment_intent)
    if intent is None or intent.status == "succeeded":
        raise StripeFailure("This checkout session awaits no payment.", param="session")
    method = world.state.get(PaymentMethod, intent.payment_method or "")
    money_flow.settle_intent(world, intent, method, succeeds=succeeds)
    if succeeds:
        paid = world.state.put(replace(session, payment_status="paid"))
        world.emit("checkout.session.async_payment_succeeded", paid)
        return paid
    world.emit("checkout.session.async_payment_failed", session)
    return session


def expire(world: World, session: Session) -> Session:
    """Close an open session without payment. Raises `StripeFailure` for one that is not open."""
    if session.status != "open":
        message = 'Only Checkout Sessions with a status in ["open"] can be expired.'
        raise StripeFailure(f"{message} This Checkout Session has a status of {session.status}.")
    expired = world.state.put(replace(session, status="expired"))
    world.emit("checkout.session.expired", expired)
    return expired


def read_expiry(text: str, now_year: int) -> tuple[int, int]:
    """Month and full year of a card's `MM/YY`. Raises Stripe's refusals."""
    month_text, _, year_text = text.replace(" ", "").partition("/")
    if not (month_text.isascii() and month_text.isdigit() and 1 <= int(month_text[:3]) <= 12):
        message = "Your card's expiration month is invalid."
        raise StripeFailure(message, status=402, kind="card_error", code="invalid_expiry_month")
    well_formed = year_text.isascii() and year_text.isdigit() and len(year_text) in (2, 4)
    year = int(year_text) if well_formed else 0
    year += 2000 if year < 100 else 0
    if not now_year <= year <= now_year + _MAX_EXPIRY_YEARS:
        message = "Your card's expiration year is invalid."
        raise StripeFailure(message, status=402, kind="card_error", code="invalid_expiry_year")
    return int(month_text), year
