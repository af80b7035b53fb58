"""Calls whose ceiling nobody has seen kept yet: what all of them together may cost an account without it."""

from collections.abc import Iterable

from tokenbooth.domain.allowance import Allowance
from tokenbooth.gateway.access.cache import AccountState


def may_begin(account: AccountState, allowances: Iterable[Allowance], amount_nano: int, at_risk_nano: int) -> bool:
    """Whether a call may begin whose ceiling nobody has seen kept.

    Without a ceiling, all such calls of the account together must not cost more than it has; a single one may.

    Args:
        account: who asks.
        allowances: what pays.
        amount_nano: what the call will hold on each, in nano-USD.
        at_risk_nano: what it would cost above that without its ceiling.
    """
    if not account.unproven_calls:
        return True
    return all(a.at_risk_nano + amount_nano + at_risk_nano <= a.free_nano() for a in allowances)


def begin_unproven(account: AccountState, allowances: Iterable[Allowance], at_risk_nano: int) -> None:
    """Count a call that begins, and what it may cost above its hold."""
    account.unproven_calls += 1
    for allowance in allowances:
        allowance.at_risk_nano += at_risk_nano


def end_unproven(account: AccountState, allowances: Iterable[Allowance], at_risk_nano: int) -> None:
    """Take a call that has ended, and its risk, off again."""
    account.unproven_calls -= 1
    for allowance in allowances:
        allowance.at_risk_nano -= at_risk_nano
