"""Turns between accounts: nobody's many things keep another's from being looked at."""

from hypothesis import given
from hypothesis import strategies as st

from tokenbooth.jobs.fair_order import fair_order


def test_one_of_each_comes_before_a_second_of_anybody() -> None:
    """A flood of one account leaves the first turn to everybody."""
    flood = [("mallory", number) for number in range(1_000)]
    assert fair_order([*flood, ("ada", -1), ("bob", -2)], {}, each=10, total=5) == [0, -1, -2, 1, 2]


def test_what_waits_the_longest_is_looked_at_first() -> None:
    """Of one owner, and between owners."""
    looked = {1: 50, 2: 40, 3: 60, 4: 10}
    things = [("ada", 1), ("ada", 2), ("bob", 3), ("bob", 4)]
    assert fair_order(things, looked, each=2, total=3) == [4, 2, 3]


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1), st.integers(1, 5), st.integers(3, 9))
def test_everything_has_its_turn(sizes: dict[str, int], each: int, total: int) -> None:
    """Within as many runs as all things need by their bounds, each was looked at; no run is longer than allowed."""
    things = [(owner, (owner, number)) for owner, size in sizes.items() for number in range(size)]
    looked: dict[tuple[str, int], int] = {}
    rounds = sum(-(-size // each) for size in sizes.values()) * each + len(things) // total + 1
    for run in range(rounds):
        chosen = fair_order(things, looked, each=each, total=total)
        assert len(chosen) <= total
        assert len(set(chosen)) == len(chosen)
        looked |= dict.fromkeys(chosen, run)
    assert set(looked) == {thing for _, thing in things}
