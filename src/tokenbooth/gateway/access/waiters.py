"""Calls that wait a moment for money that is only held. Never compiled: the compiler loses exceptions over `await`."""

import asyncio
from collections import deque
from typing import Final

# With all of them at every settlement, n waiters would cost n looks for each of n settlements.
_WOKEN_AT_ONCE: Final = 8


class Waiters:
    """Calls that wait for money of one pool to come free."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: deque[asyncio.Future[None]] = deque()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next release; False when it took longer."""
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """Let those who wait the longest look again; the others look when their time is up."""
        woken = 0
        while self._futures and woken < _WOKEN_AT_ONCE:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)
                woken += 1
