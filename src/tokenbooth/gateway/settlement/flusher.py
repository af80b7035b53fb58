"""The flusher: charges that are in the charge log go to the store, in batches.

Never compiled: the compiler loses an exception that is being handled over an `await`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.ledger import key_spend, window_spend
from tokenbooth.gateway.access.registration import Registration
from tokenbooth.gateway.settlement.charge_log import ChargeLog
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue, QueuedCharge
from tokenbooth.gateway.settlement.charge_replay import Refused, tell_refused
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.settlement import Applied, book

# A commit costs a millisecond of CPU whatever is in it. Nobody waits for it: the log keeps the charges meanwhile, and
# who asks for figures hurries it.
_BATCH_PAUSE_S: Final = 0.25
# Where a commit takes long, as on a busy disk, what gathered meanwhile goes with the next one.
_BATCH_MAX: Final = 20_000
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 5.0
_SETTLED_WAIT_S: Final = 2.0
# A charge at which the flusher died three times within a minute is set aside.
_DEATHS_OF_A_CHARGE: Final = 3
_DEATHS_WITHIN_US: Final = 60_000_000
_log = structlog.get_logger(__name__)


_segment: Final = attrgetter("segment")


class Flusher:
    """Feeds the store; `run` until the end of the process, again after each death.

    Attributes:
        refused: how many charges were set aside because the store does not take them.
        storing: held while charges go to the store; who holds it keeps what waits as it is, but for what is added.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        log: ChargeLog,
        queue: ChargeQueue,
        process: Registration,
        budgets_nano: Callable[[], Mapping[str, int]],
    ) -> None:
        """Take what it works with.

        Args:
            store, clock, log: what it works with.
            queue: where it finds what is to be stored.
            process: the run that the charges are of; fenced when the store says that it is over.
            budgets_nano: gives what a window of each plan may spend today.
        """
        self._store = store
        self._clock = clock
        self._charge_log = log
        self._process = process
        self._budgets_nano = budgets_nano
        self._queue = queue
        self._hurry = asyncio.Event()
        self._flushed = 0
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._batch_limit = _BATCH_MAX
        self._in_flight = 0
        self._suspects = 0
        self._died_at_us: deque[int] = deque(maxlen=_DEATHS_OF_A_CHARGE)
        self._poisoned = False
        self.refused = 0
        self.storing = asyncio.Lock()

    @property
    def is_store_away(self) -> bool:
        """Whether the store did not take the last batch."""
        return self._queue.is_store_away

    async def flush(self) -> None:
        """Return when all charges so far are in the store, or after a bounded wait."""
        if self._flushed == self._queue.added:
            return
        future = asyncio.get_running_loop().create_future()
        self._barriers.append((self._queue.added, future))
        self._hurry.set()
        try:
            async with asyncio.timeout(_SETTLED_WAIT_S):
                await future
        except TimeoutError:
            return

    async def run(self) -> None:
        """Flush until cancelled."""
        if self._poisoned:
            self._poisoned = False
            self._set_aside("died on it")
        if self._queue:
            self._queue.came.set()
        while True:
            await self._queue.came.wait()
            self._queue.came.clear()
            if not self._queue.is_behind():
                await self._pause(_BATCH_PAUSE_S)
            # What comes meanwhile gathers for the next batch; otherwise every commit would be followed by a small one.
            await self._flush(self._queue.added)

    def note_death(self) -> None:
        """`run` died. From the second time on the charges that it held go one by one, so that the third time tells
        which of them it is: that one is set aside."""
        if not self._in_flight:
            return
        now_us = self._clock.monotonic_us()
        self._died_at_us.append(now_us)
        in_a_minute = sum(now_us - died_at_us <= _DEATHS_WITHIN_US for died_at_us in self._died_at_us)
        if in_a_minute >= _DEATHS_OF_A_CHARGE and self._in_flight == 1:
            self._poisoned = True
            self._died_at_us.clear()
        elif in_a_minute >= _DEATHS_OF_A_CHARGE - 1:
            self._suspects = self._in_flight

    async def drain(self, timeout_s: float) -> bool:
        """Flush what is queued, for at most `timeout_s`; what is left stays in the charge log."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._queue:
                    await self._flush(self._queue.added)
        except TimeoutError:
            return False
        except Exception as failure:
            _log.error("flush_ended", error=type(failure).__name__, queued=len(self._queue))
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
        while self._queue and self._flushed < until:
            try:
                async with self.storing:
                    await self._store_batch()
            except StoreUnavailable as failure:
                self._tell_away(failure)
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_MOST_S)
            else:
                retry_s = _RETRY_FIRST_S

    async def _store_batch(self) -> None:
        """Store what waits, or the first part of it; what the store refuses is set aside.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        batch = self._queue.first(1 if self._suspects else self._batch_limit)
        self._in_flight = len(batch)
        limits = _new_limits(batch)
        try:
            applied = await self._store.write(
                book,
                [item.charge for item in batch],
                epoch=self._process.epoch,
                limits_nano=limits,
                budgets_nano=self._budgets_nano(),
                now_us=self._clock.now_us(),
            )
        except StoreUnavailable:
            raise
        except Exception as failure:
            self._isolate(batch, failure)
            return
        self._tell_back()
        if limits:
            _noted(batch, limits)
        if applied.late:
            self._process.fence()
        self._committed(batch, applied)
        self._batch_limit = _BATCH_MAX

    def _committed(self, batch: list[QueuedCharge], applied: Applied) -> None:
        if applied.shortfall_nano:
            _take_off(batch, applied.shortfall_nano)
        self._queue.drop(len(batch))
        # Whatever dies from here on, it is none of these charges' fault.
        self._in_flight = 0
        self._flushed += len(batch)
        self._suspects = max(self._suspects - len(batch), 0)
        for item in batch:
            item.pin.release()
        for segment, items in groupby(batch, key=_segment):
            if segment is not None:
                self._charge_log.committed(segment, sum(1 for _ in items))
        if not self._queue:
            # Space was made, in the store at least.
            self._charge_log.try_again()
        while self._barriers and self._barriers[0][0] <= self._flushed:
            _, future = self._barriers.popleft()
            if not future.done():
                future.set_result(None)

    def _isolate(self, batch: list[QueuedCharge], failure: Exception) -> None:
        """The store refuses a batch for what is in it: halve it until one charge is left, and set that one aside."""
        if len(batch) > 1:
            self._batch_limit = len(batch) // 2
            return
        self._set_aside(type(failure).__name__)

    def _set_aside(self, error: str) -> None:
        """Keep the first charge of the queue in a file, and go on with the others."""
        if not self._queue:
            return
        (first,) = self._queue.first(1)
        path = self._charge_log.set_aside(first.charge)
        self.refused += 1
        tell_refused(Refused(first.charge, error), path)
        self._committed([first], Applied(inserted=0, shortfall_nano={}))

    def _tell_away(self, failure: StoreUnavailable) -> None:
        if not self._queue.is_store_away:
            _log.error(
                "flush_failed",
                queued=len(self._queue),
                error=repr(failure.__cause__ or failure),
                note="Charges are safe in the charge log and are tried again. Check the database.",
            )
        self._queue.is_store_away = True

    def _tell_back(self) -> None:
        if self._queue.is_store_away:
            _log.info("flush_back", queued=len(self._queue), note="The database takes charges again.")
        self._queue.is_store_away = False


