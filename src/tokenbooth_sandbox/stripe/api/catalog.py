"""Handlers for customers, products, prices, saved cards and webhook endpoints."""

from dataclasses import replace

from tokenbooth_sandbox.stripe.calls import Answer, Call, page
from tokenbooth_sandbox.stripe.forms import Params
from tokenbooth_sandbox.stripe.http import StripeFailure, no_such
from tokenbooth_sandbox.stripe.records import (
    Customer,
    PaymentMethod,
    PortalConfiguration,
    PortalSession,
    Price,
    Product,
    TestClock,
    WebhookEndpoint,
)
from tokenbooth_sandbox.stripe.world import World

INTERVALS = ("day", "week", "month", "year")
CURRENCIES = ("usd", "eur", "gbp")
_PORTAL_FEATURES = (
    "customer_update",
    "invoice_history",
    "payment_method_update",
    "subscription_cancel",
    "subscription_update",
)


_CONDITIONS = ("decreasing_item_amount", "shortening_interval")


def create_customer(call: Call) -> Answer:
    clock_id = call.params.opt_text("test_clock")
    clock = (
        None if clock_id is None else call.world.state.get(TestClock, clock_id, what="test_clock", param="test_clock")
    )
    customer = Customer(
        call.world.new_id("cus_"),
        call.world.now() if clock is None else clock.frozen_time,
        email=call.params.opt_text("email"),
        name=call.params.opt_text("name"),
        metadata=call.params.metadata(),
        test_clock=clock_id,
    )
    call.world.state.put(customer)
    call.world.emit("customer.created", customer)
    return call.world.render(customer)


def delete_customer(call: Call) -> Answer:
    """Gone for good, and its saved cards with it; what was paid stays."""
    customer = call.world.customer(call.ids["id"])
    call.world.state.put(replace(customer, deleted=True, default_payment_method=None))
    for method in call.world.state.newest(PaymentMethod):
        if method.customer == customer.id:
            call.world.state.put(replace(method, customer=None))
    return {"id": customer.id, "object": "customer", "deleted": True}


def create_product(call: Call) -> Answer:
    return call.world.render(_new_product(call.world, call.params))


def _new_product(world: World, params: Params) -> Product:
    return world.state.put(
        Product(
            world.new_id("prod_"),
            world.now(),
            name=params.text("name"),
            description=params.opt_text("description"),
            metadata=params.metadata(),
        )
    )


def create_price(call: Call) -> Answer:
    price = read_price(call.world, call.params)
    lookup_key = call.params.opt_text("lookup_key")
    taken = lookup_key is not None and any(known.lookup_key == lookup_key for known in call.world.state.newest(Price))
    if taken:
        message = f"A price with lookup key `{lookup_key}` already exists."
        raise StripeFailure(message, code="resource_already_exists", param="lookup_key")
    named = Price(
        price.id,
        price.created,
        product=price.product,
        currency=price.currency,
        unit_amount=price.unit_amount,
        interval=price.interval,
        interval_count=price.interval_count,
        lookup_key=lookup_key,
        nickname=call.params.opt_text("nickname"),
        metadata=call.params.metadata(),
    )
    return call.world.render(call.world.state.put(named))


def read_price(world: World, params: Params) -> Price:
    """A new price from `price_data`, or from the parameters of a price's own creation."""
    currency = params.choice("currency", CURRENCIES)
    amount = params.opt_int("unit_amount")
    if amount is None:
        path = params.name_of("unit_amount")
        raise StripeFailure(f"Missing required param: {path}.", code="parameter_missing", param=path)
    interval: str | None = None
    count = 1
    if params.has("recurring"):
        recurring = params.child("recurring")
        interval = recurring.choice("interval", INTERVALS)
        count = recurring.opt_int("interval_count", low=1, high=36) or 1
    if params.has("product_data"):
        product = _new_product(world, params.child("product_data"))
    else:
        name = params.name_of("product")
        product = world.state.get(Product, params.text("product"), param=name)
    return world.state.put(
        Price(
            world.new_id("price_"),
            world.now(),
            product=product.id,
            currency=currency,
            unit_amount=amount,
            interval=interval,
            interval_count=count,
            lookup_key=None,
            nickname=None,
            metadata={},
        )
    )


