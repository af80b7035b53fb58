"""How long each page of the dashboard and each read of the API takes, for an account with 10,000 keys, a million
requests and as many transfers.

    make bench-dashboard ARGS="[--events 1000000] [--transfers 1000000] [--keys 10000] [--limit-ms 100]"

The requests lie in 90 days, evenly over the keys and three models, so that nearly each has an hour of its own: the
worst case for the roll-ups. The transfers are four a second, with their projections. Everything is asked for without a
network, one at a time, each 15 times; the first is thrown away. The processor's time stands beside, for a machine that
has other things to do. Exits with 1 when the slowest median is above the limit.
"""

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, insert, text

from tests.support.dashboard.dashboard import Booth, open_booth
from tests.support.store import another_key
from tokenbooth.config.chains import BASE, NATIVE_TOKENS
from tokenbooth.domain.keys import KeyKind, digest
from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import HttpRpc
from tokenbooth.services.context import UsdcDeps
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.migrate import migrate
from tokenbooth.store.migrations.versions import r0007_projections as projections
from tokenbooth.store.tables import api_keys
from tokenbooth_sandbox.chain.wallet import new_extended_public_key

EMAIL: Final = "many@example.com"
DAYS: Final = 90
ROUNDS: Final = 15
_EVENTS: Final = """
INSERT INTO usage_events
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :events - 1)
SELECT printf('req_%014x%012x', :from_us + i * :step_us, i), :account, k.id, 'credit', '', 0,
    'maker/model-' || (i % 3), 'chat.completions', 'one', :from_us + i * :step_us,
    1000, 100, 0, 200, 0, 270000000, 70000000, 270000000, 1100000000, 0, 470000, 0, 300000, 0, 'tr_bench'
FROM n JOIN bench_keys k ON k.number = (i * 7919) % :keys
"""
STEP_US: Final = 250_000
_TRANSFERS: Final = """
INSERT INTO ledger_transfers
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :transfers - 1)
SELECT printf('tr_%014x%012x', :now_us - i * :step_us, i), 'usage', 'usage:' || i, '', NULL, :now_us - i * :step_us
FROM n
"""
_SUMS: Final = (
    "count(*), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(charged_nano), "
    "sum(uncollected_nano), sum(upstream_cost_nano)"
)


