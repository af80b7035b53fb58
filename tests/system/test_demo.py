"""The demo as a process: it starts with nothing, can be played through, and goes on after a restart."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from tests.support.command import Running, answer, running, tokenbooth
from tokenbooth_sandbox.demo_texts import MODEL

# Made up here, and only as long as it must be to be taken for a live key.
LIVE_KEY = "sk_" + "live_" + "x"


def _url(output: str, _log: str) -> str | None:
    if "Ctrl-C stops it" not in output:
        return None
    found = re.search(r"Address: +(\S+)", output)
    return None if found is None else found.group(1)


def _demo(cwd: Path, *arguments: str) -> AbstractContextManager[Running]:
    return running("demo", "--port", "0", *arguments, cwd=cwd, find_url=_url)


def _access(directory: Path) -> dict[str, str]:
    read = json.loads((directory / "demo.json").read_text(encoding="utf-8"))
    assert isinstance(read, dict)
    return read


def _walk_through(output: str) -> str:
    """The commands that the demo printed."""
    return output[output.index("API=") : output.index("Ctrl-C stops it")]


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_the_walk_through_runs_as_printed(tmp_path: Path) -> None:
    """Pasted into a shell, the walk-through subscribes, pays, makes a key, uses it and shows the cost."""
    with _demo(tmp_path) as demo:
        script = _walk_through(demo.output.read_text(encoding="utf-8"))
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
        assert demo.stop(signal.SIGTERM) == 0
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    paid, status, completion, usage, deposit = lines
    assert paid["status"] == "complete"
    assert [subscription["status"] for subscription in status["subscriptions"]] == ["active"]
    assert completion["usage"]["completion_tokens"] > 0
    assert usage["total"]["requests"] == 1
    assert (deposit["status"], deposit["credited"], deposit["amountMismatch"]) == ("credited", "50.00", False)
    assert answer("audit", "--config", "tokenbooth-demo/tokenbooth.toml", cwd=tmp_path)["clean"] is True


def test_a_restart_goes_on_with_the_same_data(tmp_path: Path) -> None:
    """Started again on its directory, killed or not, the demo has the same key, the same money, the same sandbox."""
    with _demo(tmp_path) as demo:
        key = _access(tmp_path / "tokenbooth-demo")["managementKey"]
        topped = httpx.post(
            f"{demo.base_url}/api/billing/topup",
            headers=_bearer(key),
            json={"amount": 50, "method": "stripe"},
        ).json()
        paid = httpx.post(topped["sessionUrl"].replace("localhost", "127.0.0.1"), data={"card": "4242424242424242"})
        assert paid.status_code == 200
        demo.process.kill()
        demo.process.wait(30)
    before = _access(tmp_path / "tokenbooth-demo")
    with _demo(tmp_path) as demo:
        after = _access(tmp_path / "tokenbooth-demo")
        credit = httpx.get(f"{demo.base_url}/api/billing/credits", headers=_bearer(key)).json()
        assert demo.stop() == 0
    assert credit["balance"] == "50.00"
    assert after == {**before, "baseUrl": demo.base_url}


def _modes(kept: Path) -> dict[str, int]:
    """Every file and directory of a demo, with its mode."""
    return {str(path.relative_to(kept)): path.stat().st_mode & 0o777 for path in (kept, *kept.rglob("*"))}


def _private(names: Iterable[str]) -> dict[str, int]:
    return {name: 0o700 if name in (".", "charges") else 0o600 for name in names}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_kept_is_private(tmp_path: Path, umask: int) -> None:
    """Everything is readable by its owner only, also what is there while it runs, and whatever the umask is."""
    kept = tmp_path / "kept"
    (tmp_path / "server.out").touch()
    (tmp_path / "server.err").touch()
    before = os.umask(umask)
    try:
        # The process inherits it; what the test itself writes was made before.
        with _demo(tmp_path, "--data-dir", "kept") as demo:
            while_it_runs = _modes(kept)
            assert demo.stop() == 0
    finally:
        os.umask(before)
    after = _modes(kept)
    assert while_it_runs == _private(while_it_runs)
    assert after == _private(after)
    assert {"demo.json", "tokenbooth.toml", "tokenbooth.db", "stripe-sandbox.db", "chain-sandbox.json"} <= set(after)
    assert {"tokenbooth.db-wal", "tokenbooth.db-shm", "charges", "tokenbooth.lock"} <= set(while_it_runs)
    assert set(_access(kept)) == {"baseUrl", "managementKey", "email", "password"}


def test_what_an_earlier_version_left_readable_is_closed(tmp_path: Path) -> None:
    """Started again, the demo makes its own files private."""
    with _demo(tmp_path) as demo:
        assert demo.stop() == 0
    kept = tmp_path / "tokenbooth-demo"
    for path in kept.glob("*.*"):
        path.chmod(0o644)
    with _demo(tmp_path) as demo:
        assert demo.stop() == 0
    modes = _modes(kept)
    assert modes == _private(modes)


def test_a_lost_access_file_is_made_again(tmp_path: Path) -> None:
    """Without its access file the demo gives a new key to the same account."""
    with _demo(tmp_path) as demo:
        assert demo.stop() == 0
    access_file = tmp_path / "tokenbooth-demo" / "demo.json"
    old = _access(access_file.parent)
    access_file.write_text("{", encoding="utf-8")
    with _demo(tmp_path) as demo:
        new = _access(access_file.parent)
        status = httpx.get(f"{demo.base_url}/api/billing/status", headers=_bearer(new["managementKey"]))
        assert demo.stop() == 0
    assert status.status_code == 200
    assert new["email"] == old["email"]
    assert new["managementKey"] != old["managementKey"]


def test_an_operators_changes_are_kept(tmp_path: Path) -> None:
    """The configuration may be changed; the demo does not write over it, and uses it."""
    with _demo(tmp_path) as demo:
        assert demo.stop() == 0
    path = tmp_path / "tokenbooth-demo" / "tokenbooth.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("rpm = 60", "rpm = 61"), encoding="utf-8")
    with _demo(tmp_path) as demo:
        plans = httpx.get(f"{demo.base_url}/api/plans").json()["data"]
        assert demo.stop() == 0
    assert [plan["rateLimits"]["rpm"] for plan in plans if plan["slug"] == "standard"] == [61]


def test_no_demo_with_a_live_key(tmp_path: Path) -> None:
    """A live Stripe key in the environment or the file stops the demo before anything is sent anywhere."""
    done = tokenbooth("demo", "--port", "0", cwd=tmp_path, env={"TOKENBOOTH_STRIPE__SECRET_KEY": LIVE_KEY})
    assert (done.returncode, "live Stripe key" in done.stderr) == (2, True)
    assert not (tmp_path / "tokenbooth-demo" / "tokenbooth.db").exists()


def test_one_demo_on_a_directory(tmp_path: Path) -> None:
    """A second demo on the same directory is refused; the first goes on."""
    with _demo(tmp_path) as demo:
        done = tokenbooth("demo", "--port", "0", cwd=tmp_path)
        assert (done.returncode, "in use by another tokenbooth process" in done.stderr) == (1, True)
        assert httpx.get(f"{demo.base_url}/readyz").status_code == 200


@pytest.mark.parametrize("argument", ["/proc/none", "file"])
def test_a_directory_that_cannot_be_used(tmp_path: Path, argument: str) -> None:
    """A place where nothing can be kept is said in one line."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = tokenbooth("demo", "--port", "0", "--data-dir", argument, cwd=tmp_path)
    assert (done.returncode, "--data-dir" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


def test_the_demo_serves_its_model(tmp_path: Path) -> None:
    """A credit key made in the demo gets an answer at the reference's price."""
    with _demo(tmp_path) as demo:
        key = _access(tmp_path / "tokenbooth-demo")["managementKey"]
        account = _access(tmp_path / "tokenbooth-demo")["email"]
        grant = ("credit", "grant", "--account", account, "--amount", "1", "--reason", "r")
        answer(*grant, "--config", "tokenbooth-demo/tokenbooth.toml", cwd=tmp_path)
        made = httpx.post(f"{demo.base_url}/api/keys/credit", headers=_bearer(key), json={"name": "k"}).json()
        completion = httpx.post(
            f"{demo.base_url}/v1/chat/completions",
            headers=_bearer(made["apiKey"]),
            json={"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]},
        )
        assert demo.stop() == 0
    usage = completion.json()["usage"]
    cost_nano = -(-(usage["prompt_tokens"] * 270_000_000 + usage["completion_tokens"] * 1_100_000_000) // 1_000_000)
    assert completion.headers["x-cost-usd"] == f"{cost_nano / 1e9:.9f}".rstrip("0")


def test_a_deposit_in_the_demo(tmp_path: Path) -> None:
    """An address, the faucet's command from the same directory, the hash verified; and all of it still there later."""
    with _demo(tmp_path) as demo:
        headers = _bearer(_access(tmp_path / "tokenbooth-demo")["managementKey"])
        announced = {"amount": 50, "method": "usdc"}
        told = httpx.post(f"{demo.base_url}/api/billing/topup", headers=headers, json=announced).json()
        assert (told["chain"], told["amount"]) == ("base", "50")
        sent = tokenbooth("sandbox", "send-usdc", "--to", told["address"], "--amount", "50", cwd=tmp_path)
        assert sent.returncode == 0, sent.stderr
        body = {"txHash": sent.stdout.strip(), "amount": 50}
        first = httpx.post(f"{demo.base_url}/api/billing/verify-topup", headers=headers, json=body)
        assert (first.status_code, first.json()["credited"]) == (200, "50.00")
        demo.process.kill()
        demo.process.wait(30)
    with _demo(tmp_path) as demo:
        again = httpx.post(f"{demo.base_url}/api/billing/verify-topup", headers=headers, json=body)
        same_address = httpx.post(f"{demo.base_url}/api/billing/topup", headers=headers, json=announced).json()
        assert demo.stop() == 0
    assert (again.status_code, again.json(), same_address["address"]) == (200, first.json(), told["address"])
