"""The learned ratio of prompt tokens to bytes."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.prompt_ratio import PromptRatios


def test_a_model_never_seen_starts_at_half_a_token_a_byte() -> None:
    """Twice what English text makes."""
    assert PromptRatios().basis_points("m") == 5_000


def test_the_highest_ratio_counts_with_a_margin() -> None:
    """A quarter on top of the highest; a lower one later changes nothing, another model neither."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=10_000, prompt_tokens=3_000)
    ratios.learn("m", text_bytes=10_000, prompt_tokens=1_000)

    assert (ratios.basis_points("m"), ratios.basis_points("other")) == (3_750, 5_000)


def test_small_prompts_teach_nothing() -> None:
    """They are mostly frame."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=1_999, prompt_tokens=1_999)

    assert ratios.basis_points("m") == 5_000


@given(st.lists(st.tuples(st.integers(2_000, 10**6), st.integers(0, 10**8)), min_size=1))
def test_never_more_than_a_token_a_byte(samples: list[tuple[int, int]]) -> None:
    """Whatever an upstream reports, the ratio stays between nothing and one."""
    ratios = PromptRatios()
    for text_bytes, prompt_tokens in samples:
        ratios.learn("m", text_bytes=text_bytes, prompt_tokens=prompt_tokens)

    assert 0 <= ratios.basis_points("m") <= 10_000


def test_images_do_not_teach_a_ratio_of_text() -> None:
    """A ratio of nothing is not learned from an upstream that reports no prompt."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=10_000, prompt_tokens=0)

    assert ratios.basis_points("m") == 5_000


def test_prompts_of_few_tokens_do_not_open_the_door_for_dense_ones() -> None:
    """After a prompt of repeated text the next one is still assumed to have an ordinary number of tokens."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=1_000_000, prompt_tokens=1_000)

    assert ratios.basis_points("m") >= 2_500
