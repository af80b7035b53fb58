"""Usage as providers report it: a golden table with nano-dollars computed by hand, and refusals of nonsense.

The prices of the table are round: 1 USD per million input tokens (1,000 nano-USD a token), 0.10 for cached ones
(100), 1.25 for written ones (1,250), 4 for output (4,000).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.domain.pricing import Price, TokenRates, cost_nano
from tokenbooth.domain.usage import MAX_TOKENS, InvalidUsage, Usage, from_anthropic, from_openai

PRICE = Price(
    TokenRates(input=1_000_000_000, output=4_000_000_000, cached_input=100_000_000, cache_write=1_250_000_000)
)


@dataclass(frozen=True, slots=True)
class Golden:
    """A usage object, where it is documented, and what it means."""

    source: str
    reported: Mapping[str, object]
    usage: Usage
    cost_nano: int


OPENAI_FORM = [
    Golden(
        "OpenAI API reference, chat completion object",
        {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        Usage(prompt_tokens=19, completion_tokens=10),
        19 * 1_000 + 10 * 4_000,
    ),
    Golden(
        "OpenAI guide, prompt caching: cached tokens are part of prompt_tokens",
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        Usage(prompt_tokens=2006, completion_tokens=300, cached_tokens=1920),
        86 * 1_000 + 1920 * 100 + 300 * 4_000,
    ),
    Golden(
        "OpenAI guide, reasoning models (responses format): reasoning is part of the output",
        {
            "input_tokens": 75,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1186,
            "output_tokens_details": {"reasoning_tokens": 1024},
            "total_tokens": 1261,
        },
        Usage(prompt_tokens=75, completion_tokens=1186, reasoning_tokens=1024),
        75 * 1_000 + 1186 * 4_000,
    ),
    Golden(
        "OpenAI API reference, create embeddings: no completion",
        {"prompt_tokens": 8, "total_tokens": 8},
        Usage(prompt_tokens=8, completion_tokens=0),
        8 * 1_000,
    ),
    Golden(
        "DeepSeek API docs, context caching: hits and misses add up to the prompt",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 11,
            "total_tokens": 1011,
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 40,
        },
        Usage(prompt_tokens=1000, completion_tokens=11, cached_tokens=960),
        40 * 1_000 + 960 * 100 + 11 * 4_000,
    ),
    Golden(
        "DeepSeek API docs, create chat completion: the hits stand in both forms and count once",
        {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "total_tokens": 1050,
            "prompt_tokens_details": {"cached_tokens": 960},
            "completion_tokens_details": {"reasoning_tokens": 30},
            "prompt_cache_hit_tokens": 960,
            "prompt_cache_miss_tokens": 40,
        },
        Usage(prompt_tokens=1000, completion_tokens=50, cached_tokens=960, reasoning_tokens=30),
        40 * 1_000 + 960 * 100 + 50 * 4_000,
    ),
    Golden(
        "OpenRouter docs, usage accounting: cache writes are part of the prompt",
        {
            "completion_tokens": 2,
            "completion_tokens_details": {"reasoning_tokens": 0},
            "cost": 0.95,
            "cost_details": {"upstream_inference_cost": 19},
            "prompt_tokens": 194,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
            "total_tokens": 196,
        },
        Usage(prompt_tokens=194, completion_tokens=2, cache_write_tokens=100),
        94 * 1_000 + 100 * 1_250 + 2 * 4_000,
    ),
    Golden(
        "Gemini API docs, OpenAI compatibility: no thinking",
        {"completion_tokens": 34, "prompt_tokens": 10, "total_tokens": 44},
        Usage(prompt_tokens=10, completion_tokens=34),
        10 * 1_000 + 34 * 4_000,
    ),
    Golden(
        "a stream's usage with details that are null",
        {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        Usage(prompt_tokens=7, completion_tokens=3),
        7 * 1_000 + 3 * 4_000,
    ),
]
ANTHROPIC_FORM = [
    Golden(
        "Anthropic API reference, messages",
        {"input_tokens": 2095, "output_tokens": 503},
        Usage(prompt_tokens=2095, completion_tokens=503),
        2095 * 1_000 + 503 * 4_000,
    ),
    Golden(
        "Anthropic docs, prompt caching, first call: the write is beside the input",
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 188_086,
            "cache_read_input_tokens": 0,
            "output_tokens": 393,
        },
        Usage(prompt_tokens=188_107, completion_tokens=393, cache_write_tokens=188_086),
        21 * 1_000 + 188_086 * 1_250 + 393 * 4_000,
    ),
    Golden(
        "Anthropic docs, prompt caching, later call: the read is beside the input",
        {
            "input_tokens": 21,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 188_086,
            "output_tokens": 393,
        },
        Usage(prompt_tokens=188_107, completion_tokens=393, cached_tokens=188_086),
        21 * 1_000 + 188_086 * 100 + 393 * 4_000,
    ),
]


@pytest.mark.parametrize("golden", OPENAI_FORM, ids=lambda golden: golden.source)
def test_usage_in_openai_form(golden: Golden) -> None:
    """What is reported, read and priced as computed by hand (45)."""
    assert from_openai(golden.reported) == golden.usage
    assert cost_nano(PRICE, golden.usage) == golden.cost_nano


@pytest.mark.parametrize("golden", ANTHROPIC_FORM, ids=lambda golden: golden.source)
def test_usage_in_anthropic_form(golden: Golden) -> None:
    """Input excludes what was read from or written to a cache (45)."""
    assert from_anthropic(golden.reported) == golden.usage
    assert cost_nano(PRICE, golden.usage) == golden.cost_nano


@pytest.mark.parametrize(
    "reported",
    [
        # Gemini in its OpenAI form: thinking is in the total only.
        {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
        # The same with the details: thinking stands beside the completion.
        {
            "prompt_tokens": 20,
            "completion_tokens": 198,
            "total_tokens": 623,
            "completion_tokens_details": {"reasoning_tokens": 405},
        },
    ],
)
def test_thinking_beside_the_completion_is_output(reported: Mapping[str, object]) -> None:
    """Where the total exceeds prompt and completion, the difference was thought and is billed as output (45)."""
    usage = from_openai(reported)

    assert (usage.prompt_tokens, usage.completion_tokens) == (20, 603)


def test_thinking_alone_is_output() -> None:
    """An answer that is all thinking, reported with a completion of zero, is not free (45)."""
    reported = {
        "prompt_tokens": 21,
        "completion_tokens": 0,
        "total_tokens": 81,
        "completion_tokens_details": {"reasoning_tokens": 60},
    }

    assert cost_nano(PRICE, from_openai(reported)) == 21 * 1_000 + 60 * 4_000


bad_counts = st.one_of(
    st.integers(max_value=-1),
    st.integers(min_value=MAX_TOKENS + 1),
    st.booleans(),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
)


@given(st.sampled_from(("prompt_tokens", "completion_tokens", "prompt_cache_hit_tokens")), bad_counts)
def test_counts_that_cannot_be_true_are_refused(name: str, count: object) -> None:
    """Negative, absurd and non-integer counts are no bill (44)."""
    with pytest.raises(InvalidUsage):
        from_openai({"prompt_tokens": 5, "completion_tokens": 5, name: count})


@given(st.sampled_from(("input_tokens", "output_tokens", "cache_read_input_tokens")), bad_counts)
def test_anthropic_counts_that_cannot_be_true_are_refused(name: str, count: object) -> None:
    """The same for the Messages format (44)."""
    with pytest.raises(InvalidUsage):
        from_anthropic({"input_tokens": 5, name: count})


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"completion_tokens": 5},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 3}},
    ],
)
def test_usage_that_does_not_add_up_is_refused(reported: Mapping[str, object]) -> None:
    """No prompt at all, or parts larger than their whole (44)."""
    with pytest.raises(InvalidUsage):
        from_openai(reported)


@given(
    st.dictionaries(
        st.sampled_from(
            (
                "prompt_tokens",
                "completion_tokens",
                "total_tokens",
                "prompt_tokens_details",
                "completion_tokens_details",
                "prompt_cache_hit_tokens",
            )
        ),
        st.none()
        | st.integers(-5, 100)
        | st.dictionaries(
            st.sampled_from(("cached_tokens", "cache_write_tokens", "reasoning_tokens")), st.integers(-5, 100)
        ),
    )
)
def test_any_object_is_read_consistently_or_refused(reported: dict[str, object]) -> None:
    """Whatever comes, parts fit into their wholes, so no price can become negative (44)."""
    try:
        usage = from_openai(reported)
    except InvalidUsage:
        return
    assert min(usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens, usage.completion_tokens) >= 0
    assert usage.cached_tokens + usage.cache_write_tokens <= usage.prompt_tokens
    assert usage.reasoning_tokens <= usage.completion_tokens


def test_cache_hits_beside_details_that_do_not_name_them() -> None:
    """A server may give details of the prompt and tell its cache hits in DeepSeek's way."""
    reported = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_cache_hit_tokens": 60,
        "prompt_tokens_details": {"audio_tokens": 0, "cache_write_tokens": 30},
    }

    assert from_openai(reported) == Usage(100, 7, cached_tokens=60, cache_write_tokens=30)
