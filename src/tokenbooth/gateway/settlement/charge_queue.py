"""Charges that are in the charge log and not in the store yet, and what follows for new calls when they are many.

With a core full of calls the thread that writes to the store hardly gets the interpreter, and what waits would grow for
as long as the load lasts. So from some length on calls are let in one after the other, with a pause between two: then
the loop has nothing to do for most of the time, and the thread writes.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Final

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge
from tokenbooth.gateway.access.cache import Pin
from tokenbooth.gateway.settlement.charge_log import Segment

# From so many on the thread is behind: each that waits takes more than a kilobyte.
_BEHIND_FROM: Final = 5_000
# While the database is away pauses don't help, but from this share of what may wait on none is refused so soon.
_AWAY_SHARE: Final = 4
_BETWEEN_CALLS_US: Final = 1_000
# Who would have to wait for longer is refused: as many calls wait already.
_LONGEST_WAIT_US: Final = 1_000_000


@dataclass(init=False, slots=True)
class QueuedCharge:
    """A charge that the store does not know yet, with what memory counted it on.

    Attributes:
        pin: keeps the account that is charged in memory.
        allowances: what it was charged to.
        segment: where its charge is in the log, if it is.
    """

    charge: Charge
    pin: Pin
    allowances: tuple[Allowance, ...]
    segment: Segment | None

    def __init__(self, charge: Charge, pin: Pin, allowances: tuple[Allowance, ...], segment: Segment | None) -> None:
        self.charge = charge
        self.pin = pin
        self.allowances = allowances
        self.segment = segment


class ChargeQueue:
    """Oldest first. The settler adds, the flusher takes.

    Attributes:
        added: how many ever came.
        is_store_away: whether the store did not take what was last offered to it.
        came: set when something is added.
    """

    __slots__ = ("_away_from", "_behind_from", "_items", "_most", "_next_at_us", "added", "came", "is_store_away")

    def __init__(self, most: int) -> None:
        """`most` is how many may wait."""
        self._items: deque[QueuedCharge] = deque()
        self._most = most
        self._away_from = most // _AWAY_SHARE
        self._behind_from = min(self._away_from, _BEHIND_FROM)
        self._next_at_us = 0
        self.added = 0
        self.is_store_away = False
        self.came = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def charges(self) -> list[Charge]:
        """The charges that are not in the store yet, or that it has not confirmed."""
        return [item.charge for item in self._items]

    def has_room(self) -> bool:
        """Whether more charges may come."""
        return len(self._items) < self._most

    def add(self, item: QueuedCharge) -> None:
        """Take a charge, to be stored with the next batch."""
        self._items.append(item)
        self.added += 1
        self.came.set()

    def first(self, most: int) -> list[QueuedCharge]:
        """The first ones, at most so many; they stay."""
        return list(islice(self._items, most))

    def drop(self, count: int) -> None:
        """The first ones are in the store."""
        for _ in range(count):
            self._items.popleft()

    def is_behind(self) -> bool:
        """Whether so many wait that calls are slowed down."""
        return len(self._items) > (self._away_from if self.is_store_away else self._behind_from)

    def wait_us(self, now_us: int) -> int | None:
        """How long a call has to wait before it may begin, in microseconds; None when there is no time for it.

        Args:
            now_us: monotonic microseconds.
        """
        if not self.is_behind():
            return 0
        at_us = max(self._next_at_us, now_us) + _BETWEEN_CALLS_US
        if at_us - now_us > _LONGEST_WAIT_US:
            return None
        self._next_at_us = at_us
        return at_us - now_us
