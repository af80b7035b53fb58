"""Stripe's balance in our ledger: every entry noted once, its fee booked, and what no customer caused set apart.

With that the clearing account stands exactly against what Stripe holds.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from tokenbooth.domain.ledger import (
    STRIPE_CLEARING,
    STRIPE_FEES,
    STRIPE_OTHER,
    Entry,
    LedgerAccount,
    Transfer,
    TransferKind,
)
from tokenbooth.domain.stripe_balance import BalanceTransaction, TransactionMeaning
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import balance_transactions, cursors, payments, reversals


def position_us(conn: Connection, name: str) -> int | None:
    """How far a reader of Stripe's lists has come, UTC microseconds; None before its first time."""
    found: int | None = conn.execute(select(cursors.c.position_us).where(cursors.c.name == name)).scalar()
    return found


def advance(conn: Connection, name: str, position_us: int) -> None:
    """Note how far a reader has come; it never goes back."""
    if not insert_unless_there(conn, cursors, {"name": name, "position_us": position_us}):
        conn.execute(
            update(cursors)
            .where(cursors.c.name == name, cursors.c.position_us < position_us)
            .values(position_us=position_us)
        )


def record(conn: Connection, entries: Sequence[BalanceTransaction], *, now_us: int) -> int:
    """Record entries of Stripe's balance with their fees, each once; returns how many were new."""
    new = 0
    for entry in entries:
        row = {
            "id": entry.id,
            "type": entry.type,
            "source_id": entry.source_id,
            "stripe_payment_intent_id": entry.payment_intent_id,
            "amount_nano": entry.amount_nano,
            "fee_nano": entry.fee_nano,
            "created_at_us": entry.created_at_us,
        }
        if not insert_unless_there(conn, balance_transactions, row):
            continue
        new += 1
        if entry.fee_nano:
            _post(conn, TransferKind.PROCESSOR_FEE, f"stripe:fee:{entry.id}", STRIPE_FEES, -entry.fee_nano, now_us)
        if entry.meaning in (TransactionMeaning.FEE, TransactionMeaning.OTHER):
            set_apart(conn, entry, now_us=now_us)
    return new


def set_apart(conn: Connection, entry: BalanceTransaction, *, now_us: int) -> None:
    """Book an entry that no payment of a customer of ours explains, once."""
    reference = f"stripe:booked:{entry.id}"
    if entry.amount_nano and not ledger.is_posted(conn, reference):
        account = STRIPE_FEES if entry.meaning is TransactionMeaning.FEE else STRIPE_OTHER
        _post(conn, TransferKind.PROCESSOR_OTHER, reference, account, entry.amount_nano, now_us)


def unexplained(conn: Connection, entries: Sequence[BalanceTransaction]) -> list[BalanceTransaction]:
    """Those entries that are about customers and that nothing in our books explains yet."""
    return [entry for entry in entries if not _is_explained(conn, entry)]


def clearing_nano(conn: Connection) -> int:
    """What Stripe should hold by our books, in nano-USD."""
    return -ledger.balance_nano(conn, STRIPE_CLEARING)


def _is_explained(conn: Connection, entry: BalanceTransaction) -> bool:
    match entry.meaning:
        case TransactionMeaning.PAYMENT:
            column, value = payments.c.stripe_payment_intent_id, entry.payment_intent_id
        case TransactionMeaning.REFUND | TransactionMeaning.DISPUTE:
            column, value = reversals.c.id, entry.source_id
        case _:
            return True
    if value is not None and conn.execute(select(column).where(column == value)).first() is not None:
        return True
    return ledger.is_posted(conn, f"stripe:booked:{entry.id}")


def _post(
    conn: Connection, kind: TransferKind, reference: str, account: LedgerAccount, amount_nano: int, now_us: int
) -> None:
    transfer = Transfer(
        id=new_id(IdPrefix.TRANSFER, now_us),
        kind=kind,
        reference=reference,
        entries=(Entry(STRIPE_CLEARING, -amount_nano), Entry(account, amount_nano)),
        note="From Stripe's balance",
    )
    ledger.post(conn, transfer, now_us=now_us)
