"""The chain's scan: finds deposits that nobody told us of, and takes back those that left the chain.

Two passes go over the chain, each with a stored cursor: one follows the block that counts, with the addresses shown
lately; one follows the finalized block, more slowly, with every address, so it also finds what a node forgot to tell
the first time. Logs only say which transactions to look at; `jobs.deposits` decides by their receipts. It must be safe
to cut off and to repeat at any point.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from tokenbooth.domain.deposits import MAX_UNITS, BlockRef, PendingDeposit
from tokenbooth.domain.money import NANO_PER_MICRO_USD
from tokenbooth.domain.windows import DAY_US, SECOND_US
from tokenbooth.jobs.deposits import DepositSettler
from tokenbooth.kit.clock import Clock
from tokenbooth.payments.usdc.log_scan import TransferFinder
from tokenbooth.payments.usdc.node import MAX_ADDRESSES, ChainNode, Heads, Tag, TransferLog, find_heads
from tokenbooth.payments.usdc.rpc import NodeError, NodeTrouble
from tokenbooth.store.engine import Store
from tokenbooth.store.usdc import chain_cursors, deposit_addresses
from tokenbooth.store.usdc.chain_cursors import Cursor, Pass

_RECENT_US: Final = 30 * DAY_US
"""An address that was not shown for this long is left to the slower pass."""
_MARGIN_S: Final = 3_600
"""Clocks differ: the first scan begins this long before the first address was made."""
_DEEP_STEP_BLOCKS: Final = 5_000
_MAX_BACK_OFF_S: Final = 60.0
_MAX_DOUBLINGS: Final = 8

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How the chain is scanned.

    Attributes:
        counts_at: deposits count up to the block with this tag.
        max_range_blocks: blocks for which logs are asked at once.
        full_scan_s: how often the pass over all addresses runs, in seconds.
        first_back_off_s: how long to leave the node alone after a failure, in seconds; doubled each time.
    """

    counts_at: Tag
    max_range_blocks: int
    full_scan_s: float
    first_back_off_s: float = 2.0


@dataclass(frozen=True, slots=True)
class ScanFigures:
    """What the last run saw: whether the node answered, blocks left to scan, deposits that don't count yet."""

    node_is_up: bool = False
    lag_blocks: int = 0
    deposits_pending: int = 0


