"""`tokenbooth serve` as a process: it starts, refuses, takes grants meanwhile, and ends cleanly."""

import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.support.command import Running, answer, is_refused, running, tokenbooth, url_in_log, wait_until
from tests.support.gateway.ceiling_upstream import CeilingUpstream
from tests.support.raw_client import RawClient
from tests.support.servers import serve
from tokenbooth.http.server import bind, port_of
from tokenbooth_sandbox.models import create_model_server

UPSTREAM_KEY = "upstream-key-for-tests"
MODEL = "a/model"


@pytest.fixture
def upstream() -> Iterator[str]:
    """A model server; the base URL for the configuration."""
    with serve(create_model_server(UPSTREAM_KEY)) as base_url:
        yield f"{base_url}/v1"


@pytest.fixture
def home(tmp_path: Path, upstream: str) -> Path:
    """A directory with a configuration that listens on a free port and offers one model."""
    (tmp_path / "upstream-key").write_text(UPSTREAM_KEY, encoding="utf-8")
    (tmp_path / "tokenbooth.toml").write_text(
        f"""
        [server]
        port = 0
        drain_s = 20
        log_format = "json"

        [upstreams.models]
        base_url = "{upstream}"
        api_key_file = "upstream-key"

        [models."{MODEL}"]
        upstreams = [{{ name = "models" }}]
        input_usd_per_million = "1"
        output_usd_per_million = "1"
        context_tokens = 65536
        max_output_tokens = 8192
        """,
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[Running]:
    """The server, ready."""
    with running("serve", cwd=home, find_url=url_in_log) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer with credit, made while the server runs."""

    management_key: str
    api_key: str


def _customer(home: Path, server: Running) -> Customer:
    account = answer("account", "create", "--email", "ada@example.com", cwd=home)
    answer("credit", "grant", "--account", str(account["accountId"]), "--amount", "5", "--reason", "r", cwd=home)
    management_key = str(account["managementKey"])
    made = httpx.post(f"{server.base_url}/api/keys/credit", headers=_bearer(management_key), json={"name": "one"})
    assert made.status_code == 200, made.text
    return Customer(management_key, str(made.json()["apiKey"]))


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _held(server: Running, customer: Customer) -> str:
    """The credit that calls under way hold."""
    answered = httpx.get(f"{server.base_url}/api/billing/credits", headers=_bearer(customer.management_key))
    return str(answered.json()["held"])


def _ask(server: Running, key: str, content: str) -> httpx.Response:
    return httpx.post(
        f"{server.base_url}/v1/chat/completions",
        headers=_bearer(key),
        json={"model": MODEL, "messages": [{"role": "user", "content": content}]},
        timeout=30,
    )


def test_the_planes_answer_on_one_port(server: Running) -> None:
    """Data plane, management, pages and figures are told apart by their paths, each with our request id."""
    with httpx.Client(base_url=server.base_url) as client:
        get = client.get
        statuses = {path: get(path).status_code for path in ("/", "/healthz", "/readyz", "/openapi.json", "/metrics")}
        assert statuses == dict.fromkeys(statuses, 200)
        assert (get("/v1/models").status_code, get("/v1").status_code) == (401, 404)
        assert (get("/api/billing/status").status_code, get("/api/nothing").status_code) == (401, 404)
        assert (get("/nothing").status_code, get("/_sandbox/stripe/v1/customers").status_code) == (404, 404)
        for path in ("/", "/nothing", "/healthz", "/api/nothing", "/v1/models", "/v1", "/metrics"):
            assert get(path).headers["x-request-id"].startswith("req_"), path
        assert "server" not in get("/").headers


def test_sigterm_ends_with_exit_code_0(home: Path, server: Running) -> None:
    """SIGTERM ends the process with exit code 0, and nothing listens any more."""
    assert httpx.get(f"{server.base_url}/readyz").status_code == 200
    assert server.stop(signal.SIGTERM) == 0
    assert is_refused(server.base_url)
    assert "Traceback" not in server.log.read_text(encoding="utf-8")
    assert server.output.read_text(encoding="utf-8") == ""


def test_ctrl_c_ends_with_exit_code_0(home: Path, server: Running) -> None:
    """Ctrl-C at a terminal is a clean end, too."""
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_a_call_under_way_ends_before_the_server_does(home: Path, server: Running) -> None:
    """SIGTERM in the middle of a call: nobody new is let in, the call is answered whole, charged, and then it ends."""
    customer = _customer(home, server)
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(_ask(server, customer.api_key, "[[delay 2]] Hello")))
    caller.start()
    wait_until(lambda: _held(server, customer) != "0.00", "the call is under way")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: is_refused(server.base_url), "nobody new is let in")
    assert caller.is_alive()
    assert server.process.wait(30) == 0
    caller.join()
    assert [call.status_code for call in answers] == [200]
    log = server.log.read_text(encoding="utf-8")
    assert ("charges_left" in log, "Traceback" in log) == (False, False)
    assert answer("audit", cwd=home)["usageEvents"] == 1
    assert answer("audit", cwd=home)["clean"] is True


def test_a_grant_is_spendable_while_the_server_runs(home: Path, server: Running) -> None:
    """A key without credit is refused; after a grant by the command line it is served within a second."""
    account = answer("account", "create", "--email", "ada@example.com", cwd=home)
    headers = _bearer(str(account["managementKey"]))
    made = httpx.post(f"{server.base_url}/api/keys/credit", headers=headers, json={"name": "one"})
    key = str(made.json()["apiKey"])
    assert _ask(server, key, "Hello").status_code == 402
    answer("credit", "grant", "--account", str(account["accountId"]), "--amount", "5", "--reason", "r", cwd=home)
    wait_until(lambda: _ask(server, key, "Hello").status_code == 200, "the grant is spendable")


def test_a_second_server_is_refused(home: Path, server: Running) -> None:
    """A second server on the same directory says what is in the way, exit code 1; the first one goes on."""
    done = tokenbooth("serve", cwd=home)
    assert (done.returncode, "in use by another tokenbooth process" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr
    assert httpx.get(f"{server.base_url}/readyz").status_code == 200


def test_a_port_in_use_is_said(home: Path, server: Running) -> None:
    """A port that someone else has is a failure that names it."""
    port = server.base_url.rsplit(":", 1)[1]
    other = home / "other"
    other.mkdir()
    done = tokenbooth(
        "serve",
        "--config",
        "tokenbooth.toml",
        cwd=home,
        env={"TOKENBOOTH_SERVER__PORT": port, "TOKENBOOTH_STORE__URL": f"sqlite:///{other / 'tokenbooth.db'}"},
    )
    assert (done.returncode, f"127.0.0.1:{port}" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_a_data_directory_that_cannot_be_used(home: Path) -> None:
    """A place for the charge log that cannot be written stops the start, by its key."""
    done = tokenbooth("serve", cwd=home, env={"TOKENBOOTH_STORE__DATA_DIR": "/proc/none"})
    assert (done.returncode, "store.data_dir: /proc/none" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_a_plan_with_subscribers_must_not_go(home: Path) -> None:
    """A plan that is gone from the file but has subscribers stops the start, by its name; ended ones don't."""
    answer("account", "create", "--email", "ada@example.com", cwd=home)
    engine = create_engine(f"sqlite:///{home / 'tokenbooth.db'}")
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO subscriptions (id, account_id, plan_slug, price_nano, stripe_subscription_id, status, "
                "paid_until_us, ended_at_us, created_at_us, updated_at_us) SELECT 'sub_' || value, accounts.id, value, "
                "1, value, 'active', 9000000000000000, iif(value = 'ended', 1, NULL), 1, 1 "
                'FROM accounts, json_each(\'["gold", "ended", "pro"]\')'
            )
        )
    engine.dispose()
    done = tokenbooth("serve", cwd=home)
    assert done.returncode == 2
    assert "[plans.gold] (1 subscription" in done.stderr
    assert "ended" not in done.stderr
    assert "Traceback" not in done.stderr
    checked = json.loads(tokenbooth("doctor", "--json", cwd=home).stdout)
    assert [f["check"] for f in checked["findings"] if f["level"] == "failed"] == ["plans"]


