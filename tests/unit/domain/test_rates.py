"""Rates against a brute-force model: exact in any sixty seconds, and waits true to the microsecond."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenbooth.domain.rates import SPAN_US, RequestRate, TokenRate

# Steps near the span's edges are what breaks a sliding window.
steps = st.sampled_from((0, 1, 2, 7, SPAN_US // 3, SPAN_US // 2, SPAN_US - 1, SPAN_US, SPAN_US + 1)) | st.integers(
    min_value=0, max_value=SPAN_US
)


def most_in_a_span(entries: list[tuple[int, int]]) -> int:
    """The most that any sixty seconds hold; the fullest span begins at an entry."""
    return max(
        (sum(count for at, count in entries if start <= at < start + SPAN_US) for start, _ in entries), default=0
    )


@given(st.integers(min_value=1, max_value=5), st.lists(steps, max_size=40))
def test_requests_are_exact_in_any_span(limit: int, pauses: list[int]) -> None:
    """No sixty seconds hold more than the limit, and nobody waits who need not."""
    rate, admitted, now_us = RequestRate(limit), list[int](), 1_000
    for pause_us in pauses:
        now_us += pause_us
        counting = sum(1 for at in admitted if at > now_us - SPAN_US)
        wait_us = rate.wait_us(now_us)
        assert rate.used(now_us) == counting
        assert (wait_us == 0) == (counting < limit)
        if wait_us == 0:
            rate.admit(now_us)
            admitted.append(now_us)

    assert most_in_a_span([(at, 1) for at in admitted]) <= limit


@given(st.integers(min_value=1, max_value=5), st.integers(min_value=1, max_value=5), st.lists(steps, max_size=20))
def test_waits_for_requests_are_true(limit: int, lowered: int, pauses: list[int]) -> None:
    """After the wait a request may pass, a microsecond earlier it may not; also with a limit lowered meanwhile."""
    rate, now_us = RequestRate(limit), 1_000
    for pause_us in pauses:
        now_us += pause_us
        if rate.wait_us(now_us) == 0:
            rate.admit(now_us)
    rate.limit = lowered
    wait_us = rate.wait_us(now_us)

    if wait_us:
        assert rate.wait_us(now_us + wait_us - 1) == 1
        assert rate.wait_us(now_us + wait_us) == 0


@given(st.lists(steps, max_size=20))
def test_reset_of_requests_is_when_nothing_counts(pauses: list[int]) -> None:
    """At the reset nothing counts, just before it something does."""
    rate, now_us = RequestRate(100), 1_000
    for pause_us in pauses:
        now_us += pause_us
        rate.admit(now_us)
    reset_us = rate.reset_us(now_us)

    if reset_us:
        assert rate.used(now_us + reset_us - 1) > 0
    assert rate.used(now_us + reset_us) == 0


tokens = st.integers(min_value=0, max_value=120)


@settings(max_examples=200)
@given(st.lists(st.tuples(steps, tokens, st.none() | st.tuples(steps, st.integers(0, 300))), max_size=30))
def test_tokens_are_exact_in_any_span(calls: list[tuple[int, int, tuple[int, int] | None]]) -> None:
    """Tokens counted at admission stay within the limit, corrections count from when they are known (model)."""
    limit, now_us = 100, 1_000
    rate = TokenRate(limit)
    model: list[list[int]] = []
    for pause_us, asked, correction in calls:
        now_us += pause_us
        counting = sum(count for at, count in model if at > now_us - SPAN_US)
        assert rate.used(now_us) == counting
        wait_us = rate.wait_us(now_us, asked)
        if asked > limit:
            assert wait_us is None
            continue
        assert (wait_us == 0) == (counting + asked <= limit)
        if wait_us:
            assert rate.wait_us(now_us, asked) == wait_us
            continue
        entry = rate.admit(now_us, asked)
        line = [now_us, asked]
        model.append(line)
        if correction is not None:
            later_us, true = correction
            now_us += later_us
            rate.correct(entry, true, now_us)
            line[1] = true if line[0] > now_us - SPAN_US else line[1]

    assert rate.used(now_us) == sum(count for at, count in model if at > now_us - SPAN_US)


@given(st.lists(st.tuples(steps, st.integers(1, 100)), max_size=20), st.integers(1, 100))
def test_waits_for_tokens_are_true(calls: list[tuple[int, int]], asked: int) -> None:
    """After the wait the tokens may pass, a microsecond earlier they may not."""
    rate, now_us = TokenRate(100), 1_000
    for pause_us, count in calls:
        now_us += pause_us
        if rate.wait_us(now_us, count) == 0:
            rate.admit(now_us, count)
    wait_us = rate.wait_us(now_us, asked)

    assert wait_us is not None
    if wait_us:
        assert rate.wait_us(now_us + wait_us - 1, asked) == 1
        assert rate.wait_us(now_us + wait_us, asked) == 0


def test_an_overshoot_delays_the_next_call() -> None:
    """A call that used more than was counted blocks the next one until it leaves the span."""
    rate = TokenRate(100)
    rate.correct(rate.admit(1_000, 10), 500, 2_000)

    assert rate.wait_us(2_000, 1) == SPAN_US - 1_000
    assert rate.reset_us(2_000) == SPAN_US - 1_000


def test_a_correction_that_comes_too_late_changes_nothing() -> None:
    """An entry that has left the span counts for nothing any more."""
    rate = TokenRate(100)
    entry = rate.admit(1_000, 10)
    rate.correct(entry, 500, 1_000 + SPAN_US)

    assert rate.used(1_000 + SPAN_US) == 0
    assert rate.reset_us(1_000 + SPAN_US) == 0


def test_a_limit_of_nothing_admits_nothing() -> None:
    """A rate that admits nothing tells a wait instead of failing."""
    assert RequestRate(0).wait_us(1_000) == SPAN_US
