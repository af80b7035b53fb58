"""Fair share: a hold is bounded by what is free, pays the ceiling that it promises, and leaves room for others."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.fair_share import share
from tokenbooth.domain.allowance import Allowance, hold, settle
from tokenbooth.domain.fair_share import Demand, Share, TooLittle
from tokenbooth.domain.pricing import Price, TokenRates, worst_cost_nano

DEMO = Price(TokenRates(input=270_000_000, output=1_100_000_000, cached_input=70_000_000, cache_write=270_000_000))
WINDOW_NANO = 140_000_000

rates_values = st.integers(min_value=0, max_value=10**11)
prices = st.builds(
    Price,
    rates=st.builds(
        TokenRates,
        input=rates_values,
        output=rates_values,
        cached_input=rates_values,
        cache_write=rates_values,
        reasoning=st.none() | rates_values,
    ),
    per_request_nano=st.integers(min_value=0, max_value=10**8),
)
demands = st.builds(
    Demand,
    text_bytes=st.integers(min_value=0, max_value=2_000_000),
    extra_tokens=st.integers(min_value=0, max_value=50_000),
    context_tokens=st.integers(min_value=1, max_value=1_000_000),
    choices=st.integers(min_value=1, max_value=128),
    output_ceiling=st.integers(min_value=1, max_value=200_000),
    floor_tokens=st.sampled_from((256, 4_096)),
)


@given(
    prices,
    demands,
    st.integers(min_value=-(10**9), max_value=10**12),
    st.integers(min_value=1, max_value=100),
    st.integers(min_value=1, max_value=10_000),
)
def test_a_hold_is_bounded_and_pays_what_it_promises(
    price: Price, demand: Demand, free_nano: int, percent: int, ratio_bp: int
) -> None:
    """Within what is free, no less than the floor, and enough for the prompt and the ceiling that goes upstream."""
    decided = share(price, demand, free_nano=free_nano, hold_share_percent=percent, tokens_per_byte_bp=ratio_bp)
    prompt = demand.prompt_tokens(ratio_bp)
    floor = min(demand.floor_tokens, demand.output_ceiling)
    floor_nano = worst_cost_nano(price, prompt_tokens=prompt, output_tokens=floor * demand.choices)

    if isinstance(decided, TooLittle):
        assert decided.floor_nano == floor_nano > free_nano
        return
    ceiling = demand.output_ceiling
    if decided.clamped_output_tokens is not None:
        ceiling = decided.clamped_output_tokens
        assert floor <= ceiling <= demand.output_ceiling
    promised_nano = worst_cost_nano(price, prompt_tokens=prompt, output_tokens=ceiling * demand.choices)
    assert promised_nano <= decided.amount_nano <= max(free_nano, 0)
    assert decided.amount_nano >= floor_nano
    assert decided.amount_nano <= worst_cost_nano(
        price, prompt_tokens=demand.prompt_tokens(10_000), output_tokens=demand.output_ceiling * demand.choices
    )


@given(demands, st.integers(min_value=1, max_value=10_000))
def test_no_prompt_is_longer_than_the_context(demand: Demand, ratio_bp: int) -> None:
    """The learned ratio never assumes more than one token a byte, and the context bounds both."""
    assert demand.prompt_tokens(ratio_bp) <= demand.prompt_tokens(10_000) <= demand.context_tokens


def ten_calls(demand: Demand) -> list[Share | TooLittle]:
    """Ten holds, one after the other, on a fresh window of the standard plan."""
    window, decided = Allowance(WINDOW_NANO), list[Share | TooLittle]()
    for _ in range(10):
        one = share(DEMO, demand, free_nano=window.free_nano(), hold_share_percent=25, tokens_per_byte_bp=5_000)
        decided.append(one)
        if isinstance(one, Share):
            assert hold((window,), one.amount_nano) is not None
    return decided


def test_ten_calls_with_huge_ceilings_all_fit() -> None:
    """Ten calls at once with max_tokens 32k on a fresh window: none is refused, every ceiling is worth having (48)."""
    decided = ten_calls(
        Demand(
            text_bytes=2_000,
            extra_tokens=64,
            context_tokens=65_536,
            choices=1,
            output_ceiling=32_768,
            floor_tokens=256,
        )
    )

    assert [type(one) for one in decided] == [Share] * 10
    assert min(one.clamped_output_tokens or 32_768 for one in decided if isinstance(one, Share)) >= 256


def test_ten_calls_of_the_demo_model_all_fit() -> None:
    """The demo's model answers with at most 8,192 tokens: ten of those fit beside each other too (48)."""
    decided = ten_calls(
        Demand(
            text_bytes=500, extra_tokens=64, context_tokens=65_536, choices=1, output_ceiling=8_192, floor_tokens=256
        )
    )

    assert [type(one) for one in decided] == [Share] * 10


