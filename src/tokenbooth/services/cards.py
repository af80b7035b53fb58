"""Charging a saved card for a top-up so that a crash at any instant neither loses the money nor takes it twice.

Our record is there before Stripe is asked, and the call's idempotency key is made from it. What became of a
charge is written here, told by Stripe's webhook, or read back later, whichever comes first: all lead to the same
one credit.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.money import NANO_PER_CENT
from tokenbooth.domain.payment_commands import DirectFailed
from tokenbooth.kit.clock import Clock
from tokenbooth.payments.stripe.client import PaymentProviderError, StripeClient
from tokenbooth.payments.stripe.snapshots import PaymentSnapshot
from tokenbooth.payments.stripe.translation import credit_direct
from tokenbooth.store import ledger
from tokenbooth.store.accounts import accounts
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import topups
from tokenbooth.store.payments.checkouts import PendingCharge

_GIVE_UP_AFTER_US: Final = 3_600 * 1_000_000
"""How long a charge that Stripe does not know of may still be under way to it."""
TAX_UNKNOWN: Final = frozenset({"customer_tax_location_invalid", "shipping_address_invalid", "tax_id_invalid"})
"""Why Stripe cannot calculate a tax."""
_CLOCK_SKEW_US: Final = 600 * 1_000_000


class ChargeStatus(StrEnum):
    """What became of a charge."""

    CREDITED = "credited"
    PENDING = "pending"
    FAILED = "failed"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class ChargeOutcome:
    """What became of a charge; `reason` is why it failed, `balance_nano` the credit afterwards."""

    status: ChargeStatus
    balance_nano: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CardCharge:
    """A top-up that was noted (`checkouts.create_checkout`) and is to be charged."""

    checkout_id: str
    account_id: str
    customer_id: str
    card_id: str
    amount_nano: int


async def charge(store: Store, stripe: StripeClient, clock: Clock, wanted: CardCharge) -> ChargeOutcome:
    """Charge a card and write down what came of it; asked again for the same top-up, the same.

    Raises:
        PaymentProviderError: what came of it is not known; `settle_pending` finds out later.
        StoreUnavailable: as before, but charged it may be.
    """
    try:
        payment = await _charged(stripe, wanted)
    except PaymentProviderError as failure:
        if failure.kind != "declined" and not failure.is_lasting:
            raise
        reason = failure.provider_code or ("card_declined" if failure.kind == "declined" else "refused")
        command = DirectFailed(wanted.checkout_id, wanted.account_id, failure.object_id, reason)
        return await store.write(_record_failure, command, now_us=clock.now_us())
    return await store.write(_record_payment, wanted.checkout_id, wanted.account_id, payment, now_us=clock.now_us())


async def _charged(stripe: StripeClient, wanted: CardCharge) -> PaymentSnapshot:
    """The payment of a top-up with its tax, which is calculated first."""
    price = await stripe.cards.price_top_up(
        customer_id=wanted.customer_id,
        amount_cents=wanted.amount_nano // NANO_PER_CENT,
        checkout_id=wanted.checkout_id,
    )
    return await stripe.cards.charge(
        customer_id=wanted.customer_id,
        card_id=wanted.card_id,
        price=price,
        account_id=wanted.account_id,
        checkout_id=wanted.checkout_id,
    )


async def settle_pending(store: Store, stripe: StripeClient, clock: Clock, pending: PendingCharge) -> ChargeOutcome:
    """Read back what became of a charge whose answer was lost. One that Stripe does not know after an hour was
    never made.

    Raises:
        PaymentProviderError: Stripe does not say.
    """
    account = await store.read(accounts.find_account, pending.account_id)
    customer_id = None if account is None else account.stripe_customer_id
    payment: PaymentSnapshot | None = None
    if customer_id is not None:
        since_us = pending.created_at_us - _CLOCK_SKEW_US
        payment = await stripe.cards.find_charge(customer_id, pending.checkout_id, since_us=since_us)
    now_us = clock.now_us()
    if payment is not None:
        return await store.write(_record_payment, pending.checkout_id, pending.account_id, payment, now_us=now_us)
    if now_us < pending.created_at_us + _GIVE_UP_AFTER_US:
        return ChargeOutcome(ChargeStatus.PENDING, 0)
    command = DirectFailed(pending.checkout_id, pending.account_id, None, "not_charged")
    return await store.write(_record_failure, command, now_us=now_us)


def _record_payment(
    conn: Connection, checkout_id: str, account_id: str, payment: PaymentSnapshot, *, now_us: int
) -> ChargeOutcome:
    match payment.status:
        case "succeeded":
            command = credit_direct(payment, checkout_id, account_id)
            reason = topups.credit_direct(conn, command, now_us=now_us)
            status = ChargeStatus.CREDITED if reason is None else ChargeStatus.REVIEW
            return ChargeOutcome(status, ledger.balance_nano(conn, credit_of(account_id)), reason)
        case "processing":
            return ChargeOutcome(ChargeStatus.PENDING, ledger.balance_nano(conn, credit_of(account_id)))
        case _:
            reason = payment.failure_code or payment.status
            failed = DirectFailed(checkout_id, account_id, payment.payment_intent_id, reason)
            return _record_failure(conn, failed, now_us=now_us)


def _record_failure(conn: Connection, command: DirectFailed, *, now_us: int) -> ChargeOutcome:
    topups.fail_direct(conn, command, now_us=now_us)
    return ChargeOutcome(ChargeStatus.FAILED, ledger.balance_nano(conn, credit_of(command.account_id)), command.reason)
