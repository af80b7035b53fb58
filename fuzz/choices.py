"""Decisions taken from bytes: each byte decides one thing, and where they end everything is as plain as it can be.

So the bytes of an engine become something that was made up with a structure, and what is made up becomes plainer when
bytes are taken away.
"""

import random
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_MOST_BYTES: Final = 160


class Choices:
    """Decides."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, count: int) -> int:
        """A number from zero up to `count`, at most 256."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % count

    def pick(self, options: Sequence[T]) -> T:
        """One of these; the first is the plain one."""
        return options[self.below(len(options))]

    def happens(self, one_in: int) -> bool:
        """Whether something happens that is not plain."""
        return self.below(one_in) == one_in - 1


def choices() -> list[bytes]:
    """Seeds: plain, and made up."""
    rng = random.Random(11)
    return [b"", *(rng.randbytes(rng.randrange(1, _MOST_BYTES)) for _ in range(200))]


def mutate_choices(data: bytes, rng: random.Random) -> bytes:
    """Other decisions."""
    at = rng.randrange(len(data) + 1)
    match rng.randrange(6):
        case 0:
            return rng.randbytes(rng.randrange(1, _MOST_BYTES))
        case 1:
            return data[:at]
        case 2:
            return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
        case 3:
            return data[:at] + data[at + 1 :]
        case _:
            return data[:at] + rng.randbytes(1) + data[at + 1 :]
