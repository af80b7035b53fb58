"""Which of many things to look at now, so that no account's things keep the others' from their turn. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def fair_order(things: Iterable[tuple[str, T]], looked_at_us: Mapping[T, int], *, each: int, total: int) -> list[T]:
    """Take turns between owners, each with what was looked at the longest ago.

    Args:
        things: whose, and what.
        looked_at_us: when a thing was looked at last; what is missing never was.
        each: at most so many of one owner.
        total: at most so many in all.
    """
    by_owner: dict[str, list[T]] = {}
    for owner, thing in things:
        by_owner.setdefault(owner, []).append(thing)
    turns: list[Sequence[T]] = [
        sorted(own, key=lambda thing: looked_at_us.get(thing, -1))[:each] for own in by_owner.values()
    ]
    # Owners who have waited the longest come first, so that a full run begins with others the next time.
    turns.sort(key=lambda own: looked_at_us.get(own[0], -1))
    return [own[turn] for turn in range(each) for own in turns if turn < len(own)][:total]
