"""Calls that wait a moment for money that is only held."""

import asyncio
from collections import deque
from typing import Final

# With all of them at every settlement, n waiters would cost n looks for each of n settlements.
_WOKEN_AT_ONCE: Final = 8


class Waiters:
    """Calls that wait for money of one pool to come free."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: deque[asyncio.Future[bool]] = deque()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next release; False when it took longer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._futures.append(future)
        timer = loop.call_later(timeout_s, _resolve, future, False)
        # Of a call that is cancelled here the timer finds a future that is done.
        was_woken = await future
        timer.cancel()
        return was_woken

    def wake(self) -> None:
        """Let those who wait the longest look again; the others look when their time is up."""
        woken = 0
        while self._futures and woken < _WOKEN_AT_ONCE:
            woken += _resolve(self._futures.popleft(), True)


def _resolve(future: "asyncio.Future[bool]", was_woken: bool) -> bool:
    """End a wait; False for one that has ended already."""
    if future.done():
        return False
    future.set_result(was_woken)
    return True
