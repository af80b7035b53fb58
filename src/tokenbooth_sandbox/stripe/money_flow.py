"""Cards charged and refunded: payment intents, charges, balance transactions."""

from dataclasses import dataclass, replace

from tokenbooth_sandbox.stripe.cards import DECLINED, Card
from tokenbooth_sandbox.stripe.http import StripeFailure
from tokenbooth_sandbox.stripe.records import (
    BalanceTransaction,
    BookingType,
    Charge,
    Customer,
    Dispute,
    PaymentIntent,
    PaymentMethod,
    Payout,
    Refund,
    TaxTransaction,
)
from tokenbooth_sandbox.stripe.world import World

_FEE_PER_MILLE = 29
_FEE_FIXED = 30
DISPUTE_FEE = 1_500


def fee_of(amount: int) -> int:
    """Stripe's price for a card payment, in cents: 2.9 % and 30, rounded half up."""
    return (amount * _FEE_PER_MILLE + 500) // 1000 + _FEE_FIXED


def attach_card(world: World, card: Card, customer_id: str | None, *, exp_month: int, exp_year: int) -> PaymentMethod:
    """Make a payment method of a typed card; with a customer it is saved as the default one."""
    method = world.state.put(
        PaymentMethod(
            world.new_id("pm_"),
            world.now(),
            customer=customer_id,
            brand=card.brand,
            last4=card.last4,
            exp_month=exp_month,
            exp_year=exp_year,
            behaviour=card.behaviour,
        )
    )
    owner = world.state.find(Customer, customer_id)
    if owner is not None:
        world.state.put(replace(owner, default_payment_method=method.id))
        world.emit("payment_method.attached", method)
    return method


@dataclass(frozen=True, slots=True)
class Payment:
    """What is to be paid. `amount` in cents."""

    amount: int
    currency: str
    customer: str | None
    method: PaymentMethod
    description: str | None
    metadata: dict[str, str]
    setup_future_usage: str | None = None
    tax_calculation: str | None = None


def open_intent(world: World, payment: Payment) -> PaymentIntent:
    """A payment that is under way."""
    return world.state.put(
        PaymentIntent(
            world.new_id("pi_"),
            world.now(),
            amount=payment.amount,
            currency=payment.currency,
            customer=payment.customer,
            status="processing",
            payment_method=payment.method.id,
            description=payment.description,
            setup_future_usage=payment.setup_future_usage,
            metadata=payment.metadata,
            tax_calculation=payment.tax_calculation,
        )
    )


def settle_intent(
    world: World, intent: PaymentIntent, method: PaymentMethod, *, succeeds: bool, failure_code: str = "card_declined"
) -> PaymentIntent:
    """Charge the method for an intent; the outcome stands in the intent that is returned."""
    charge = Charge(
        world.new_id("ch_"),
        world.now(),
        amount=intent.amount,
        currency=intent.currency,
        customer=intent.customer,
        payment_intent=intent.id,
        payment_method=method.id,
        status="succeeded" if succeeds else "failed",
        description=intent.description,
        metadata=intent.metadata,
        failure_code=None if succeeds else failure_code,
        failure_message=None if succeeds else DECLINED,
    )
    if succeeds:
        booked = _book(world, intent.amount, fee_of(intent.amount), intent.currency, "charge", charge.id)
        charge = replace(charge, balance_transaction=booked.id)
    world.state.put(charge)
    settled = world.state.put(
        replace(
            intent,
            status="succeeded" if succeeds else "requires_payment_method",
            latest_charge=charge.id,
            failure_code=charge.failure_code,
            failure_message=charge.failure_message,
        )
    )
    if succeeds and settled.tax_calculation is not None:
        calculation_id = settled.tax_calculation
        world.state.put(TaxTransaction(world.new_id("tax_"), world.now(), calculation_id, settled.id))
    world.emit("charge.succeeded" if succeeds else "charge.failed", charge)
    world.emit("payment_intent.succeeded" if succeeds else "payment_intent.payment_failed", settled)
    return settled


def pay(world: World, payment: Payment, *, on_session: bool) -> PaymentIntent:
    """Charge a card at once. `on_session`: the customer is there, which the card that fails later tells
    apart."""
    behaviour = payment.method.behaviour
    succeeds = behaviour in ("ok", "disputed") or (behaviour in ("fails_later", "authenticate") and on_session)
    code = "authentication_required" if behaviour == "authenticate" else "card_declined"
    intent = settle_intent(world, open_intent(world, payment), payment.method, succeeds=succeeds, failure_code=code)
    if behaviour == "disputed" and intent.latest_charge is not None:
        dispute_charge(world, world.state.get(Charge, intent.latest_charge))
    return intent


