"""The questions that we ask a node of the chain, and whether a transaction counts yet by its answers.

A node's chain id is checked before its answers are believed. Nothing here writes to the chain or holds a private key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeVar

from tokenbooth.domain.deposits import DECIMALS, BlockRef
from tokenbooth.payments.usdc.receipts import (
    TRANSFER_TOPIC,
    MalformedAnswer,
    Receipt,
    mapping,
    quantity,
    read_receipt,
    recipient_of,
    units_of,
    word,
)
from tokenbooth.payments.usdc.rpc import Json, NodeError, NodeTrouble, Rpc

T = TypeVar("T")
Tag = Literal["latest", "safe", "finalized"]

MAX_ADDRESSES: Final = 500
"""Nodes bound the number of topics in a filter; this many are taken by all that we know."""
_DECIMALS_CALL: Final = "0x313ce567"
"""The first four bytes of Keccak-256 of "decimals()"."""
_EMPTY: Final = "0x"
_NOTHING: Final = "0x" + 64 * "0"


@dataclass(frozen=True, slots=True)
class TransferLog:
    """A transfer that a node's index shows: only a hint which transaction to check.

    `recipient` (lower case) and `units` (micro-USD) are what the index says; None where it does not say it properly.
    """

    tx_hash: str
    block_number: int
    block_hash: str
    recipient: str | None = None
    units: int | None = None


class ChainNode:
    """A node, asked about one token of one chain. Close it when done."""

    def __init__(self, rpc: Rpc, *, chain_id: int, token: str) -> None:
        """`token`: the contract's address, in lower case."""
        self._rpc = rpc
        self.chain_id = chain_id
        self.token = token

    async def check_chain(self) -> None:
        """Make sure that the node is on our chain.

        Raises:
            NodeError: it is on another (`WRONG_CHAIN`), or does not answer.
        """
        answer = await self._rpc.call("eth_chainId", [])
        found = _read("eth_chainId", lambda: quantity({"chainId": answer}, "chainId"))
        if found != self.chain_id:
            raise NodeError(NodeTrouble.WRONG_CHAIN, f"the node is on chain {found}, not on {self.chain_id}")

    async def check_token(self) -> None:
        """Make sure that the token's contract is there and counts in micro-USD.

        Raises:
            NodeError: it is not (`WRONG_TOKEN`), or the node does not answer.
        """
        answer = await self._rpc.call("eth_call", [{"to": self.token, "data": _DECIMALS_CALL}, "latest"])
        if answer == _EMPTY:
            raise NodeError(NodeTrouble.WRONG_TOKEN, f"there is no contract at the token's address {self.token}")
        found = _read("decimals", lambda: quantity({"decimals": answer}, "decimals"))
        if found != DECIMALS:
            raise NodeError(NodeTrouble.WRONG_TOKEN, f"the token has {found} decimals; USDC has {DECIMALS}")

    async def block(self, which: Tag | int) -> BlockRef | None:
        """A block by its tag or number; None when the node has none."""
        wanted = hex(which) if isinstance(which, int) else which
        answer = await self._rpc.call("eth_getBlockByNumber", [wanted, False])
        if answer is None:
            return None
        found = _read("eth_getBlockByNumber", lambda: _block(answer))
        if isinstance(which, int) and found.number != which:
            raise NodeError(NodeTrouble.NONSENSE, "eth_getBlockByNumber: another block than was asked for")
        return found

    async def head(self, tag: Tag) -> BlockRef:
        """The block that a tag stands for.

        Raises:
            NodeError: the node has none, as when it has only just begun to follow the chain.
        """
        found = await self.block(tag)
        if found is None:
            raise NodeError(NodeTrouble.REFUSED, f"the node has no `{tag}` block")
        return found

    async def receipt(self, tx_hash: str) -> Receipt | None:
        """A mined transaction (hash in lower case); None when the node knows none."""
        answer = await self._rpc.call("eth_getTransactionReceipt", [tx_hash])
        if answer is None:
            return None
        return _read("eth_getTransactionReceipt", lambda: read_receipt(answer, tx_hash=tx_hash, token=self.token))

    async def is_known(self, tx_hash: str) -> bool:
        """Whether the node knows the transaction at all, mined or not."""
        return await self._rpc.call("eth_getTransactionByHash", [tx_hash]) is not None

    async def transfer_logs(self, first: int, last: int, recipients: Sequence[str]) -> list[TransferLog]:
        """Transfers of the token to `recipients` (at most `MAX_ADDRESSES`, lower case) in blocks `first` to `last`.

        Raises:
            NodeError: also `TOO_LARGE`, when a smaller range may be answered.
        """
        assert len(recipients) <= MAX_ADDRESSES
        wanted = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": self.token,
            "topics": [TRANSFER_TOPIC, None, [f"0x{address[2:]:0>64}" for address in recipients]],
        }
        answer = await self._rpc.call("eth_getLogs", [wanted])
        return _read("eth_getLogs", lambda: _transfer_logs(answer, first, last))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._rpc.aclose()


