"""What a settled request costs in CPU time: on the event loop, and in the thread that writes to the store.

Prints figures; it asserts nothing. Run it with `make bench-settle`, or `make bench-settle ARGS="--rounds 200"`.
The lowest tenth of the rounds is shown: whatever else runs on the machine can only add. A batch of one shows what a
batch costs whatever is in it. Keys and models are spread as in `bench/store.py`; the charges of a batch end within a
tenth of a second, as the flusher gathers them.
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.store import KEYS, MODELS, bench_account, sqlite_store
from tokenbooth.config.catalog import Model
from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.charges import PoolKind
from tokenbooth.domain.pricing import Price, TokenRates
from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.access.admission import Admitted
from tokenbooth.gateway.access.cache import AccountState, KeyState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.access.registration import Registration
from tokenbooth.gateway.formats.openai.chat import ENDPOINT, ChatRequest
from tokenbooth.gateway.settlement.charge_log import ChargeLog
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue
from tokenbooth.gateway.settlement.flusher import Flusher
from tokenbooth.gateway.settlement.settle import BilledUsage, Settler
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.engine import Store

SIZES: Final = (1, 20, 100, 1_000)
RECORD_BYTES: Final = 260
_PRICE: Final = Price(TokenRates(input=270_000_000, output=1_100_000_000, cached_input=70_000_000, cache_write=0))
_COUNTED: Final = BilledUsage(Usage(prompt_tokens=1_000, completion_tokens=200, cached_tokens=100), estimated=False)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one batch: settling on the loop, flushing on the loop, flushing in the other threads."""

    settle_s: float
    loop_s: float
    thread_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="batches of each size")
    arguments = parser.parse_args()
    print(f"write(2) of one record: {_write_us():.1f} µs")
    with sqlite_store() as store:
        asyncio.run(_measure(store, arguments.rounds))


async def _measure(store: Store, rounds: int) -> None:
    keys = _keys(bench_account(store))
    with tempfile.TemporaryDirectory() as directory:
        log = ChargeLog(Path(directory), first_number=1, epoch="bench")
        process = Registration(
            store=store,
            clock=SystemClock(),
            data_dir=Path(directory),
            catalog_hash=str,
            on_database_went_back=_nothing,
        )
        await process.begin(_no_replay)
        queue = ChargeQueue(10_000)
        flusher = Flusher(store=store, clock=SystemClock(), log=log, queue=queue, process=process, budgets_nano=dict)
        settler = Settler(clock=SystemClock(), log=log, ratios=PromptRatios(), queue=queue)
        for size in SIZES:
            _report(size, [await _batch(settler, flusher, keys, size) for _ in range(rounds)])
        log.close()


def _nothing() -> None:
    pass


async def _no_replay() -> None:
    pass


async def _batch(settler: Settler, flusher: Flusher, keys: list[KeyState], size: int) -> Cost:
    requests = [_admitted(keys, number) for number in range(size)]
    ids = [new_id(IdPrefix.REQUEST, time.time_ns() // 1_000) for _ in requests]
    began = time.thread_time()
    for admitted, request_id in zip(requests, ids, strict=True):
        settler.settle(admitted, _COUNTED, request_id=request_id, upstream="bench")
    settled, process = time.thread_time(), time.process_time()
    assert await flusher.drain(60)
    loop_s = time.thread_time() - settled
    return Cost(settled - began, loop_s, time.process_time() - process - loop_s)


def _report(size: int, costs: list[Cost]) -> None:
    settle_us, loop_us, thread_us = (
        sorted(figures)[len(figures) // 10] * 1e6
        for figures in ([c.settle_s for c in costs], [c.loop_s for c in costs], [c.thread_s for c in costs])
    )
    print(
        f"{size:>5} a batch: settle {settle_us / size:6.1f} µs a request; flush {(loop_us + thread_us) / size:6.1f} µs "
        f"a request, {loop_us + thread_us:,.0f} µs a batch (loop {loop_us:,.0f}, threads {thread_us:,.0f})"
    )


def _keys(account_id: str) -> list[KeyState]:
    credit = Allowance(limit_nano=10**17)
    account = AccountState(account_id=account_id, seq=0, suspended=False, credit=credit)
    return [
        KeyState(
            key_id=f"key_{number}", digest=b"", account=account, subscription=None, cap=None, requests=None, tokens=None
        )
        for number in range(KEYS)
    ]


def _admitted(keys: list[KeyState], number: int) -> Admitted:
    key = keys[number % KEYS]
    credit = key.account.credit
    admitted = Admitted(
        key=key,
        request=_request(f"maker/model-{number % MODELS}"),
        price=_PRICE,
        pool=Pool(PoolKind.CREDIT, credit, None, key.account.waiters, None, None),
        amount_nano=1_000_000,
    )
    admitted.commit()
    return admitted


def _request(model: str) -> ChatRequest:
    return ChatRequest(
        ENDPOINT,
        Model(model, _PRICE, _PRICE, (), 65_536, 8_192, 0, False, "max_tokens", frozenset()),
        {},
        stream=False,
        text_bytes=4_000,
        asked_ceiling=1_000,
        floor_tokens=256,
    )


def _write_us() -> float:
    record, count = bytes(RECORD_BYTES), 2_000
    with tempfile.TemporaryFile() as file:
        began = time.thread_time()
        for _ in range(count):
            os.write(file.fileno(), record)
        return (time.thread_time() - began) / count * 1e6


if __name__ == "__main__":
    main()
