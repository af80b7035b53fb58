"""How much a call holds: its worst case, or a fair share of what is free when the worst case is far above need.

A client that asks for a huge output ceiling would otherwise block everybody else's money for a call that costs a
hundredth of it. So a hold is at most a share of what is free, and the ceiling sent upstream is lowered to what the
hold pays; below a floor the call has to wait or is refused.
"""

from dataclasses import dataclass
from typing import Final

from tokenbooth.domain.money import divide_rounding_up
from tokenbooth.domain.pricing import Price, affordable_output_tokens, worst_cost_nano

ONE_TOKEN_A_BYTE_BP: Final = 10_000
"""No tokenizer makes more of a text than a token of each byte; in basis points."""


@dataclass(init=False, slots=True)
class Demand:
    """What a call may consume at most.

    Attributes:
        text_bytes: bytes of the request body, of which every token takes at least one.
        extra_tokens: tokens beside the text: message overhead, images, other parts.
        context_tokens: the model's context; no prompt is longer.
        choices: how many answers are asked for.
        output_ceiling: the most output tokens of one choice, as asked or as the model allows.
        floor_tokens: the fewest output tokens of one choice that are worth starting for.
    """

    text_bytes: int
    extra_tokens: int
    context_tokens: int
    choices: int
    output_ceiling: int
    floor_tokens: int

    def __init__(
        self,
        text_bytes: int,
        extra_tokens: int,
        context_tokens: int,
        choices: int,
        output_ceiling: int,
        floor_tokens: int,
    ) -> None:
        self.text_bytes = text_bytes
        self.extra_tokens = extra_tokens
        self.context_tokens = context_tokens
        self.choices = choices
        self.output_ceiling = output_ceiling
        self.floor_tokens = floor_tokens

    def prompt_tokens(self, tokens_per_byte_bp: int) -> int:
        """The longest prompt at this ratio, in tokens; the ratio is in basis points (10,000 = one a byte)."""
        from_text = divide_rounding_up(self.text_bytes * tokens_per_byte_bp, ONE_TOKEN_A_BYTE_BP)
        return min(self.context_tokens, from_text + self.extra_tokens)


@dataclass(init=False, slots=True)
class Share:
    """What to hold (nano-USD), and the output ceiling per choice that it pays; None: the call's own stands."""

    amount_nano: int
    clamped_output_tokens: int | None

    def __init__(self, amount_nano: int, clamped_output_tokens: int | None) -> None:
        self.amount_nano = amount_nano
        self.clamped_output_tokens = clamped_output_tokens


@dataclass(frozen=True, slots=True)
class TooLittle:
    """Not even the floor fits; it needs `floor_nano`."""

    floor_nano: int


def sure_share(price: Price, demand: Demand, *, free_nano: int, hold_share_percent: int) -> Share | None:
    """The hold of a call that cannot cost more, if that is at most a share of what is free; None if it is more.

    Args:
        price: the admitted price.
        demand: what the call may consume.
        free_nano: what is free on the tightest of the call's allowances.
        hold_share_percent: the part of what is free that one call may hold.
    """
    surest_nano = worst_cost_nano(
        price,
        prompt_tokens=demand.prompt_tokens(ONE_TOKEN_A_BYTE_BP),
        output_tokens=demand.output_ceiling * demand.choices,
    )
    if surest_nano > max(free_nano, 0) * hold_share_percent // 100:
        return None
    return Share(surest_nano, clamped_output_tokens=None)


def learned_share(
    price: Price, demand: Demand, *, free_nano: int, hold_share_percent: int, tokens_per_byte_bp: int
) -> Share | TooLittle:
    """Decide the hold of a call that has no `sure_share`.

    Args:
        price: the admitted price.
        demand: what the call may consume.
        free_nano: what is free on the tightest of the call's allowances.
        hold_share_percent: the part of what is free that one call may hold.
        tokens_per_byte_bp: the learned ratio, in basis points.
    """
    share_nano = max(free_nano, 0) * hold_share_percent // 100
    output_tokens = demand.output_ceiling * demand.choices
    prompt_tokens = demand.prompt_tokens(tokens_per_byte_bp)
    worst_nano = worst_cost_nano(price, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    floor_output = min(demand.floor_tokens, demand.output_ceiling) * demand.choices
    floor_nano = worst_cost_nano(price, prompt_tokens=prompt_tokens, output_tokens=floor_output)
    if floor_nano > free_nano:
        return TooLittle(floor_nano)
    amount_nano = min(worst_nano, max(share_nano, floor_nano))
    if amount_nano == worst_nano:
        return Share(worst_nano, clamped_output_tokens=None)
    # With free output the floor is the worst case, so here it costs something.
    affordable = affordable_output_tokens(price, prompt_tokens=prompt_tokens, budget_nano=amount_nano)
    return Share(amount_nano, clamped_output_tokens=affordable // demand.choices)
