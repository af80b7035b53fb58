"""Checkouts: what we asked Stripe to collect, and the credit that a paid top-up brings.

Our record is made before Stripe is called, and only what it says is ever credited. Whatever order events
come in, a status only moves up: pending, expired, failed, review, paid. Nothing here talks to Stripe.
Imported by the faces, the jobs and `store.billing`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, Row, func, insert, select, update

from tokenbooth.domain.ledger import STRIPE_CLEARING, TransferKind
from tokenbooth.domain.stripe_commands import CheckoutExpired, CheckoutFailed, CreditTopup
from tokenbooth.errors import Conflict
from tokenbooth.store import ledger
from tokenbooth.store.tables import checkouts

CURRENCY: Final = "usd"

# Stripe closes an unpaid checkout after 24 hours.
_SESSION_LIFE_US: Final = 24 * 3_600 * 1_000_000


class CheckoutKind(StrEnum):
    """What a checkout sells."""

    SUBSCRIPTION = "subscription"
    TOP_UP = "top_up"


class CheckoutStatus(StrEnum):
    """What became of a checkout."""

    PENDING = "pending"
    EXPIRED = "expired"
    FAILED = "failed"
    REVIEW = "review"
    """Paid, but not what our record says: a person has to look at it."""
    PAID = "paid"


_LOWER: Final = {status: list(CheckoutStatus)[:rank] for rank, status in enumerate(CheckoutStatus)}


@dataclass(frozen=True, slots=True)
class Offer:
    """What is sold. `plan_slug` is None for a top-up; `amount_nano` is the price or the credit, in nano-
    USD."""

    kind: CheckoutKind
    plan_slug: str | None
    amount_nano: int


def create_checkout(
    conn: Connection, *, checkout_id: str, account_id: str, offer: Offer, max_pending: int, now_us: int
) -> Offer:
    """Note a checkout before Stripe is asked for it.

    Args:
        checkout_id: ours; the same for a repetition of the same request, which finds what the first one
        noted. account_id: whose. offer: what is sold. max_pending: how many unpaid checkouts of the last day
        an account may have. now_us: UTC microseconds.

    Returns:
        What the record says is sold: `offer`, or that of the first request.

    Raises:
        Conflict: `too_many_pending_checkouts`.
    """
    noted = find(conn, checkout_id)
    if noted is not None:
        return Offer(CheckoutKind(noted.kind), noted.plan_slug, noted.amount_nano)
    if _pending_count(conn, account_id, now_us) >= max_pending:
        raise Conflict(
            "too_many_pending_checkouts",
            f"There are {max_pending} unpaid checkouts already. Pay one, or wait: each ends after 24 hours.",
        )
    conn.execute(
        insert(checkouts).values(
            id=checkout_id,
            account_id=account_id,
            kind=offer.kind,
            plan_slug=offer.plan_slug,
            amount_nano=offer.amount_nano,
            status=CheckoutStatus.PENDING,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
    )
    return offer


def set_session(conn: Connection, checkout_id: str, stripe_session_id: str, *, now_us: int) -> None:
    """Note the session that Stripe made for a checkout."""
    conn.execute(
        update(checkouts)
        .where(checkouts.c.id == checkout_id)
        .values(stripe_session_id=stripe_session_id, updated_at_us=now_us)
    )


def raise_status(conn: Connection, checkout_id: str, status: CheckoutStatus, *, now_us: int) -> None:
    """Move a checkout up to `status`; one that stands there or higher stays."""
    conn.execute(
        update(checkouts)
        .where(checkouts.c.id == checkout_id, checkouts.c.status.in_(_LOWER[status]))
        .values(status=status, updated_at_us=now_us)
    )


def credit_topup(conn: Connection, command: CreditTopup, *, now_us: int) -> str | None:
    """Credit a paid top-up, once for its session; returns why a person has to look at it instead, or None."""
    checkout = find(conn, command.checkout_id)
    reason = _mismatch(checkout, command.account_id, command.stripe_session_id, CheckoutKind.TOP_UP)
    if reason is not None or checkout is None:
        return reason
    if command.currency != CURRENCY or command.amount_nano != checkout.amount_nano:
        raise_status(conn, checkout.id, CheckoutStatus.REVIEW, now_us=now_us)
        return "The amount or the currency that was paid differs from what the checkout asked for."
    ledger.add_credit(
        conn,
        account_id=checkout.account_id,
        source=STRIPE_CLEARING,
        amount_nano=checkout.amount_nano,
        kind=TransferKind.TOP_UP,
        reference=f"stripe:session:{command.stripe_session_id}",
        note=f"Top-up by card, payment {command.payment_intent_id}",
        now_us=now_us,
    )
    if checkout.stripe_session_id is None:
        set_session(conn, checkout.id, command.stripe_session_id, now_us=now_us)
    raise_status(conn, checkout.id, CheckoutStatus.PAID, now_us=now_us)
    return None


def close_unpaid(conn: Connection, command: CheckoutExpired | CheckoutFailed, *, now_us: int) -> str | None:
    """Note that a checkout ran out or its payment failed; a credit stays. Returns as `credit_topup`."""
    reason = _mismatch(find(conn, command.checkout_id), command.account_id, command.stripe_session_id, None)
    if reason is not None:
        return reason
    status = CheckoutStatus.FAILED if isinstance(command, CheckoutFailed) else CheckoutStatus.EXPIRED
    raise_status(conn, command.checkout_id, status, now_us=now_us)
    return None


def find(conn: Connection, checkout_id: str) -> Row[tuple[object, ...]] | None:
    """A checkout's row, or None."""
    return conn.execute(select(checkouts).where(checkouts.c.id == checkout_id)).first()


def _mismatch(
    checkout: Row[tuple[object, ...]] | None,
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
    if kind is not None and checkout.kind != kind:
        return "The checkout sells something else than the payment says."
    return None


def _pending_count(conn: Connection, account_id: str, now_us: int) -> int:
    # By age as well: an account must not stay blocked when Stripe's word of an expiry was lost.
    return conn.execute(
        select(func.count())
        .select_from(checkouts)
        .where(
            checkouts.c.account_id == account_id,
            checkouts.c.status == CheckoutStatus.PENDING,
            checkouts.c.created_at_us > now_us - _SESSION_LIFE_US,
        )
    ).scalar_one()
