"""The sandbox's chain: blocks that pass with time, the transactions in them, reorganisations.

A block without transactions is not kept: its hash is computed from its number and the fork that it is on. The state is
one JSON file, so that a chain goes on where it stopped.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tokenbooth.kit.private_files import write_private

_BASE: Final = 8453
_USDC: Final = "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"
TRANSFER_TOPIC: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
FAUCET: Final = "0x00000000000000000000000000000000000fa0ce"


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """How the chain behaves.

    Attributes:
        chain_id, token: the chain, and the contract of USDC on it, in lower case.
        safe_blocks, final_blocks: how far the `safe` and the `finalized` block are behind the latest.
        block_time_s: blocks pass with time; None for a chain that only moves when told to.
        settle_at_once: whether a transaction's block is safe at once, which no real chain does.
        max_range_blocks: a larger range of logs is refused, as real nodes do.
        state_file: where the chain is kept; None for one that is forgotten.
        clock: UTC seconds.
    """

    chain_id: int = _BASE
    token: str = _USDC
    safe_blocks: int = 4
    final_blocks: int = 8
    block_time_s: float | None = None
    settle_at_once: bool = False
    max_range_blocks: int = 10_000
    state_file: Path | None = None
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class SandboxLog:
    """An event: the contract, its topics, its data."""

    address: str
    topics: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class SandboxTx:
    """A transaction: whom it called, whether it failed, the events that it left."""

    hash: str
    to: str
    reverted: bool
    logs: tuple[SandboxLog, ...]


@dataclass(slots=True)
class _State:
    genesis_s: float
    seed: str
    extra_blocks: int = 0
    sent: int = 0
    forks: list[tuple[int, int]] = field(default_factory=list)
    blocks: dict[int, list[SandboxTx]] = field(default_factory=dict)


class World:
    """The chain."""

    def __init__(self, config: ChainConfig) -> None:
        self.config = config
        kept = _read(config.state_file)
        self._state = kept or _State(config.clock(), secrets.token_hex(16))
        self._places: dict[str, int] = {tx.hash: number for number, block in self._state.blocks.items() for tx in block}
        if kept is None:
            # Also without any transaction: blocks that were scanned must have the same hashes after a restart.
            self._save()

    def head(self) -> int:
        """The number of the latest block."""
        passed = 0
        if self.config.block_time_s is not None:
            passed = int(max(self.config.clock() - self._state.genesis_s, 0) / self.config.block_time_s)
        return self._state.extra_blocks + passed

    def number(self, tag: str) -> int | None:
        """The number that a tag, or a number in hexadecimal, stands for; None when there is no such block."""
        match tag:
            case "latest" | "pending":
                return self.head()
            case "safe":
                return max(self.head() - self.config.safe_blocks, 0)
            case "finalized":
                return max(self.head() - self.config.final_blocks, 0)
            case "earliest":
                return 0
            case _:
                number = int(tag, 16)
                return number if number <= self.head() else None

    def block_hash(self, number: int) -> str:
        """The hash of a block; another one after every reorganisation at or below it."""
        fork = max((salt for first, salt in self._state.forks if first <= number), default=0)
        return _digest(f"{self._state.seed} block {fork} {number}")

    def timestamp_s(self, number: int) -> int:
        """When a block was made, UTC seconds."""
        return int(self._state.genesis_s + number * (self.config.block_time_s or 1))

    def transactions(self, number: int) -> Sequence[SandboxTx]:
        """What is in a block, in order."""
        return self._state.blocks.get(number, ())

    def blocks_between(self, first: int, last: int) -> list[int]:
        """Numbers of the blocks in a range that hold transactions."""
        return sorted(number for number in self._state.blocks if first <= number <= last)

    def find(self, tx_hash: str) -> tuple[int, SandboxTx] | None:
        """A mined transaction with its block's number; None when the chain does not have it."""
        number = self._places.get(tx_hash)
        if number is None:
            return None
        return number, next(tx for tx in self._state.blocks[number] if tx.hash == tx_hash)

    def send(self, logs: Sequence[SandboxLog], *, to: str, reverted: bool = False) -> str:
        """Mine a transaction in a block of its own; returns its hash."""
        self._state.sent += 1
        tx_hash = _digest(f"{self._state.seed} transaction {self._state.sent}")
        self._state.extra_blocks += 1
        self._put(self.head(), SandboxTx(tx_hash, to, reverted, () if reverted else tuple(logs)))
        if self.config.settle_at_once:
            self._state.extra_blocks += self.config.safe_blocks
        self._save()
        return tx_hash

    def mine(self, blocks: int) -> None:
        """Add empty blocks."""
        self._state.extra_blocks += blocks
        self._save()

    def reorganise(self, depth: int, again: Mapping[str, int]) -> None:
        """Replace the last `depth` blocks; of their transactions only those in `again` stay.

        Args:
            depth: how many blocks.
            again: transactions to be mined again, with how far into the new blocks.
        """
        first = self.head() - depth + 1
        if first < 1:
            raise ValueError("the chain is not that long")
        gone = {
            tx.hash: tx for number in self.blocks_between(first, self.head()) for tx in self._state.blocks.pop(number)
        }
        for tx_hash in gone:
            del self._places[tx_hash]
        self._state.forks.append((first, len(self._state.forks) + 1))
        for tx_hash, offset in again.items():
            self._put(first + offset, gone[tx_hash])
        self._save()

    def _put(self, number: int, tx: SandboxTx) -> None:
        self._state.blocks.setdefault(number, []).append(tx)
        self._places[tx.hash] = number

    def _save(self) -> None:
        path = self.config.state_file
        if path is not None:
            write_private(path, json.dumps(asdict(self._state)))


def transfer(token: str, to: str, units: int) -> SandboxLog:
    """The event of a transfer of micro-USD; addresses in lower case."""
    return SandboxLog(token, (TRANSFER_TOPIC, padded(FAUCET), padded(to)), f"0x{units:064x}")


def padded(address: str) -> str:
    """An address as a topic."""
    return f"0x{address[2:].lower():0>64}"


def _digest(text: str) -> str:
    # Nothing of this chain has to be verifiable, so any hash will do.
    return f"0x{hashlib.sha256(text.encode()).hexdigest()}"


def _read(path: Path | None) -> _State | None:
    if path is None or not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    blocks = {
        int(number): [
            SandboxTx(
                tx["hash"],
                tx["to"],
                tx["reverted"],
                tuple(SandboxLog(log["address"], tuple(log["topics"]), log["data"]) for log in tx["logs"]),
            )
            for tx in block
        ]
        for number, block in kept["blocks"].items()
    }
    forks = [(int(first), int(salt)) for first, salt in kept["forks"]]
    return _State(kept["genesis_s"], kept["seed"], kept["extra_blocks"], kept["sent"], forks, blocks)
