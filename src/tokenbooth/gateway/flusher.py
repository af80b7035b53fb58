"""The flusher: charges that are in the charge log go to the store, in batches.

Never compiled: the compiler loses an exception that is being handled over an `await`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Final

import structlog

from tokenbooth.clock import Clock
from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import Charge
from tokenbooth.errors import StoreUnavailable
from tokenbooth.gateway.charge_log import ChargeLog, Segment
from tokenbooth.gateway.state import AccountState
from tokenbooth.store.engine import Store
from tokenbooth.store.settlement import Applied, apply_charges

# A commit costs a millisecond of CPU whatever is in it. Nobody waits for it: the log keeps the charges meanwhile, and
# who asks for figures hurries it.
_BATCH_PAUSE_S: Final = 0.25
# Where a commit takes long, as on a busy disk, what gathered meanwhile goes with the next one.
_BATCH_MAX: Final = 20_000
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 5.0
_SETTLED_WAIT_S: Final = 2.0
# From a quarter of what may wait on, calls are slowed down, so that none has to be refused.
_SLOW_FROM: Final = 4
_GIVE_WAY_S: Final = 0.0002
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Unflushed:
    """A settled request that the store does not know yet, without its body.

    Attributes:
        account: who is charged.
        allowances: what it was charged to.
        segment: where its charge is in the log, if it is.
    """

    charge: Charge
    account: AccountState
    allowances: tuple[Allowance, ...]
    segment: Segment | None


_segment: Final = attrgetter("segment")


class Flusher:
    """Feeds the store; `run` until the end of the process."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        log: ChargeLog,
        max_unflushed: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args:
        store, clock, log: what it works with.
        max_unflushed: how many charges may wait.
        sleep: lets the other threads have the interpreter, for so many seconds.
        """
        self._sleep = sleep
        self._store = store
        self._clock = clock
        self._charge_log = log
        self._max_unflushed = max_unflushed
        self._queue: deque[Unflushed] = deque()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._finished = 0
        self._flushed = 0
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._store_away = False
        self._batch_limit = _BATCH_MAX

    @property
    def waiting(self) -> int:
        """How many charges are not in the store yet."""
        return len(self._queue)

    @property
    def finished(self) -> int:
        """How many charges there were since the start."""
        return self._finished

    def has_room(self) -> bool:
        """Whether more charges may come."""
        return len(self._queue) < self._max_unflushed

    def add(self, item: Unflushed) -> None:
        """Take a charge, to be stored with the next batch.

        When many wait, the loop gives way: with a core full of calls the writing thread hardly gets the interpreter.
        """
        self._queue.append(item)
        self._finished += 1
        self._wake.set()
        if len(self._queue) * _SLOW_FROM > self._max_unflushed:
            self._sleep(_GIVE_WAY_S)

    async def settled(self) -> None:
        """Return when all charges so far are in the store, or after a bounded wait."""
        if self._flushed == self._finished:
            return
        future = asyncio.get_running_loop().create_future()
        self._barriers.append((self._finished, future))
        self._hurry.set()
        try:
            async with asyncio.timeout(_SETTLED_WAIT_S):
                await future
        except TimeoutError:
            return

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if len(self._queue) < _BATCH_MAX:
                await self._pause(_BATCH_PAUSE_S)
            # What comes meanwhile gathers for the next batch; otherwise every commit would be followed by a small one.
            await self._flush(self._finished)

    async def drain(self, timeout_s: float) -> bool:
        """Flush what is queued, for at most `timeout_s`; what is left stays in the charge log."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._queue:
                    await self._flush(self._finished)
        except TimeoutError:
            return False
        return True

    async def _pause(self, seconds: float) -> None:
        """Let a batch gather, unless somebody waits for the store to be up to date."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._hurry.clear()

    async def _flush(self, until: int) -> None:
        """Flush until so many charges of all that were ever finished are in the store."""
        retry_s = _RETRY_FIRST_S
        while self._flushed < until:
            batch = list(islice(self._queue, self._batch_limit))
            try:
                applied = await self._store.write(
                    apply_charges, [item.charge for item in batch], now_us=self._clock.now_us()
                )
            except StoreUnavailable as failure:
                self._tell_away(failure)
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_MOST_S)
                continue
            except Exception as failure:
                self._isolate(batch, failure)
                continue
            self._tell_back()
            self._committed(batch, applied)
            retry_s = _RETRY_FIRST_S
            self._batch_limit = _BATCH_MAX

    def _committed(self, batch: list[Unflushed], applied: Applied) -> None:
        for item in batch:
            self._queue.popleft()
            item.account.in_use -= 1
        if applied.short_nano:
            _take_off(batch, applied.short_nano)
        for segment, items in groupby(batch, key=_segment):
            if segment is not None:
                self._charge_log.committed(segment, sum(1 for _ in items))
        self._flushed += len(batch)
        if not self._queue:
            # Space was made, in the store at least: the next charge shows whether the log can be written again.
            self._charge_log.is_full = False
        while self._barriers and self._barriers[0][0] <= self._flushed:
            _, future = self._barriers.popleft()
            if not future.done():
                future.set_result(None)

    def _isolate(self, batch: list[Unflushed], failure: Exception) -> None:
        """The store refuses a batch for what is in it: halve it until one charge is left, and set that one aside."""
        if len(batch) > 1:
            self._batch_limit = len(batch) // 2
            return
        path = self._charge_log.set_aside(batch[0].charge)
        _log.error(
            "charge_refused",
            request_id=batch[0].charge.request_id,
            error=type(failure).__name__,
            kept_in=path.name,
            note="The database refuses this charge; it is kept in a file beside the charge log. Report this as a bug.",
        )
        self._committed(batch, Applied(fresh=0, short_nano={}))

    def _tell_away(self, failure: StoreUnavailable) -> None:
        if not self._store_away:
            _log.error(
                "flush_failed",
                queued=len(self._queue),
                error=repr(failure.__cause__ or failure),
                note="Charges are safe in the charge log and are tried again. Check the database.",
            )
        self._store_away = True

    def _tell_back(self) -> None:
        if self._store_away:
            _log.info("flush_back", queued=len(self._queue), note="The database takes charges again.")
        self._store_away = False


def _take_off(batch: list[Unflushed], short_nano: dict[str, int]) -> None:
    """The store charged less, so memory must not count it as spent either."""
    for item in batch:
        for allowance in item.allowances:
            allowance.spent_nano -= short_nano.get(item.charge.request_id, 0)
