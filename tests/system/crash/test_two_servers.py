"""Two servers on one database: the second is refused, a dead one is replaced, a frozen one that wakes spends nothing.

Real processes, killed and stopped by signals, on both engines.
"""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, select, update

from tests.support.command import Running, answer, running, tokenbooth, url_in_log, wait_until
from tests.support.gateway.gateway_rig import MODEL, UPSTREAM_KEY
from tests.support.postgres import Postgres
from tests.support.servers import serve
from tokenbooth.domain.ledger import key_spend
from tokenbooth.store import processes
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.ledger import balance_nano
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import api_keys, gateway_processes, usage_events
from tokenbooth_sandbox.models import create_model_server

CAP_NANO = 1_000_000
# Each starts some ten processes, which take their time on a busy machine.
pytestmark = pytest.mark.timeout(400)

COST_NANO = 1_000 * 270 + 100 * 1_100
CALL = "[[usage prompt=1000 completion=100]]"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The database of the servers: a new file, or a new database of a real PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'tokenbooth.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def homes(tmp_path: Path, database_url: str) -> Iterator[list[Path]]:
    """Three directories, each with a configuration of its own for the same database."""
    with serve(create_model_server(UPSTREAM_KEY)) as upstream_url:
        made = []
        for name in ("first", "second", "third"):
            home = tmp_path / name
            home.mkdir()
            (home / "tokenbooth.toml").write_text(configuration(database_url, home, upstream_url))
            made.append(home)
        yield made


@pytest.fixture
def store(homes: list[Path], database_url: str) -> Iterator[Store]:
    """The database, with its schema."""
    answer("migrate", cwd=homes[0])
    opened = open_store(database_url)
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer with credit and a key whose cap pays for two calls and a half."""

    management_key: str
    api_key: str


def new_customer(home: Path, server: Running) -> Customer:
    """Made by the command line, and over HTTP."""
    account = answer("account", "create", "--email", "ada@example.com", cwd=home)
    answer("credit", "grant", "--account", "ada@example.com", "--amount", "5", "--reason", "test", cwd=home)
    management_key = str(account["managementKey"])
    made = httpx.post(
        f"{server.base_url}/api/keys/credit",
        headers={"authorization": f"Bearer {management_key}"},
        json={"name": "one", "maxBudget": "0.001"},
    )
    return Customer(management_key, str(made.json()["data"]["apiKey"]))


def ask(server: Running, customer: Customer, text: str = CALL) -> httpx.Response:
    """A chat completion."""
    return httpx.post(
        f"{server.base_url}/v1/chat/completions",
        headers={"authorization": f"Bearer {customer.api_key}"},
        json={"model": MODEL, "messages": [{"role": "user", "content": text}]},
        timeout=100,
    )


def held(server: Running, customer: Customer) -> str:
    """The credit that calls under way hold."""
    headers = {"authorization": f"Bearer {customer.management_key}"}
    return str(httpx.get(f"{server.base_url}/api/billing/credits", headers=headers).json()["held"])


def serving(stack: ExitStack, home: Path) -> Running:
    """A server that is ready."""
    return stack.enter_context(running("serve", cwd=home, find_url=url_in_log))


def listed(home: Path) -> list[tuple[str, str | None, str]]:
    """State, reason and directory of each run, as the command tells them."""
    found = answer("processes", cwd=home)["processes"]
    assert isinstance(found, list)
    return [(row["state"], row["closedHow"], Path(row["directory"]).name) for row in found]


def stored(store: Store) -> list[tuple[str, str | None, str]]:
    """The same as the database has it, which is there sooner."""
    found = store.read_now(processes.newest, 10)
    return [(row.state.value, row.closed_how, Path(row.directory).name) for row in found]


def live_epoch(store: Store) -> str:
    """The run that is open."""
    [epoch] = [row.epoch for row in store.read_now(processes.newest, 10) if row.closed_at_us is None]
    return epoch


def events(server: Running) -> list[str]:
    """What a server wrote in its log."""
    lines = server.log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def test_a_second_server_is_refused(homes: list[Path], store: Store) -> None:
    """It says which one is in the way, and exits with 1; the first one goes on, and can't be closed by mistake."""
    first_home, second_home, _ = homes
    with ExitStack() as stack:
        first = serving(stack, first_home)
        customer = new_customer(first_home, first)
        done = tokenbooth("serve", cwd=second_home)
        assert done.returncode == 1
        for named in (f"pid {first.process.pid}", f"directory {first_home}", "host ", live_epoch(store)):
            assert named in done.stderr
        assert "Traceback" not in done.stderr
        asked = tokenbooth("processes", "close", live_epoch(store), "--yes", cwd=first_home)
        assert (asked.returncode, "it lives" in asked.stderr) == (1, True)
        # Commands work beside it, and no row is made for them.
        answer("credit", "grant", "--account", "ada@example.com", "--amount", "1", "--reason", "test", cwd=second_home)
        assert ask(first, customer).status_code == 200
        assert listed(second_home) == stored(store) == [("live", None, "first")]
        assert "servers" in tokenbooth("doctor", cwd=second_home).stdout
        assert first.stop() == 0
    assert stored(store) == [("closed", "stopped", "first")]
    with ExitStack() as stack:
        serving(stack, second_home)
        assert stored(store)[0] == ("live", None, "second")


