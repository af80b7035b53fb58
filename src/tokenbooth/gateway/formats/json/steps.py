"""Reading bodies in steps, so that one request never holds the event loop for long.

A step is the work between two `yield`s, and takes about a millisecond. A small body is read at once. Never compiled:
the compiler loses exceptions over an `await`.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Generator
from typing import Final, TypeVar
from weakref import WeakValueDictionary

_Result = TypeVar("_Result")

STEP_BYTES: Final = 64 * 1024
"""How many bytes are read in one step. A body that is no larger is read at once, unless it `takes_long`."""
STEP_ITEMS: Final = 250
"""How many messages, parts or tools are read in one step."""
NAMES_PER_ITEM: Final = 8
"""How many names an item usually has; one with more counts for several."""
# So many are read in some milliseconds; brackets in texts count too, and such a body only takes a few turns more.
_FEW_OBJECTS: Final = 1_000
_SURELY_FEW_BYTES: Final = 8 * 1024


def takes_long(body: bytes) -> bool:
    """Whether reading a body takes too long for one turn of the loop: it is large, or has many objects."""
    if len(body) <= _SURELY_FEW_BYTES:
        return False
    return len(body) > STEP_BYTES or body.count(b"{") > _FEW_OBJECTS


def at_once(steps: Generator[None, None, _Result]) -> _Result:
    """Run all steps; returns their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


class Turns:
    """Runs one step in each turn of the event loop. Accounts take turns, and each reads one large body at a time.

    While a body is read it takes more memory than its size, so that many bodies of one account would fill the memory.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_scheduled = False
        # A lock goes with the last one who holds it or waits for it.
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def next(self, account_id: str) -> None:
        """Wait for a turn."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.setdefault(account_id, deque()).append(turn)
        self._schedule(loop)
        await turn

    async def run(self, account_id: str, steps: Generator[None, None, _Result]) -> _Result:
        """Run steps, each in a turn of its own; returns their result."""
        lock = self._reading.setdefault(account_id, asyncio.Lock())
        async with lock:
            while True:
                await self.next(account_id)
                try:
                    next(steps)
                except StopIteration as end:
                    result: _Result = end.value
                    return result

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._let_one_go)

    def _let_one_go(self) -> None:
        self._is_scheduled = False
        while self._waiting:
            account_id, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[account_id] = turns
            if not turn.done():
                turn.set_result(None)
                break
        if self._waiting:
            self._schedule(asyncio.get_running_loop())
