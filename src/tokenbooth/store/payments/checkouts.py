"""Checkouts: what we asked Stripe to collect.

Our record is made before Stripe is called, and only what it says is ever credited, see `topups`. Whatever order events
come in, a status only moves up: pending, expired, failed, review, paid. Nothing here talks to Stripe.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.plan_changes import MAX_CHANGES_A_DAY
from tokenbooth.domain.windows import DAY_US, MINUTE_US, SECOND_US
from tokenbooth.kit.errors import Conflict, RateLimited, Unprocessable
from tokenbooth.store.tables import accounts, checkouts

CURRENCY: Final = "usd"

# Stripe closes an unpaid checkout after 24 hours.
_SESSION_LIFE_US: Final = DAY_US
MAX_FAILURE: Final = 100
_CHANGE_TAKES_US: Final = 10 * MINUTE_US


class CheckoutKind(StrEnum):
    """What a checkout sells."""

    SUBSCRIPTION = "subscription"
    TOP_UP = "top_up"
    DIRECT_TOP_UP = "direct_top_up"
    """Paid at once with the saved card, asked for by the customer."""
    AUTO_TOP_UP = "auto_top_up"
    """The same, asked for by the account's rule."""
    PLAN_CHANGE = "plan_change"


class CheckoutStatus(StrEnum):
    """What became of a checkout."""

    PENDING = "pending"
    EXPIRED = "expired"
    FAILED = "failed"
    REVIEW = "review"
    """Paid, but not what our record says: a person has to look at it."""
    PAID = "paid"


TOP_UPS: Final = (CheckoutKind.TOP_UP, CheckoutKind.DIRECT_TOP_UP, CheckoutKind.AUTO_TOP_UP)
CHARGES: Final = (CheckoutKind.DIRECT_TOP_UP, CheckoutKind.AUTO_TOP_UP)
"""Top-ups for which we charge a saved card."""

_LOWER: Final = {status: list(CheckoutStatus)[:rank] for rank, status in enumerate(CheckoutStatus)}


@dataclass(frozen=True, slots=True)
class Offer:
    """What is sold.

    Attributes:
        kind: a subscription, a top-up, or a change of plan.
        plan_slug: None for a top-up.
        amount_nano: the price or the credit, in nano-USD.
        card_id: Stripe's id of the saved card that is charged.
        subscription_id: the one whose plan changes.
    """

    kind: CheckoutKind
    plan_slug: str | None
    amount_nano: int
    card_id: str | None = None
    subscription_id: str | None = None