def list_prices(call: Call) -> Answer:
    keys = call.params.texts("lookup_keys")
    product, active = call.params.opt_text("product"), call.params.opt_flag("active")
    return page(
        call,
        [
            price
            for price in call.world.state.newest(Price)
            if (not keys or price.lookup_key in keys)
            and (product is None or price.product == product)
            and (active is None or price.active == active)
        ],
    )


def list_payment_methods(call: Call) -> Answer:
    customer_id = call.params.text("customer")
    return _cards_of(call, call.world.customer(customer_id))


def list_customer_payment_methods(call: Call) -> Answer:
    customer = call.world.state.get(Customer, call.ids["id"])
    if customer.deleted:
        raise no_such("customer", customer.id)
    return _cards_of(call, customer)


def _cards_of(call: Call, customer: Customer) -> Answer:
    call.params.opt_choice("type", ("card",))
    cards = call.world.state.newest(PaymentMethod)
    return page(call, [card for card in cards if card.customer == customer.id])


def create_webhook_endpoint(call: Call) -> Answer:
    """Only noted: deliveries go to the one URL that the sandbox was set up with."""
    endpoint = WebhookEndpoint(
        call.world.new_id("we_"),
        call.world.now(),
        url=call.params.text("url"),
        enabled_events=tuple(call.params.texts("enabled_events")),
        description=call.params.opt_text("description"),
        metadata=call.params.metadata(),
        api_version=call.params.opt_text("api_version"),
    )
    if not endpoint.enabled_events:
        message = "Missing required param: enabled_events."
        raise StripeFailure(message, code="parameter_missing", param="enabled_events")
    # Told this once, as Stripe does; deliveries are signed with the secret that the sandbox was set up with.
    return call.world.render(call.world.state.put(endpoint)) | {"secret": "whsec_sandbox_endpoint"}


def update_webhook_endpoint(call: Call) -> Answer:
    endpoint = call.world.state.get(WebhookEndpoint, call.ids["id"])
    events = tuple(call.params.texts("enabled_events")) or endpoint.enabled_events
    disabled = call.params.opt_flag("disabled")
    changed = replace(endpoint, enabled_events=events, disabled=endpoint.disabled if disabled is None else disabled)
    return call.world.render(call.world.state.put(changed))


def create_portal_configuration(call: Call) -> Answer:
    features, conditions = _read_features(call.params.child("features"))
    configuration = PortalConfiguration(
        call.world.new_id("bpc_"),
        call.world.now(),
        default_return_url=call.params.opt_text("default_return_url"),
        features=features,
        metadata=call.params.metadata(),
        schedule_conditions=conditions,
    )
    return call.world.render(call.world.state.put(configuration))


def update_portal_configuration(call: Call) -> Answer:
    configuration = call.world.state.get(PortalConfiguration, call.ids["id"])
    wanted = call.params.child("features")
    features, conditions = _read_features(wanted)
    changed = replace(
        configuration,
        features=configuration.features | {name: value for name, value in features.items() if wanted.has(name)},
        schedule_conditions=conditions or configuration.schedule_conditions,
    )
    return call.world.render(call.world.state.put(changed))


def _read_features(wanted: Params) -> tuple[dict[str, bool], tuple[str, ...]]:
    """Which features are on, and on which conditions a change of plan waits for the period's end."""
    features: dict[str, bool] = {}
    conditions: tuple[str, ...] = ()
    for name in _PORTAL_FEATURES:
        feature = wanted.child(name)
        features[name] = feature.opt_flag("enabled") is True
        feature.opt_choice("mode", ("at_period_end", "immediately"))
        feature.opt_choice("proration_behavior", ("none", "create_prorations", "always_invoice"))
        if name == "subscription_update":
            entries = feature.child("schedule_at_period_end").children("conditions")
            conditions = tuple(entry.choice("type", _CONDITIONS) for entry in entries)
    return features, conditions


def list_portal_configurations(call: Call) -> Answer:
    call.params.opt_flag("active")
    return page(call, call.world.state.newest(PortalConfiguration))


def create_portal_session(call: Call) -> Answer:
    customer = call.world.customer(call.params.text("customer"))
    configuration = call.params.opt_text("configuration")
    if configuration is not None:
        call.world.state.get(PortalConfiguration, configuration, param="configuration")
    session = PortalSession(
        call.world.new_id("bps_"), call.world.now(), customer.id, call.params.opt_text("return_url"), configuration
    )
    return call.world.render(call.world.state.put(session))
