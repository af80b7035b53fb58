"""The commands about USDC, and what a server and the doctor say of the chain, each in a process of its own."""

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import httpx
import pytest

from tests.support.command import answer, running, tokenbooth, url_in_log, wait_until
from tests.support.servers import serve
from tokenbooth.payments.usdc.addresses import AddressBook, checksummed
from tokenbooth_sandbox.chain import ChainConfig, ChainSandbox
from tokenbooth_sandbox.chain.wallet import new_extended_public_key


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """A chain whose transactions are safe at once."""
    with serve(ChainSandbox(ChainConfig(settle_at_once=True, final_blocks=4)), lifespan="off") as url:
        yield url


@pytest.fixture
def home(tmp_path: Path, node: str) -> Path:
    """A directory with a configuration of the chain."""
    (tmp_path / "xpub").write_text(new_extended_public_key() + "\n", encoding="utf-8")
    (tmp_path / "tokenbooth.toml").write_text(
        f"""
        [server]
        port = 0
        log_format = "json"
        [usdc]
        rpc_url = "{node}"
        xpub_file = "xpub"
        poll_s = 0.1
        """,
        encoding="utf-8",
    )
    return tmp_path


def _change(home: Path, old: str, new: str) -> None:
    path = home / "tokenbooth.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def _first_address(home: Path) -> str:
    return checksummed(AddressBook((home / "xpub").read_text(encoding="utf-8").strip()).address(0))


