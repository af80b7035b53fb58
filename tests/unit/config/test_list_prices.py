"""Public list prices: found by the upstream's address, at the dearest of the day."""

from datetime import date

from tokenbooth.config.list_prices import list_price

DAY = date(2026, 11, 1)


def test_a_price_that_depends_on_the_hour_is_taken_at_its_dearest() -> None:
    """DeepSeek's nights are cheaper; nothing is sold below what the day may cost."""
    price = list_price("deepseek-chat", "https://api.deepseek.com/v1", DAY)

    assert price is not None
    assert (price.rates.input, price.rates.cached_input, price.rates.output) == (270_000_000, 70_000_000, 1_100_000_000)


def test_a_tier_for_long_prompts_is_kept() -> None:
    """Anthropic's rates above 200,000 tokens are a tier of their own, for cache writes too."""
    price = list_price("claude-sonnet-4-5", "https://api.anthropic.com/v1", DAY)

    assert price is not None
    assert price.long_context is not None
    assert price.long_context_above_tokens == 200_000
    assert price.rates.cache_write == 3_750_000_000
    assert price.long_context.input == 6_000_000_000


def test_a_cache_without_a_price_costs_what_input_costs() -> None:
    """OpenAI names no price for writing to its cache."""
    price = list_price("gpt-4o", "https://api.openai.com/v1", DAY)

    assert price is not None
    assert price.rates.cache_write == price.rates.input
    assert price.long_context is None


def test_unknown_upstreams_and_models_have_no_list_price() -> None:
    """A server of one's own is nobody's price."""
    assert list_price("gpt-4o", "http://127.0.0.1:9/v1", DAY) is None
    assert list_price("no-such-model", "https://api.openai.com/v1", DAY) is None
