"""When a subscription may be used, decided from the clock and what was paid; no job has to run.

A paid invoice grants a period, nothing else does. Access ends at the paid period's end; a grace follows only while
the subscription is set to renew and the renewal is unpaid, because the processor charges a renewal an hour or more
after the period turned. A subscription that is ended early ends at that moment.
"""

from dataclasses import dataclass
from enum import StrEnum


class SubscriptionStatus(StrEnum):
    """The state of a subscription; incomplete ones (never paid) are not shown to anybody."""

    INCOMPLETE = "incomplete"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class SubscriptionTerms:
    """What decides about access.

    Attributes:
        status: as the payment processor last said.
        paid_until_us: the end of the last paid period, UTC microseconds; None when nothing was paid yet.
        cancel_at_us: when it is set to end; None while it is set to renew.
        ended_at_us: when it was ended; None while it goes on.
    """

    status: SubscriptionStatus
    paid_until_us: int | None
    cancel_at_us: int | None
    ended_at_us: int | None


def access_ends_us(terms: SubscriptionTerms, grace_us: int) -> int:
    """The first microsecond at which the subscription no longer admits a request; 0 when it never did."""
    if terms.paid_until_us is None:
        return 0
    if terms.ended_at_us is not None:
        return min(terms.paid_until_us, terms.ended_at_us)
    renews = terms.status is not SubscriptionStatus.CANCELED and (
        # Set to end in a later period, it renews like any other until then.
        terms.cancel_at_us is None or terms.cancel_at_us > terms.paid_until_us
    )
    ends_us = terms.paid_until_us + grace_us if renews else terms.paid_until_us
    return ends_us if terms.cancel_at_us is None else min(ends_us, terms.cancel_at_us)


def shown_status(terms: SubscriptionTerms, now_us: int) -> SubscriptionStatus:
    """The status to tell the customer at `now_us` (UTC microseconds)."""
    if terms.paid_until_us is None:
        return SubscriptionStatus.INCOMPLETE
    if terms.ended_at_us is not None or terms.status is SubscriptionStatus.CANCELED:
        return SubscriptionStatus.CANCELED
    if terms.cancel_at_us is not None and now_us >= terms.cancel_at_us:
        return SubscriptionStatus.CANCELED
    if terms.status is SubscriptionStatus.PAUSED:
        return SubscriptionStatus.PAUSED
    if terms.status is SubscriptionStatus.PAST_DUE or now_us >= terms.paid_until_us:
        return SubscriptionStatus.PAST_DUE
    return SubscriptionStatus.ACTIVE
