"""What Stripe says, carried out: one command for each thing that its objects mean.

Both are safe to repeat and don't depend on the order of events. Nothing here talks to Stripe.
"""

from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from sqlalchemy import Connection

from tokenbooth.domain.payment_commands import (
    BookProration,
    CheckoutExpired,
    CheckoutFailed,
    CreditDirect,
    CreditTopup,
    DirectFailed,
    GrantPeriod,
    Ignore,
    MarkPaymentFailed,
    PaymentCommand,
    SettleReversal,
    UpsertSubscription,
)
from tokenbooth.domain.plans import Plan
from tokenbooth.store.payments import reversals, subscriptions, topups

_NOTHING_SEEN: Final[Mapping[str, int | None]] = {}


def apply_command(
    conn: Connection,
    command: PaymentCommand,
    *,
    seen: Mapping[str, int | None] = _NOTHING_SEEN,
    plans: Mapping[str, Plan] | None = None,
    now_us: int,
) -> str | None:
    """Carry out one command; a repetition changes nothing.

    Args:
        command: what Stripe's objects say.
        seen: versions of subscriptions, refunds and disputes, noted before they were fetched
            (`subscriptions.version`, `reversals.version`).
        plans: the catalog's, which changes of plan have to stay within; None for any.
        now_us: UTC microseconds.

    Returns:
        Why a person has to look at it, or None. Nothing is granted or credited then.

    Raises:
        StaleSnapshot: a subscription's row changed after it was fetched.
    """
    match command:
        case UpsertSubscription():
            return subscriptions.upsert(conn, command, seen=seen, plans=plans, now_us=now_us)
        case GrantPeriod():
            return subscriptions.grant_period(conn, command, now_us=now_us)
        case BookProration():
            return subscriptions.book_proration(conn, command, now_us=now_us)
        case CreditTopup():
            return topups.credit_topup(conn, command, now_us=now_us)
        case CreditDirect():
            return topups.credit_direct(conn, command, now_us=now_us)
        case DirectFailed():
            return topups.fail_direct(conn, command, now_us=now_us)
        case SettleReversal():
            return reversals.settle(conn, command, seen=seen, now_us=now_us)
        case CheckoutExpired() | CheckoutFailed():
            return topups.close_unpaid(conn, command, now_us=now_us)
        case MarkPaymentFailed() | Ignore():
            # A failed renewal is in the status of the subscription that was fetched with it. To set past_due
            # for the invoice alone would be wrong where an old invoice stays open beside a paid one.
            return None
        case _:
            assert_never(command)


def apply_commands(
    conn: Connection,
    commands: Sequence[PaymentCommand],
    *,
    seen: Mapping[str, int | None],
    plans: Mapping[str, Plan] | None = None,
    now_us: int,
) -> str | None:
    """Apply commands in their order up to the first that needs a person; returns why it does, or None.

    What follows builds on it (a period on its subscription), so the rest waits, too.
    """
    for command in commands:
        reason = apply_command(conn, command, seen=seen, plans=plans, now_us=now_us)
        if reason is not None:
            return reason
    return None