class TransactionStatus(StrEnum):
    """Where a transaction stands."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    """The node knows it, no block has it."""
    REORGANISING = "reorganising"
    """The node does not agree with itself on which block has it."""
    MINED = "mined"
    """In a block that may still be reorganised away."""
    SETTLED = "settled"
    """In a block that counts."""


@dataclass(frozen=True, slots=True)
class TransactionCheck:
    """What a check of a transaction found.

    Attributes:
        status: where it stands.
        receipt: None unless mined.
        block: its block; None unless mined.
        confirmations: blocks on top of it, its own included.
    """

    status: TransactionStatus
    receipt: Receipt | None = None
    block: BlockRef | None = None
    confirmations: int = 0


@dataclass(frozen=True, slots=True)
class Heads:
    """How far the chain is: the latest block, the last one that counts, the last one that stays for ever."""

    latest: BlockRef
    counted: BlockRef
    finalized: BlockRef


async def find_heads(node: ChainNode, *, counts_at: Tag) -> Heads:
    """The heads of the chain, which is made sure to be ours; blocks count up to the one tagged `counts_at`.

    Raises:
        NodeError: the node is on another chain, or does not answer properly.
    """
    await node.check_chain()
    finalized = await node.head("finalized")
    counted = finalized if counts_at == "finalized" else await node.head(counts_at)
    return Heads(latest=await node.head("latest"), counted=counted, finalized=finalized)


async def check_transaction(node: ChainNode, tx_hash: str, *, heads: Heads) -> TransactionCheck:
    """Find out where a transaction stands (hash in lower case).

    Raises:
        NodeError: the node does not answer properly.
    """
    receipt = await node.receipt(tx_hash)
    if receipt is None:
        return TransactionCheck(
            TransactionStatus.PENDING if await node.is_known(tx_hash) else TransactionStatus.UNKNOWN
        )
    confirmations = max(heads.latest.number - receipt.block_number + 1, 0)
    block = await node.block(receipt.block_number)
    # Asked for last: had the chain moved in between, the receipt would be of a block that is no longer in it.
    if block is None or block.hash != receipt.block_hash:
        return TransactionCheck(TransactionStatus.REORGANISING)
    status = TransactionStatus.SETTLED if block.number <= heads.counted.number else TransactionStatus.MINED
    return TransactionCheck(status, receipt, block, confirmations)


def _read(method: str, reader: Callable[[], T]) -> T:
    try:
        return reader()
    except MalformedAnswer as mistake:
        raise NodeError(NodeTrouble.NONSENSE, f"{method}: {mistake}") from None


def _block(answer: Json) -> BlockRef:
    fields = mapping(answer, "block")
    return BlockRef(quantity(fields, "number"), word(fields, "hash"), quantity(fields, "timestamp"))


def _transfer_logs(answer: Json, first: int, last: int) -> list[TransferLog]:
    if not isinstance(answer, list):
        raise MalformedAnswer("logs")
    found = []
    for entry in answer:
        log = mapping(entry, "log")
        # Transfers of nothing cost their sender next to nothing, so they are not looked at any further.
        if log.get("removed", False) is not False or log.get("data") == _NOTHING:
            continue
        number = quantity(log, "blockNumber")
        if not first <= number <= last:
            raise MalformedAnswer("a log is of a block outside the range")
        topics = log.get("topics")
        found.append(
            TransferLog(
                tx_hash=word(log, "transactionHash"),
                block_number=number,
                block_hash=word(log, "blockHash"),
                recipient=recipient_of(topics) if isinstance(topics, list) else None,
                units=units_of(log.get("data")),
            )
        )
    return found
