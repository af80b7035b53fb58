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
from tokenbooth.domain.usage import MAX_TOKENS, InvalidUsage, Usage, from_anthropic, from_openai, merged

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
    """Where the total exceeds prompt and completion, the rest is output, or told apart where nobody names it (45)."""
    usage = from_openai(reported)

    assert (usage.prompt_tokens, usage.completion_tokens + usage.untold_tokens) == (20, 603)


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
    st.just(True),
    st.floats().filter(lambda count: not count.is_integer() or not 0 <= count <= MAX_TOKENS),
    # The text "null" is an absent count.
    st.text(min_size=1, max_size=5).filter(
        lambda text: text.strip().casefold() not in ("", "null") and not text.strip().isdigit()
    ),
    st.just([1]),
)


@given(st.sampled_from(("prompt_tokens", "completion_tokens")), bad_counts)
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


def counted(prompt: int, completion: int, cached: int = 0, written: int = 0, reasoning: int = 0) -> Usage:
    return Usage(prompt, completion, cached, written, reasoning)


# Each with its source; what is not in the source's own words follows from its sums.
PLACES = [
    ("Moonshot API docs, chat; QuantumNous/new-api#2493", {"cached_tokens": 800}, counted(1_000, 200, cached=800)),
    ("DeepSeek API docs, context caching", {"prompt_cache_hit_tokens": 800}, counted(1_000, 200, cached=800)),
    (
        "OpenAI guide, prompt caching",
        {"prompt_tokens_details": {"cached_tokens": 800}},
        counted(1_000, 200, cached=800),
    ),
    (
        "Portkey-AI/gateway#1210: reads beside the prompt, in the total",
        {"cache_read_input_tokens": 5_000, "total_tokens": 6_200},
        counted(6_000, 200, cached=5_000),
    ),
    (
        "LiteLLM: Anthropic's name for a part of the prompt",
        {"cache_read_input_tokens": 800, "total_tokens": 1_200},
        counted(1_000, 200, cached=800),
    ),
    (
        "the same without a total, larger than the prompt",
        {"cache_read_input_tokens": 5_000},
        counted(6_000, 200, cached=5_000),
    ),
    (
        "Qwen docs, context cache: an explicit cache",
        {"prompt_tokens_details": {"cached_tokens": 0, "cache_creation_input_tokens": 900}},
        counted(1_000, 200, written=900),
    ),
    (
        "Qwen docs, context cache: by lifetime",
        {"prompt_tokens_details": {"cache_creation": {"ephemeral_5m_input_tokens": 900}}},
        counted(1_000, 200, written=900),
    ),
    (
        "OpenRouter docs, prompt caching",
        {"prompt_tokens_details": {"cache_write_tokens": 900}},
        counted(1_000, 200, written=900),
    ),
    ("SGLang: reasoning at the top, in the completion", {"reasoning_tokens": 120}, counted(1_000, 200, reasoning=120)),
    (
        "Perplexity docs, sonar-deep-research: more reasoning than completion stands beside it",
        {"reasoning_tokens": 7_000, "total_tokens": 1_200},
        counted(1_000, 7_200, reasoning=7_000),
    ),
    (
        "xAI docs, reasoning: beside the completion, in the total",
        {"completion_tokens_details": {"reasoning_tokens": 150}, "total_tokens": 1_350},
        counted(1_000, 350, reasoning=150),
    ),
    (
        "OpenAI responses",
        {"output_tokens_details": {"reasoning_tokens": 150}},
        counted(1_000, 200, reasoning=150),
    ),
    (
        "a cache read and thinking, both beside",
        {"cache_read_input_tokens": 5_000, "reasoning_tokens": 50, "total_tokens": 6_250},
        counted(6_000, 250, cached=5_000, reasoning=50),
    ),
]


@pytest.mark.parametrize(("source", "told", "usage"), PLACES, ids=[source for source, _, _ in PLACES])
def test_every_place_is_read(source: str, told: dict[str, object], usage: Usage) -> None:
    """Whatever name a server has for it, and whether it counts it in a whole or beside it."""
    assert from_openai({"prompt_tokens": 1_000, "completion_tokens": 200, **told}) == usage


def test_what_xai_reports() -> None:
    """32 + 9 + 94 = 135: the total says that the reasoning stands beside."""
    reported = {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 135,
        "completion_tokens_details": {"reasoning_tokens": 94},
    }
    assert from_openai(reported) == Usage(32, 103, reasoning_tokens=94)


nothing: st.SearchStrategy[object] = st.sampled_from((None, 0, "", {}, False, "null", "NULL", " ", 0.0, "0"))
FIELDS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")


@given(st.sampled_from(FIELDS), nothing)
def test_what_says_nothing_is_absent(name: str, value: object) -> None:
    """A field's value counts, not its presence."""
    told: dict[str, object] = {"prompt_tokens": 90, "completion_tokens": 40, "cached_tokens": 5, "reasoning_tokens": 7}
    assert from_openai(merged(told, {name: value})) == from_openai(told)
    if name in ("cached_tokens", "reasoning_tokens"):
        without = {field: count for field, count in told.items() if field != name}
        assert from_openai({**told, name: value}) == from_openai(without)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), nothing | st.integers(1, 1_000) | bad_counts), max_size=6))
def test_of_each_count_the_last_that_says_something_stands(reports: list[dict[str, object]]) -> None:
    """Neither zeros nor nonsense erase a count."""
    together: dict[str, object] = {}
    last: dict[str, int] = {}
    for report in reports:
        together = merged(together, report)
        last.update({name: value for name, value in report.items() if type(value) is int and 1 <= value <= 1_000})
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        assert together.get(name) == last.get(name)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.integers(0, 100_000))
def test_told_parts_win_over_the_total(prompt: int, completion: int, total: int) -> None:
    """Whatever the total is, the parts stay what was told."""
    usage = from_openai({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total})
    assert usage[:5] == (prompt, completion, 0, 0, 0)
    assert usage.untold_tokens == max(total - prompt - completion, 0)


@pytest.mark.parametrize("count", [12, 12.0, "12", " 12 "])
def test_plain_numbers_in_other_types_are_read(count: object) -> None:
    """Some servers write floats or texts."""
    assert from_openai({"prompt_tokens": count, "completion_tokens": 3}) == Usage(12, 3)


def test_one_bad_part_leaves_the_good_counts() -> None:
    """What is missing then costs the plain price."""
    reported = {"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": -1, "reasoning_tokens": "x"}
    assert from_openai(reported) == Usage(9, 4)


def test_a_total_goes_with_its_parts() -> None:
    """A total of an earlier report says nothing of later parts, nor does the reasoning of a larger completion."""
    first = {"prompt_tokens": 9, "completion_tokens": 200, "total_tokens": 209, "reasoning_tokens": 150}
    assert from_openai(merged(first, {"completion_tokens": 20})) == Usage(9, 20)


def test_writes_by_lifetime_in_anthropics_form() -> None:
    """Where no sum of them is told."""
    parts = {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 12}
    assert from_anthropic({"input_tokens": 5, "output_tokens": 1, "cache_creation": parts}) == Usage(47, 1, 0, 42)
