"""Runs the periodic jobs of the process: each in a task of its own, jittered, none stopped by its own failure.

A job must be safe to repeat and to be cut off.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from tokenbooth.kit.background import Background, BackgroundTask
from tokenbooth.kit.logs import where

_JITTER: Final = 0.1
_STOP_TIMEOUT_S: Final = 10.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A job: run once at the start, then again `every_s` seconds (give or take a tenth) after it ended."""

    name: str
    every_s: float
    run: Callable[[], Awaitable[None]]


class Runner:
    """Runs jobs between `start` and `stop`."""

    def __init__(
        self, jobs: Sequence[Job], *, stop_timeout_s: float = _STOP_TIMEOUT_S, background: Background | None = None
    ) -> None:
        """Prepare the jobs; nothing runs before `start`.

        Args:
            jobs: what to run.
            stop_timeout_s: how long a run under way may go on after `stop`, in seconds.
            background: told how the jobs do.
        """
        self._works = [BackgroundTask(f"job {job.name}", partial(self._repeat, job)) for job in jobs]
        for work in self._works:
            (background or Background()).watch(work.running)
        self._stop_timeout_s = stop_timeout_s
        self._stopping = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def start(self) -> None:
        """Start every job; to be called once, on the running loop."""
        self._tasks = tuple(work.start() for work in self._works)

    async def stop(self) -> None:
        """Start no more runs, let those under way end, cut off what takes too long."""
        self._stopping.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=self._stop_timeout_s)
        for task in late:
            _log.warning("job_cut_off", job=task.get_name(), action="It goes on at the next start.")
        for work in self._works:
            await work.stop()

    async def _repeat(self, job: Job) -> None:
        while not self._stopping.is_set():
            try:
                await job.run()
            except Exception as failure:
                _log.error(
                    "job_failed",
                    job=job.name,
                    error=type(failure).__name__,
                    where=where(failure),
                    action=f"It runs again in about {job.every_s:g} s.",
                )
            await self._pause(job.every_s)

    async def _pause(self, every_s: float) -> None:
        # Jitter, so that processes that started together don't do the same work at the same instant.
        pause_s = every_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return
