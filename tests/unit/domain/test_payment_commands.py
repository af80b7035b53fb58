"""Commands from the payment side: values that nobody changes on their way to the store."""

from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from tokenbooth.domain.payment_commands import GrantPeriod, Ignore, PaymentCommand


def test_commands_are_values() -> None:
    """Equal by content, and fixed once made."""
    grant = GrantPeriod("sub_x", "in_x", 1, 2, 20_000_000_000, 20_000_000_000, 0, "usd", "pi_x")

    assert grant == GrantPeriod("sub_x", "in_x", 1, 2, 20_000_000_000, 20_000_000_000, 0, "usd", "pi_x")
    with pytest.raises(FrozenInstanceError):
        grant.amount_paid_nano = 0  # type: ignore[misc]  # the assignment is what must fail


def test_every_command_has_one_meaning() -> None:
    """The union names each kind once, the one that does nothing too."""
    kinds = get_args(PaymentCommand)

    assert Ignore in kinds
    assert len(set(kinds)) == len(kinds) == 11