def _new_limits(batch: list[QueuedCharge]) -> dict[str, int]:
    """Limits that the charges were admitted under and that the store does not know of, by ledger account."""
    return {
        _bounded_account(item, allowance): allowance.highest_nano
        for item in batch
        for allowance in item.allowances
        if allowance.highest_nano > allowance.noted_nano
    }


def _noted(batch: list[QueuedCharge], limits_nano: Mapping[str, int]) -> None:
    """The store knows these limits now."""
    for item in batch:
        for allowance in item.allowances:
            if allowance.highest_nano > allowance.noted_nano:
                allowance.noted_nano = limits_nano[_bounded_account(item, allowance)]


def _bounded_account(item: QueuedCharge, allowance: Allowance) -> str:
    """The ledger account of what a window or a key spent."""
    charge = item.charge
    if charge.pool is PoolKind.WINDOW and allowance is item.allowances[0]:
        return window_spend(charge.subscription_id, charge.window_start_us).id
    return key_spend(charge.key_id).id


def _take_off(batch: list[QueuedCharge], shortfall_nano: dict[str, int]) -> None:
    """The store charged less, so memory must not count it as spent either."""
    for item in batch:
        for allowance in item.allowances:
            allowance.spent_nano -= shortfall_nano.get(item.charge.request_id, 0)
