"""What is learned of a model's calls, and what an attacker can make of it."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.gateway.settlement.estimates import Estimates


def learn_prompts(
    estimates: Estimates, account: str, ratio_bp: int, *, calls: int = 1, text_bytes: int = 10_000
) -> None:
    """Calls of an account whose prompts have this ratio, in basis points."""
    for _ in range(calls):
        estimates.learn(
            account, "m", "", text_bytes=text_bytes, prompt_tokens=text_bytes * ratio_bp // 10_000, answer_tokens=10
        )


def learn_thinking(estimates: Estimates, account: str, *numbers: int, effort: str = "") -> None:
    """Calls of an account that thought so many tokens."""
    for tokens in numbers:
        estimates.learn_thinking(account, "m", effort, tokens)


def ratio_bp(estimates: Estimates, account: str) -> int:
    """What a prompt of the account is reckoned at."""
    return estimates.prompt_tokens(account, "m", 10_000)


class TestRatios:
    """Bytes to tokens."""

    def test_nothing_learned_is_a_quarter(self) -> None:
        """Four bytes a token, rounded up."""
        assert Estimates().prompt_tokens("a", "m", 401) == 101
        assert Estimates().text_tokens("a", "m", 401) == 101

    def test_an_accounts_own_mean_counts(self) -> None:
        """By bytes: of a long prompt and a short one the long one decides."""
        estimates = Estimates()
        learn_prompts(estimates, "a", 4_000, text_bytes=90_000)
        learn_prompts(estimates, "a", 2_000, text_bytes=10_000)

        assert ratio_bp(estimates, "a") == 3_800

    def test_little_text_says_nothing(self) -> None:
        """Below two thousand bytes in all the mean of everybody counts."""
        estimates = Estimates()
        learn_prompts(estimates, "a", 9_000, text_bytes=1_999)

        assert ratio_bp(estimates, "a") == 2_500

    def test_a_run_of_one_letter_gains_at_most_half(self) -> None:
        """An account that teaches a thousandth pays half of what everybody does, and never below an eighth."""
        estimates = Estimates()
        for number in range(40):
            learn_prompts(estimates, f"honest {number}", 3_900)
        learn_prompts(estimates, "attacker", 10, calls=1_000, text_bytes=1_000_000)

        assert 3_600 // 2 <= ratio_bp(estimates, "attacker") <= 3_900 // 2
        assert ratio_bp(estimates, "newcomer") > 3_500

    def test_many_calls_of_one_account_are_one_vote(self) -> None:
        """Somebody whose prompts are a token a byte hardly raises what a newcomer is charged."""
        estimates = Estimates()
        for number in range(20):
            learn_prompts(estimates, f"honest {number}", 2_500)
        learn_prompts(estimates, "attacker", 10_000, calls=10_000)

        assert ratio_bp(estimates, "newcomer") == (24 * 2_500 + 10_000) // 25
        assert ratio_bp(estimates, "honest 1") == 2_500

    def test_cheap_calls_do_not_outweigh_a_dear_one(self) -> None:
        """A hundred small prompts of a run of letters count by their bytes."""
        estimates = Estimates()
        learn_prompts(estimates, "a", 4_000, text_bytes=400_000)
        learn_prompts(estimates, "a", 100, calls=100, text_bytes=1_000)

        assert ratio_bp(estimates, "a") >= 3_000

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 10**7), st.integers(0, 10**8)), max_size=50))
    def test_always_within_the_bounds(self, calls: list[tuple[str, int, int]]) -> None:
        """Whatever upstreams report: between an eighth and one, and no less than half of everybody's mean."""
        estimates = Estimates()
        for account, size, tokens in calls:
            estimates.learn(account, "m", "", text_bytes=size, prompt_tokens=tokens, answer_tokens=1)

        newcomer = ratio_bp(estimates, "newcomer")
        for account in "abc":
            assert max(1_250, newcomer // 2) <= ratio_bp(estimates, account) <= 10_000

    def test_accounts_are_bounded(self) -> None:
        """The one that was quiet the longest is forgotten, and takes its vote with it."""
        estimates = Estimates()
        learn_prompts(estimates, "first", 10_000)
        before = ratio_bp(estimates, "newcomer")
        for number in range(4_096):
            learn_prompts(estimates, str(number), 2_500)

        assert before > 2_500
        assert (ratio_bp(estimates, "first"), ratio_bp(estimates, "newcomer")) == (2_500, 2_500)

    def test_texts_have_a_ratio_of_their_own(self) -> None:
        """What is learned of prompts says nothing of answers, and the other way round."""
        estimates = Estimates()
        estimates.learn_text("a", "m", text_bytes=10_000, tokens=5_000)

        assert (estimates.text_tokens("a", "m", 100), estimates.prompt_tokens("a", "m", 100)) == (50, 25)


class TestThinking:
    """What nobody saw."""

    def test_nothing_learned_is_none(self) -> None:
        """The caller knows what to assume then."""
        assert Estimates().thinking_tokens("m", "") is None
        assert Estimates().answer_tokens("m", "") is None

    def test_the_90th_percentile_over_all_accounts(self) -> None:
        """Of ten numbers the ninth."""
        estimates = Estimates()
        for number in range(1, 11):
            learn_thinking(estimates, str(number), number * 100)

        assert estimates.thinking_tokens("m", "") == 900

    def test_each_effort_has_its_own(self) -> None:
        """And one of which nothing is known counts as all of them."""
        estimates = Estimates()
        learn_thinking(estimates, "a", 50, effort="low")
        learn_thinking(estimates, "a", 9_000, effort="high")

        assert [estimates.thinking_tokens("m", effort) for effort in ("low", "high", "max")] == [50, 9_000, 9_000]

    def test_many_cheap_calls_do_not_hide_dear_ones(self) -> None:
        """An account that once thought for long cannot teach "no thinking" with a thousand answers of one token."""
        estimates = Estimates()
        learn_thinking(estimates, "a", *[20_000] * 16, *[1] * 1_000)

        assert estimates.thinking_tokens("m", "") == 20_000

    def test_one_account_alone_does_not_decide(self) -> None:
        """Whatever a single customer teaches, others are charged by what most accounts' calls thought."""
        low, high = Estimates(), Estimates()
        for number in range(20):
            learn_thinking(low, f"honest {number}", *[1_000] * 16)
            learn_thinking(high, f"honest {number}", *[1_000] * 16)
        learn_thinking(low, "attacker", *[0] * 10_000)
        learn_thinking(high, "attacker", *[90_000] * 10_000)

        assert (low.thinking_tokens("m", ""), high.thinking_tokens("m", "")) == (1_000, 1_000)

    def test_a_model_that_has_come_to_think_less_is_learned(self) -> None:
        """As many tokens as were learned push them out."""
        estimates = Estimates()
        learn_thinking(estimates, "a", *[4_000] * 16, *[1_000] * 100)

        assert estimates.thinking_tokens("m", "") == 1_000

    def test_a_model_reasons_once_it_was_seen_to(self) -> None:
        """Also where its operator did not say so."""
        estimates = Estimates()
        learn_thinking(estimates, "a", 0)
        before = estimates.reasons("m")
        learn_thinking(estimates, "a", 5)

        assert (before, estimates.reasons("m")) == (False, True)
