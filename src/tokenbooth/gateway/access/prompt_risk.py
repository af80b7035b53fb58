"""Prompts that hold less than a token a byte: what all of them together may cost an account above what they hold.

The ratio that they are held at was learned, and a customer may send another text than the one that taught it, in as
many calls at once as the holds allow. One call alone may always begin. Several may as long as what they would cost at a
token a byte is free, beside what is tolerated: as much as one prompt could cost above its hold, at most what is
unspent, and what the account has proven.
"""

from collections.abc import Iterable

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.fair_share import ONE_TOKEN_A_BYTE_BP, Demand
from tokenbooth.domain.pricing import Price, input_cost_nano
from tokenbooth.gateway.access.cache import AccountState
from tokenbooth.gateway.access.prompt_ratio import LEAST_BP


def prompt_risk_nano(price: Price, demand: Demand, tokens_per_byte_bp: int) -> int:
    """What a prompt may cost above its part of a hold at this ratio, in nano-USD."""
    denser_tokens = demand.prompt_tokens(ONE_TOKEN_A_BYTE_BP) - demand.prompt_tokens(tokens_per_byte_bp)
    return input_cost_nano(price, denser_tokens)


def most_tolerated_nano(
    price: Price, allowances: Iterable[Allowance], *, context_tokens: int, proven_tokens: int
) -> int:
    """How much may be at risk that is not free, in nano-USD.

    Args:
        price: of the model.
        allowances: what pays.
        context_tokens: the longest prompt of the model.
        proven_tokens: what the account has proven for the model.
    """
    longest_tokens = context_tokens * (ONE_TOKEN_A_BYTE_BP - LEAST_BP) // ONE_TOKEN_A_BYTE_BP
    unspent_nano = max(min(allowance.unspent_nano() for allowance in allowances), 0)
    return min(input_cost_nano(price, longest_tokens), unspent_nano) + input_cost_nano(price, proven_tokens)


def may_begin(account: AccountState, allowances: Iterable[Allowance], most_nano: int, tolerated_nano: int) -> bool:
    """Whether a call may begin that may cost more than it holds, if its prompt is dense.

    Args:
        account: who asks.
        allowances: what pays.
        most_nano: what the call will hold on each, and what it may cost above that, in nano-USD.
        tolerated_nano: how much of that need not be free, in nano-USD.
    """
    if not account.prompts_at_risk:
        return True
    return all(a.at_risk_nano + a.prompt_risk_nano + most_nano <= a.free_nano() + tolerated_nano for a in allowances)


def begin(account: AccountState, allowances: Iterable[Allowance], risk_nano: int) -> None:
    """Count a call that begins, and what its prompt may cost above its hold."""
    account.prompts_at_risk += 1
    for allowance in allowances:
        allowance.prompt_risk_nano += risk_nano


def end(account: AccountState, allowances: Iterable[Allowance], risk_nano: int) -> None:
    """Take a call that has ended, and its risk, off again."""
    account.prompts_at_risk -= 1
    for allowance in allowances:
        allowance.prompt_risk_nano -= risk_nano
