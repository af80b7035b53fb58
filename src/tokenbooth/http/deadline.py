"""A deadline that is cheap to put off: its timer is set again only when something is due before it goes off."""

import asyncio
from collections.abc import Callable
from typing import Final

_NEVER: Final = float("inf")


class Deadline:
    """Calls `on_late` when its time has come, unless it was cleared or put off before."""

    __slots__ = ("_at_s", "_loop", "_on_late", "_timer", "_timer_at_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_late: Callable[[], None]) -> None:
        self._loop = loop
        self._on_late = on_late
        self._at_s = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = _NEVER

    def set(self, seconds: float) -> None:
        """It is late in so many seconds."""
        at_s = self._at_s = self._loop.time() + seconds
        if self._timer_at_s > at_s:
            self._start_timer(at_s, seconds)

    def set_at(self, at_s: float) -> None:
        """It is late at a time of the loop's clock, in seconds."""
        self._at_s = at_s
        if self._timer_at_s > at_s:
            self._start_timer(at_s, max(at_s - self._loop.time(), 0))

    def clear(self) -> None:
        """It is never late."""
        self._at_s = _NEVER

    def close(self) -> None:
        """Clear it for good."""
        self._at_s = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at_s = _NEVER

    def _start_timer(self, at_s: float, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._on_timer)
        self._timer_at_s = at_s

    def _on_timer(self) -> None:
        """The timer has gone off: is it late, or only time to look again?"""
        self._timer = None
        self._timer_at_s = _NEVER
        left_s = self._at_s - self._loop.time()
        if left_s == _NEVER:
            return
        if left_s > 0:
            self._start_timer(self._at_s, left_s)
            return
        self._at_s = _NEVER
        self._on_late()
