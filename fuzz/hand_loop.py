"""An event loop that is turned by hand, for protocols: nothing waits, no socket is there, the time is what a test says.

Runs on it are the same each time. What a callback or a task raises is kept in `failures`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_MOST_TURNS: Final = 10_000


class _NothingToRead:
    """A selector without sockets."""

    def select(self, timeout: float | None) -> list[object]:
        """No socket is ready, and none ever will be."""
        return []


class HandLoop(asyncio.BaseEventLoop):
    """See the module.

    Attributes:
        now_s: the time.
        failures: what was raised and nobody caught.
    """

    # Of `BaseEventLoop`, whose types don't tell of them.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NothingToRead()
        self.now_s = 1_000.0
        self.failures: list[BaseException] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """The time, in seconds."""
        return self.now_s

    def do(self, callback: Callable[[], object]) -> None:
        """Call something as the loop would, and then whatever is ready."""
        self.call_soon(callback)
        self.settle()

    def turn(self) -> None:
        """Call what is ready now, but not what becomes ready by that."""
        self.call_soon(self.stop)
        self.run_forever()

    def settle(self) -> None:
        """Call what is ready until nothing is."""
        for _ in range(_MOST_TURNS):
            self.turn()
            if not self._ready:
                return
        raise AssertionError("it never comes to rest")

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end_s = self.now_s + seconds
        for _ in range(_MOST_TURNS):
            next_s = min((timer.when() for timer in self.timers()), default=end_s)
            if next_s >= end_s:
                break
            self.now_s = max(self.now_s, next_s)
            self.settle()
        self.now_s = end_s
        self.settle()

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that will go off."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def tasks(self) -> set[asyncio.Task[object]]:
        """The tasks that have not ended."""
        return asyncio.all_tasks(self)

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        if self.failures:
            raise AssertionError("an exception left a callback or a task") from self.failures[0]

    def _process_events(self, event_list: list[object]) -> None:
        """Handle what the selector found; nothing is selected here."""

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        failure = context.get("exception")
        self.failures.append(failure if isinstance(failure, BaseException) else AssertionError(context["message"]))
