"""Handlers for Stripe Tax: a calculation before a charge, and the transaction that the charge leaves."""

from tokenbooth_sandbox.stripe.api.catalog import CURRENCIES
from tokenbooth_sandbox.stripe.calls import Answer, Call
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import TaxCalculation, tax_in, tax_on


def create_calculation(call: Call) -> Answer:
    """The tax on one line, where the customer lives; a customer whose place is not known cannot be taxed."""
    world, params = call.world, call.params
    currency = params.choice("currency", CURRENCIES)
    customer = world.customer(params.text("customer"))
    lines = params.children("line_items")
    if len(lines) != 1:
        raise StripeFailure("The sandbox's calculations have one line.", param="line_items")
    line = lines[0]
    amount = line.opt_int("amount", low=1)
    if amount is None:
        path = line.name_of("amount")
        raise StripeFailure(f"Missing required param: {path}.", code="parameter_missing", param=path)
    given = line.opt_choice("tax_behavior", ("exclusive", "inclusive"))
    inclusive = (given or "exclusive") == "inclusive"
    reference = line.opt_text("reference") or "L1"
    if customer.untaxable:
        message = "We could not determine the customer's tax location based on the provided customer address."
        raise StripeFailure(message, code="customer_tax_location_invalid", param="customer")
    calculation = TaxCalculation(
        world.new_id("taxcalc_"),
        world.now(),
        customer=customer.id,
        currency=currency,
        amount=amount,
        tax=tax_in(amount) if inclusive else tax_on(amount),
        inclusive=inclusive,
        reference=reference,
        line_id=world.new_id("tax_li_"),
    )
    return world.render(world.state.put(calculation))


def retrieve_settings(call: Call) -> Answer:
    """The operator's tax settings, of which the default behaviour of prices matters here."""
    return {
        "object": "tax.settings",
        "defaults": {
            "provider": "stripe",
            "tax_behavior": "inclusive" if call.world.settings.inclusive_tax else "exclusive",
            "tax_code": "txcd_10000000",
        },
        "head_office": None,
        "livemode": False,
        "status": "active",
        "status_details": {"active": {}},
    }
