"""Allowances: money that may be spent, of which some is spent and some is held for calls in flight.

The invariant, for a limit that nobody lowers from outside: `spent + held <= limit`. A hold is taken before a call
and ends exactly once, by `settle` with what the call really cost or by `release`. What a call costs above its hold is
taken from what is free; what is not free is the operator's loss ("uncollected"), never the customer's debt.

A window of a subscription, the credit of an account and the cap of a key are all allowances; one call holds on one
or two of them, always the same amount.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Allowance:
    """One limit with what is spent and held of it, all in nano-USD.

    Attributes:
        highest_nano: the highest limit that `set_limit` set; 0 for a credit, which is no limit but money.
        noted_nano: the highest limit that the store knows of.
        at_risk_nano: what open calls may cost above their holds, where nobody has seen yet that their ceiling is kept.
        prompt_risk_nano: what they may cost above their holds if their prompts are denser than was assumed.
    """

    limit_nano: int
    spent_nano: int = 0
    held_nano: int = 0
    at_risk_nano: int = 0
    prompt_risk_nano: int = 0
    highest_nano: int = field(default=0, compare=False)
    noted_nano: int = field(default=0, compare=False)

    def set_limit(self, limit_nano: int) -> None:
        """Set the budget of a window or the cap of a key."""
        self.limit_nano = limit_nano
        if limit_nano > self.highest_nano:
            self.highest_nano = limit_nano

    def free_nano(self) -> int:
        """What a new call may hold; negative when the limit was lowered below what is spent and held."""
        return self.limit_nano - self.spent_nano - self.held_nano

    def unspent_nano(self) -> int:
        """What will be free when all calls in flight turn out to cost nothing."""
        return self.limit_nano - self.spent_nano


@dataclass(init=False, slots=True)
class Hold:
    """An amount held on one or more allowances for one call; `open` until it is settled or released."""

    allowances: tuple[Allowance, ...]
    amount_nano: int
    open: bool

    def __init__(self, allowances: tuple[Allowance, ...], amount_nano: int) -> None:
        self.allowances = allowances
        self.amount_nano = amount_nano
        self.open = True


@dataclass(init=False, slots=True)
class Settlement:
    """How a cost was divided: charged to the customer, or uncollected; both in nano-USD."""

    charged_nano: int
    uncollected_nano: int

    def __init__(self, charged_nano: int, uncollected_nano: int) -> None:
        self.charged_nano = charged_nano
        self.uncollected_nano = uncollected_nano


def free_nano(allowances: tuple[Allowance, ...]) -> int:
    """What one call may hold on all of them."""
    least_nano = allowances[0].free_nano()
    for allowance in allowances[1:]:
        least_nano = min(least_nano, allowance.free_nano())
    return least_nano


def hold(allowances: tuple[Allowance, ...], amount_nano: int) -> Hold | None:
    """Hold `amount_nano` on each allowance, or on none of them and return None."""
    if amount_nano < 0 or free_nano(allowances) < amount_nano:
        return None
    for allowance in allowances:
        allowance.held_nano += amount_nano
    return Hold(allowances=allowances, amount_nano=amount_nano)


def settle(held: Hold, cost_nano: int) -> Settlement | None:
    """End a hold with the true cost.

    Returns:
        What was charged and what was not; None when the hold had ended already, and then nothing changes.
    """
    if not held.open:
        return None
    release(held)
    # A limit lowered during the call (a refund, a smaller plan) leaves less than the hold: charge what is there.
    charged_nano = max(min(cost_nano, free_nano(held.allowances)), 0)
    for allowance in held.allowances:
        allowance.spent_nano += charged_nano
    return Settlement(charged_nano, uncollected_nano=cost_nano - charged_nano)


def release(held: Hold) -> None:
    """End a hold without a charge; ending it again changes nothing."""
    if not held.open:
        return
    held.open = False
    for allowance in held.allowances:
        allowance.held_nano -= held.amount_nano
