"""No call of a page or of the API reads more than a bounded number of rows, however much an account did.

Every route is called, as the API's description and the dashboard's list of routes have them, so that a new one is
called as well. What a call may read is `MOST_ROWS`, or what `LISTS` says of a list that is whole by contract.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy import Connection, text

from tests.support.dashboard.dashboard import Booth, Browser, open_booth
from tests.support.large_account import LargeAccount, fill
from tests.support.row_counting import Reads, counted
from tests.support.store import Customer, another_key, empty_store
from tokenbooth.config.chains import BASE, NATIVE_TOKENS
from tokenbooth.payments.usdc.addresses import AddressBook
from tokenbooth.payments.usdc.node import ChainNode
from tokenbooth.payments.usdc.rpc import HttpRpc
from tokenbooth.services.context import UsdcDeps
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.operator import MAX_COUNTED
from tokenbooth.store.usage.request_pages import LOOKED_AT
from tokenbooth_sandbox.chain.wallet import new_extended_public_key

ROWS: Final = 3_000
"""How many of each kind there are."""
MOST_ROWS: Final = 2_000
MOST_STATEMENTS: Final = 40
LISTS: Final = {
    "GET /api/keys/management": 5 * ROWS,
    "GET /api/billing/status": 5 * ROWS,
    "GET /api/billing/statement": 16 * ROWS,
    "GET /dashboard/billing/statement": 16 * ROWS,
    "GET /api/usage?groupBy=key": 18 * ROWS,
    "GET /dashboard/usage?by=key": 18 * ROWS,
    "GET /dashboard/usage.csv?by=key": 18 * ROWS,
    "GET /dashboard/usage?key": 10 * LOOKED_AT,
    "GET /api/keys": 8 * ROWS,
    "GET /dashboard/keys?page": 2 * ROWS,
    "GET /dashboard/keys?q": 5 * ROWS,
    "GET /dashboard/keys/management?page": 3 * ROWS,
    "GET /dashboard/operator/accounts/{account_id}": 13 * ROWS,
    "GET /dashboard/operator": 8 * MAX_COUNTED,
    "POST /dashboard/operator/accounts/{account_id}/suspend": 13 * ROWS,
    "POST /dashboard/operator/accounts/{account_id}/unsuspend": 13 * ROWS,
}
"""What is whole by contract, with the most rows that it reads: some for each key, or each line of a piece."""
ACTIONS: Final = ("POST /api/billing", "PUT /api/billing/auto-topup", "POST /dashboard/billing")
"""What counts the account's entries of a day in the audit log, of which there are `management.max_actions_per_day`."""
MOST_ROWS_OF_AN_ACTION: Final = MOST_ROWS + ROWS
WHOLE_TABLES: Final = {"POST /dashboard/operator/audit/run"}
"""What reads everything: an audit, which an operator asks for, one at a time on a thread of its own."""
QUERIES: Final = {
    "GET /api/usage": (
        "",
        "?groupBy=key",
        "?groupBy=model",
        "?startDate=2020-01-01",
        "?startDate=2026-02-03T10:30:00Z",
    ),
    "GET /api/usage/{key_id}": ("", "?groupBy=model"),
    "GET /api/usage/requests": ("", "?limit=1"),
    "GET /api/billing/statement": ("", "?format=csv", "?month=2026-02"),
    "GET /dashboard/keys": ("", "?page=90", "?q=key+12"),
    "GET /dashboard/keys/management": ("", "?page=90"),
    "GET /dashboard/usage": ("", "?by=key", "?by=model", "?key={key_id}"),
    "GET /dashboard/usage.csv": ("", "?by=key", "?key={key_id}"),
    "GET /dashboard/operator": ("", "?page=90", "?q=12", "?q=%25"),
}
"""Each way in which a route can be asked."""
BODIES: Final[dict[str, dict[str, object]]] = {
    "POST /api/keys/credit": {"name": "a"},
    "POST /api/keys/subscription": {"name": "a", "subscriptionId": "{subscription_id}"},
    "POST /api/keys/management": {"name": "a"},
    "POST /api/billing/topup": {"amount": 20, "method": "usdc"},
    "POST /api/billing/cancel": {"subscriptionId": "{subscription_id}"},
    "POST /api/billing/resume": {"subscriptionId": "{subscription_id}"},
    "POST /api/billing/change": {"subscriptionId": "{subscription_id}", "planSlug": "pro"},
    "PUT /api/billing/auto-topup": {"enabled": False},
    "POST /dashboard/keys": {"name": "a", "pays": "credit"},
    "POST /dashboard/keys/management": {"name": "a", "scopes": "keys:read"},
    "POST /dashboard/billing/usdc": {"amount": "50"},
    "POST /dashboard/operator/accounts/{account_id}/grant": {"amount": "5", "reason": "a"},
    "POST /dashboard/operator/invite": {"email": "new@example.com"},
}
LAST: Final = ("POST /logout", "POST /dashboard/account/sessions/end", "POST /login")
"""What ends the log-in that the others need, and what begins another."""


@dataclass(frozen=True, slots=True)
class Called:
    """A route, as it was called, and what came of it."""

    name: str
    status: int
    rows: int
    statements: int


