"""The learned ratio of prompt tokens to bytes."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.access.prompt_ratio import PromptRatios

RATIOS_BP = st.integers(1, 12_000)


def learned(*ratios_bp: int) -> PromptRatios:
    """What was learned of prompts with these ratios, in basis points."""
    ratios = PromptRatios()
    for ratio_bp in ratios_bp:
        ratios.learn("m", text_bytes=10_000, prompt_tokens=ratio_bp)
    return ratios


def test_a_model_never_seen_starts_at_half_a_token_a_byte() -> None:
    """Twice what English text makes."""
    assert PromptRatios().basis_points("m") == 5_000


def test_the_highest_of_a_few_counts_with_a_margin() -> None:
    """A quarter on top of the highest; a lower one later changes nothing, another model neither."""
    ratios = learned(3_000, 3_000, 1_000)

    assert (ratios.basis_points("m"), ratios.basis_points("other")) == (3_750, 5_000)


def test_one_in_a_hundred_does_not_decide() -> None:
    """A dense prompt is what counts at first, and is forgotten among many ordinary ones."""
    assert learned(9_000, *[3_000] * 98).basis_points("m") == 10_000
    assert learned(9_000, *[3_000] * 99).basis_points("m") == 3_750


def test_older_prompts_lose_weight() -> None:
    """Where a model's prompts have become denser, that counts long before the old ones are outnumbered."""
    assert learned(*[3_000] * 100_000, *[6_000] * 300).basis_points("m") == 7_500


def test_small_prompts_teach_nothing() -> None:
    """They are mostly frame."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=1_999, prompt_tokens=1_999)

    assert ratios.basis_points("m") == 5_000


@given(st.lists(RATIOS_BP, min_size=1, max_size=400))
def test_the_mark_is_the_99th_percentile(samples: list[int]) -> None:
    """However they come, at most one in a hundred is above what is assumed without its margin, and no less would do."""
    steps = sorted(min(-(-sample // 50), 200) for sample in samples)
    highest = steps[-1 - len(steps) // 100]

    assert learned(*samples).basis_points("m") == max(3_125, min(highest * 50 * 125 // 100, 10_000))


def test_a_prompt_of_nothing_teaches_nothing() -> None:
    """An upstream that reports no prompt says nothing of its ratio."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=10_000, prompt_tokens=0)

    assert ratios.basis_points("m") == 5_000


def test_prompts_of_few_tokens_do_not_open_the_door_for_dense_ones() -> None:
    """After a prompt of repeated text the next one is still assumed to have an ordinary number of tokens."""
    ratios = PromptRatios()
    ratios.learn("m", text_bytes=1_000_000, prompt_tokens=1_000)

    assert ratios.basis_points("m") >= 2_500