def main() -> int:
    """Fill a database, time the pages, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--transfers", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--limit-ms", type=float, default=100.0)
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"sqlite:///{Path(directory) / 'bench.db'}")
        try:
            migrate(store.engine)
            slowest_ms = asyncio.run(measure(store, asked.keys, asked.events, asked.transfers))
        finally:
            store.close()
    print(f"slowest median {slowest_ms:.1f} ms, limit {asked.limit_ms:.0f} ms")
    return int(slowest_ms > asked.limit_ms)


async def measure(store: Store, keys: int, events: int, transfers: int) -> float:
    """The median of the slowest page, in milliseconds."""
    node = ChainNode(HttpRpc("http://127.0.0.1:9", timeout_s=1), chain_id=BASE, token=NATIVE_TOKENS[BASE])
    # No page asks the chain, so there is none.
    desk = UsdcDeps(node=node, book=AddressBook(new_extended_public_key()), counts_at="safe", pending=tuple)
    async with open_booth(store, usdc=desk) as booth:
        account_id = booth.account(EMAIL, is_admin=True)
        began = time.perf_counter()
        fill(booth, account_id, keys, events, transfers)
        written_s = time.perf_counter() - began
        print(f"{keys:,} keys, {events:,} requests, {transfers:,} transfers written in {written_s:.0f} s")
        api = another_key(store, account_id, EMAIL, now_us=booth.clock.now_us())
        browser = booth.browser()
        assert (await browser.log_in(EMAIL)).status_code == 303
        key_id = store.read_now(lambda conn: conn.execute(text("SELECT min(id) FROM api_keys")).scalar_one())
        await browser.send("/dashboard/billing/usdc", "/dashboard/billing/usdc", amount="50")
        medians = []
        for path in (*pages(key_id, account_id), *calls(key_id)):
            times_ms, cpu_ms, size = [], [], 0
            for _ in range(ROUNDS):
                started, started_cpu = time.perf_counter(), time.process_time()
                booth.clock.advance(1)
                if path.startswith("/api/"):
                    answer = await booth.plane.client.get(path, headers=api.headers)
                else:
                    answer = await browser.get(path)
                times_ms.append((time.perf_counter() - started) * 1_000)
                cpu_ms.append((time.process_time() - started_cpu) * 1_000)
                assert answer.status_code == 200, (path, answer.status_code)
                size = len(answer.content)
            times_ms, cpu_ms = times_ms[1:], cpu_ms[1:]
            medians.append(statistics.median(times_ms))
            used_ms = statistics.median(cpu_ms)
            print(f"{medians[-1]:8.1f} ms  (max {max(times_ms):6.1f}, CPU {used_ms:5.1f})  {size:>8,} bytes  {path}")
        await node.aclose()
        return max(medians)


def pages(key_id: str, account_id: str) -> list[str]:
    """Every page of the dashboard, and the usage page with each of its filters."""
    return [
        "/",
        "/docs",
        "/dashboard",
        "/dashboard/keys",
        "/dashboard/keys?page=20",
        "/dashboard/keys?page=200",
        "/dashboard/keys?q=number+77",
        f"/dashboard/keys/{key_id}/delete",
        "/dashboard/keys/management",
        "/dashboard/usage",
        "/dashboard/usage?by=key",
        "/dashboard/usage?by=model",
        f"/dashboard/usage?key={key_id}",
        "/dashboard/usage.csv?by=key",
        "/dashboard/billing",
        "/dashboard/billing/auto-top-up",
        "/dashboard/billing/statement",
        "/dashboard/billing/usdc",
        "/dashboard/account",
        "/dashboard/operator",
        f"/dashboard/operator/accounts/{account_id}",
        "/dashboard/operator/inbox",
        "/dashboard/operator/upstreams",
        "/dashboard/operator/audit",
    ]


def calls(key_id: str) -> list[str]:
    """What the API reads."""
    return [
        "/api/keys",
        "/api/keys/management",
        "/api/billing/credits",
        "/api/billing/status",
        "/api/billing/statement",
        "/api/billing/statement?format=csv",
        "/api/usage",
        "/api/usage?groupBy=key",
        f"/api/usage/{key_id}?groupBy=model",
        "/api/usage/requests",
        "/api/usage/requests?limit=1000",
    ]


def fill(booth: Booth, account_id: str, keys: int, events: int, transfers: int) -> None:
    """Keys, requests, their sums by hour and by day, and transfers, as settlement would have made them."""
    now_us = booth.clock.now_us()

    def write(conn: Connection) -> None:
        ids = [new_id(IdPrefix.API_KEY, now_us) for _ in range(keys)]
        rows = [
            {
                "id": one,
                "account_id": account_id,
                "name": f"key number {number}",
                "digest": digest(new_key(KeyKind.API)),
                "prefix": "sk_live_0000",
                "created_at_us": now_us + number,
                "last_used_at_us": now_us,
            }
            for number, one in enumerate(ids)
        ]
        conn.execute(insert(api_keys), rows)
        conn.execute(text("CREATE TEMP TABLE bench_keys (number INTEGER PRIMARY KEY, id TEXT)"))
        conn.execute(
            text("INSERT INTO bench_keys VALUES (:number, :id)"),
            [{"number": number, "id": one} for number, one in enumerate(ids)],
        )
        from_us = now_us - DAYS * DAY_US
        conn.execute(
            text(_EVENTS),
            {
                "events": events,
                "keys": keys,
                "account": account_id,
                "from_us": from_us,
                "step_us": DAYS * DAY_US // events,
            },
        )
        hour = "finished_at_us - finished_at_us % 3600000000"
        conn.execute(
            text(
                f"INSERT INTO usage_hours SELECT account_id, {hour}, key_id, model, {_SUMS} "  # noqa: S608
                "FROM usage_events GROUP BY 1, 2, 3, 4"
            )
        )
        day = f"finished_at_us - finished_at_us % {DAY_US}"
        for dimension, name in (("all", "''"), ("key", "key_id"), ("model", "model"), ("subscription", "''")):
            conn.execute(
                text(
                    f"INSERT INTO usage_days SELECT account_id, '{dimension}', {day}, {name}, {_SUMS} "  # noqa: S608
                    "FROM usage_events GROUP BY 1, 3, 4"
                )
            )

        conn.execute(
            text("INSERT INTO ledger_accounts VALUES (:id, :kind, :balance)"),
            [
                {"id": f"credit:{account_id}", "kind": "credit", "balance": 10**15},
                {"id": "revenue:usage", "kind": "revenue", "balance": -(10**15)},
                *({"id": f"key_spend:{one}", "kind": "key_spend", "balance": 0} for one in ids),
            ],
        )
        first = {"transfers": transfers, "now_us": now_us, "step_us": STEP_US}
        conn.execute(text(_TRANSFERS), first)
        for line, account in enumerate((f"'credit:{account_id}'", "'revenue:usage'")):
            entries = f"SELECT id, {line}, {account}, 0 FROM ledger_transfers"  # noqa: S608
            conn.execute(text(f"INSERT INTO ledger_entries {entries}"))
        conn.execute(
            text(
                "INSERT INTO ledger_entries SELECT t.id, 2, 'key_spend:' || k.id, 0 FROM ledger_transfers t "
                "JOIN bench_keys k ON k.number = t.created_at_us / :step_us % :keys"
            ),
            {"step_us": STEP_US, "keys": keys},
        )
        with Operations.context(MigrationContext.configure(conn)):
            began = time.perf_counter()
            projections._fill_statements()
            projections._fill_sales()
            projections._fill_key_counts()
            print(f"projections made in {time.perf_counter() - began:.1f} s")

    booth.store.write_now(write)


if __name__ == "__main__":
    sys.exit(main())