def _send(home: Path, node: str, to: str, amount: str) -> str:
    done = tokenbooth("sandbox", "send-usdc", "--to", to, "--amount", amount, "--node", node, cwd=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_server_credits_by_itself_and_by_hand(home: Path, node: str) -> None:
    """Announced, sent by the command of the sandbox, credited by the job; the commands tell of it all."""
    made = answer("account", "create", "--email", "ada@example.com", cwd=home)
    headers = {"authorization": f"Bearer {made['managementKey']}"}
    with running("serve", cwd=home, find_url=url_in_log) as server:
        body = {"amount": 50, "method": "usdc"}
        told = httpx.post(f"{server.base_url}/api/billing/topup", json=body, headers=headers).json()
        assert told["address"] == _first_address(home)
        tx_hash = _send(home, node, told["address"], "12.345678")

        def is_credited() -> bool:
            credit = httpx.get(f"{server.base_url}/api/billing/credits", headers=headers).json()
            return bool(credit["balance"] == "12.345678")

        wait_until(is_credited, "the job credits the deposit")
        verify = {"txHash": tx_hash, "amount": 50}
        verified = httpx.post(f"{server.base_url}/api/billing/verify-topup", json=verify, headers=headers)
        assert (verified.status_code, verified.json()["amountMismatch"]) == (200, True)
        figures = httpx.get(f"{server.base_url}/metrics").text
        assert "tokenbooth_usdc_scan_lag_blocks 0.0" in figures
        assert "tokenbooth_usdc_deposits_pending 0.0" in figures
        assert "tokenbooth_usdc_node_up 1.0" in figures
        status = answer("usdc", "status", cwd=home)
        assert server.stop() == 0
    assert (status["node"], status["addresses"], status["credited"]) == ("answers", 1, "12.345678")
    assert answer("usdc", "rescan", "--from-block", "1", cwd=home)["passesMoved"] == 1
    rows = list(csv.DictReader(StringIO(tokenbooth("usdc", "sweep-list", cwd=home).stdout)))
    expected = {
        "path": "m/44'/60'/0'/0/0",
        "address": _first_address(home),
        "received": "12.345678",
        "deposits": "1",
        "accountId": str(made["accountId"]),
        "extendedKey": "current",
    }
    assert rows == [expected]
    assert answer("audit", cwd=home)["clean"] is True


def test_a_node_on_another_chain_refuses_to_start(home: Path) -> None:
    """Scenario 28: a node that says another chain id than the configuration ends the start, naming the key."""
    _change(home, "[usdc]", "[usdc]\nchain_id = 84532")
    done = tokenbooth("serve", cwd=home)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "tokenbooth: usdc.chain_id: the node is on chain 8453, not on 84532"


def test_a_token_that_is_not_there_refuses_to_start(home: Path) -> None:
    """An address without USDC's contract ends the start, naming the key."""
    _change(home, "[usdc]", '[usdc]\ntoken = "0x00000000000000000000000000000000000000aa"')
    done = tokenbooth("serve", cwd=home)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("tokenbooth: usdc.token: there is no contract")


def test_a_node_that_is_away_does_not_stop_the_start(home: Path, node: str) -> None:
    """A server whose node is away serves, says so, and never shows the node's URL."""
    _change(home, node, "http://127.0.0.1:1/secret-path")
    with running("serve", cwd=home, find_url=url_in_log) as server:
        assert httpx.get(f"{server.base_url}/readyz").status_code == 200
        assert "tokenbooth_usdc_node_up 0.0" in httpx.get(f"{server.base_url}/metrics").text
        assert server.stop() == 0
        log = server.log.read_text(encoding="utf-8")
    assert ("usdc_node_failed" in log, "secret-path" in log) == (True, False)


def test_the_doctor_looks_at_the_chain(home: Path, node: str) -> None:
    """The doctor shows the first address, and the node's chain, block and token; a node that is away fails."""
    found = {finding["check"]: finding for finding in _findings(home)}
    assert found["usdc.xpub"]["found"] == f"address 0 is {_first_address(home)}"
    assert found["usdc node"]["level"] == "ok"
    _change(home, node, "http://127.0.0.1:1")
    assert {finding["check"]: finding["level"] for finding in _findings(home)}["usdc node"] == "failed"


def _findings(home: Path) -> list[dict[str, str]]:
    found = json.loads(tokenbooth("doctor", "--json", cwd=home).stdout)
    listed = found["findings"]
    assert isinstance(listed, list)
    return listed


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('xpub = "xpub123"', "usdc.xpub"),
        ('token = "0xd9aAEc86B65D86f6A7B5B1b0c42FFA531710b6CA"', "usdc.token"),
        ('token = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02914"', "usdc.token"),
        ("chain_id = 5", "usdc"),
        ('credit_at = "latest"', "usdc.credit_at"),
        ('rpc_url = "ftp://node"', "usdc"),
    ],
)
def test_mistakes_name_their_key(tmp_path: Path, line: str, key: str) -> None:
    """A key that is none, bridged USDC, a mistyped address, an unknown chain: each is told by its name."""
    settings = {
        "rpc_url": 'rpc_url = "http://127.0.0.1:1"',
        "xpub": f'xpub = "{new_extended_public_key()}"',
        line.split(" ")[0]: line,
    }
    text = "[usdc]\n" + "\n".join(settings.values())
    (tmp_path / "tokenbooth.toml").write_text(text, encoding="utf-8")
    done = tokenbooth("migrate", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tokenbooth: {key}: ")


def test_without_the_section(tmp_path: Path) -> None:
    """The commands say what is missing."""
    (tmp_path / "tokenbooth.toml").write_text("", encoding="utf-8")
    for arguments in (("status",), ("sweep-list",), ("rescan", "--from-block", "1")):
        done = tokenbooth("usdc", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (2, "tokenbooth: [usdc] is not configured\n")


@pytest.mark.parametrize(("to", "amount"), [("0x12", "5"), ("0x" + "ab" * 20, "0"), ("0x" + "ab" * 20, "1.0000001")])
def test_the_faucet_refuses_nonsense(home: Path, node: str, to: str, amount: str) -> None:
    """A wrong address or amount is one line."""
    done = tokenbooth("sandbox", "send-usdc", "--to", to, "--amount", amount, "--node", node, cwd=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tokenbooth: --to must be an address")


def test_the_faucet_of_no_demo(tmp_path: Path) -> None:
    """Without a sandbox there, the command says what runs one."""
    node = ("--node", "http://127.0.0.1:1")
    done = tokenbooth("sandbox", "send-usdc", "--to", "0x" + "ab" * 20, "--amount", "5", *node, cwd=tmp_path)
    assert (done.returncode, "`tokenbooth demo` runs one" in done.stderr) == (1, True)
