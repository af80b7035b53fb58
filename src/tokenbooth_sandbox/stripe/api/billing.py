"""Handlers for subscriptions, invoices and events."""

from dataclasses import replace
from typing import cast, get_args

from tokenbooth_sandbox.stripe.api.catalog import read_price
from tokenbooth_sandbox.stripe.billing import proration, renewals, subscriptions
from tokenbooth_sandbox.stripe.billing.records import Invoice, InvoiceItem, InvoicePayment, Subscription
from tokenbooth_sandbox.stripe.calls import Answer, Call, page
from tokenbooth_sandbox.stripe.cards import declined
from tokenbooth_sandbox.stripe.forms import Params
from tokenbooth_sandbox.stripe.http import StripeFailure, no_such
from tokenbooth_sandbox.stripe.records import Customer, Event, PaymentMethod, Price
from tokenbooth_sandbox.stripe.world import World


def create_subscription(call: Call) -> Answer:
    world, params = call.world, call.params
    customer = world.customer(params.text("customer"))
    items = params.children("items")
    if len(items) != 1:
        raise StripeFailure("The sandbox's subscriptions have exactly one item.", param="items")
    price, quantity = _read_price(world, items[0]), items[0].opt_int("quantity", low=1, high=999_999) or 1
    params.opt_flag("off_session")
    is_taxed = params.child("automatic_tax").opt_flag("enabled") is True
    strict = params.opt_choice("payment_behavior", ("allow_incomplete", "error_if_incomplete")) == "error_if_incomplete"
    params.child("billing_mode").opt_choice("type", ("flexible",))
    method_id = params.opt_text("default_payment_method") or customer.default_payment_method
    if method_id is None:
        message = "This customer has no attached payment source or default payment method."
        raise StripeFailure(message, code="resource_missing")
    method = world.state.get(PaymentMethod, method_id, what="PaymentMethod", param="default_payment_method")
    if method.customer != customer.id:
        message = "The payment method must be attached to the customer."
        raise StripeFailure(message, param="default_payment_method")
    subscription, invoice = renewals.begin(
        world,
        customer=customer.id,
        price=price,
        quantity=quantity,
        metadata=params.metadata(),
        method=method,
        on_session=False,
        is_taxed=is_taxed,
    )
    if strict and invoice.status != "paid":
        raise declined("authentication_required" if method.behaviour == "authenticate" else None)
    return world.render(subscription)


def _read_price(world: World, item: Params) -> Price:
    if item.has("price_data"):
        return read_price(world, item.child("price_data"))
    return world.state.get(Price, item.text("price"), param=item.name_of("price"))


def update_subscription(call: Call) -> Answer:
    world, params = call.world, call.params
    subscription = world.state.get(Subscription, call.ids["id"])
    if params.has("items"):
        subscription = _change_item(world, subscription, params)
    if params.has("metadata"):
        former = subscription.metadata
        merged = former | params.metadata()
        if merged != former:
            changed = replace(subscription, metadata=merged)
            subscription = subscriptions.update(world, changed, {"metadata": {**former}})
    if params.has("cancel_at"):
        if params.opt_text("cancel_at") is not None:
            raise StripeFailure("The sandbox clears cancel_at, it does not set it.", param="cancel_at")
        subscription = subscriptions.set_portal_cancel(world, subscription, False)
    wanted = params.opt_flag("cancel_at_period_end")
    if wanted is not None:
        subscription = subscriptions.set_cancel_at_period_end(world, subscription, wanted)
    return world.render(subscription)


def _change_item(world: World, subscription: Subscription, params: Params) -> Subscription:
    """Another price or quantity from now on, with a price's prorations charged at once or without any."""
    params.choice("proration_behavior", get_args(proration.Proration))
    behavior = cast("proration.Proration", params.text("proration_behavior"))
    params.opt_choice("payment_behavior", ("error_if_incomplete",))
    items = params.children("items")
    if len(items) != 1 or items[0].text("id") != subscription.item_id:
        raise StripeFailure("The sandbox's subscriptions have exactly one item.", param="items")
    since = params.opt_int("proration_date")
    quantity = items[0].opt_int("quantity", high=999_999)
    if items[0].has("price") or items[0].has("price_data"):
        price = _read_price(world, items[0])
        subscription = proration.change_price(world, subscription, price, proration=behavior, since=since)
    if quantity is not None and quantity != subscription.quantity:
        subscription = subscriptions.set_quantity(world, subscription, quantity)
    return subscription


