"""Prices: summed first, divided once, rounded up, never above the worst case."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tokenbooth.domain.money import MAX_NANO
from tokenbooth.domain.pricing import (
    Price,
    TokenRates,
    affordable_output_tokens,
    cost_nano,
    with_markup,
    worst_cost_nano,
)
from tokenbooth.domain.usage import MAX_TOKENS, Usage

DEMO = Price(TokenRates(input=270_000_000, output=1_100_000_000, cached_input=70_000_000, cache_write=270_000_000))
# The dearest rate that the configuration takes: just under a billion USD per million tokens.
DEAREST_NANO = 10**18 - 1

rates_values = st.integers(min_value=0, max_value=10**13)
token_rates = st.builds(
    TokenRates,
    input=rates_values,
    output=rates_values,
    cached_input=rates_values,
    cache_write=rates_values,
    reasoning=st.none() | rates_values,
)
prices = st.builds(
    Price,
    rates=token_rates,
    per_request_nano=st.integers(min_value=0, max_value=10**9),
    long_context=st.none() | token_rates,
    long_context_above_tokens=st.integers(min_value=0, max_value=300_000),
)


@st.composite
def usages(draw: st.DrawFn, most: int = 1_000_000) -> Usage:
    """A usage whose parts fit into their wholes."""
    prompt = draw(st.integers(min_value=0, max_value=most))
    completion = draw(st.integers(min_value=0, max_value=most))
    cached = draw(st.integers(min_value=0, max_value=prompt))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=draw(st.integers(min_value=0, max_value=prompt - cached)),
        reasoning_tokens=draw(st.integers(min_value=0, max_value=completion)),
    )


def exact_cost(price: Price, usage: Usage) -> Fraction:
    """The cost before rounding, written in another way than the code under test."""
    long = price.long_context is not None and usage.prompt_tokens > price.long_context_above_tokens
    rates = price.long_context if long and price.long_context is not None else price.rates
    reasoning = rates.output if rates.reasoning is None else rates.reasoning
    parts = (
        (usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens, rates.input),
        (usage.cached_tokens, rates.cached_input),
        (usage.cache_write_tokens, rates.cache_write),
        (usage.completion_tokens - usage.reasoning_tokens, rates.output),
        (usage.reasoning_tokens, reasoning),
    )
    return price.per_request_nano + sum((Fraction(tokens * rate, 10**6) for tokens, rate in parts), Fraction(0))


@given(prices, usages())
def test_cost_is_exact_and_rounded_up_once(price: Price, usage: Usage) -> None:
    """The cost is the true one, plus less than one nano-dollar."""
    assert 0 <= cost_nano(price, usage) - exact_cost(price, usage) < 1


@given(prices, usages(), st.integers(min_value=0, max_value=10_000), st.integers(min_value=0, max_value=10_000))
def test_no_usage_within_the_worst_case_costs_more(price: Price, usage: Usage, prompt: int, output: int) -> None:
    """Whatever is cached, written or thought: a usage within the bounds costs at most the worst case."""
    worst_nano = worst_cost_nano(
        price, prompt_tokens=usage.prompt_tokens + prompt, output_tokens=usage.completion_tokens + output
    )

    assert cost_nano(price, usage) <= worst_nano


@given(prices, usages(), st.integers(min_value=0, max_value=10_000), st.integers(min_value=0, max_value=10_000))
def test_more_tokens_never_cost_less(price: Price, usage: Usage, prompt: int, output: int) -> None:
    """In one tier the cost grows with prompt and completion."""
    one_tier = replace(price, long_context=None)
    more = usage._replace(
        prompt_tokens=usage.prompt_tokens + prompt, completion_tokens=usage.completion_tokens + output
    )

    assert cost_nano(one_tier, usage) <= cost_nano(one_tier, more)


@given(st.integers(min_value=1, max_value=10**13))
def test_one_token_of_a_positive_price_is_not_free(rate: int) -> None:
    """A single token costs at least a nano-dollar, at the lowest price that can be configured too (49)."""
    price = Price(TokenRates(input=rate, output=rate, cached_input=rate, cache_write=rate))

    assert cost_nano(price, Usage(prompt_tokens=1, completion_tokens=0)) == max(-(-rate // 10**6), 1)
    assert cost_nano(price, Usage(prompt_tokens=0, completion_tokens=1)) == max(-(-rate // 10**6), 1)


def test_the_dearest_million_fits_into_a_column() -> None:
    """A million tokens at the highest configurable price is exact and below 64 bits (49)."""
    price = Price(TokenRates(DEAREST_NANO, DEAREST_NANO, DEAREST_NANO, DEAREST_NANO))

    cost = cost_nano(price, Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000))

    assert cost == 2 * DEAREST_NANO
    assert cost <= MAX_NANO


def test_an_absurd_cost_is_bounded() -> None:
    """What no column could hold is cut to the largest amount (44)."""
    price = Price(TokenRates(DEAREST_NANO, DEAREST_NANO, DEAREST_NANO, DEAREST_NANO))

    assert cost_nano(price, Usage(prompt_tokens=MAX_TOKENS, completion_tokens=MAX_TOKENS)) == MAX_NANO


@given(prices, st.integers(min_value=0, max_value=500_000), st.integers(min_value=0, max_value=10**13))
def test_affordable_output_is_the_most_that_the_budget_pays(price: Price, prompt: int, budget_nano: int) -> None:
    """As many output tokens as the budget pays, and not one more."""
    assume(price.dearest_output > 0)

    affordable = affordable_output_tokens(price, prompt_tokens=prompt, budget_nano=budget_nano)

    if affordable:
        assert worst_cost_nano(price, prompt_tokens=prompt, output_tokens=affordable) <= budget_nano
    assert worst_cost_nano(price, prompt_tokens=prompt, output_tokens=affordable + 1) > budget_nano


def test_long_prompts_have_their_own_tier() -> None:
    """A prompt above the threshold is billed wholly at the long rates; one of exactly that length is not."""
    long = TokenRates(input=2_000_000, output=4_000_000, cached_input=2_000_000, cache_write=2_000_000, reasoning=9)
    price = Price(
        TokenRates(input=1_000_000, output=2_000_000, cached_input=1_000_000, cache_write=1_000_000),
        long_context=long,
        long_context_above_tokens=100,
    )

    assert cost_nano(price, Usage(prompt_tokens=100, completion_tokens=10)) == 100 + 20
    assert cost_nano(price, Usage(prompt_tokens=101, completion_tokens=10)) == 202 + 40
    assert (price.dearest_input, price.dearest_output) == (2_000_000, 4_000_000)


@pytest.mark.parametrize(
    ("price", "free"),
    [
        (Price(TokenRates(0, 0, 0, 0)), True),
        (Price(TokenRates(0, 0, 0, 0), per_request_nano=1), False),
        (Price(TokenRates(0, 0, 0, 0, reasoning=1)), False),
        (Price(TokenRates(0, 0, 1, 0)), False),
        (Price(TokenRates(0, 0, 0, 0), long_context=TokenRates(0, 1, 0, 0)), False),
        (DEMO, False),
    ],
)
def test_free_means_that_nothing_can_cost(price: Price, free: bool) -> None:
    """One positive part anywhere makes a price."""
    assert price.is_free() is free


@given(prices, usages(), st.integers(min_value=0, max_value=1_000_000))
def test_markup_never_lowers_a_price(price: Price, usage: Usage, markup: int) -> None:
    """Every rate is scaled and rounded up, so no answer gets cheaper, and the fixed part is scaled too."""
    marked = with_markup(price, markup)

    assert cost_nano(marked, usage) >= cost_nano(price, usage)
    assert marked.per_request_nano == -(-price.per_request_nano * (10_000 + markup) // 10_000)
    assert marked.long_context_above_tokens == price.long_context_above_tokens


def test_no_markup_is_the_same_price() -> None:
    """Zero basis points change nothing; ten thousand double."""
    assert with_markup(DEMO, 0) is DEMO
    assert with_markup(DEMO, 10_000).rates == TokenRates(
        input=540_000_000, output=2_200_000_000, cached_input=140_000_000, cache_write=540_000_000
    )
