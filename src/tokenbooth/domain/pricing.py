"""What an answer costs: tokens times nano-USD per million, summed first, divided once, rounded up."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from tokenbooth.domain.money import MAX_NANO, divide_rounding_up
from tokenbooth.domain.usage import Usage

TOKENS_PER_PRICE_UNIT: Final = 1_000_000
BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Prices of one tier, each in nano-USD per million tokens.

    `reasoning` None means that reasoning costs what other output costs.
    """

    input: int
    output: int
    cached_input: int
    cache_write: int
    reasoning: int | None = None

    def dearest_input(self) -> int:
        """The highest price that an input token can have in this tier."""
        return max(self.input, self.cached_input, self.cache_write)

    def dearest_output(self) -> int:
        """The highest price that an output token can have in this tier."""
        return max(self.output, self.reasoning or 0)


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model.

    Attributes:
        rates: the normal tier.
        per_request_nano: a fixed part for each request, in nano-USD.
        long_context: rates of a prompt above `long_context_above_tokens`, for the whole request.
        long_context_above_tokens: the threshold; prompts of exactly this length are in the normal tier.
        dearest_input, dearest_output: the highest price of a token in any tier, in nano-USD per million.
    """

    rates: TokenRates
    per_request_nano: int = 0
    long_context: TokenRates | None = None
    long_context_above_tokens: int = 0
    dearest_input: int = field(init=False, compare=False)
    dearest_output: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Know once what every request asks for."""
        tiers = (self.rates,) if self.long_context is None else (self.rates, self.long_context)
        object.__setattr__(self, "dearest_input", max(tier.dearest_input() for tier in tiers))
        object.__setattr__(self, "dearest_output", max(tier.dearest_output() for tier in tiers))

    def rates_for(self, prompt_tokens: int) -> TokenRates:
        """The tier that a prompt of this length is billed at."""
        if self.long_context is not None and prompt_tokens > self.long_context_above_tokens:
            return self.long_context
        return self.rates

    def is_free(self) -> bool:
        """Whether no request can cost anything."""
        return self.per_request_nano == 0 and self.dearest_input == 0 and self.dearest_output == 0


def cost_nano(price: Price, usage: Usage) -> int:
    """What `usage` costs at `price`, in nano-USD, rounded up once and bounded to what a column holds."""
    rates = price.rates_for(usage.prompt_tokens)
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    reasoning_rate = rates.output if rates.reasoning is None else rates.reasoning
    total = (
        fresh * rates.input
        + usage.cached_tokens * rates.cached_input
        + usage.cache_write_tokens * rates.cache_write
        + (usage.completion_tokens - usage.reasoning_tokens) * rates.output
        + usage.reasoning_tokens * reasoning_rate
    )
    return min(price.per_request_nano + divide_rounding_up(total, TOKENS_PER_PRICE_UNIT), MAX_NANO)


def worst_cost_nano(price: Price, *, prompt_tokens: int, output_tokens: int) -> int:
    """The most that a request of at most these tokens can cost, in nano-USD."""
    total = prompt_tokens * price.dearest_input + output_tokens * price.dearest_output
    return price.per_request_nano + divide_rounding_up(total, TOKENS_PER_PRICE_UNIT)


def input_cost_nano(price: Price, prompt_tokens: int) -> int:
    """The most that so many prompt tokens can cost by themselves, in nano-USD."""
    return divide_rounding_up(prompt_tokens * price.dearest_input, TOKENS_PER_PRICE_UNIT)


def output_cost_nano(price: Price, output_tokens: int) -> int:
    """The most that so many output tokens can cost by themselves, in nano-USD."""
    return divide_rounding_up(output_tokens * price.dearest_output, TOKENS_PER_PRICE_UNIT)


def affordable_output_tokens(price: Price, *, prompt_tokens: int, budget_nano: int) -> int:
    """How many output tokens `budget_nano` pays after the prompt at its dearest; output must cost something."""
    left = (budget_nano - price.per_request_nano) * TOKENS_PER_PRICE_UNIT - prompt_tokens * price.dearest_input
    return max(left // price.dearest_output, 0)


def with_markup(price: Price, markup_basis_points: int) -> Price:
    """`price` times (1 + markup), each rate rounded up; 10,000 basis points double it."""
    return _marked_up(price, markup_basis_points) if markup_basis_points else price


@lru_cache(maxsize=1_024)
def _marked_up(price: Price, markup_basis_points: int) -> Price:
    # Kept, because it is asked for at every request of a plan with a markup.
    def scaled(amount: int) -> int:
        return divide_rounding_up(amount * (BASIS_POINTS + markup_basis_points), BASIS_POINTS)

    def scaled_rates(rates: TokenRates) -> TokenRates:
        return TokenRates(
            input=scaled(rates.input),
            output=scaled(rates.output),
            cached_input=scaled(rates.cached_input),
            cache_write=scaled(rates.cache_write),
            reasoning=None if rates.reasoning is None else scaled(rates.reasoning),
        )

    return Price(
        rates=scaled_rates(price.rates),
        per_request_nano=scaled(price.per_request_nano),
        long_context=None if price.long_context is None else scaled_rates(price.long_context),
        long_context_above_tokens=price.long_context_above_tokens,
    )
