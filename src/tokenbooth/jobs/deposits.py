"""Brings the books in line with the chain, one transaction at a time, by its receipt.

It must never credit from a log alone, nor what is in a block that does not count.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog

from tokenbooth.domain.deposits import Refusal
from tokenbooth.kit.clock import Clock
from tokenbooth.payments.usdc.node import (
    ChainNode,
    Heads,
    TransactionCheck,
    TransactionStatus,
    TransferLog,
    check_transaction,
)
from tokenbooth.payments.usdc.rpc import NodeError, NodeTrouble
from tokenbooth.store.engine import Store
from tokenbooth.store.usdc import deposit_addresses, deposits
from tokenbooth.store.usdc.deposits import Deposit, Settled

_AT_ONCE: Final = 8
_RECHECKED_AT_ONCE: Final = 2_000
# Zero-value transfers to strangers' addresses are a common fraud on people who copy addresses; not worth a line.
_NOT_WORTH_LOGGING: Final = (Refusal.ZERO_AMOUNT,)

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class DepositSettler:
    """The deposits in the store, compared with the chain."""

    def __init__(self, store: Store, node: ChainNode, clock: Clock) -> None:
        self._store = store
        self._node = node
        self._clock = clock

    async def settle_sighted(self, sightings: Iterable[TransferLog], heads: Heads) -> None:
        """Credit what the transactions of these logs brought, each once.

        Raises:
            NodeError: the node failed, or shows a log of a transaction that it does not have; some are done.
        """
        by_hash = {sighting.tx_hash: sighting for sighting in sightings}
        known = await self._store.read(deposits.blocks_of, self._node.chain_id, list(by_hash))
        await _in_parallel(
            [
                partial(self._settle_sighted, sighting, heads)
                for tx_hash, sighting in by_hash.items()
                if known.get(tx_hash) != sighting.block_hash
            ]
        )

    async def recheck(self, heads: Heads, *, above: int) -> None:
        """Look again at deposits that are not final: those in blocks that are final by now, and those above `above`.

        One that left the chain is taken back; one that is in another block now is noted there.

        Raises:
            NodeError: the node failed; some are done.
        """
        waiting = await self._store.read(deposits.not_final, self._node.chain_id, limit=_RECHECKED_AT_ONCE)
        by_block: dict[tuple[int, str], set[str]] = {}
        for deposit in waiting:
            if deposit.block_number <= heads.finalized.number or deposit.block_number > above:
                by_block.setdefault((deposit.block_number, deposit.block_hash), set()).add(deposit.tx_hash)
        await _in_parallel(
            [
                partial(self._recheck_block, number, block_hash, sorted(tx_hashes), heads)
                for (number, block_hash), tx_hashes in by_block.items()
            ]
        )

    async def _settle_sighted(self, sighting: TransferLog, heads: Heads) -> None:
        try:
            found = await check_transaction(self._node, sighting.tx_hash, heads=heads)
        except NodeError as failure:
            if failure.trouble is not NodeTrouble.TOO_LARGE:
                raise
            # Anybody can make such a transaction; it must not hold up everybody else's deposits.
            _log.error(
                "usdc_receipt_too_large",
                tx_hash=sighting.tx_hash,
                block=sighting.block_number,
                action="It is skipped. Look at the transaction; what is really owed, grant by hand.",
            )
            return
        if found.status is not TransactionStatus.SETTLED:
            raise NodeError(NodeTrouble.NONSENSE, "the node shows a log in a block that counts, but not its receipt")
        await self._settle(sighting.tx_hash, found)

    async def _recheck_block(self, number: int, block_hash: str, tx_hashes: Sequence[str], heads: Heads) -> None:
        block = await self._node.block(number)
        if block is None:
            # The node lags behind the one that we asked before.
            return
        if block.hash == block_hash:
            if number <= heads.finalized.number:
                await self._store.write(
                    deposits.make_final, self._node.chain_id, [block_hash], now_us=self._clock.now_us()
                )
            return
        for tx_hash in tx_hashes:
            found = await check_transaction(self._node, tx_hash, heads=heads)
            # Mined again, above what counts: left as it is until that block counts, or is gone, too.
            if found.status not in (TransactionStatus.MINED, TransactionStatus.REORGANISING):
                await self._settle(tx_hash, found)

    async def _settle(self, tx_hash: str, found: TransactionCheck) -> None:
        receipt = found.receipt if found.status is TransactionStatus.SETTLED else None
        done: Settled = await self._store.write(
            deposits.settle,
            chain_id=self._node.chain_id,
            tx_hash=tx_hash,
            transfers=() if receipt is None else receipt.reading.transfers,
            block=None if receipt is None else found.block,
            now_us=self._clock.now_us(),
        )
        log_settled(done)
        if receipt is not None:
            await self._log_refused(tx_hash, receipt.reading.refused)

    async def _log_refused(self, tx_hash: str, refused: Sequence[tuple[Refusal, str | None]]) -> None:
        worth_logging = [(reason, to) for reason, to in refused if to is not None and reason not in _NOT_WORTH_LOGGING]
        ours = await self._store.read(deposit_addresses.owners, {to for _, to in worth_logging})
        for reason, to in worth_logging:
            if to in ours:
                _log.error(
                    "usdc_deposit_refused",
                    tx_hash=tx_hash,
                    account_id=ours[to].account_id,
                    reason=reason,
                    action="It is not credited. Look at the transaction; what is really owed, grant by hand.",
                )


def log_settled(done: Settled) -> None:
    """Log what a settlement changed."""
    for deposit in done.credited:
        _log.info("usdc_deposit_credited", **_facts(deposit), announced_nano=deposit.announced_nano)
    for deposit in done.reversed:
        _log.error(
            "usdc_deposit_reversed",
            **_facts(deposit),
            action="Its block left the chain. What was spent of it is the customer's debt, paid by the next top-up.",
        )


def _facts(deposit: Deposit) -> dict[str, str | int]:
    return {
        "account_id": deposit.account_id,
        "tx_hash": deposit.tx_hash,
        "position": deposit.position,
        "amount_nano": deposit.amount_nano,
        "block": deposit.block_number,
    }


async def _in_parallel(work: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run all, a few at a time; the first failure is raised when the others have ended."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(step: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await step()

    for outcome in await asyncio.gather(*(one(step) for step in work), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