def cancel_subscription(call: Call) -> Answer:
    subscription = call.world.state.get(Subscription, call.ids["id"])
    call.params.opt_flag("invoice_now")
    prorates = call.params.opt_flag("prorate") is True
    if subscription.status == "canceled":
        raise no_such("subscription", subscription.id)
    if prorates:
        proration.give_back_the_rest(call.world, subscription)
    return call.world.render(subscriptions.end(call.world, subscription))


def list_subscriptions(call: Call) -> Answer:
    customer, price = call.params.opt_text("customer"), call.params.opt_text("price")
    status, clock = call.params.opt_text("status"), call.params.opt_text("test_clock")
    return page(
        call,
        [
            subscription
            for subscription in call.world.state.newest(Subscription)
            if (customer is None or subscription.customer == customer)
            and (price is None or subscription.price == price)
            and _has_status(subscription, status)
            and (_clock_of(call.world, subscription) == clock or (clock is None and customer is not None))
        ],
    )


def _clock_of(world: World, subscription: Subscription) -> str | None:
    """Without a filter by customer or clock Stripe leaves out what has a clock."""
    owner = world.state.find(Customer, subscription.customer)
    return None if owner is None else owner.test_clock


def _has_status(subscription: Subscription, wanted: str | None) -> bool:
    """Without a filter Stripe leaves the canceled ones out."""
    match wanted:
        case None:
            return subscription.status != "canceled"
        case "all":
            return True
        case "ended":
            return subscription.ended_at is not None
        case _:
            return subscription.status == wanted


def list_invoices(call: Call) -> Answer:
    params = call.params
    customer, subscription = params.opt_text("customer"), params.opt_text("subscription")
    status = params.opt_choice("status", ("draft", "open", "paid", "uncollectible", "void"))
    return page(
        call,
        [
            invoice
            for invoice in call.world.state.newest(Invoice)
            if (customer is None or invoice.customer == customer)
            and (subscription is None or invoice.subscription == subscription)
            and (status is None or invoice.status == status)
        ],
    )


def list_invoice_items(call: Call) -> Answer:
    customer, pending = call.params.opt_text("customer"), call.params.opt_flag("pending")
    return page(
        call,
        [
            item
            for item in call.world.state.newest(InvoiceItem)
            if (customer is None or item.customer == customer)
            and (pending is None or (item.invoice is None) == pending)
        ],
    )


def list_invoice_payments(call: Call) -> Answer:
    params = call.params
    invoice = params.opt_text("invoice")
    status = params.opt_choice("status", ("open", "paid", "canceled"))
    payment = params.child("payment")
    payment.opt_choice("type", ("payment_intent",))
    intent = payment.opt_text("payment_intent")
    return page(
        call,
        [
            made
            for made in call.world.state.newest(InvoicePayment)
            if (invoice is None or made.invoice == invoice)
            and (status is None or made.status == status)
            and (intent is None or made.payment_intent == intent)
        ],
    )


def list_events(call: Call) -> Answer:
    one, several = call.params.opt_text("type"), call.params.texts("types")
    delivered = call.params.opt_flag("delivery_success")
    return page(
        call,
        [
            event
            for event in call.world.state.newest(Event)
            if _type_matches(event.type, one)
            and (not several or event.type in several)
            and (delivered is None or event.pending != delivered)
        ],
    )


def _type_matches(event_type: str, wanted: str | None) -> bool:
    if wanted is None:
        return True
    return event_type.startswith(wanted[:-1]) if wanted.endswith("*") else event_type == wanted
