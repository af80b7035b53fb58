"""A deadline that is cheap to put off: its timer is set again only when something is due before it goes off."""

import asyncio
from collections.abc import Callable
from typing import Final

_NEVER: Final = float("inf")


class Deadline:
    """Calls `on_late` when its time has come, unless it was stopped or put off before."""

    __slots__ = ("_at_s", "_loop", "_on_late", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._at_s = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float) -> None:
        """It is late in so many seconds."""
        self._at_s = self._loop.time() + seconds
        timer = self._timer
        if timer is None:
            self._timer = self._loop.call_later(seconds, self._look)
        elif timer.when() > self._at_s:
            timer.cancel()
            self._timer = self._loop.call_later(seconds, self._look)

    def stop(self) -> None:
        """It is never late."""
        self._at_s = _NEVER

    def end(self) -> None:
        """Stop for good."""
        self._at_s = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """The timer has gone off: is it late, or only time to look again?"""
        self._timer = None
        left_s = self._at_s - self._loop.time()
        if left_s == _NEVER:
            return
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
            return
        self._at_s = _NEVER
        self._on_late()
