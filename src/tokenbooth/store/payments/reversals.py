"""Refunds and disputes: what a payment brought is taken back, and restored when that fails or is won.

A row per refund or dispute says how much it holds now; a command brings it to what Stripe says, whatever was known
before, so order and repetition do not matter. What a customer has spent already becomes a debt, which the next credit
pays. While a dispute holds money, the account's keys are paused. Nothing here talks to Stripe.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from tokenbooth.domain.ledger import (
    STRIPE_CLEARING,
    SUBSCRIPTION_REVENUE,
    TAX_DUE,
    USAGE_REVENUE,
    Entry,
    Transfer,
    TransferKind,
)
from tokenbooth.domain.payment_commands import ReversalKind, SettleReversal
from tokenbooth.kit.errors import NotFound
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import changes, ledger
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.payments import payments
from tokenbooth.store.payments.checkouts import CURRENCY
from tokenbooth.store.payments.payments import Payment, PaymentKind
from tokenbooth.store.payments.subscriptions import StaleSnapshot
from tokenbooth.store.tables import accounts, reversals, subscription_periods

ACTOR: Final = "stripe"


def version(conn: Connection, reversal_id: str) -> int | None:
    """The version of our row of a refund or dispute; None while there is none."""
    found: int | None = conn.execute(select(reversals.c.updated_at_us).where(reversals.c.id == reversal_id)).scalar()
    return found


def taken_nano(conn: Connection, payment_intent_id: str) -> int:
    """What refunds and disputes hold of a payment, in nano-USD."""
    total = conn.execute(
        select(func.coalesce(func.sum(reversals.c.taken_nano), 0)).where(
            reversals.c.stripe_payment_intent_id == payment_intent_id
        )
    ).scalar_one()
    return int(total)


def settle(conn: Connection, command: SettleReversal, *, seen: Mapping[str, int | None], now_us: int) -> str | None:
    """Bring what a refund or dispute holds to what Stripe says.

    Args:
        command: what Stripe says.
        seen: versions of rows, noted before the fetch; a row that is missing here is not compared.
        now_us: UTC microseconds.

    Returns:
        Why a person has to look at it, or None.

    Raises:
        StaleSnapshot: the row has another version than in `seen`.
    """
    row = conn.execute(select(reversals).where(reversals.c.id == command.reversal_id)).first()
    known = None if row is None else row.updated_at_us
    if seen.get(command.reversal_id, known) != known:
        raise StaleSnapshot(command.reversal_id)
    payment = payments.find(conn, command.payment_intent_id)
    if payment is None:
        return "What is taken back was never booked here."
    if command.currency != CURRENCY or command.taken_nano > payment.paid_nano:
        return "More than was paid, or another currency, is taken back."
    held_nano, moves = (0, 0) if row is None else (row.taken_nano, row.moves)
    if row is None:
        _insert(conn, command, payment, now_us)
    if command.taken_nano == held_nano:
        return None
    _move(conn, command, payment, held_nano, moves + 1, now_us)
    conn.execute(
        update(reversals)
        .where(reversals.c.id == command.reversal_id)
        .values(
            taken_nano=command.taken_nano,
            moves=moves + 1,
            updated_at_us=max(now_us, (known or now_us) + 1),
        )
    )
    _flag_period(conn, payment, command.taken_nano - held_nano, now_us)
    if command.kind is ReversalKind.DISPUTE:
        _pause(conn, payment.account_id, now_us)
    return None


def release(conn: Connection, account_id: str, *, actor: str, reason: str, now_us: int) -> int:
    """Let an account's keys go on although a dispute took its money; returns how many disputes that was for.

    Raises:
        NotFound: no dispute pauses the keys of this account.
    """
    released = conn.execute(
        update(reversals)
        .where(reversals.c.account_id == account_id, reversals.c.pauses, reversals.c.taken_nano > 0)
        .values(pauses=False)
    ).rowcount
    if not released:
        raise NotFound("no_dispute", "No dispute pauses the keys of this account.")
    _pause(conn, account_id, now_us)
    audit_log.record(conn, actor=actor, action="account.unpaused", account_id=account_id, detail=reason, now_us=now_us)
    return released


def _insert(conn: Connection, command: SettleReversal, payment: Payment, now_us: int) -> None:
    conn.execute(
        insert(reversals).values(
            id=command.reversal_id,
            kind=command.kind,
            stripe_payment_intent_id=command.payment_intent_id,
            account_id=payment.account_id,
            taken_nano=0,
            moves=0,
            pauses=command.kind is ReversalKind.DISPUTE,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
    )


def _move(
    conn: Connection, command: SettleReversal, payment: Payment, held_nano: int, number: int, now_us: int
) -> None:
    """Post the difference: the customer's (or the operator's) share, and the tax in it."""
    delta_nano = command.taken_nano - held_nano
    # Of all that is taken of the payment together, so that the last of several parts takes what rounding left.
    before_nano = taken_nano(conn, command.payment_intent_id)
    after_nano = before_nano + delta_nano
    share_nano = payment.share_nano(after_nano) - payment.share_nano(before_nano)
    reference = f"stripe:{command.kind}:{command.reversal_id}:{number}"
    forward = TransferKind.REFUND if command.kind is ReversalKind.REFUND else TransferKind.DISPUTE
    kind = forward if delta_nano > 0 else TransferKind.REVERSAL
    note = f"{command.kind.capitalize()} {command.reversal_id} of payment {payment.stripe_payment_intent_id}"
    corrects = ledger.find_transfer_id(conn, payment.reference)
    if payment.kind is PaymentKind.TOP_UP and share_nano > 0:
        ledger.take_back(
            conn,
            account_id=payment.account_id,
            target=STRIPE_CLEARING,
            amount_nano=share_nano,
            kind=kind,
            reference=reference,
            note=note,
            now_us=now_us,
            corrects=corrects,
        )
    elif payment.kind is PaymentKind.TOP_UP and share_nano < 0:
        ledger.add_credit(
            conn,
            account_id=payment.account_id,
            source=STRIPE_CLEARING,
            amount_nano=-share_nano,
            kind=kind,
            reference=reference,
            note=note,
            now_us=now_us,
            corrects=corrects,
        )
    elif share_nano:
        entries = (Entry(STRIPE_CLEARING, share_nano), Entry(SUBSCRIPTION_REVENUE, -share_nano))
        _post(conn, kind, reference, entries, note, corrects, now_us)
    included_nano = payment.included_nano(after_nano) - payment.included_nano(before_nano)
    if included_nano:
        entries = (Entry(USAGE_REVENUE, included_nano), Entry(TAX_DUE, -included_nano))
        _post(conn, kind, f"{reference}:tax-included", entries, note, corrects, now_us)
    tax_nano = delta_nano - share_nano
    if tax_nano:
        entries = (Entry(STRIPE_CLEARING, tax_nano), Entry(TAX_DUE, -tax_nano))
        _post(conn, kind, f"{reference}:tax", entries, note, corrects, now_us)


def _post(
    conn: Connection,
    kind: TransferKind,
    reference: str,
    entries: tuple[Entry, ...],
    note: str,
    corrects: str | None,
    now_us: int,
) -> None:
    transfer_id = new_id(IdPrefix.TRANSFER, now_us)
    ledger.post(conn, Transfer(transfer_id, kind, reference, entries, note, corrects), now_us=now_us)


def _flag_period(conn: Connection, payment: Payment, delta_nano: int, now_us: int) -> None:
    """A refunded period stays, and says so; only the operator ends it."""
    if payment.stripe_invoice_id is None:
        return
    same = subscription_periods.c.stripe_invoice_id == payment.stripe_invoice_id
    flagged = conn.execute(
        update(subscription_periods).where(same).values(refunded_nano=subscription_periods.c.refunded_nano + delta_nano)
    ).rowcount
    if flagged and delta_nano > 0:
        audit_log.record(
            conn,
            actor=ACTOR,
            action="period.refunded",
            account_id=payment.account_id,
            detail=f"{payment.subscription_id}: {payment.stripe_invoice_id}: the period goes on",
            now_us=now_us,
        )


def _pause(conn: Connection, account_id: str, now_us: int) -> None:
    """Pause the keys while a dispute holds money; announce it when that changed."""
    holding = select(reversals.c.id).where(
        reversals.c.account_id == account_id,
        reversals.c.kind == ReversalKind.DISPUTE,
        reversals.c.pauses,
        reversals.c.taken_nano > 0,
    )
    disputed = conn.execute(holding.limit(1)).first() is not None
    is_paused = accounts.c.disputed_at_us.is_not(None)
    changed = conn.execute(
        update(accounts)
        .where(accounts.c.id == account_id, ~is_paused if disputed else is_paused)
        .values(disputed_at_us=now_us if disputed else None)
    ).rowcount
    if changed:
        changes.record(conn, changes.Topic.ACCOUNT, account_id, now_us=now_us)
        action = "account.keys_paused" if disputed else "account.keys_resumed"
        audit_log.record(conn, actor=ACTOR, action=action, account_id=account_id, detail="dispute", now_us=now_us)
