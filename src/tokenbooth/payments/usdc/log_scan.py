"""Finds transfers to many addresses in many blocks, by questions that a node is willing to answer.

A question names at most `MAX_ADDRESSES` addresses and a bounded range of blocks. What is too much for the node is cut
in halves and asked again; the range that it took is remembered.
"""

from collections.abc import Sequence

from tokenbooth.payments.usdc.node import MAX_ADDRESSES, ChainNode, TransferLog
from tokenbooth.payments.usdc.rpc import NodeError, NodeTrouble


class TransferFinder:
    """Asks one node for logs, and learns how much it answers at once."""

    def __init__(self, node: ChainNode, *, max_range_blocks: int) -> None:
        self._node = node
        self._max_range_blocks = max_range_blocks
        self.range_blocks = max_range_blocks
        """How many blocks a question should span now."""

    async def find(self, first: int, last: int, addresses: Sequence[str]) -> list[TransferLog]:
        """Transfers to `addresses` (lower case) in blocks `first` to `last`; the caller bounds the range.

        Raises:
            NodeError: the node failed, or takes not even one block and one address.
        """
        if first > last:
            return []
        found: list[TransferLog] = []
        for start in range(0, len(addresses), MAX_ADDRESSES):
            found += await self._ask(first, last, addresses[start : start + MAX_ADDRESSES])
        return found

    def succeeded(self) -> None:
        """Dare a little more next time."""
        self.range_blocks = min(self.range_blocks + self.range_blocks // 4 + 1, self._max_range_blocks)

    def failed(self) -> None:
        """Ask for less next time: not every node says what it found too much."""
        self.range_blocks = max(self.range_blocks // 2, 1)

    async def _ask(self, first: int, last: int, addresses: Sequence[str]) -> list[TransferLog]:
        try:
            return await self._node.transfer_logs(first, last, addresses)
        except NodeError as failure:
            if failure.trouble is not NodeTrouble.TOO_LARGE or (first == last and len(addresses) == 1):
                raise
        if first < last:
            self.range_blocks = max(min(self.range_blocks, (last - first + 1) // 2), 1)
            middle = (first + last) // 2
            return await self._ask(first, middle, addresses) + await self._ask(middle + 1, last, addresses)
        half = len(addresses) // 2
        return await self._ask(first, last, addresses[:half]) + await self._ask(first, last, addresses[half:])
