"""What accounts share of a bound: bytes, or places, with a moment's wait for those who have none."""

import asyncio
from collections import OrderedDict, deque
from itertools import islice
from typing import Final

from tokenbooth.domain.shares import Shares

LONGEST_WAIT_S: Final = 1.0
"""How long an account without a place waits for one, in seconds."""
_MOST_WAITING: Final = 4
_LOOKED_AT: Final = 16


class Caller:
    """Who takes places.

    Attributes:
        account: whose places they are.
        has_money: whether the account had any when it began to call.
    """

    __slots__ = ("account", "has_money")

    def __init__(self, account: str, has_money: bool) -> None:
        self.account = account
        self.has_money = has_money


class Place:
    """A place that somebody has, until it is freed."""

    __slots__ = ("_caller", "_places")

    def __init__(self, places: "Places", caller: Caller) -> None:
        self._places: Places | None = places
        self._caller = caller

    def free(self) -> None:
        """Give the place back; a repeated call changes nothing."""
        places = self._places
        if places is not None:
            self._places = None
            caller = self._caller
            places.shares.give_back(caller.account, has_money=caller.has_money)
            if places.waiting:
                places.wake()


class Places:
    """The places of one bound.

    Attributes:
        shares: what each account has of them.
        refused: how often somebody was refused for want of one.
        waiting: who waits for one, by account.
    """

    __slots__ = ("refused", "shares", "waiting")

    def __init__(self, most: int) -> None:
        """`most` is how many there are."""
        self.shares = Shares(most)
        self.refused = 0
        self.waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def has_room(self, caller: Caller) -> bool:
        """Whether `take` would find a place."""
        return self.shares.has_room(caller.account, 1, has_money=caller.has_money)

    def take(self, caller: Caller) -> Place | None:
        """Take a place; None when the account's share allows no more."""
        return Place(self, caller) if self.shares.take(caller.account, has_money=caller.has_money) else None

    async def wait_for_room(self, caller: Caller) -> bool:
        """Wait until there is room, for a second at most; returns whether there is. `take` must follow at once.

        Only an account that has no place waits: who has some is over its share, and waits for its own calls. Accounts
        without money don't wait, because anybody may have many of them.
        """
        account = caller.account
        if self.has_room(caller):
            return True
        if not caller.has_money or self.shares.held(account, has_money=True):
            return False
        if len(self.waiting.get(account, ())) >= _MOST_WAITING:
            return False
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + LONGEST_WAIT_S
        while (left_s := give_up_at_s - loop.time()) > 0:
            await self._next_wake(loop, account, left_s)
            if self.has_room(caller):
                return True
        return False

    async def _next_wake(self, loop: asyncio.AbstractEventLoop, account: str, timeout_s: float) -> None:
        woken: asyncio.Future[None] = loop.create_future()
        self.waiting.setdefault(account, deque()).append(woken)
        timer = loop.call_later(timeout_s, _resolve, woken)
        try:
            await woken
        finally:
            timer.cancel()
            self._forget(account, woken)

    def _forget(self, account: str, woken: "asyncio.Future[None]") -> None:
        waiting = self.waiting[account]
        waiting.remove(woken)
        if not waiting:
            del self.waiting[account]

    def wake(self) -> None:
        """A place is free: wake the first who finds room now; accounts take turns."""
        for account in list(islice(self.waiting, _LOOKED_AT)):
            self.waiting.move_to_end(account)
            if self.shares.has_room(account, 1, has_money=True) and any(map(_resolve, self.waiting[account])):
                return


class ByteShares:
    """The bytes of one bound.

    Attributes:
        shares: what each account has of them.
        refused: how often there was no room.
    """

    __slots__ = ("refused", "shares")

    def __init__(self, most_bytes: int) -> None:
        self.shares = Shares(most_bytes)
        self.refused = 0

    def take(self, caller: Caller, size: int) -> bool:
        """Keep so many bytes for a caller; False, and nothing is kept, where its share has no room for them."""
        if size and not self.shares.take(caller.account, size, has_money=caller.has_money):
            self.refused += 1
            return False
        return True

    def give_back(self, caller: Caller, size: int) -> None:
        """So many bytes are not kept any more."""
        if size:
            self.shares.give_back(caller.account, size, has_money=caller.has_money)


def _resolve(woken: "asyncio.Future[None]") -> bool:
    """End a wait; False for one that has ended already."""
    if woken.done():
        return False
    woken.set_result(None)
    return True
