"""The service killed at random instants under load: what was answered is charged once, nothing else is.

Three kills an engine in every run; `make test-crash` kills twenty times (TOKENBOOTH_TEST_KILLS=20).
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, select

from tests.support.command import wait_until
from tests.support.gateway.gateway_rig import MODEL, UPSTREAM_KEY
from tests.support.postgres import Postgres
from tests.support.servers import lasting_port, serve
from tokenbooth.domain.keys import KeyKind, digest, shown_prefix
from tokenbooth.domain.money import parse_usd
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import usage_events
from tokenbooth_sandbox.models import create_model_server

KILLS = int(os.environ.get("TOKENBOOTH_TEST_KILLS", "3"))
CLIENTS = 8
GRACE_US = 6 * 3_600_000_000
PROMPTS = ("Hello", "[[write 40]] [[token-delay 0.005]]", "[[write 20]] [[delay 0.02]]", "[[fail 500]]")


@dataclass(slots=True)
class Answers:
    """What the clients saw: the end of an answer with its cost, or a refusal."""

    ended: dict[str, Decimal] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def are_more_than(self, least: int) -> bool:
        """Whether so many answers ended."""
        return len(self.ended) > least


@dataclass(slots=True)
class Service:
    """A `tokenbooth serve` of its own process."""

    config: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with (self.config.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tokenbooth", "serve", "--config", str(self.config)], stdout=log, stderr=log
            )
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            assert self.process.poll() is None, (self.config.parent / "serve.log").read_text()
            try:
                if httpx.get(f"{self.base_url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError("the service did not become ready")

    def end(self, signal_number: int) -> int:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(signal_number)
        return self.process.wait(40)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The database of the service: a new file, or a new database of a real PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'tokenbooth.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[Service]:
    """A service with one upstream, started; killed at the end if it still runs."""
    with serve(create_model_server(UPSTREAM_KEY)) as upstream_url:
        port = lasting_port()
        config = tmp_path / "tokenbooth.toml"
        config.write_text(_configuration(port, database_url, tmp_path, upstream_url))
        running = Service(config, port)
        running.start()
        yield running
        if running.process is not None and running.process.poll() is None:
            running.end(signal.SIGKILL)


def test_answers_survive_kills_under_load_charged_exactly_once(service: Service, database_url: str) -> None:
    """Scenario 52: kill -9 at random instants under load; audit clean, every answered request charged once."""
    store = open_store(database_url)
    key = customer(service, store)
    answers = Answers()
    rng = random.Random(20_261_123)
    for number in range(KILLS):
        stop = threading.Event()
        clients = [
            threading.Thread(target=_call_until, args=(service.base_url, key, stop, answers, n)) for n in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(rng.uniform(0.2, 1.2))
        # A busy machine answers fewer calls in that time.
        wait_until(partial(answers.are_more_than, 10 * (number + 1)), "enough answers")
        service.end(signal.SIGKILL)
        stop.set()
        for client in clients:
            client.join()
        service.start()
        _assert_each_charged_once(store, answers)
    assert len(answers.ended) > 10 * KILLS
    store.close()


def test_a_terminated_service_lets_streams_end_and_settles(service: Service, database_url: str) -> None:
    """SIGTERM in mid-stream: the stream ends whole, its charge is in the store, the exit code is 0."""
    store = open_store(database_url)
    key = customer(service, store)
    answers = Answers()
    began, code = threading.Event(), []
    prompt = "[[write 100]] [[token-delay 0.01]]"
    client = threading.Thread(target=_stream, args=(service.base_url, key, prompt, answers, began))
    client.start()
    began.wait(10)
    code.append(service.end(signal.SIGTERM))
    client.join()
    assert code == [0]
    assert len(answers.ended) == 1
    _assert_each_charged_once(store, answers)
    store.close()


def test_an_answer_that_was_read_on_when_the_kill_came_is_free(service: Service, database_url: str) -> None:
    """P10: its client had left, nobody heard its end, and nothing of it is charged or held after the restart."""
    store = open_store(database_url)
    key = customer(service, store)
    body = _body("[[write 200]] [[token-delay 0.05]]") | {"stream": True, "reasoning_effort": "low"}
    with httpx.stream("POST", f"{service.base_url}/v1/chat/completions", headers=_headers(key), json=body) as response:
        next(response.iter_raw())
    # Long enough for a plain stream to have been stopped and charged.
    time.sleep(0.5)
    service.end(signal.SIGKILL)
    service.start()
    _assert_each_charged_once(store, Answers())
    pool = httpx.get(f"{service.base_url}/v1/usage", headers=_headers(key)).json()["pool"]
    assert store.read_now(lambda conn: conn.scalars(select(usage_events.c.request_id)).all()) == []
    assert (pool["held"], Decimal(pool["available"])) == ("0.00", Decimal(100))
    store.close()


def _assert_each_charged_once(store: Store, answers: Answers) -> None:
    def charged(conn: Connection) -> dict[str, int]:
        rows = conn.execute(select(usage_events.c.request_id, usage_events.c.charged_nano))
        return {row.request_id: row.charged_nano for row in rows}

    booked = store.read_now(charged)
    missing = answers.ended.keys() - booked.keys()
    assert missing == set()
    assert {r: parse_usd(cost) for r, cost in answers.ended.items()} == {r: booked[r] for r in answers.ended}
    assert answers.refused & booked.keys() == set()
    report = store.read_now(audit)
    assert report.differences == ()


def _call_until(base_url: str, key: str, stop: threading.Event, answers: Answers, number: int) -> None:
    rng = random.Random(number)
    while not stop.is_set():
        prompt = rng.choice(PROMPTS)
        if rng.random() < 0.5:
            _stream(base_url, key, prompt, answers, threading.Event())
        else:
            _whole(base_url, key, prompt, answers)


def _whole(base_url: str, key: str, prompt: str, answers: Answers) -> None:
    try:
        response = httpx.post(f"{base_url}/v1/chat/completions", headers=_headers(key), json=_body(prompt), timeout=30)
    except httpx.TransportError:
        return
    request_id = response.headers["x-request-id"]
    if response.status_code == 200:
        answers.ended[request_id] = Decimal(response.headers["x-cost-usd"])
    else:
        answers.refused.add(request_id)


def _stream(base_url: str, key: str, prompt: str, answers: Answers, began: threading.Event) -> None:
    body = _body(prompt) | {"stream": True, "stream_options": {"include_usage": True}}
    cost = None
    try:
        with httpx.stream(
            "POST", f"{base_url}/v1/chat/completions", headers=_headers(key), json=body, timeout=30
        ) as response:
            request_id = response.headers["x-request-id"]
            if response.status_code != 200:
                answers.refused.add(request_id)
                return
            for line in response.iter_lines():
                began.set()
                if '"cost":' in line:
                    cost = json.loads(line.removeprefix("data: "), parse_float=Decimal)["usage"]["cost"]
                if line == "data: [DONE]" and cost is not None:
                    answers.ended[request_id] = cost
    except httpx.TransportError:
        return


def _headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _body(prompt: str) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}


def customer(service: Service, store: Store) -> str:
    account = json.loads(cli(service, "account", "create", "--email", "ada@example.com", "--json"))
    cli(service, "credit", "grant", "--account", account["accountId"], "--amount", "100", "--reason", "test")
    key = new_key(KeyKind.API)
    new = NewApiKey(
        id=new_id(IdPrefix.API_KEY, 1),
        account_id=account["accountId"],
        name="crash",
        digest=digest(key),
        prefix=shown_prefix(key, KeyKind.API),
    )
    store.write_now(create_api_key, new, max_keys=10, grace_us=GRACE_US, actor="test", now_us=time.time_ns() // 1_000)
    return key


def cli(service: Service, *arguments: str) -> str:
    command = [sys.executable, "-m", "tokenbooth", *arguments, "--config", str(service.config)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _configuration(port: int, database_url: str, data_dir: Path, upstream_url: str) -> str:
    return f"""
[server]
port = {port}
[store]
url = "{database_url}"
data_dir = "{data_dir}"
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
