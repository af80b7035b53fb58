"""Settlement: the true cost against the hold, the charge on disk, then (in batches) in the store."""

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, NamedTuple

import structlog

from tokenbooth.clock import Clock
from tokenbooth.domain.allowance import release, settle
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.domain.usage import Usage
from tokenbooth.errors import StoreUnavailable
from tokenbooth.gateway.admission import Admitted
from tokenbooth.gateway.charge_log import ChargeLog, ChargeLogFull, Segment
from tokenbooth.gateway.prompt_ratio import PromptRatios
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
_log = structlog.get_logger(__name__)


class Counted(NamedTuple):
    """What an answer consumed; `estimated` when we counted it because the upstream did not say."""

    usage: Usage
    estimated: bool


@dataclass(slots=True)
class _Unflushed:
    charge: Charge
    admitted: Admitted
    segment: Segment | None


_segment: Final = attrgetter("segment")


class Settler:
    """Ends holds, writes the charge log, and feeds the store; `run` is its background part."""

    def __init__(self, *, store: Store, clock: Clock, log: ChargeLog, ratios: PromptRatios, max_unflushed: int) -> None:
        self._store = store
        self._clock = clock
        self._charge_log = log
        self._ratios = ratios
        self._max_unflushed = max_unflushed
        self._queue: deque[_Unflushed] = deque()
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._finished = 0
        self._flushed = 0
        self._barriers: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._disk_full = False
        self._store_away = False
        self._batch_limit = _BATCH_MAX

    def accepts(self) -> bool:
        """Whether new requests may be admitted: the log can be written and the queue is not full."""
        return not self._disk_full and len(self._queue) < self._max_unflushed

    def settle(self, admitted: Admitted, counted: Counted, *, request_id: str, upstream: str) -> int:
        """Charge an admitted request; its record is on disk when this returns. Returns the charge in nano-USD.

        Settling twice charges once; the second call returns 0.
        """
        usage = counted.usage
        price, upstream_price = admitted.price, admitted.request.model.upstream_price
        cost = cost_nano(price, usage)
        # Without a markup it is the very same price.
        upstream_cost = cost if upstream_price is price else cost_nano(upstream_price, usage)
        if counted.estimated:
            # A count of ours never takes more than was held for the call.
            cost = min(cost, admitted.hold.amount_nano)
        settlement = settle(admitted.hold, cost)
        if settlement is None:
            return 0
        self._correct_rate(admitted, usage)
        admitted.pool.waiters.wake()
        request = admitted.request
        rates = price.rates_for(usage.prompt_tokens)
        # Other parts bring tokens without bytes; such a prompt would teach a wrong ratio.
        if not counted.estimated and not request.parts_tokens:
            self._ratios.learn(request.model.name, text_bytes=request.text_bytes, prompt_tokens=usage.prompt_tokens)
        subscription = admitted.key.subscription
        charge = Charge(
            request_id=request_id,
            account_id=admitted.key.account.account_id,
            key_id=admitted.key.key_id,
            pool=admitted.pool.kind,
            subscription_id="" if subscription is None else subscription.subscription_id,
            window_start_us=0 if admitted.pool.window is None else admitted.pool.window.start_us,
            model=request.model.name,
            endpoint=request.endpoint,
            upstream=upstream,
            finished_at_us=self._clock.now_us(),
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            input_price=rates.input,
            cached_price=rates.cached_input,
            cache_write_price=rates.cache_write,
            output_price=rates.output,
            per_request_nano=price.per_request_nano,
            charged_nano=settlement.charged_nano,
            uncollected_nano=settlement.uncollected_nano,
            upstream_cost_nano=upstream_cost,
            estimated=counted.estimated,
        )
        self._record(charge, admitted)
        return settlement.charged_nano

    def release(self, admitted: Admitted) -> None:
        """End an admitted request without a charge; after a settlement this changes nothing."""
        if not admitted.hold.open:
            return
        release(admitted.hold)
        admitted.key.account.in_use -= 1
        if admitted.token_entry is not None and admitted.tokens is not None:
            admitted.tokens.correct(admitted.token_entry, 0, self._clock.monotonic_us())
        admitted.pool.waiters.wake()

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

    def _correct_rate(self, admitted: Admitted, usage: Usage) -> None:
        if admitted.token_entry is None or admitted.tokens is None:
            return
        used = usage.prompt_tokens + usage.completion_tokens
        admitted.tokens.correct(admitted.token_entry, used, self._clock.monotonic_us())

    def _record(self, charge: Charge, admitted: Admitted) -> None:
        segment = None
        try:
            segment = self._charge_log.append(charge)
            if self._disk_full:
                _log.info("charge_log_back", note="The charge log can be written again; requests are admitted.")
            self._disk_full = False
        except ChargeLogFull as failure:
            if not self._disk_full:
                _log.error(
                    "charge_log_full",
                    error=str(failure),
                    note="No new requests are admitted until the data directory can be written. Free disk space.",
                )
            self._disk_full = True
        self._queue.append(_Unflushed(charge, admitted, segment))
        self._finished += 1
        self._wake.set()

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

    def _committed(self, batch: list[_Unflushed], applied: Applied) -> None:
        for item in batch:
            self._queue.popleft()
            item.admitted.key.account.in_use -= 1
        if applied.short_nano:
            _take_off(batch, applied.short_nano)
        for segment, items in groupby(batch, key=_segment):
            if segment is not None:
                self._charge_log.committed(segment, sum(1 for _ in items))
        self._flushed += len(batch)
        # Space was made, in the store at least: the next charge shows whether the log can be written again.
        self._disk_full = self._disk_full and bool(self._queue)
        while self._barriers and self._barriers[0][0] <= self._flushed:
            _, future = self._barriers.popleft()
            if not future.done():
                future.set_result(None)

    def _isolate(self, batch: list[_Unflushed], failure: Exception) -> None:
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


def _take_off(batch: list[_Unflushed], short_nano: dict[str, int]) -> None:
    """The store charged less, so memory must not count it as spent either."""
    for item in batch:
        for allowance in item.admitted.hold.allowances:
            allowance.spent_nano -= short_nano.get(item.charge.request_id, 0)
