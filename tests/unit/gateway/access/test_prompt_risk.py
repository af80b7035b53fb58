"""What prompts that hold less than a token a byte may cost together."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.fair_share import share
from tokenbooth.domain.allowance import Allowance, free_nano, hold, settle
from tokenbooth.domain.fair_share import Demand, Share
from tokenbooth.domain.pricing import Price, TokenRates, input_cost_nano, worst_cost_nano
from tokenbooth.gateway.access import prompt_risk
from tokenbooth.gateway.access.cache import AccountState

PRICE = Price(TokenRates(input=3_000_000_000, output=0, cached_input=300_000_000, cache_write=3_750_000_000))
CONTEXT = 128_000


@given(
    st.lists(st.integers(2_000, 600_000), min_size=1, max_size=40),
    st.integers(1, 3_000_000_000),
    st.integers(3_125, 9_000),
    st.integers(0, 200_000),
)
def test_a_burst_of_dense_prompts_costs_little_more_than_there_is(
    sizes: list[int], credit_nano: int, ratio_bp: int, proven_tokens: int
) -> None:
    """At most what one prompt alone could, and what the account had proven; and what ends gives its room back."""
    credit = Allowance(credit_nano)
    account = AccountState("acct_1", 0, suspended=False, credit=credit)
    begun = []
    for size in sizes:
        demand = Demand(size, 0, CONTEXT, 1, 1, 1)
        decided = share(
            PRICE, demand, free_nano=free_nano((credit,)), hold_share_percent=25, tokens_per_byte_bp=ratio_bp
        )
        if not isinstance(decided, Share):
            continue
        full_nano = worst_cost_nano(PRICE, prompt_tokens=demand.prompt_tokens(10_000), output_tokens=0)
        risk_nano = 0
        if decided.amount_nano < full_nano:
            risk_nano = prompt_risk.prompt_risk_nano(PRICE, demand, ratio_bp)
            most_nano = prompt_risk.most_tolerated_nano(
                PRICE, (credit,), context_tokens=CONTEXT, proven_tokens=proven_tokens
            )
            if not prompt_risk.may_begin(account, (credit,), decided.amount_nano + risk_nano, most_nano):
                assert account.prompts_at_risk
                continue
        held = hold((credit,), decided.amount_nano)
        assert held is not None
        if risk_nano:
            prompt_risk.begin(account, (credit,), risk_nano)
        begun.append((held, risk_nano, full_nano))
    lost_nano = 0
    for held, risk_nano, full_nano in begun:
        settlement = settle(held, full_nano)
        assert settlement is not None
        lost_nano += settlement.uncollected_nano
        if risk_nano:
            prompt_risk.end(account, (credit,), risk_nano)
    most_nano = input_cost_nano(PRICE, CONTEXT * 6_875 // 10_000) + input_cost_nano(PRICE, proven_tokens)
    # Each cost is rounded up by itself.
    assert lost_nano <= most_nano + len(sizes)
    assert (account.prompts_at_risk, credit.prompt_risk_nano, credit.held_nano) == (0, 0, 0)


def test_one_call_may_always_begin() -> None:
    """However little is free beside it; a second one may not."""
    credit = Allowance(1_000)
    account = AccountState("acct_1", 0, suspended=False, credit=credit)
    assert prompt_risk.may_begin(account, (credit,), 10**12, 0)
    prompt_risk.begin(account, (credit,), 500)
    assert not prompt_risk.may_begin(account, (credit,), 501, 0)
    assert prompt_risk.may_begin(account, (credit,), 500, 0)
    assert prompt_risk.may_begin(account, (credit,), 600, 100)


def test_no_more_is_tolerated_than_is_unspent() -> None:
    """Beside what was proven; on the tightest of what pays."""
    credit, cap = Allowance(10**9, spent_nano=10**9 - 70), Allowance(50, spent_nano=20)
    assert prompt_risk.most_tolerated_nano(PRICE, (credit, cap), context_tokens=CONTEXT, proven_tokens=0) == 30
    overdrawn = Allowance(10, spent_nano=20)
    proven_nano = prompt_risk.most_tolerated_nano(PRICE, (overdrawn,), context_tokens=CONTEXT, proven_tokens=1_000)
    assert proven_nano == input_cost_nano(PRICE, 1_000)