def test_after_a_kill_the_same_directory_goes_on_at_once(homes: list[Path], store: Store) -> None:
    """Three kills in a row; then another directory goes on when the operator says that the first one is dead."""
    first_home, second_home, _ = homes
    with ExitStack() as stack:
        first = serving(stack, first_home)
        customer = new_customer(first_home, first)
        answered = [ask(first, customer).headers["x-request-id"]]
        for _ in range(3):
            first.process.kill()
            first.process.wait()
            first = serving(stack, first_home)
            assert "waiting_for_process" not in events(first)
        answered.append(ask(first, customer).headers["x-request-id"])
        first.process.kill()
        first.process.wait()
        epoch = live_epoch(store)
        assert tokenbooth("processes", "close", "gw_none", "--yes", cwd=second_home).returncode == 1
        assert answer("processes", "close", epoch, "--yes", cwd=second_home) == {"epoch": epoch, "closed": True}
        assert tokenbooth("processes", "close", epoch, "--yes", cwd=second_home).returncode == 1
        second = serving(stack, second_home)
        assert "waiting_for_process" not in events(second)
        states = stored(store)
        assert states[:2] == [("live", None, "second"), ("closed", "command", "first")]
        assert states[2:] == [("closed", "same_directory", "first")] * 3
        # A call that was answered and not stored is in the first directory's log; its next start brings it.
        assert second.stop() == 0
        third = serving(stack, first_home)
        assert third.stop() == 0
    assert set(booked(store)) == set(answered)
    assert store.read_now(audit).clean


def test_a_frozen_server_that_was_replaced_spends_nothing(homes: list[Path], store: Store) -> None:
    """Frozen in the middle of a call, taken for dead and replaced, it wakes: it admits nothing, and its late charge is
    booked once, up to what the other one left of the cap."""
    first_home, second_home, _ = homes
    with ExitStack() as stack:
        first = serving(stack, first_home)
        customer = new_customer(first_home, first)
        assert ask(first, customer).status_code == 200
        wait_until(lambda: held(first, customer) == "0.00", "the first call is over")
        late: list[httpx.Response] = []
        caller = threading.Thread(target=lambda: late.append(ask(first, customer, f"{CALL} [[delay 3]]")))
        caller.start()
        wait_until(lambda: held(first, customer) != "0.00", "the call is under way")
        first.process.send_signal(signal.SIGSTOP)
        try:
            store.write_now(forget_beats)
            second = serving(stack, second_home)
            assert "process_taken_over" in events(second)
            answers = [ask(second, customer)]
            while answers[-1].status_code == 200:
                answers.append(ask(second, customer))
            assert answers[-1].json()["error"]["code"] == "key_budget_exceeded"
            # What is booked last is cut to what is left of the cap: let that be the late charge.
            answered = {each.headers["x-request-id"] for each in answers[:-1]}
            wait_until(lambda: answered <= booked(store).keys(), "what the second one answered is booked")
        finally:
            first.process.send_signal(signal.SIGCONT)
        assert ask(first, customer).status_code == 503
        caller.join()
        assert late[0].status_code == 200
        late_id = late[0].headers["x-request-id"]
        wait_until(lambda: late_id in booked(store), "the late charge is booked")
        wait_until(lambda: "process_closed" in events(first), "it knows that it was replaced")
        assert httpx.get(f"{first.base_url}/readyz").status_code == 503
        assert httpx.get(f"{second.base_url}/readyz").status_code == 200
        assert "tokenbooth_process_open 0.0" in httpx.get(f"{first.base_url}/metrics").text
        assert ask(first, customer).status_code == 503
        assert first.stop() == 0
        refused = tokenbooth("serve", cwd=first_home)
        assert (refused.returncode, f"directory {second_home}" in refused.stderr) == (1, True)
        assert second.stop() == 0
    charged, uncollected = booked(store)[late_id]
    assert charged + uncollected == COST_NANO
    assert uncollected > 0
    assert store.read_now(spent_by_key) == sum(charged for charged, _ in booked(store).values()) <= CAP_NANO
    assert store.read_now(audit).clean
    assert [row[:2] for row in stored(store)] == [("closed", "stopped"), ("closed", "silent")]


def forget_beats(conn: Connection) -> None:
    """Let the last beat be three minutes ago."""
    columns = gateway_processes.c
    conn.execute(update(gateway_processes).values(beat_at_us=columns.beat_at_us - 180_000_000))


def booked(store: Store) -> dict[str, tuple[int, int]]:
    """What each call was charged, and what was not collected, in nano-USD."""

    def read(conn: Connection) -> dict[str, tuple[int, int]]:
        rows = conn.execute(
            select(usage_events.c.request_id, usage_events.c.charged_nano, usage_events.c.uncollected_nano)
        )
        return {row.request_id: (row.charged_nano, row.uncollected_nano) for row in rows}

    return store.read_now(read)


def spent_by_key(conn: Connection) -> int:
    """What the only key spent, in nano-USD."""
    return balance_nano(conn, key_spend(conn.execute(select(api_keys.c.id)).scalar_one()))


def configuration(database_url: str, home: Path, upstream_url: str) -> str:
    """A server on a free port."""
    return f"""
[server]
port = 0
log_format = "json"
[store]
url = "{database_url}"
data_dir = "{home}"
[upstreams.models]
base_url = "{upstream_url}/v1"
api_key = "{UPSTREAM_KEY}"
[models."{MODEL}"]
upstreams = [{{ name = "models", model = "deepseek-chat" }}]
input_usd_per_million = "0.27"
cached_input_usd_per_million = "0.07"
output_usd_per_million = "1.10"
context_tokens = 65536
max_output_tokens = 8192
"""