def test_the_doctor_looks_at_a_running_server(home: Path, server: Running) -> None:
    """All is well: exit code 0, and the doctor sees the server and its upstream."""
    done = tokenbooth("doctor", "--json", cwd=home)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert (done.returncode, findings["upstream models"]["level"]) == (0, "ok")
    assert "a server is running" in findings["data directory"]["found"]
    assert UPSTREAM_KEY not in done.stdout


def test_the_doctor_says_what_is_wrong(home: Path) -> None:
    """An upstream that is away is exit code 1 and comes with advice."""
    done = tokenbooth("doctor", cwd=home, env={"TOKENBOOTH_UPSTREAMS__MODELS__BASE_URL": "http://127.0.0.1:1/v1"})
    assert done.returncode == 1
    assert "check base_url" in done.stdout


def _metrics_url(server: Running) -> str:
    started = next(line for line in server.log.read_text(encoding="utf-8").splitlines() if '"listening"' in line)
    return str(json.loads(started)["metrics_url"])


def test_the_doctor_asks_which_ceiling_is_obeyed(home: Path) -> None:
    """With --ask alone: each name is tried at each model, and what is sent and obeyed counts for the server too."""
    upstream = CeilingUpstream(obeys=("max_tokens",), writes=80)
    with serve(upstream, lifespan="off") as url:
        env = {"TOKENBOOTH_UPSTREAMS__MODELS__BASE_URL": f"{url}/v1"}
        tokenbooth("migrate", cwd=home, env=env)
        tokenbooth("doctor", cwd=home, env=env)
        assert upstream.written == []
        done = tokenbooth("doctor", "--ask", "--json", cwd=home, env=env)
        findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
        chat = findings[f"ceiling of {MODEL} at models (openai.chat)"]
        assert chat["level"] == "ok"
        assert "obeyed: max_tokens; ignored: max_completion_tokens, " in chat["found"]
        assert findings[f"ceiling of {MODEL} at models (openai.responses)"]["level"] == "failed"
        assert "models is generic" in findings["upstream kinds"]["found"]
        again = tokenbooth("doctor", "--json", cwd=home, env=env)
        assert f"seen obeyed: {MODEL} at models" in again.stdout
        wrong = {**env, "TOKENBOOTH_UPSTREAMS__MODELS__OUTPUT_LIMIT_FIELD": "n_predict"}
        done = tokenbooth("doctor", "--ask", "--json", cwd=home, env=wrong)
    chat = {f["check"]: f for f in json.loads(done.stdout)["findings"]}[chat["check"]]
    assert (done.returncode, chat["level"]) == (1, "failed")
    assert chat["advice"] == 'set output_limit_field = "max_tokens"'


