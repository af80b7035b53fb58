"""Settlement: the true cost against the hold, then the charge on disk; the flusher brings it to the store."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import structlog

from tokenbooth.domain.allowance import release, settle
from tokenbooth.domain.charges import Charge, new_charge
from tokenbooth.domain.pricing import cost_nano
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.access.admission import Admitted
from tokenbooth.gateway.access.cache import AccountState
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.errors import unavailable
from tokenbooth.gateway.settlement.charge_log import ChargeLog, ChargeLogFull
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue, QueuedCharge
from tokenbooth.gateway.settlement.pacing import Pacing
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.places import Caller

_log = structlog.get_logger(__name__)


@dataclass(init=False, slots=True)
class BilledUsage:
    """What an answer consumed; `estimated` when we counted it because the upstream did not say.

    Attributes:
        text_bytes: the text that was counted then; 0 for an answer that the upstream counted.
    """

    usage: Usage
    estimated: bool
    text_bytes: int = field(compare=False)

    def __init__(self, usage: Usage, estimated: bool, text_bytes: int = 0) -> None:
        self.usage = usage
        self.estimated = estimated
        self.text_bytes = text_bytes


class Terms(Enum):
    """How much of what a call consumed its customer pays."""

    IN_FULL = auto()
    """What was reported, also above the hold; a count of ours at most what was held."""
    AT_MOST_HELD = auto()
    """Nobody got the answer: what the upstream bills beyond is the operator's loss."""
    NOTHING = auto()
    """The upstream failed, and may bill nevertheless: all of it is the operator's loss."""


# A member is looked up in its class at some cost.
_IN_FULL: Final = Terms.IN_FULL
_NOTHING: Final = Terms.NOTHING


class Settler:
    """Ends holds, writes the charge log, and hands charges to the queue of the flusher.

    Attributes:
        refused: how many calls were refused because too many waited while the store was behind.
    """

    def __init__(self, *, clock: Clock, log: ChargeLog, ratios: PromptRatios, queue: ChargeQueue) -> None:
        self._clock = clock
        self._charge_log = log
        self._ratios = ratios
        self._queue = queue
        self._pacing = Pacing()
        self.refused = 0

    def accepts(self) -> bool:
        """Whether new requests may be admitted: the log can be written and the queue is not full."""
        return self._charge_log.can_append() and self._queue.has_room()

    def is_behind(self) -> bool:
        """Whether the store is so far behind that calls are let in one after the other."""
        return self._queue.is_behind()

    def refuse_unless_chargeable(self) -> None:
        """Let a call begin only if it can be charged.

        Raises:
            Refusal: the log cannot be written, or as many charges wait as may.
        """
        if not self.accepts():
            raise unavailable()

    async def keep_pace(self, account: AccountState, caller: Caller, is_wanted: Callable[[], bool]) -> None:
        """Wait for a turn to begin a call while the store is behind.

        Args:
            account, caller: whose call it is.
            is_wanted: whether somebody waits for it still.

        Raises:
            Refusal: the log cannot be written, or so many charges or calls wait, of all or of this caller, as may.
        """
        if not self._queue.is_behind():
            return
        has_room = self._queue.has_room_for(account, has_money=caller.has_money)
        if not has_room or not await self._pacing.wait(caller, is_wanted):
            self.refused += 1
            raise unavailable()
        self.refuse_unless_chargeable()

    def settle(
        self,
        admitted: Admitted,
        counted: BilledUsage,
        *,
        request_id: str,
        upstream: str,
        terms: Terms = Terms.IN_FULL,
        bill: Usage | None = None,
    ) -> int:
        """Charge an admitted request; its record is on disk when this returns. Returns the charge in nano-USD.

        Settling twice charges once; the second call returns 0.

        Args:
            admitted: the request.
            counted: what it consumed.
            request_id, upstream: for the record.
            terms: how much of it is paid.
            bill: what the upstream may bill, if that is more; what is not paid of it is booked as uncollected, unless
                the call is paid in full.
        """
        usage = counted.usage
        price, upstream_price = admitted.price, admitted.request.model.upstream_price
        cost = cost_nano(price, usage)
        # Without a markup it is the very same price.
        upstream_cost = cost if upstream_price is price else cost_nano(upstream_price, usage)
        lost = 0
        if terms is not _IN_FULL:
            cost = 0 if terms is _NOTHING else min(cost, admitted.hold.amount_nano)
            billed = upstream_cost if bill is None else cost_nano(upstream_price, bill)
            lost = max(billed - cost, 0)
        elif counted.estimated:
            # A count of ours never takes more than was held for the call.
            cost = min(cost, admitted.hold.amount_nano)
        settlement = settle(admitted.hold, cost)
        if settlement is None:
            return 0
        if admitted.token_entry is not None and admitted.tokens is not None:
            used = 0 if terms is _NOTHING else usage.prompt_tokens + usage.completion_tokens
            admitted.tokens.correct(admitted.token_entry, used, self._clock.monotonic_us())
        admitted.pool.waiters.wake()
        request = admitted.request
        rates = price.rates_for(usage.prompt_tokens)
        account_id, model = admitted.key.account.account_id, request.model.name
        if not counted.estimated:
            self._ratios.learn(
                account_id,
                model,
                text_bytes=request.text_bytes,
                prompt_tokens=usage.prompt_tokens,
                cached_tokens=usage.cached_tokens,
                parts_tokens=request.parts_tokens,
            )
        elif admitted.prompt_risk_nano:
            self._ratios.doubt(account_id, model, request.text_bytes)
        subscription = admitted.key.subscription
        charge = new_charge(
            request_id=request_id,
            account_id=account_id,
            key_id=admitted.key.key_id,
            pool=admitted.pool.kind,
            subscription_id="" if subscription is None else subscription.subscription_id,
            window_start_us=0 if admitted.pool.window is None else admitted.pool.window.start_us,
            model=model,
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
            uncollected_nano=settlement.uncollected_nano + lost,
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
        if admitted.token_entry is not None and admitted.tokens is not None:
            admitted.tokens.correct(admitted.token_entry, 0, self._clock.monotonic_us())
        admitted.pool.waiters.wake()

    def _record(self, charge: Charge, admitted: Admitted) -> None:
        segment, could_append = None, self._charge_log.can_append()
        try:
            segment = self._charge_log.append(charge)
            if not could_append:
                _log.info("charge_log_back", note="The charge log can be written again; requests are admitted.")
        except ChargeLogFull as failure:
            if could_append:
                _log.error(
                    "charge_log_full",
                    error=str(failure),
                    note="No new requests are admitted until the data directory can be written. Free disk space.",
                )
        # Its own pin: the request's ends with the answer, which may be before the store knows of the charge.
        self._queue.add(QueuedCharge(charge, admitted.key.account.pin(), admitted.hold.allowances, segment))
