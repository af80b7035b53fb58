"""Refusals that are kept for repetitions."""

import pytest

from tokenbooth.kit.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    TokenboothError,
    Unprocessable,
)
from tokenbooth.services.idempotency import raise_if_refused, refusal
from tokenbooth.store.accounts.idempotency import Answer


@pytest.mark.parametrize("kind", [InvalidRequest, PaymentRequired, Forbidden, NotFound, Conflict, Unprocessable])
def test_a_kept_refusal_is_raised_as_it_was(kind: type[TokenboothError]) -> None:
    """Kind, code, message and field come back."""
    kept = refusal(kind("some_code", "That “cannot” be done.", param="amount"))
    with pytest.raises(kind) as raised:
        raise_if_refused(kept)
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.message, raised.value.param) == (
        "some_code",
        "That “cannot” be done.",
        "amount",
    )


def test_what_succeeded_is_not_raised() -> None:
    """Whatever its text is: it need not be JSON."""
    raise_if_refused(Answer(200, "https://stripe.test/page"))
    raise_if_refused(Answer(303, ""))
