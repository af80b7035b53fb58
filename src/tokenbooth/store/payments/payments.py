"""Payments that came in by Stripe, each tied to the ledger transfer that booked it.

Refunds and disputes name a payment intent only; this is where it leads back to an account, a top-up or an
invoice.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, or_, select

from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import payments


class PaymentKind(StrEnum):
    """What a payment paid for."""

    TOP_UP = "top_up"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment that was booked.

    Attributes:
        stripe_payment_intent_id: Stripe's id of it.
        account_id: who paid.
        kind: what for.
        reference: the business reference of the transfer that booked it.
        paid_nano: what was paid, tax included.
        credited_nano: what the customer got for it, or the operator earned by it.
        checkout_id, subscription_id, stripe_invoice_id: what it belongs to, None where it does not.
        created_at_us: when it was booked, UTC microseconds.
        tax_included_nano: how much of what was credited is tax that the operator owes.
    """

    stripe_payment_intent_id: str
    account_id: str
    kind: PaymentKind
    reference: str
    paid_nano: int
    credited_nano: int
    checkout_id: str | None
    subscription_id: str | None
    stripe_invoice_id: str | None
    created_at_us: int
    tax_included_nano: int = 0

    def share_nano(self, taken_nano: int) -> int:
        """How much of `taken_nano` is the customer's or the operator's; the rest is tax."""
        return taken_nano * self.credited_nano // self.paid_nano if self.paid_nano else 0

    def included_nano(self, taken_nano: int) -> int:
        """How much tax is inside `taken_nano`, beside that which was added."""
        return taken_nano * self.tax_included_nano // self.paid_nano if self.paid_nano else 0


def record(conn: Connection, payment: Payment) -> None:
    """Record a payment in the transaction that books it."""
    insert_unless_there(
        conn,
        payments,
        {
            "stripe_payment_intent_id": payment.stripe_payment_intent_id,
            "account_id": payment.account_id,
            "kind": payment.kind,
            "reference": payment.reference,
            "paid_nano": payment.paid_nano,
            "credited_nano": payment.credited_nano,
            "tax_included_nano": payment.tax_included_nano,
            "checkout_id": payment.checkout_id,
            "subscription_id": payment.subscription_id,
            "stripe_invoice_id": payment.stripe_invoice_id,
            "created_at_us": payment.created_at_us,
        },
    )


def find(conn: Connection, name: str) -> Payment | None:
    """The payment with this payment intent, invoice, or checkout of ours."""
    columns = payments.c
    row = conn.execute(
        select(payments).where(
            or_(
                columns.stripe_payment_intent_id == name,
                columns.stripe_invoice_id == name,
                columns.checkout_id == name,
            )
        )
    ).first()
    if row is None:
        return None
    return Payment(
        stripe_payment_intent_id=row.stripe_payment_intent_id,
        account_id=row.account_id,
        kind=PaymentKind(row.kind),
        reference=row.reference,
        paid_nano=row.paid_nano,
        credited_nano=row.credited_nano,
        checkout_id=row.checkout_id,
        subscription_id=row.subscription_id,
        stripe_invoice_id=row.stripe_invoice_id,
        created_at_us=row.created_at_us,
        tax_included_nano=row.tax_included_nano,
    )
