"""Access to a subscription: by what was paid and the clock, and what the customer is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.subscriptions import SubscriptionStatus, SubscriptionTerms, access_ends_us, shown_status

ACTIVE, PAST_DUE, PAUSED, CANCELED, INCOMPLETE = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.PAUSED,
    SubscriptionStatus.CANCELED,
    SubscriptionStatus.INCOMPLETE,
)
PAID_UNTIL = 1_000
GRACE = 60


def terms(
    status: SubscriptionStatus = ACTIVE,
    *,
    paid_until: int | None = PAID_UNTIL,
    cancel_at: int | None = None,
    ended_at: int | None = None,
) -> SubscriptionTerms:
    return SubscriptionTerms(status, paid_until, cancel_at, ended_at)


@pytest.mark.parametrize(
    ("case", "ends"),
    [
        (terms(), PAID_UNTIL + GRACE),
        (terms(PAST_DUE), PAID_UNTIL + GRACE),
        (terms(INCOMPLETE, paid_until=None), 0),
        (terms(ACTIVE, paid_until=None), 0),
        (terms(cancel_at=PAID_UNTIL), PAID_UNTIL),
        (terms(cancel_at=400), 400),
        (terms(PAST_DUE, cancel_at=PAID_UNTIL), PAID_UNTIL),
        (terms(CANCELED, ended_at=500), 500),
        (terms(CANCELED, ended_at=PAID_UNTIL), PAID_UNTIL),
        (terms(CANCELED, ended_at=PAID_UNTIL + 30), PAID_UNTIL),
        (terms(CANCELED), PAID_UNTIL),
        (terms(ACTIVE, cancel_at=PAID_UNTIL, ended_at=300), 300),
    ],
)
def test_access_ends(case: SubscriptionTerms, ends: int) -> None:
    """At the paid period's end; a grace only while it renews and is unpaid; at once when it was ended early."""
    assert access_ends_us(case, GRACE) == ends


def test_a_cancellation_far_ahead_keeps_the_grace_until_then() -> None:
    """Set to end in a later period, it is still set to renew now, so the unpaid renewal has its grace."""
    case = terms(cancel_at=PAID_UNTIL + 10_000)

    assert access_ends_us(case, GRACE) == PAID_UNTIL + GRACE
    assert shown_status(case, PAID_UNTIL + 1) == PAST_DUE


@pytest.mark.parametrize(
    ("case", "now", "shown"),
    [
        (terms(), 999, ACTIVE),
        (terms(), 1_000, PAST_DUE),
        (terms(PAST_DUE), 10, PAST_DUE),
        (terms(PAUSED), 10, PAUSED),
        (terms(PAUSED), 2_000, PAUSED),
        (terms(CANCELED), 10, CANCELED),
        (terms(ended_at=5), 10, CANCELED),
        (terms(cancel_at=PAID_UNTIL), 999, ACTIVE),
        (terms(cancel_at=PAID_UNTIL), 1_000, CANCELED),
        (terms(PAUSED, cancel_at=PAID_UNTIL), 1_000, CANCELED),
        (terms(INCOMPLETE, paid_until=None), 10, INCOMPLETE),
        (terms(CANCELED, paid_until=None), 10, INCOMPLETE),
    ],
)
def test_status_shown(case: SubscriptionTerms, now: int, shown: SubscriptionStatus) -> None:
    """What the customer is told at a moment."""
    assert shown_status(case, now) == shown


instants = st.integers(min_value=1, max_value=2_000)


@given(
    st.sampled_from(tuple(SubscriptionStatus)),
    st.none() | instants,
    st.none() | instants,
    st.none() | instants,
    st.integers(min_value=0, max_value=100),
)
def test_no_access_beyond_what_was_paid_and_the_grace(
    status: SubscriptionStatus, paid_until: int | None, cancel_at: int | None, ended_at: int | None, grace: int
) -> None:
    """Whatever the processor says, unpaid time is never longer than the grace, and an end is never outlived."""
    ends = access_ends_us(terms(status, paid_until=paid_until, cancel_at=cancel_at, ended_at=ended_at), grace)

    assert ends <= (0 if paid_until is None else paid_until + grace)
    if ended_at is not None:
        assert ends <= ended_at
    elif cancel_at is not None:
        assert ends <= cancel_at
