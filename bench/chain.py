"""How fast the chain is scanned: 10,000 addresses and 1,000 deposits in 10,000 blocks, on the sandbox's node over HTTP.

Prints blocks per second and how many questions it took, and fails when a deposit is missed or a question was out of
bounds. Run it with `make bench-chain`, or `make bench-chain ARGS="--blocks 50000"`.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert

from tests.support.servers import serve
from tokenbooth.config.chains import BASE, NATIVE_TOKENS
from tokenbooth.jobs.chain_scan import ChainScan, ScanSettings
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.logs import configure_logging
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import MAX_ADDRESSES, ChainNode
from tokenbooth.payments.usdc.rpc import HttpRpc, Json
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.migrate import migrate
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import accounts, deposit_addresses
from tokenbooth.store.usdc import deposits
from tokenbooth_sandbox.chain import ChainConfig, ChainSandbox
from tokenbooth_sandbox.chain.wallet import new_extended_public_key
from tokenbooth_sandbox.chain.world import transfer

DAY_US: Final = 86_400 * 1_000_000
TOKEN: Final = NATIVE_TOKENS[BASE]


@dataclass(slots=True)
class Counting:
    """Counts questions, and remembers the largest."""

    rpc: HttpRpc
    calls: Counter[str] = field(default_factory=Counter)
    most_addresses: int = 0
    widest_blocks: int = 0

    async def call(self, method: str, params: Sequence[Json]) -> Json:
        self.calls[method] += 1
        if method == "eth_getLogs":
            wanted = params[0]
            assert isinstance(wanted, dict)
            self.most_addresses = max(self.most_addresses, len(wanted["topics"][2]))
            width = int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) + 1
            self.widest_blocks = max(self.widest_blocks, width)
        return await self.rpc.call(method, params)

    async def aclose(self) -> None:
        await self.rpc.aclose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--addresses", type=int, default=10_000)
    parser.add_argument("--deposits", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--range", type=int, default=2_000, help="blocks in one question")
    arguments = parser.parse_args()
    configure_logging("console", level=logging.WARNING)
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"sqlite:///{Path(directory) / 'bench.db'}")
        migrate(store.engine)
        given = _give_out(store, arguments.addresses)
        sandbox = ChainSandbox(ChainConfig(clock=lambda: time.time() - 86_400))
        expected_nano = _fill(sandbox, given, arguments.deposits, arguments.blocks)
        with serve(sandbox, lifespan="off") as url:
            counting = Counting(HttpRpc(url, timeout_s=30))
            asyncio.run(_scan(store, counting, arguments.range, arguments.blocks))
        found = store.read_now(deposits.totals, BASE)
        clean = store.read_now(audit).clean
        store.close()
    is_right = clean and found.amount_nano == expected_nano and sum(found.rows_by_status.values()) == arguments.deposits
    is_bounded = counting.most_addresses <= MAX_ADDRESSES and counting.widest_blocks <= arguments.range
    print(f"deposits       {sum(found.rows_by_status.values())} of {arguments.deposits}, audit clean: {clean}")
    print(f"questions      {dict(counting.calls)}")
    print(f"largest        {counting.most_addresses} addresses, {counting.widest_blocks} blocks")
    sys.exit(0 if is_right and is_bounded else 1)


async def _scan(store: Store, counting: Counting, range_blocks: int, blocks: int) -> None:
    node = ChainNode(counting, chain_id=BASE, token=TOKEN)
    settings = ScanSettings(counts_at="safe", max_range_blocks=range_blocks, full_scan_s=600)
    scan = ChainScan(store, node, SystemClock(), settings)
    began_s = time.perf_counter()
    await scan.scan()
    took_s = time.perf_counter() - began_s
    print(f"both passes    {took_s:.2f} s, {2 * blocks / took_s:,.0f} blocks per second")
    for what in ("all made final", "nothing new"):
        began_s = time.perf_counter()
        await scan.scan()
        print(f"{what:<15}{(time.perf_counter() - began_s) * 1e3:.0f} ms a run")
    await node.aclose()


def _give_out(store: Store, count: int) -> list[str]:
    book, now_us = AddressBook(new_extended_public_key()), SystemClock().now_us()
    began_s = time.perf_counter()
    given = [book.address(index) for index in range(count)]
    print(f"derivation     {count / (time.perf_counter() - began_s):,.0f} addresses per second")

    def write(conn: Connection) -> None:
        names = [f"acct_{number:026d}" for number in range(count)]
        conn.execute(
            insert(accounts),
            [{"id": name, "email": f"{name}@example.com", "created_at_us": now_us} for name in names],
        )
        conn.execute(
            insert(deposit_addresses),
            [
                {
                    "address": address,
                    "account_id": name,
                    "key_fingerprint": book.fingerprint,
                    "child_index": index,
                    "announced_at_us": now_us,
                    "created_at_us": now_us - 2 * DAY_US,
                }
                for index, (name, address) in enumerate(zip(names, given, strict=True))
            ],
        )

    store.write_now(write)
    return given


def _fill(sandbox: ChainSandbox, given: Sequence[str], count: int, blocks: int) -> int:
    """Deposits spread over the blocks, strangers' transfers between them; returns the deposits' sum in nano-USD."""
    choice = random.Random(1)
    gaps = blocks // count
    total_units = 0
    for number in range(count):
        units = choice.randrange(1, 10**9)
        total_units += units
        stranger = f"0x{number:040x}"
        logs = [transfer(TOKEN, stranger, 1), transfer(TOKEN, choice.choice(given), units)]
        sandbox.world.send(logs, to=TOKEN)
        sandbox.world.mine(gaps - 1)
    sandbox.world.mine(blocks - count * gaps + 10)
    return total_units * 1_000


if __name__ == "__main__":
    main()
