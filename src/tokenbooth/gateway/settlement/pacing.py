"""Lets calls begin one after the other while the store is behind: accounts take turns, a millisecond apart.

So many may wait as begin within a second, and they share that: a thousand calls of one account leave the last quarter
of the second to the others, and one of another account begins next.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from tokenbooth.kit.places import Caller, Places

BETWEEN_CALLS_S: Final = 0.001
MOST_WAITING: Final = 1_000
"""How many may wait at once; the last of them begins within a second."""
# All accounts without money take turns as one.
_UNFUNDED: Final = ""


class _Turn:
    __slots__ = ("came", "is_wanted")

    def __init__(self, came: "asyncio.Future[None]", is_wanted: Callable[[], bool]) -> None:
        self.came = came
        self.is_wanted = is_wanted


class Pacing:
    """Whose turn it is to begin a call."""

    def __init__(self) -> None:
        self._places = Places(MOST_WAITING)
        self._turns: OrderedDict[str, deque[_Turn]] = OrderedDict()
        self._next_at_s = 0.0

    async def wait(self, caller: Caller, is_wanted: Callable[[], bool]) -> bool:
        """Wait for a turn; False at once when the account's share of the waiting calls is used up.

        Args:
            caller: who waits.
            is_wanted: asked when the turn has come; False when nobody needs it any more: then the next one has it.
        """
        place = self._places.take(caller)
        if place is None:
            return False
        loop = asyncio.get_running_loop()
        turn = _Turn(loop.create_future(), is_wanted)
        if not self._turns:
            self._next_at_s = max(self._next_at_s, loop.time()) + BETWEEN_CALLS_S
            loop.call_at(self._next_at_s, self._let_go)
        self._turns.setdefault(caller.account if caller.has_money else _UNFUNDED, deque()).append(turn)
        try:
            await turn.came
        finally:
            place.free()
        return True

    def _let_go(self) -> None:
        """Let those begin whose time has come; several when the loop was late."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._turns and self._next_at_s <= now_s:
            turn = self._next()
            if turn.came.done():
                continue
            turn.came.set_result(None)
            if turn.is_wanted():
                self._next_at_s += BETWEEN_CALLS_S
        if self._turns:
            loop.call_at(self._next_at_s, self._let_go)

    def _next(self) -> _Turn:
        account, turns = self._turns.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._turns[account] = turns
        return turn
