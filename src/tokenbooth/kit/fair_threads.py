"""Threads that several owners share: who has the fewest of them gets the next one, and nobody gets the last quarter.

An owner may use what nobody else wants. One who comes later waits for the end of one piece of work at most, because no
owner has all threads, and a thread that becomes free goes to whoever has the fewest.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TypeVar

from tokenbooth.kit.errors import RateLimited

R = TypeVar("R")


@dataclass(slots=True)
class _Owner:
    """What an owner has under way, what waits, and when it was served last, as a number that only grows."""

    running: int = 0
    served: int = 0
    waiting: deque[Callable[[], None]] = field(default_factory=deque)


class FairThreads:
    """A pool of threads with a share for each owner. Close it when done."""

    def __init__(self, threads: int, *, max_waiting: int, name: str) -> None:
        """Begin with no work.

        Args:
            threads: how many, at least two.
            max_waiting: how much work of one owner waits at most.
            name: what the threads are called.
        """
        self._threads = threads
        self._most_of_one = max(threads * 3 // 4, 1)
        self._max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = Lock()
        self._owners: dict[str, _Owner] = {}
        self._running = 0
        self._served = 0

    def submit(self, owner: str, work: Callable[[], R]) -> "Future[R]":
        """Do some work as soon as the owner's share allows it.

        Raises:
            RateLimited: too much of the owner's work waits already.
        """
        future: Future[R] = Future()
        with self._lock:
            known = self._owners.setdefault(owner, _Owner())
            if len(known.waiting) >= self._max_waiting:
                raise RateLimited(
                    "too_many_reports",
                    f"{self._max_waiting} lists and reports of this account wait already. Try again in a second.",
                    retry_after_s=1,
                )
            known.waiting.append(partial(_carry_out, future, work))
            self._start_next()
        return future

    def close(self) -> None:
        """Finish what is under way and what waits."""
        with self._lock:
            waiting = [work for owner in self._owners.values() for work in owner.waiting]
            for owner in self._owners.values():
                owner.waiting.clear()
            for work in waiting:
                self._executor.submit(work)
        self._executor.shutdown(wait=True)

    def _start_next(self) -> None:
        """Give free threads to those who have the fewest; the lock is held."""
        while self._running < self._threads:
            able = [name for name, owner in self._owners.items() if owner.waiting and owner.running < self._most_of_one]
            if not able:
                return
            name = min(able, key=lambda each: (self._owners[each].running, self._owners[each].served))
            owner = self._owners[name]
            self._running += 1
            self._served += 1
            owner.running += 1
            owner.served = self._served
            self._executor.submit(self._run, name, owner.waiting.popleft())

    def _run(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            with self._lock:
                owner = self._owners[name]
                owner.running -= 1
                self._running -= 1
                if not owner.running and not owner.waiting:
                    del self._owners[name]
                self._start_next()


def _carry_out(future: "Future[R]", work: Callable[[], R]) -> None:
    """Work whose caller is gone is not done."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as failure:
        future.set_exception(failure)
    else:
        future.set_result(result)