@dataclass(frozen=True, slots=True)
class TopUpCaps:
    """Bounds on what an account may top up, against stolen cards.

    Attributes:
        young_us: until this age, in microseconds, an account counts as young.
        young_daily_nano: what a young account may top up in 24 hours, unpaid pages included.
        max_declined: after so many refused cards in 24 hours no saved card is charged any more.
    """

    young_us: int
    young_daily_nano: int
    max_declined: int


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout as our record has it.

    Attributes:
        id: ours.
        account_id: whose.
        offer: what is sold.
        status: what became of it.
        stripe_session_id, stripe_payment_intent_id: Stripe's ids of the page and the payment, as far as known.
        failure: why the card was refused.
    """

    id: str
    account_id: str
    offer: Offer
    status: CheckoutStatus
    stripe_session_id: str | None
    stripe_payment_intent_id: str | None
    failure: str | None


@dataclass(frozen=True, slots=True)
class PendingCharge:
    """A charge whose outcome is not known here."""

    checkout_id: str
    account_id: str
    created_at_us: int


@dataclass(frozen=True, slots=True)
class PendingSession:
    """A page that is unpaid as far as we know."""

    checkout_id: str
    account_id: str
    stripe_session_id: str


def create_checkout(
    conn: Connection,
    *,
    checkout_id: str,
    account_id: str,
    offer: Offer,
    max_pending: int,
    now_us: int,
    caps: TopUpCaps | None = None,
) -> Offer:
    """Note a checkout before Stripe is asked for it.

    Args:
        checkout_id: ours; the same for a repetition of the same request, which finds what the first one noted.
        account_id: whose.
        offer: what is sold.
        max_pending: how many unpaid checkouts of the last day an account may have.
        now_us: UTC microseconds.
        caps: the bounds on top-ups; None for none.

    Returns:
        What the record says is sold: `offer`, or that of the first request.

    Raises:
        Conflict: `too_many_pending_checkouts`.
        Unprocessable, RateLimited: as `check_caps`; `too_many_plan_changes`.
    """
    noted = find(conn, checkout_id)
    if noted is not None:
        return noted.offer
    if _pending_count(conn, account_id, now_us) >= max_pending:
        raise Conflict(
            "too_many_pending_checkouts",
            f"There are {max_pending} unpaid checkouts already. Pay one, or wait: each ends after 24 hours.",
        )
    if caps is not None:
        check_caps(conn, account_id, offer, caps, now_us=now_us)
    if offer.kind is CheckoutKind.PLAN_CHANGE:
        _check_changes(conn, offer, now_us)
    conn.execute(insert(checkouts).values(**row_of(checkout_id, account_id, offer, now_us)))
    return offer


def row_of(checkout_id: str, account_id: str, offer: Offer, now_us: int) -> dict[str, object]:
    """The row of a new checkout."""
    return {
        "id": checkout_id,
        "account_id": account_id,
        "kind": offer.kind,
        "plan_slug": offer.plan_slug,
        "amount_nano": offer.amount_nano,
        "stripe_payment_method_id": offer.card_id,
        "subscription_id": offer.subscription_id,
        "status": CheckoutStatus.PENDING,
        "created_at_us": now_us,
        "updated_at_us": now_us,
    }


def check_caps(conn: Connection, account_id: str, offer: Offer, caps: TopUpCaps, *, now_us: int) -> None:
    """Refuse what looks like stolen cards being tried.

    Raises:
        Unprocessable: `top_up_cap_exceeded`, for a young account.
        RateLimited: `too_many_declined_cards`.
    """
    yesterday_us = now_us - DAY_US
    if offer.card_id is not None and _declined_since(conn, account_id, yesterday_us) >= caps.max_declined:
        raise RateLimited(
            "too_many_declined_cards",
            "Too many cards were declined today. Pay on a checkout page, or try again tomorrow.",
            retry_after_s=DAY_US / SECOND_US,
        )
    born_us = conn.execute(select(accounts.c.created_at_us).where(accounts.c.id == account_id)).scalar()
    if offer.kind not in TOP_UPS or born_us is None or born_us <= now_us - caps.young_us:
        return
    asked_nano = conn.execute(
        select(func.coalesce(func.sum(checkouts.c.amount_nano), 0)).where(
            checkouts.c.account_id == account_id,
            checkouts.c.kind.in_(TOP_UPS),
            checkouts.c.status.in_([CheckoutStatus.PENDING, CheckoutStatus.PAID, CheckoutStatus.REVIEW]),
            checkouts.c.created_at_us > yesterday_us,
        )
    ).scalar_one()
    if int(asked_nano) + offer.amount_nano > caps.young_daily_nano:
        raise Unprocessable(
            "top_up_cap_exceeded",
            f"A new account may top up {format_usd(caps.young_daily_nano)} USD in 24 hours, unpaid pages included. "
            "Try a smaller amount, or again tomorrow.",
            param="amount",
        )


def _check_changes(conn: Connection, offer: Offer, now_us: int) -> None:
    """Refuse what is no change of mind any more. A change of which nothing was heard for long did not come about."""
    came_about = checkouts.c.status.in_([CheckoutStatus.PAID, CheckoutStatus.REVIEW])
    under_way = and_(
        checkouts.c.status == CheckoutStatus.PENDING, checkouts.c.created_at_us > now_us - _CHANGE_TAKES_US
    )
    changed = conn.execute(
        select(func.count())
        .select_from(checkouts)
        .where(
            checkouts.c.subscription_id == offer.subscription_id,
            checkouts.c.kind == CheckoutKind.PLAN_CHANGE,
            checkouts.c.created_at_us > now_us - DAY_US,
            or_(came_about, under_way),
        )
    ).scalar_one()
    if changed >= MAX_CHANGES_A_DAY:
        raise Unprocessable(
            "too_many_plan_changes",
            f"The plan of a subscription can be changed {MAX_CHANGES_A_DAY} times in 24 hours. Try again tomorrow.",
            param="planSlug",
        )


def pending_charges(conn: Connection, *, before_us: int) -> list[PendingCharge]:
    """Charges noted before `before_us` (UTC microseconds) whose outcome is not known here, oldest first."""
    rows = conn.execute(
        select(checkouts.c.id, checkouts.c.account_id, checkouts.c.created_at_us)
        .where(
            checkouts.c.kind.in_(CHARGES),
            checkouts.c.status == CheckoutStatus.PENDING,
            checkouts.c.created_at_us < before_us,
        )
        .order_by(checkouts.c.created_at_us)
    )
    return [PendingCharge(row.id, row.account_id, row.created_at_us) for row in rows]


def pending_sessions(conn: Connection, *, before_us: int, since_us: int) -> list[PendingSession]:
    """Checkouts of a span of time that are unpaid as far as we know, oldest first."""
    rows = conn.execute(
        select(checkouts.c.id, checkouts.c.account_id, checkouts.c.stripe_session_id)
        .where(
            checkouts.c.status == CheckoutStatus.PENDING,
            checkouts.c.stripe_session_id.is_not(None),
            checkouts.c.created_at_us < before_us,
            checkouts.c.created_at_us >= since_us,
        )
        .order_by(checkouts.c.created_at_us, checkouts.c.id)
    )
    return [PendingSession(row.id, row.account_id, row.stripe_session_id) for row in rows]


def refuse(conn: Connection, checkout_id: str, reason: str, *, now_us: int) -> bool:
    """Record that the card for a checkout was refused; False when it had failed or was paid before."""
    refused = conn.execute(
        update(checkouts)
        .where(checkouts.c.id == checkout_id, checkouts.c.status.in_(_LOWER[CheckoutStatus.FAILED]))
        .values(status=CheckoutStatus.FAILED, failure=reason[:MAX_FAILURE], updated_at_us=now_us)
    )
    return refused.rowcount > 0


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


def find(conn: Connection, checkout_id: str) -> Checkout | None:
    """The checkout with this id."""
    row = conn.execute(select(checkouts).where(checkouts.c.id == checkout_id)).first()
    if row is None:
        return None
    return Checkout(
        id=row.id,
        account_id=row.account_id,
        offer=Offer(
            CheckoutKind(row.kind), row.plan_slug, row.amount_nano, row.stripe_payment_method_id, row.subscription_id
        ),
        status=CheckoutStatus(row.status),
        stripe_session_id=row.stripe_session_id,
        stripe_payment_intent_id=row.stripe_payment_intent_id,
        failure=row.failure,
    )


def _declined_since(conn: Connection, account_id: str, since_us: int) -> int:
    return conn.execute(
        select(func.count())
        .select_from(checkouts)
        .where(
            checkouts.c.account_id == account_id,
            checkouts.c.status == CheckoutStatus.FAILED,
            checkouts.c.failure.is_not(None),
            checkouts.c.updated_at_us > since_us,
        )
    ).scalar_one()


def _pending_count(conn: Connection, account_id: str, now_us: int) -> int:
    # By age as well: an account must not stay blocked when Stripe's word of an expiry was lost.
    return conn.execute(
        select(func.count())
        .select_from(checkouts)
        .where(
            checkouts.c.account_id == account_id,
            checkouts.c.status == CheckoutStatus.PENDING,
            checkouts.c.kind != CheckoutKind.AUTO_TOP_UP,
            checkouts.c.created_at_us > now_us - _SESSION_LIFE_US,
        )
    ).scalar_one()
