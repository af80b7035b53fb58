"""The least rate: what it lets pass, and when it is over."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.http.min_rate import MinRate

steps = st.lists(st.tuples(st.floats(0.001, 50), st.integers(0, 1_000_000)), max_size=60)


def lives_s(rate: MinRate, moves: list[tuple[float, int]]) -> float:
    """For how long a transfer goes on whose parts come after so many seconds each, and then no more."""
    now_s = 0.0
    rate.begin(now_s)
    for wait_s, size in moves:
        if now_s + wait_s > rate.late_at_s:
            break
        now_s += wait_s
        rate.moved(now_s, size)
    return rate.late_at_s


@given(steps)
def test_a_transfer_ends_when_it_is_slower_than_the_rate(moves: list[tuple[float, int]]) -> None:
    """It has the pause at least, on top what its bytes take at the least rate, and never more than all."""
    bytes_moved = sum(size for _, size in moves)

    assert 30 <= lives_s(MinRate(30, 4_096, 900), moves) <= min(900, 30 + bytes_moved / 4_096 + 1e-6)


@given(st.floats(0.001, 29), st.floats(4_200, 1e7))
def test_a_transfer_above_the_rate_goes_on(wait_s: float, bytes_per_s: float) -> None:
    """Whatever the size of its parts, as long as none is later than a pause may be."""
    rate, now_s = MinRate(30, 4_096, 900), 0.0
    rate.begin(now_s)
    for _ in range(int(800 / wait_s) if wait_s > 1 else 100):
        now_s += wait_s
        assert now_s <= rate.late_at_s
        rate.moved(now_s, round(bytes_per_s * wait_s) + 1)


@given(steps, st.floats(0, 1_000))
def test_time_in_which_nothing_could_move_does_not_count(moves: list[tuple[float, int]], waited_s: float) -> None:
    """The end moves by as much."""
    rate = MinRate(30, 4_096, 900)
    before_s = lives_s(rate, moves)
    rate.put_off(waited_s)

    assert rate.late_at_s == before_s + waited_s


def test_many_slow_transfers_are_no_better_than_one() -> None:
    """What one used up is there again only after a rest of the same length."""
    rate = MinRate(30, 4_096, 900)
    rate.begin_again(100, 0)
    rate.moved(120, 0)
    rate.begin_again(121, 1)
    assert rate.late_at_s == 132
    rate.moved(131, 0)
    rate.begin_again(200, 69)

    assert rate.late_at_s == 230