def dispute_charge(world: World, charge: Charge) -> Dispute:
    """The card's bank takes a payment back. Raises `StripeFailure` for one that cannot be disputed."""
    if charge.status != "succeeded" or any(known.charge == charge.id for known in world.state.newest(Dispute)):
        raise StripeFailure("This charge cannot be disputed (again).", param="charge")
    dispute_id = world.new_id("du_")
    booked = _book(world, -charge.amount, DISPUTE_FEE, charge.currency, "adjustment", dispute_id)
    dispute = world.state.put(
        Dispute(
            dispute_id,
            world.now(),
            amount=charge.amount,
            currency=charge.currency,
            charge=charge.id,
            payment_intent=charge.payment_intent,
            reason="fraudulent",
            status="needs_response",
            booked=(booked.id,),
        )
    )
    world.emit("charge.dispute.created", dispute)
    world.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def close_dispute(world: World, dispute: Dispute, *, won: bool) -> Dispute:
    """The bank decides; a won dispute's money comes back, its fee stays. A closed one stays as it is."""
    if dispute.status != "needs_response":
        return dispute
    if not won:
        closed = world.state.put(replace(dispute, status="lost"))
        world.emit("charge.dispute.closed", closed)
        return closed
    back = _book(world, dispute.amount, 0, dispute.currency, "adjustment", dispute.id)
    closed = world.state.put(replace(dispute, status="won", booked=(*dispute.booked, back.id)))
    world.emit("charge.dispute.funds_reinstated", closed)
    world.emit("charge.dispute.closed", closed)
    return closed


def pay_out(world: World, amount: int) -> BalanceTransaction:
    """Money goes to the operator's bank; `amount` in cents."""
    payout = world.state.put(Payout(world.new_id("po_"), world.now(), amount, "usd"))
    return _book(world, -amount, 0, "usd", "payout", payout.id)


def _book(world: World, amount: int, fee: int, currency: str, kind: BookingType, source: str) -> BalanceTransaction:
    return world.state.put(
        BalanceTransaction(
            world.new_id("txn_"),
            world.now(),
            amount=amount,
            fee=fee,
            currency=currency,
            type=kind,
            source=source,
            description=None,
        )
    )


def refund_charge(
    world: World, charge: Charge, amount: int | None, reason: str | None, metadata: dict[str, str]
) -> Refund:
    """Give money back; `amount` in cents, None for all that is left. Raises `StripeFailure`."""
    left = charge.amount - charge.amount_refunded
    if charge.status != "succeeded":
        raise StripeFailure("This charge was not paid.", param="charge")
    if left == 0:
        message = f"Charge {charge.id} has already been refunded."
        raise StripeFailure(message, code="charge_already_refunded")
    wanted = left if amount is None else amount
    if wanted > left:
        message = f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({left})"
        raise StripeFailure(message, param="amount")
    refund_id = world.new_id("re_")
    booked = _book(world, -wanted, 0, charge.currency, "refund", refund_id)
    refund = world.state.put(
        Refund(
            refund_id,
            world.now(),
            amount=wanted,
            currency=charge.currency,
            charge=charge.id,
            payment_intent=charge.payment_intent,
            reason=reason,
            status="succeeded",
            balance_transaction=booked.id,
            metadata=metadata,
        )
    )
    changed = world.state.put(replace(charge, amount_refunded=charge.amount_refunded + wanted))
    world.emit("refund.created", refund)
    world.emit("charge.refunded", changed, {"amount_refunded": charge.amount_refunded})
    return refund


def fail_refund(world: World, refund: Refund) -> Refund:
    """Let a refund bounce: the money is ours again."""
    if refund.status == "failed":
        return refund
    booked = _book(world, refund.amount, 0, refund.currency, "refund_failure", refund.id)
    failed = world.state.put(replace(refund, status="failed", failure_balance_transaction=booked.id))
    charge = world.state.get(Charge, refund.charge)
    world.state.put(replace(charge, amount_refunded=charge.amount_refunded - refund.amount))
    world.emit("refund.failed", failed)
    return failed