class ChainScan:
    """Scans the chain; `run` is a periodic job."""

    def __init__(self, store: Store, node: ChainNode, clock: Clock, settings: ScanSettings) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._settings = settings
        self._settler = DepositSettler(store, node, clock)
        self._finder = TransferFinder(node, max_range_blocks=settings.max_range_blocks)
        self._failures = 0
        self._not_before_us = 0
        self._full_scan_due_us = 0
        self.figures = ScanFigures()
        self.pending: tuple[PendingDeposit, ...] = ()
        """What the last run saw on its way to the addresses shown last."""

    async def run(self) -> None:
        """Go on scanning; a node that fails is left alone for a while, longer each time, a minute at most."""
        if self._clock.monotonic_us() < self._not_before_us:
            return
        try:
            await self.scan()
        except NodeError as failure:
            self._finder.failed()
            self._back_off(failure)
        else:
            self._failures = 0

    async def scan(self) -> None:
        """Scan what is there to be scanned now.

        Raises:
            NodeError: the node failed; everything up to the stored cursors is done.
        """
        heads = await find_heads(self._node, counts_at=self._settings.counts_at)
        counted = heads.counted
        recent = await self._store.read(deposit_addresses.announced_since, self._clock.now_us() - _RECENT_US)
        seen = await self._standing(Pass.RECENT, counted)
        moved_back = await self._step_back_if_gone(Pass.RECENT, seen, heads.finalized)
        await self._settler.recheck(heads, above=0 if moved_back is not None else seen.block_number)
        start = moved_back or seen
        self.figures = replace(self.figures, node_is_up=True, lag_blocks=max(counted.number - start.block_number, 0))
        await self._follow(Pass.RECENT, start, counted, recent, heads)
        first = max(counted.number + 1, heads.latest.number - self._finder.range_blocks)
        # For people to see; the addresses shown last are enough for it.
        sighted = await self._finder.find(first, heads.latest.number, recent[:MAX_ADDRESSES])
        self.figures = replace(self.figures, deposits_pending=len({sighting.tx_hash for sighting in sighted}))
        self.pending = _pending(sighted, heads.latest.number)
        if self._clock.monotonic_us() >= self._full_scan_due_us:
            await self._scan_all(heads)
            self._full_scan_due_us = self._clock.monotonic_us() + round(self._settings.full_scan_s * SECOND_US)

    async def _scan_all(self, heads: Heads) -> None:
        every = await self._store.read(deposit_addresses.every_address)
        seen = await self._standing(Pass.ALL, heads.finalized)
        moved_back = await self._step_back_if_gone(Pass.ALL, seen, heads.finalized)
        await self._follow(Pass.ALL, moved_back or seen, heads.finalized, every, heads)

    async def _standing(self, which: Pass, head: BlockRef) -> Cursor:
        """Where a pass stands; at its first step, before anything that could have been paid to us."""
        stored = await self._store.read(chain_cursors.position, self._node.chain_id, self._node.token, which)
        if stored is not None:
            return stored
        first_us = await self._store.read(deposit_addresses.first_created_us)
        start = head if first_us is None else await self._block_before(first_us // SECOND_US - _MARGIN_S, head)
        if await self._advance(which, None, start):
            _log.info("usdc_scan_begins", scan_pass=which, block=start.number)
        return Cursor(start.number, start.hash)

    async def _block_before(self, at_s: int, head: BlockRef) -> BlockRef:
        """The last block made before `at_s` (UTC seconds), by halving; the oldest one when all are later."""
        low, high = 0, head.number
        while low < high:
            middle = (low + high + 1) // 2
            block = await self._node.block(middle)
            # A node that keeps no old blocks has none so far back.
            if block is None or block.timestamp_s < at_s:
                low = middle
            else:
                high = middle - 1
        return await self._node.block(low) or await self._node.block(low + 1) or head

    async def _step_back_if_gone(self, which: Pass, seen: Cursor, finalized: BlockRef) -> Cursor | None:
        """Set a pass back to a block that is still there, when the one that it stands on is not; None when it is."""
        standing = await self._node.block(seen.block_number)
        # A node that lags does not have the block yet: that says nothing about it.
        if standing is None or standing.hash == seen.block_hash:
            return None
        if seen.block_hash == "":
            # Set by hand, to look again from there.
            return None
        back_to = finalized.number
        if back_to >= seen.block_number:
            back_to = max(seen.block_number - _DEEP_STEP_BLOCKS, 0)
        block = await self._node.block(back_to)
        if block is None:
            return None
        _log.warning(
            "usdc_chain_reorganised",
            scan_pass=which,
            block=seen.block_number,
            back_to=back_to,
            action="Nothing to do: what follows is scanned again, and deposits that are gone are taken back.",
        )
        if not await self._advance(which, seen, block):
            return None
        return Cursor(block.number, block.hash)

    async def _follow(self, which: Pass, seen: Cursor, head: BlockRef, addresses: Sequence[str], heads: Heads) -> None:
        while seen.block_number < head.number:
            first = seen.block_number + 1
            # Without addresses there is nothing to ask, however long the way is.
            last = min(seen.block_number + self._finder.range_blocks, head.number) if addresses else head.number
            found = await self._finder.find(first, last, addresses)
            # Asked after the logs: a node that has not got this far says so here, and not by an empty list.
            end = await self._node.block(last)
            if end is None:
                raise NodeError(NodeTrouble.NONSENSE, f"the node does not have block {last}, which counts")
            await self._settler.settle_sighted(found, heads)
            if not await self._advance(which, seen, end):
                # Another process went on from here, or the operator set the pass back.
                return
            seen = Cursor(end.number, end.hash)
            self._finder.succeeded()
            if which is Pass.RECENT:
                self.figures = replace(self.figures, lag_blocks=head.number - end.number)

    async def _advance(self, which: Pass, seen: Cursor | None, to: BlockRef) -> bool:
        return await self._store.write(
            chain_cursors.advance,
            self._node.chain_id,
            self._node.token,
            which,
            seen=seen,
            to=to,
            now_us=self._clock.now_us(),
        )

    def _back_off(self, failure: NodeError) -> None:
        pause_s = min(self._settings.first_back_off_s * 2 ** min(self._failures, _MAX_DOUBLINGS), _MAX_BACK_OFF_S)
        pause_s = max(pause_s, min(failure.retry_after_s or 0, _MAX_BACK_OFF_S))
        self._failures += 1
        self._not_before_us = self._clock.monotonic_us() + round(pause_s * SECOND_US)
        self.figures = replace(self.figures, node_is_up=False)
        _log.warning(
            "usdc_node_failed",
            trouble=failure.trouble,
            detail=failure.detail,
            action=f"Nothing is lost; it is tried again in {pause_s:g} s.",
        )


def _pending(sighted: Sequence[TransferLog], latest: int) -> tuple[PendingDeposit, ...]:
    return tuple(
        PendingDeposit(
            tx_hash=one.tx_hash,
            recipient=one.recipient,
            amount_nano=one.units * NANO_PER_MICRO_USD,
            confirmations=latest - one.block_number + 1,
        )
        for one in sighted
        if one.recipient is not None and one.units is not None and 0 < one.units <= MAX_UNITS
    )
