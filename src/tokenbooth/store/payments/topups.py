"""Top-ups: the credit that a paid checkout or charge brings, and what becomes of one that is not paid.

Each function carries out one command; a repetition changes nothing. It returns why a person has to look at it, or None.
"""

from sqlalchemy import Connection, update

from tokenbooth.domain.ledger import STRIPE_CLEARING, TransferKind
from tokenbooth.domain.payment_commands import (
    CheckoutExpired,
    CheckoutFailed,
    CreditDirect,
    CreditTopup,
    DirectFailed,
)
from tokenbooth.store import ledger
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.payments import payments
from tokenbooth.store.payments.checkouts import (
    CHARGES,
    CURRENCY,
    MAX_FAILURE,
    Checkout,
    CheckoutKind,
    CheckoutStatus,
    find,
    raise_status,
    refuse,
    set_session,
)
from tokenbooth.store.payments.payments import Payment, PaymentKind
from tokenbooth.store.tables import auto_topups, checkouts


def credit_topup(conn: Connection, command: CreditTopup, *, now_us: int) -> str | None:
    """Credit a paid top-up, once for its session."""
    checkout = find(conn, command.checkout_id)
    reason = _mismatch(checkout, command.account_id, command.stripe_session_id, CheckoutKind.TOP_UP)
    if reason is not None or checkout is None:
        return reason
    if command.currency != CURRENCY or command.amount_nano != checkout.offer.amount_nano:
        raise_status(conn, checkout.id, CheckoutStatus.REVIEW, now_us=now_us)
        return "The amount or the currency that was paid differs from what the checkout asked for."
    if checkout.stripe_session_id is None:
        set_session(conn, checkout.id, command.stripe_session_id, now_us=now_us)
    _credit(conn, checkout, f"stripe:session:{command.stripe_session_id}", command, now_us)
    return None


def credit_direct(conn: Connection, command: CreditDirect, *, now_us: int) -> str | None:
    """Credit a top-up for which a saved card was charged, once for its payment."""
    checkout = find(conn, command.checkout_id)
    reason = _direct_mismatch(checkout, command.account_id, command.payment_intent_id)
    if reason is not None or checkout is None:
        return reason
    if command.currency != CURRENCY or command.amount_nano != checkout.offer.amount_nano:
        raise_status(conn, checkout.id, CheckoutStatus.REVIEW, now_us=now_us)
        return "The amount or the currency that was charged differs from what the top-up asked for."
    _credit(conn, checkout, f"stripe:payment:{command.payment_intent_id}", command, now_us)
    return None


def fail_direct(conn: Connection, command: DirectFailed, *, now_us: int) -> str | None:
    """Record that a saved card could not be charged; a credit stays. An account's rule is switched off by it."""
    checkout = find(conn, command.checkout_id)
    reason = _direct_mismatch(checkout, command.account_id, command.payment_intent_id)
    if reason is not None or checkout is None:
        return reason
    failed = refuse(conn, checkout.id, command.reason, now_us=now_us)
    if failed and checkout.offer.kind == CheckoutKind.AUTO_TOP_UP:
        switch_off_auto_top_up(conn, checkout.account_id, command.reason, now_us=now_us)
    return None


def switch_off_auto_top_up(conn: Connection, account_id: str, reason: str, *, now_us: int) -> None:
    """Switch an account's rule off and say why; its owner reads it with the rule, and is told by the job."""
    failure = reason[:MAX_FAILURE]
    conn.execute(
        update(auto_topups)
        .where(auto_topups.c.account_id == account_id)
        .values(enabled=False, failure=failure, failed_at_us=now_us)
    )
    audit_log.record(
        conn, actor="stripe", action="auto_top_up.switched_off", account_id=account_id, detail=failure, now_us=now_us
    )


def _credit(
    conn: Connection,
    checkout: Checkout,
    reference: str,
    command: CreditTopup | CreditDirect,
    now_us: int,
) -> None:
    """Book a paid top-up: the credit, the tax on top of it or inside it, and the payment that all came from."""
    intent_id = command.payment_intent_id
    is_new = ledger.add_credit(
        conn,
        account_id=checkout.account_id,
        source=STRIPE_CLEARING,
        amount_nano=checkout.offer.amount_nano,
        kind=TransferKind.TOP_UP,
        reference=reference,
        note=f"Top-up by card, payment {intent_id}",
        now_us=now_us,
    )
    if is_new:
        ledger.add_tax(conn, reference=reference, tax_nano=command.tax_nano, now_us=now_us)
        ledger.set_tax_aside(conn, reference=reference, tax_nano=command.tax_included_nano, now_us=now_us)
        payments.record(
            conn,
            Payment(
                stripe_payment_intent_id=intent_id,
                account_id=checkout.account_id,
                kind=PaymentKind.TOP_UP,
                reference=reference,
                paid_nano=checkout.offer.amount_nano + command.tax_nano,
                credited_nano=checkout.offer.amount_nano,
                tax_included_nano=command.tax_included_nano,
                checkout_id=checkout.id,
                subscription_id=None,
                stripe_invoice_id=None,
                created_at_us=now_us,
            ),
        )
    conn.execute(update(checkouts).where(checkouts.c.id == checkout.id).values(stripe_payment_intent_id=intent_id))
    raise_status(conn, checkout.id, CheckoutStatus.PAID, now_us=now_us)


def close_unpaid(conn: Connection, command: CheckoutExpired | CheckoutFailed, *, now_us: int) -> str | None:
    """Record that a checkout ran out or its payment failed; a credit stays."""
    reason = _mismatch(find(conn, command.checkout_id), command.account_id, command.stripe_session_id, None)
    if reason is not None:
        return reason
    status = CheckoutStatus.FAILED if isinstance(command, CheckoutFailed) else CheckoutStatus.EXPIRED
    raise_status(conn, command.checkout_id, status, now_us=now_us)
    return None


def _mismatch(
    checkout: Checkout | None,
    account_id: str,
    stripe_session_id: str,
    kind: CheckoutKind | None,
) -> str | None:
    if checkout is None:
        return "There is no such checkout here."
    if checkout.account_id != account_id:
        return "The checkout belongs to another account than the payment says."
    if checkout.stripe_session_id not in (None, stripe_session_id):
        return "The checkout belongs to another session than the payment says."
    if kind is not None and checkout.offer.kind != kind:
        return "The checkout sells something else than the payment says."
    return None


def _direct_mismatch(checkout: Checkout | None, account_id: str, payment_intent_id: str | None) -> str | None:
    if checkout is None:
        return "There is no such top-up here."
    if checkout.account_id != account_id or checkout.offer.kind not in CHARGES:
        return "The top-up belongs to another account or is of another kind than the payment says."
    if payment_intent_id is not None and checkout.stripe_payment_intent_id not in (None, payment_intent_id):
        return "The top-up belongs to another payment than this one."
    return None