@dataclass(frozen=True, slots=True)
class Rig:
    """A dashboard and an API with the large account, and what they read."""

    booth: Booth
    browser: Browser
    customer: Customer
    large: LargeAccount
    reads: Reads


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database of each kind with the whole schema."""
    with empty_store(request, tmp_path) as opened:
        yield opened


@pytest.fixture
async def rig(store: Store) -> AsyncIterator[Rig]:
    """Everything, with an administrator who is the large account."""
    node = ChainNode(HttpRpc("http://127.0.0.1:9", timeout_s=1), chain_id=BASE, token=NATIVE_TOKENS[BASE])
    desk = UsdcDeps(node=node, book=AddressBook(new_extended_public_key()), counts_at="safe", pending=tuple)
    async with open_booth(store, usdc=desk) as booth:
        now_us = booth.clock.now_us()
        account_id = booth.account("large@example.com", is_admin=True)
        customer = another_key(store, account_id, "large@example.com", now_us=now_us)
        large = fill(store, account_id, ROWS, now_us=now_us)
        browser = booth.browser()
        assert (await browser.log_in("large@example.com")).status_code == 303
        if not store.is_sqlite:
            # What its statistics would be after a minute, so that it plans for tables of this size.
            with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
                conn.execute(text("VACUUM ANALYZE"))
        with counted(store.engine) as reads:
            yield Rig(booth, browser, customer, large, reads)
    await node.aclose()


async def test_no_call_reads_more_rows_than_its_bound(rig: Rig, record_property: Callable[[str, object], None]) -> None:
    """Every route of the API and of the dashboard, in each way in which it can be asked."""
    called = [await call(rig, name) for name in sorted(routes(rig.booth), key=lambda name: (name in LAST, name))]
    calls = [one for ways in called for one in ways]
    shown = "\n".join(f"{one.rows:>7} rows {one.statements:>3} statements {one.status} {one.name}" for one in calls)
    record_property("shown", shown)
    wrong = [one for one in calls if not _is_right(one)]
    assert wrong == [], f"{wrong}\n{shown}"


def _is_right(one: Called) -> bool:
    answers = (200, 204, 303, 404, 503) if one.name.startswith("GET") else (200, 303, 400, 403, 404, 409, 422, 503)
    most = MOST_ROWS_OF_AN_ACTION if one.name.startswith(ACTIONS) else MOST_ROWS
    most = next((rows for name, rows in LISTS.items() if one.name.startswith(name)), most)
    is_bounded = one.rows <= most and one.statements <= MOST_STATEMENTS
    return one.status in answers and (is_bounded or one.name in WHOLE_TABLES)


def test_the_counter_counts(store: Store) -> None:
    """A scan of a table is counted by its rows, on either engine: otherwise the test above proves nothing."""
    with store.engine.begin() as conn:
        conn.execute(
            text("INSERT INTO cursors (name, position_us) VALUES (:name, 0)"), [{"name": f"{n}"} for n in range(3_000)]
        )
    with counted(store.engine) as reads:
        for statement, least, most in (
            ("SELECT COUNT(*) FROM cursors WHERE position_us = 0", 3_000, 12_000),
            ("SELECT position_us FROM cursors WHERE name = '7'", 0, 50),
        ):
            reads.reset()
            store.read_now(_run, statement)
            assert (least <= reads.rows <= most, len(reads.statements)) == (True, 1), (statement, reads)


def _run(conn: Connection, statement: str) -> None:
    conn.execute(text(statement)).all()


def routes(booth: Booth) -> list[str]:
    """Every method and path."""
    described = booth.plane.app.openapi()["paths"]
    api = [f"{method.upper()} {path}" for path, methods in described.items() for method in methods]
    pages = [f"{method} {route.path}" for route in booth.routes for method in (route.methods or ()) if method != "HEAD"]
    return [*api, *pages]


async def call(rig: Rig, name: str) -> list[Called]:
    """Call a route in each way in which it can be asked."""
    method, path = name.split()
    made = []
    for query in QUERIES.get(name, ("",)):
        rig.booth.clock.advance(10)
        rig.reads.reset()
        answer = await _send(rig, method, _filled(rig, path + query), BODIES.get(name, {}))
        made.append(Called(name + query, answer.status_code, rig.reads.rows, len(rig.reads.statements)))
    return made


async def _send(rig: Rig, method: str, path: str, body: dict[str, object]) -> httpx.Response:
    values = {name: _filled(rig, str(value)) if isinstance(value, str) else value for name, value in body.items()}
    if path.startswith("/api/") or path in ("/healthz", "/readyz"):
        client = rig.booth.plane.client
        sent = None if method in ("GET", "DELETE") else values
        return await client.request(method, path, json=sent, headers=rig.customer.headers)
    return await rig.browser.http.request(method, path, data=None if method == "GET" else values)


def _filled(rig: Rig, path: str) -> str:
    """A path with the large account's ids; a name that is not known stands for what is not there."""
    known = {
        "account_id": rig.large.account_id,
        "key_id": rig.large.management_key_id if "management" in path else rig.large.key_id,
        "subscription_id": rig.large.subscription_id,
        "session_id": rig.large.session_id,
    }
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], "unknown"), path)
