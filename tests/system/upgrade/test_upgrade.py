"""What earlier versions left behind goes on under this one: their databases, settings, keys and charge logs.

Each directory beside this file was made by the version that it is named for: see `scripts/upgrade-fixture`.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import Connection, func, select

from tests.support.command import Running, running, tokenbooth, url_in_log
from tests.support.postgres import Postgres
from tests.support.servers import serve
from tokenbooth.store.engine import open_store
from tokenbooth.store.tables import ledger_accounts, usage_events
from tokenbooth_sandbox.models import create_model_server

VERSIONS = sorted(path.name for path in Path(__file__).parent.iterdir() if (path / "tokenbooth.toml").exists())
MODEL = "deepseek/deepseek-chat-v3-0324"
UPSTREAM_KEY = "fixture"
# Nobody listens there: what this version asks of Stripe and of the chain is not what is tested here.
NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Left:
    """A copy of what an earlier version left, and what must come of it.

    Attributes:
        home: the directory with its configuration and its charge log.
        env: what leads the program to the copied database and to the test's upstream.
        balances: by ledger account, nano-USD once the log is replayed; a window's name is without its start.
        charged_nano: by request, what the clients of the charges in the log were told.
        usage_events: how many there are then.
        keys: API keys and a management key in clear, by name.
    """

    home: Path
    store_url: str
    env: dict[str, str]
    balances: dict[str, int]
    charged_nano: dict[str, int]
    usage_events: int
    keys: dict[str, str] = field(repr=False)

    def command(self, *arguments: str) -> dict[str, object]:
        """Run a command that must succeed."""
        done = tokenbooth(*arguments, "--json", cwd=self.home, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def books(self) -> tuple[dict[str, int], dict[str, int], int]:
        """In the database: balances, what requests of the log were charged, how many usage events there are."""

        def read(conn: Connection) -> tuple[dict[str, int], dict[str, int], int]:
            kinds = ("credit", "debt", "key_spend", "window_spend")
            accounts = conn.execute(select(ledger_accounts).where(ledger_accounts.c.kind.in_(kinds)))
            balances = {_without_start(row.id): row.balance_nano for row in accounts}
            events = conn.execute(
                select(usage_events.c.request_id, usage_events.c.charged_nano).where(
                    usage_events.c.request_id.in_(self.charged_nano)
                )
            )
            charged = {row.request_id: row.charged_nano for row in events}
            return balances, charged, conn.execute(select(func.count()).select_from(usage_events)).scalar_one()

        store = open_store(self.store_url)
        try:
            return store.read_now(read)
        finally:
            store.close()


def _without_start(ledger_account: str) -> str:
    kind, owner, *_ = ledger_account.split(":")
    return f"{kind}:{owner}"


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Path:
    """The directory of an earlier version."""
    return Path(__file__).parent / str(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def left(request: pytest.FixtureRequest, version: Path, tmp_path: Path) -> Iterator[Left]:
    """A copy of what the version left, on each engine."""
    source = version / str(request.param)
    with serve(create_model_server(UPSTREAM_KEY)) as upstream_url, _database(request, source, tmp_path) as store_url:
        yield _copy(version / "tokenbooth.toml", source, tmp_path, store_url, upstream_url)


@contextmanager
def _database(request: pytest.FixtureRequest, source: Path, home: Path) -> Iterator[str]:
    """A copy of a version's database; its URL."""
    if request.param == "sqlite":
        shutil.copyfile(source / "tokenbooth.sqlite", home / "tokenbooth.db")
        yield f"sqlite:///{home / 'tokenbooth.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    store_url = server.new_database(empty=True)
    with psycopg.connect(store_url) as conn:
        conn.execute((source / "dump.sql").read_bytes())
    yield store_url
    server.drop_database(store_url)


def _copy(configuration: Path, source: Path, home: Path, store_url: str, upstream_url: str) -> Left:
    shutil.copytree(source / "charges", home / "charges")
    shutil.copyfile(configuration, home / "tokenbooth.toml")
    expected = json.loads((source / "expected.json").read_text(encoding="utf-8"))
    return Left(
        home=home,
        store_url=store_url,
        env={
            "TOKENBOOTH_STORE__URL": store_url,
            "TOKENBOOTH_STORE__DATA_DIR": str(home),
            "TOKENBOOTH_SERVER__PORT": "0",
            "TOKENBOOTH_STRIPE__API_BASE": f"{NOBODY}/_sandbox/stripe",
            "TOKENBOOTH_USDC__RPC_URL": NOBODY,
            "TOKENBOOTH_UPSTREAMS__DEMO__BASE_URL": f"{upstream_url}/v1",
            "TOKENBOOTH_UPSTREAMS__DEMO__API_KEY": UPSTREAM_KEY,
            # Made long ago one day, and still to be counted then.
            "TOKENBOOTH_RETENTION__USAGE_DAYS": "36500",
        },
        balances=expected["balances_after_replay"],
        charged_nano=expected["charged_nano_by_request"],
        usage_events=expected["usage_events_after_replay"],
        keys={
            name.removesuffix("_in_two_parts"): "".join(value)
            for name, value in expected.items()
            if name.endswith("_in_two_parts")
        },
    )


def _call(server: Running, key: str) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    return httpx.post(
        f"{server.base_url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30
    )


def test_what_an_earlier_version_left_goes_on(left: Left) -> None:
    """It is migrated, the charges that `kill -9` left are booked to the nano-dollar and once, and old keys work."""
    left.command("migrate")
    assert len(left.charged_nano) == 15

    with running("serve", cwd=left.home, find_url=url_in_log, env=left.env) as server:
        assert left.books() == (left.balances, left.charged_nano, left.usage_events)
        assert _call(server, left.keys["credit_key"]).status_code == 200
        assert _call(server, left.keys["capped_key"]).status_code == 200
        assert _call(server, left.keys["deleted_key"]).status_code == 401
        shown = httpx.get(
            f"{server.base_url}/api/billing/credits",
            headers={"authorization": f"Bearer {left.keys['management_key']}"},
            timeout=30,
        )
        assert shown.status_code == 200
        assert server.stop() == 0

    assert left.command("audit")["clean"] is True
    assert list((left.home / "charges").iterdir()) == []
    assert left.books()[2] == left.usage_events + 2


def test_a_second_start_books_nothing_again(left: Left) -> None:
    """The same log replayed twice, as after a kill between the replay and its end, changes nothing."""
    log = left.home / "charges" / "000000000001.log"
    content = log.read_bytes()
    for _ in range(2):
        log.write_bytes(content)
        with running("serve", cwd=left.home, find_url=url_in_log, env=left.env) as server:
            assert server.stop() == 0
        assert left.books() == (left.balances, left.charged_nano, left.usage_events)
    assert left.command("audit")["clean"] is True


def test_a_damaged_log_of_an_earlier_version_is_booked_whole(left: Left) -> None:
    """One flipped bit in it loses no charge, and is told."""
    log = left.home / "charges" / "000000000001.log"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with running("serve", cwd=left.home, find_url=url_in_log, env=left.env) as server:
        assert server.stop() == 0

    assert left.books() == (left.balances, left.charged_nano, left.usage_events)
    assert left.command("audit")["clean"] is True
    said = [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]
    (damaged,) = [line for line in said if line["event"] == "charge_log_damaged"]
    assert (damaged["level"], damaged["charges_read"], damaged["records_restored"]) == ("error", 15, 1)
    assert left.command("charges", "replay")["booked"] == 0
