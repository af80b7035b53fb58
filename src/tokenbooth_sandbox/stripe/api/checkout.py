"""Handlers for checkout sessions."""

from typing import cast
from urllib.parse import urlsplit

from tokenbooth_sandbox.stripe import checkout
from tokenbooth_sandbox.stripe.api.catalog import read_price
from tokenbooth_sandbox.stripe.calls import Answer, Call, page
from tokenbooth_sandbox.stripe.forms import Params
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import (
    LineItem,
    Price,
    Product,
    Session,
    SessionMode,
    tax_in,
    tax_on,
)
from tokenbooth_sandbox.stripe.render.checkout import line_item
from tokenbooth_sandbox.stripe.render.shared import listing
from tokenbooth_sandbox.stripe.world import World

_DAY_S = 86_400
_HALF_HOUR_S = 1_800
_LEAST_AMOUNT = 50
_MOST_AMOUNT = 99_999_999


def create_session(call: Call) -> Answer:
    world, params = call.world, call.params
    mode = cast("SessionMode", params.choice("mode", ("payment", "subscription", "setup")))
    customer_id = params.opt_text("customer")
    if customer_id is not None:
        world.customer(customer_id)
    items = tuple(_read_item(world, entry) for entry in params.children("line_items"))
    prices = [world.state.get(Price, item.price) for item in items]
    _check_items(mode, items, prices)
    subscription_data = _data_for(params, "subscription_data", mode, "subscription")
    intent_data = _data_for(params, "payment_intent_data", mode, "payment")
    subscription_data.child("billing_mode").opt_choice("type", ("flexible",))
    _accept_without_effect(params)
    is_taxed = params.child("automatic_tax").opt_flag("enabled") is True
    subtotal = _total(items, prices)
    inclusive = world.settings.inclusive_tax
    tax = (tax_in(subtotal) if inclusive else tax_on(subtotal)) if is_taxed else 0
    session = Session(
        world.new_id("cs_test_a1"),
        world.now(),
        mode=mode,
        status="open",
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        customer=customer_id,
        customer_email=params.opt_text("customer_email"),
        client_reference_id=params.opt_text("client_reference_id"),
        success_url=_read_url(params, "success_url") or "",
        cancel_url=_read_url(params, "cancel_url", required=False),
        expires_at=_read_expiry(world, params),
        currency=prices[0].currency if prices else None,
        amount_total=(subtotal if inclusive else subtotal + tax) if prices else None,
        line_items=items,
        metadata=params.metadata(),
        subscription_metadata=subscription_data.metadata(),
        intent_metadata=intent_data.metadata(),
        setup_future_usage=intent_data.opt_choice("setup_future_usage", ("off_session", "on_session")),
        adaptive_pricing=params.child("adaptive_pricing").opt_flag("enabled") is not False,
        is_taxed=is_taxed,
        tax=tax,
        inclusive=inclusive,
    )
    return world.render(world.state.put(session))


def _accept_without_effect(params: Params) -> None:
    """Parameters that change nothing here: the page has one payment method and one language."""
    params.texts("payment_method_types")
    params.opt_choice("customer_creation", ("always", "if_required"))
    params.opt_choice("ui_mode", ("hosted", "hosted_page"))
    params.opt_text("locale")
    kept = params.child("customer_update")
    for name in ("address", "name"):
        kept.opt_choice(name, ("auto", "never"))


def _data_for(params: Params, name: str, mode: SessionMode, belongs_to: SessionMode) -> Params:
    if params.has(name) and mode != belongs_to:
        raise StripeFailure(f"You can not pass `{name}` in `{mode}` mode.", param=name)
    return params.child(name)


def _read_item(world: World, entry: Params) -> LineItem:
    if entry.has("price_data"):
        price = read_price(world, entry.child("price_data"))
    else:
        price = world.state.get(Price, entry.text("price"), param=entry.name_of("price"))
    quantity = entry.opt_int("quantity", low=1, high=999_999) or 1
    product = world.state.get(Product, price.product)
    return LineItem(world.new_id("li_"), price.id, quantity, product.name)


def _check_items(mode: SessionMode, items: tuple[LineItem, ...], prices: list[Price]) -> None:
    if mode == "setup":
        if items:
            raise StripeFailure("You can not pass `line_items` in `setup` mode.", param="line_items")
        return
    if not items:
        message = "Missing required param: line_items."
        raise StripeFailure(message, code="parameter_missing", param="line_items")
    recurring = [price.interval is not None for price in prices]
    if mode == "payment" and any(recurring):
        message = "You must use `subscription` mode if you provide a recurring price."
        raise StripeFailure(message, param="mode")
    if mode == "subscription" and (len(items) != 1 or not all(recurring)):
        message = "You must provide one recurring price in `subscription` mode (the sandbox takes no more)."
        raise StripeFailure(message, param="line_items")
    if len({price.currency for price in prices}) > 1:
        raise StripeFailure("All prices on a session must have the same currency.", param="line_items")
    total = _total(items, prices)
    if not _LEAST_AMOUNT <= total <= _MOST_AMOUNT:
        code = "amount_too_small" if total < _LEAST_AMOUNT else "amount_too_large"
        message = "The Checkout Session's total amount due must be between $0.50 and $999,999.99."
        raise StripeFailure(message, code=code, param="line_items")


def _total(items: tuple[LineItem, ...], prices: list[Price]) -> int:
    return sum(price.unit_amount * item.quantity for item, price in zip(items, prices, strict=True))


def _read_url(params: Params, name: str, *, required: bool = True) -> str | None:
    url = params.text(name) if required else params.opt_text(name)
    if url is not None and not _is_web_url(url):
        message = "Not a valid URL"
        raise StripeFailure(message, code="url_invalid", param=name)
    return url


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable() and " " not in url


def _read_expiry(world: World, params: Params) -> int:
    now = world.now()
    expires_at = params.opt_int("expires_at")
    if expires_at is None:
        return now + _DAY_S
    if not now + _HALF_HOUR_S <= expires_at <= now + _DAY_S:
        message = "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from now."
        raise StripeFailure(message, param="expires_at")
    return expires_at


def _session(call: Call) -> Session:
    return call.world.state.get(Session, call.ids["id"], what="checkout.session")


def retrieve_session(call: Call) -> Answer:
    return call.world.render(_session(call))


def list_sessions(call: Call) -> Answer:
    params = call.params
    customer, subscription = params.opt_text("customer"), params.opt_text("subscription")
    intent, status = params.opt_text("payment_intent"), params.opt_text("status")
    return page(
        call,
        [
            session
            for session in call.world.state.newest(Session)
            if (customer is None or session.customer == customer)
            and (subscription is None or session.subscription == subscription)
            and (intent is None or session.payment_intent == intent)
            and (status is None or session.status == status)
        ],
    )


def expire_session(call: Call) -> Answer:
    return call.world.render(checkout.expire(call.world, _session(call)))


def list_line_items(call: Call) -> Answer:
    session = _session(call)
    call.params.opt_int("limit", low=1, high=100)
    return listing([line_item(item, call.world.state) for item in session.line_items], call.path)
