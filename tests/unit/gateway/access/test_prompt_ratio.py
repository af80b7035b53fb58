"""The learned ratio of prompt tokens to bytes, of each account and model."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.access.prompt_ratio import LEAST_BP, PromptRatios

ME = "acct_1"
RATIOS_BP = st.integers(1, 12_000)


def learned(*ratios_bp: int, ratios: PromptRatios | None = None, account_id: str = ME) -> PromptRatios:
    """What was learned of prompts of a million bytes with these ratios, in basis points."""
    ratios = ratios or PromptRatios()
    for ratio_bp in ratios_bp:
        ratios.learn(account_id, "m", text_bytes=1_000_000, prompt_tokens=ratio_bp * 100)
    return ratios


def test_a_model_never_seen_starts_at_half_a_token_a_byte() -> None:
    """Twice what English text makes."""
    assert PromptRatios().basis_points(ME, "m") == 5_000


def test_what_was_paid_counts_with_a_margin() -> None:
    """A quarter on top of it; another model knows nothing of that."""
    ratios = learned(3_000)
    assert (ratios.basis_points(ME, "m"), ratios.basis_points(ME, "other")) == (3_750, 5_000)


def test_one_accounts_dense_prompts_are_nobody_elses() -> None:
    """Neither of those that are known, nor of a new one, however many there were."""
    ratios = learned(3_000)
    learned(*[10_000] * 100, ratios=ratios, account_id="dense")

    assert [ratios.basis_points(account, "m") for account in (ME, "dense", "new")] == [3_750, 10_000, 5_000]


def test_a_new_account_begins_with_what_three_of_four_stay_below() -> None:
    """A single one never decides; a few say nothing."""
    ratios = PromptRatios()
    for number in range(3):
        learned(6_000, ratios=ratios, account_id=f"acct_{number}")
    assert ratios.basis_points("new", "m") == 5_000
    learned(10_000, ratios=ratios, account_id="dense")
    assert ratios.basis_points("new", "m") == 7_500

    others = PromptRatios()
    for number in range(8):
        learned(10_000 if number < 2 else 2_800, ratios=others, account_id=f"acct_{number}")
    assert others.basis_points("new", "m") == 3_500


def test_a_denser_prompt_counts_at_once() -> None:
    """However many ordinary ones were before; ordinary ones that follow count by their tokens."""
    ratios = learned(*[2_500] * 1_000, 9_000)
    assert ratios.basis_points(ME, "m") == 10_000
    for _ in range(100):
        ratios.learn(ME, "m", text_bytes=2_000, prompt_tokens=500)
    assert ratios.basis_points(ME, "m") > 8_000
    assert learned(2_500, ratios=ratios).basis_points(ME, "m") < 3_700


def test_small_prompts_teach_nothing() -> None:
    """They are mostly frame."""
    ratios = PromptRatios()
    ratios.learn(ME, "m", text_bytes=1_999, prompt_tokens=1_999)

    assert ratios.basis_points(ME, "m") == 5_000


def test_a_prompt_of_nothing_teaches_nothing() -> None:
    """An upstream that reports no prompt says nothing of its ratio."""
    ratios = PromptRatios()
    ratios.learn(ME, "m", text_bytes=10_000, prompt_tokens=0)

    assert ratios.basis_points(ME, "m") == 5_000


def test_prompts_of_few_tokens_do_not_open_the_door_for_dense_ones() -> None:
    """Repeated text is cheap, so it moves little, proves little, and the ratio has a floor."""
    ratios = PromptRatios()
    for _ in range(20):
        ratios.learn(ME, "m", text_bytes=1_000_000, prompt_tokens=1_000)

    assert 4_600 < ratios.basis_points(ME, "m") < 5_000
    assert ratios.proven_tokens(ME, "m") == 20_000


def test_other_parts_show_how_dense_the_text_is_at_least() -> None:
    """Beside the most that they may have brought; more than that is not learned from such a prompt."""
    ratios = PromptRatios()
    ratios.learn(ME, "m", text_bytes=10_000, prompt_tokens=6_000, parts_tokens=3_000)
    assert (ratios.basis_points(ME, "m"), ratios.proven_tokens(ME, "m")) == (5_000, 0)

    ratios.learn(ME, "m", text_bytes=10_000, prompt_tokens=12_000, parts_tokens=3_000)
    assert ratios.basis_points(ME, "m") == 10_000


def test_tokens_are_proven_by_what_was_paid_in_full() -> None:
    """Those of the cache are not; a denser prompt takes all of them away, one that nobody counted its bytes."""
    ratios = PromptRatios()
    ratios.learn(ME, "m", text_bytes=100_000, prompt_tokens=25_000, cached_tokens=20_000)
    ratios.learn(ME, "m", text_bytes=100_000, prompt_tokens=25_000)
    assert (ratios.proven_tokens(ME, "m"), ratios.proven_tokens("other", "m")) == (30_000, 0)

    ratios.doubt(ME, "m", 10_000)
    ratios.doubt("other", "m", 10_000)
    ratios.doubt(ME, "other", 10_000)
    assert ratios.proven_tokens(ME, "m") == 20_000
    ratios.doubt(ME, "m", 30_000)
    assert ratios.proven_tokens(ME, "m") == 0

    learned(2_500, 9_000, ratios=ratios)
    assert ratios.proven_tokens(ME, "m") == 0


def test_what_is_proven_is_bounded() -> None:
    """A good customer of many years is no better than one of a day."""
    assert learned(*[2_500] * 100).proven_tokens(ME, "m") == 1_000_000


def test_memory_is_bounded() -> None:
    """The account that was not heard of for the longest time begins anew."""
    ratios = learned(10_000)
    for number in range(5_000):
        ratios.learn(f"acct_{number + 2}", "m", text_bytes=100_000, prompt_tokens=25_000)

    assert ratios.basis_points(ME, "m") < 10_000


@given(st.lists(st.tuples(st.integers(2_000, 2_000_000), RATIOS_BP), min_size=1, max_size=60))
def test_it_is_never_below_the_prompt_that_came_last(samples: list[tuple[int, int]]) -> None:
    """Nor below its floor or above a token a byte; and nothing is proven by a prompt that was denser than assumed."""
    ratios = PromptRatios()
    for size, ratio_bp in samples:
        tokens = size * ratio_bp // 10_000
        assumed_bp = ratios.basis_points(ME, "m")
        ratios.learn(ME, "m", text_bytes=size, prompt_tokens=tokens)
        after_bp = ratios.basis_points(ME, "m")
        seen_bp = min(tokens * 10_000 // size, 10_000)
        assert LEAST_BP <= after_bp <= 10_000
        assert after_bp >= seen_bp or not tokens
        assert seen_bp <= assumed_bp or not ratios.proven_tokens(ME, "m")