def test_a_small_call_holds_its_worst_case_only() -> None:
    """A call that needs little holds that little, at one token a byte, and its ceiling stands."""
    demand = Demand(
        text_bytes=100, extra_tokens=64, context_tokens=65_536, choices=1, output_ceiling=50, floor_tokens=256
    )

    assert share(DEMO, demand, free_nano=WINDOW_NANO, hold_share_percent=25, tokens_per_byte_bp=5_000) == Share(
        amount_nano=worst_cost_nano(DEMO, prompt_tokens=164, output_tokens=50), clamped_output_tokens=None
    )


def test_a_free_model_needs_no_money() -> None:
    """Nothing is held for what costs nothing, whatever is free."""
    free = Price(TokenRates(0, 0, 0, 0))
    demand = Demand(
        text_bytes=100, extra_tokens=64, context_tokens=65_536, choices=1, output_ceiling=50, floor_tokens=256
    )

    assert share(free, demand, free_nano=0, hold_share_percent=25, tokens_per_byte_bp=5_000) == Share(0, None)


def test_the_whole_worst_case_is_held_when_the_floor_reaches_it() -> None:
    """A short ceiling that is above the share but fits: all of it is held and nothing is lowered."""
    demand = Demand(
        text_bytes=100, extra_tokens=0, context_tokens=65_536, choices=1, output_ceiling=100, floor_tokens=256
    )
    worst_nano = worst_cost_nano(DEMO, prompt_tokens=50, output_tokens=100)

    assert share(DEMO, demand, free_nano=worst_nano, hold_share_percent=25, tokens_per_byte_bp=5_000) == Share(
        worst_nano, clamped_output_tokens=None
    )


@given(prices, st.lists(demands, min_size=1, max_size=40), st.integers(0, 10**11), st.integers(3_125, 10_000))
def test_a_burst_of_dense_prompts_costs_the_operator_a_bounded_part(
    price: Price, burst: list[Demand], free_nano: int, ratio_bp: int
) -> None:
    """Calls at once, each of a token a byte and with all of its output: at most 2.2 times what was free is not paid."""
    credit = Allowance(limit_nano=free_nano)
    running = []
    for demand in burst:
        decided = share(price, demand, free_nano=credit.free_nano(), hold_share_percent=25, tokens_per_byte_bp=ratio_bp)
        if isinstance(decided, TooLittle):
            continue
        held = hold((credit,), decided.amount_nano)
        assert held is not None
        output = decided.clamped_output_tokens or demand.output_ceiling
        cost_nano = worst_cost_nano(
            price, prompt_tokens=demand.prompt_tokens(10_000), output_tokens=output * demand.choices
        )
        assert cost_nano * 3_125 <= held.amount_nano * 10_000 + 10_000
        running.append((held, cost_nano))
    settled = [settle(held, cost_nano) for held, cost_nano in running]

    lost_nano = sum(one.uncollected_nano for one in settled if one is not None)
    assert lost_nano * 5 <= free_nano * 11 + 5 * len(running)
    assert 0 <= credit.spent_nano <= free_nano
