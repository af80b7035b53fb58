"""Charges that are in the charge log and not in the store yet, and what follows for new calls when they are many.

With a core full of calls the thread that writes to the store hardly gets the interpreter, and what waits would grow for
as long as the load lasts. So from some length on calls are let in one after the other, with a pause between two: then
the loop has nothing to do for most of the time, and the thread writes. Accounts share what may wait.
"""

import asyncio
from collections import deque
from itertools import islice
from typing import Final

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.shares import is_within_share, unfunded_part
from tokenbooth.gateway.access.cache import AccountState, Pin
from tokenbooth.gateway.settlement.charge_log import Segment

# From so many on the thread is behind: each that waits takes more than a kilobyte.
_BEHIND_FROM: Final = 5_000
# While the database is away pauses don't help, but from this share of what may wait on none is refused so soon.
_AWAY_SHARE: Final = 4


class QueuedCharge:
    """A charge that the store does not know yet, with what memory counted it on.

    Attributes:
        pin: keeps the account that is charged in memory.
        allowances: what it was charged to.
        segment: where its charge is in the log, if it is.
    """

    __slots__ = ("allowances", "charge", "pin", "segment")

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

    __slots__ = ("_away_from", "_behind_from", "_free_of_charge", "_items", "_most", "added", "came", "is_store_away")

    def __init__(self, most: int) -> None:
        """`most` is how many may wait."""
        self._items: deque[QueuedCharge] = deque()
        self._most = most
        self._away_from = most // _AWAY_SHARE
        self._behind_from = min(self._away_from, _BEHIND_FROM)
        # Calls of accounts without money cost nothing.
        self._free_of_charge = 0
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

    def has_room_for(self, account: AccountState, *, has_money: bool) -> bool:
        """Whether an account's share allows another call; its calls that are open count as the charges they will be.

        Args:
            account: whose call it is; it is pinned already.
            has_money: whether the account has any.
        """
        free = self._most - len(self._items)
        if not has_money:
            free = min(free, unfunded_part(self._most) - self._free_of_charge)
        return is_within_share(account.pins - 1, 1, free)

    def add(self, item: QueuedCharge) -> None:
        """Take a charge, to be stored with the next batch."""
        self._items.append(item)
        if not item.charge.charged_nano:
            self._free_of_charge += 1
        self.added += 1
        self.came.set()

    def first(self, most: int) -> list[QueuedCharge]:
        """The first ones, at most so many; they stay."""
        return list(islice(self._items, most))

    def drop(self, count: int) -> None:
        """The first ones are in the store."""
        for _ in range(count):
            if not self._items.popleft().charge.charged_nano:
                self._free_of_charge -= 1

    def is_behind(self) -> bool:
        """Whether so many wait that calls are slowed down."""
        return len(self._items) > (self._away_from if self.is_store_away else self._behind_from)