def test_the_start_says_what_each_upstream_is_taken_for(server: Running) -> None:
    """One line, so that nobody has to guess which fields go there."""
    lines = [line for line in server.log.read_text(encoding="utf-8").splitlines() if "upstream_kinds" in line]
    assert len(lines) == 1
    assert "models is generic (nothing tells more)" in lines[0]


def test_figures_are_for_this_machine_only(server: Running) -> None:
    """Figures are shown to this machine, not to someone for whom a proxy on this machine asks."""
    figures = httpx.get(f"{server.base_url}/metrics").text
    assert "tokenbooth_store_up 1.0" in figures
    assert f'tokenbooth_upstream_state{{model="{MODEL}",state="up",upstream="models"}} 1.0' in figures
    proxied = httpx.get(f"{server.base_url}/metrics", headers={"x-forwarded-for": "203.0.113.9"})
    assert proxied.status_code == 404


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1:8080", 200),
        (b"GET /metrics HTTP/1.1\r\nhost: LOCALHOST", 200),
        (b"GET /metrics HTTP/1.1\r\nhost: [::1]:8080", 200),
        (b"GET /%6detrics?x=1 HTTP/1.1\r\nhost: 127.0.0.1", 200),
        # nginx with a bare proxy_pass, and HAProxy without `option forwardfor`.
        (b"GET /metrics HTTP/1.0\r\nhost: 127.0.0.1:8080\r\nconnection: close", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: booth.example", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: localhost.booth.example", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: booth.example", 404),
        (b"GET http://localhost/metrics HTTP/1.1\r\nhost: booth.example", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: ", 404),
        (b"GET /metrics HTTP/1.1\r\nx: y", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 127.0.0.1", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nforwarded: for=127.0.0.1", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 proxy", 404),
        (b"GET /metrics/ HTTP/1.1\r\nhost: localhost", 404),
        (b"GET //metrics HTTP/1.1\r\nhost: localhost", 404),
        (b"GET /metrics%00 HTTP/1.1\r\nhost: localhost", 400),
    ],
)
def test_what_a_proxy_forwards_is_no_request_of_this_machine(server: Running, head: bytes, status: int) -> None:
    """A proxy shows by its headers, by the host that its client asked for, or by HTTP/1.0."""
    with RawClient(int(server.base_url.rpartition(":")[2])) as client:
        assert client.send(head + b"\r\n\r\n").answer().status == status


@pytest.mark.parametrize("proxies", ["[]", '["127.0.0.1"]'])
def test_with_a_public_address_figures_are_closed(home: Path, proxies: str) -> None:
    """Nobody gets them on the main port, this machine included; their own listener has them."""
    with bind("127.0.0.1", 0) as free:
        port = port_of(free)
    env = {
        "TOKENBOOTH_SERVER__PORT": str(port),
        "TOKENBOOTH_SERVER__PUBLIC_URL": "https://booth.example",
        "TOKENBOOTH_SERVER__METRICS_BIND": "127.0.0.1:0",
        "TOKENBOOTH_SERVER__TRUSTED_PROXIES": proxies,
    }
    asked: list[dict[str, str]] = [{}, {"x-forwarded-for": "127.0.0.1"}, {"host": "localhost"}]
    with running("serve", cwd=home, find_url=url_in_log, env=env) as server:
        for headers in asked:
            assert httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers).status_code == 404
        assert "tokenbooth_store_up 1.0" in httpx.get(_metrics_url(server)).text
        assert server.stop() == 0


def test_figures_may_have_a_listener_of_their_own(home: Path) -> None:
    """`metrics_bind` opens a second address that serves the figures."""
    env = {"TOKENBOOTH_SERVER__METRICS_BIND": "127.0.0.1:0"}
    with running("serve", cwd=home, find_url=url_in_log, env=env) as server:
        assert "tokenbooth_store_up 1.0" in httpx.get(_metrics_url(server)).text
        assert server.stop() == 0
