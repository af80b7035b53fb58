"""Background work that goes on for as long as the process: it is restarted when it dies, and everybody is told.

A task or thread of ours that ends by an exception is a bug or a failing machine. It is logged as an error and counted,
it starts again after a pause that doubles with each death, and until it has run for a second the server is not ready.
Everything that runs for long is started here.
"""

import asyncio
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

PROVEN_AFTER_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
_FORGIVEN_AFTER_S: Final = 60.0
_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class Running:
    """How one piece of background work does; read by any thread.

    Attributes:
        name: for the log and the metrics.
        deaths: how often it died since the process began.
    """

    def __init__(self, name: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """`monotonic_s` gives seconds that only go forward."""
        self.name = name
        self._monotonic_s = monotonic_s
        self.deaths = 0
        self._deaths_in_a_row = 0
        self._is_dead = False
        self._started_at_s = 0.0

    @property
    def is_down(self) -> bool:
        """Whether it is dead, or was restarted so recently that nobody knows whether it stays."""
        if self._is_dead:
            return True
        return self.deaths > 0 and self._monotonic_s() - self._started_at_s < PROVEN_AFTER_S

    def started(self) -> None:
        """It runs, for the first time or again."""
        self._is_dead = False
        self._started_at_s = self._monotonic_s()

    def died(self, failure: BaseException) -> float:
        """It ended by an exception; returns after how many seconds it is to start again."""
        lived_s = self._monotonic_s() - self._started_at_s
        self._is_dead = True
        self.deaths += 1
        self._deaths_in_a_row = 1 if lived_s > _FORGIVEN_AFTER_S else self._deaths_in_a_row + 1
        pause_s: float = min(_FIRST_PAUSE_S * 2.0 ** min(self._deaths_in_a_row - 1, 16), _LONGEST_PAUSE_S)
        # The type alone: a message could quote what a customer sent.
        _log.error(
            "background_work_died",
            work=self.name,
            error=type(failure).__name__,
            where=_where(failure),
            deaths=self.deaths,
            restart_in_s=pause_s,
            note="It starts again by itself; /readyz says 503 until it runs. A bug, or a failing machine: look at the "
            "lines before this one, and report it.",
        )
        return pause_s


class BackgroundTask:
    """A coroutine function that runs on the event loop until it is stopped."""

    def __init__(
        self, name: str, work: Callable[[], Awaitable[None]], *, after_death: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare the work; nothing runs before `start`.

        Args:
            name: for the log and the metrics.
            work: what runs; it is called again after each death, and not after it returned.
            after_death: told of each death, before the work starts again.
        """
        self.running = Running(name)
        self._work = work
        self._after_death = after_death
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> asyncio.Task[None]:
        """Start it on the running loop."""
        self._task = asyncio.create_task(self._keep(), name=self.running.name)
        return self._task

    async def stop(self) -> None:
        """Cancel it and return when it has ended."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            self.running.started()
            failure = await self._run_once()
            if failure is None:
                return
            pause_s = self.running.died(failure)
            self._after_death()
            await asyncio.sleep(pause_s)

    async def _run_once(self) -> BaseException | None:
        """Run the work; what it died of, None when it returned."""
        try:
            await self._work()
        except asyncio.CancelledError as failure:
            task = asyncio.current_task()
            # One that nobody asked for came out of something that the work awaited.
            if self._stopping or task is None or task.cancelling():
                raise
            return failure
        except Exception as failure:
            return failure
        return None


class BackgroundThread:
    """A function that runs in a thread of its own until it returns."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        """`work` is called again after each death, and not after it returned."""
        self.running = Running(name)
        self._work = work
        self._joining = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def join(self) -> None:
        """Return when it has ended; it is not started again."""
        self._joining.set()
        self._thread.join()

    def _keep(self) -> None:
        while True:
            is_last = self._joining.is_set()
            self.running.started()
            try:
                self._work()
            except Exception as failure:
                pause_s = self.running.died(failure)
            else:
                return
            if is_last:
                return
            # Once more also when it is to end meanwhile: what it has to finish must not stay undone.
            self._joining.wait(pause_s)


class Background:
    """All background work of a process."""

    def __init__(self) -> None:
        self._works: list[Running] = []

    def watch(self, running: Running) -> None:
        """Count a piece of work among what the server needs."""
        self._works.append(running)

    def down(self) -> list[str]:
        """The names of what is down now."""
        return [work.name for work in self._works if work.is_down]

    def report(self) -> list[tuple[str, int, bool]]:
        """The name of each, how often it died, and whether it is down."""
        return [(work.name, work.deaths, work.is_down) for work in self._works]


def _where(failure: BaseException) -> list[str]:
    """The places of ours that an exception came through, outermost first."""
    frames = [frame for frame in traceback.extract_tb(failure.__traceback__) if "tokenbooth" in frame.filename]
    return [f"{frame.filename.rpartition('tokenbooth/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
