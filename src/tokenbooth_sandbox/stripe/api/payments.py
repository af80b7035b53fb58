"""Handlers for payment intents, charges, refunds and the balance."""

from tokenbooth_sandbox.stripe import money_flow
from tokenbooth_sandbox.stripe.api.catalog import CURRENCIES
from tokenbooth_sandbox.stripe.calls import Answer, Call, Refused
from tokenbooth_sandbox.stripe.cards import declined
from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue, StripeFailure
from tokenbooth_sandbox.stripe.records import (
    BalanceTransaction,
    Charge,
    PaymentIntent,
    PaymentMethod,
    TaxCalculation,
)
from tokenbooth_sandbox.stripe.render.payments import available_on


def create_payment_intent(call: Call) -> Answer:
    """Only what charges a saved card at once: `confirm` and `off_session` must both be true."""
    world, params = call.world, call.params
    amount = params.opt_int("amount", low=50, high=99_999_999)
    if amount is None:
        raise StripeFailure("Missing required param: amount.", code="parameter_missing", param="amount")
    currency = params.choice("currency", CURRENCIES)
    customer = world.customer(params.text("customer"))
    method = world.state.get(PaymentMethod, params.text("payment_method"), what="PaymentMethod", param="payment_method")
    params.texts("payment_method_types")
    if method.customer != customer.id:
        message = "The provided PaymentMethod does not belong to the Customer you supplied."
        raise StripeFailure(message, param="payment_method")
    for name in ("confirm", "off_session"):
        if params.opt_flag(name) is not True:
            raise StripeFailure(f"The sandbox needs {name}=true here.", param=name)
    payment = money_flow.Payment(
        amount=amount,
        currency=currency,
        customer=customer.id,
        method=method,
        description=params.opt_text("description"),
        metadata=params.metadata(),
        tax_calculation=_calculation_of(call, amount),
    )
    intent = money_flow.pay(world, payment, on_session=False)
    if intent.status != "succeeded":
        why = "authentication_required" if intent.failure_code == "authentication_required" else None
        return Refused(declined(why), world.render(intent))
    return world.render(intent)


def _calculation_of(call: Call, amount: int) -> str | None:
    """The tax calculation that a payment is linked to, whose total it has to be."""
    linked = call.params.child("hooks").child("inputs").child("tax").opt_text("calculation")
    if linked is None:
        return None
    param = "hooks[inputs][tax][calculation]"
    calculation = call.world.state.get(TaxCalculation, linked, what="tax calculation", param=param)
    total = calculation.amount if calculation.inclusive else calculation.amount + calculation.tax
    if amount != total:
        raise StripeFailure("The amount is not the total of the tax calculation.", param=param)
    return calculation.id


def create_refund(call: Call) -> Answer:
    world, params = call.world, call.params
    intent_id, charge_id = params.opt_text("payment_intent"), params.opt_text("charge")
    if (intent_id is None) == (charge_id is None):
        message = "One of the following params should be provided for this request: payment_intent or charge."
        raise StripeFailure(message, code="parameter_missing")
    if intent_id is not None:
        intent = world.state.get(PaymentIntent, intent_id, what="payment_intent", param="payment_intent")
        charge_id = intent.latest_charge
    charge = world.state.get(Charge, charge_id or "", param="charge")
    refund = money_flow.refund_charge(
        world,
        charge,
        params.opt_int("amount", low=1),
        params.opt_choice("reason", ("duplicate", "fraudulent", "requested_by_customer")),
        params.metadata(),
    )
    return world.render(refund)


def retrieve_balance(call: Call) -> Answer:
    now = call.world.now()
    booked = call.world.state.newest(BalanceTransaction)
    ready = [entry for entry in booked if available_on(entry) <= now]
    waiting = [entry for entry in booked if available_on(entry) > now]
    shown: JsonObject = {
        "object": "balance",
        "available": _by_currency(ready),
        "livemode": False,
        "pending": _by_currency(waiting),
    }
    return shown


def _by_currency(booked: list[BalanceTransaction]) -> list[JsonValue]:
    sums: dict[str, int] = {"usd": 0}
    for entry in booked:
        sums[entry.currency] = sums.get(entry.currency, 0) + entry.amount - entry.fee
    return [
        {"amount": amount, "currency": currency, "source_types": {"card": amount}} for currency, amount in sums.items()
    ]
