"""`tokenbooth serve` in a process of its own, in front of the lean upstream, with customers who can pay."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import Connection, func, select

from tests.support.command import answer, running, tokenbooth, url_in_log
from tests.support.gateway import lean_upstream
from tests.support.gateway.load import MODEL
from tokenbooth.store.engine import open_store
from tokenbooth.store.tables import usage_events

CREDIT_USD: Final = 1_000_000
INPUT_USD_PER_MILLION: Final = Decimal("0.27")
OUTPUT_USD_PER_MILLION: Final = Decimal("1.10")


@dataclass(frozen=True, slots=True)
class Service:
    """A running server.

    Attributes:
        home: the directory of its configuration, database and logs.
        pid: of its process.
        base_url: where it listens.
        upstream_url: of the model server behind it.
        log: what it wrote on standard error.
        owners: management keys of the accounts that were made.
    """

    home: Path
    pid: int
    base_url: str
    upstream_url: str
    log: Path
    owners: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where it listens, on this machine."""
        return int(self.base_url.rpartition(":")[2])

    def keys(self, accounts: int, per_account: int, *, credit_usd: int = CREDIT_USD) -> list[str]:
        """API keys of new accounts that have more credit than a test can spend, unless another one is named."""
        made: list[str] = []
        for _ in range(accounts):
            account = answer(
                "account", "create", "--email", f"{len(self.owners)}@{self.pid}.example.com", cwd=self.home
            )
            if credit_usd:
                credit = ("--amount", str(credit_usd), "--reason", "load")
                answer("credit", "grant", "--account", str(account["accountId"]), *credit, cwd=self.home)
            self.owners.append(str(account["managementKey"]))
            owner = {"authorization": f"Bearer {account['managementKey']}"}
            for number in range(per_account):
                url = f"{self.base_url}/api/keys/credit"
                created = httpx.post(url, headers=owner, json={"name": f"load {number}"}).raise_for_status()
                made.append(str(created.json()["data"]["apiKey"]))
        return made

    def figure(self, name: str) -> float:
        """One of the figures at `/metrics`."""
        for line in httpx.get(f"{self.base_url}/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.split()[1])
        raise AssertionError(f"there is no figure {name}")

    def held(self) -> Decimal:
        """What calls under way hold of the credit of all accounts made with `keys`, in USD."""
        return sum((Decimal(str(shown["held"])) for shown in self._ask_all("/api/billing/credits")), Decimal(0))

    def requests(self) -> int:
        """How many calls of these accounts were charged today; every one that is finished is counted."""
        totals = [shown["total"] for shown in self._ask_all("/api/usage")]
        return sum(int(total["requests"]) for total in totals if isinstance(total, dict))

    def _ask_all(self, path: str) -> list[dict[str, object]]:
        asked = [
            httpx.get(f"{self.base_url}{path}", headers={"authorization": f"Bearer {owner}"}) for owner in self.owners
        ]
        return [dict(answer.raise_for_status().json()["data"]) for answer in asked]

    def release_streams(self) -> None:
        """Let every idle stream end."""
        httpx.get(f"{self.upstream_url}/release").raise_for_status()

    def charged(self) -> tuple[int, int]:
        """How many charges are in the database, and their sum in nano-USD."""
        store = open_store(f"sqlite:///{self.home / 'tokenbooth.db'}")

        def read(conn: Connection) -> tuple[int, int]:
            count, charged_nano = conn.execute(select(func.count(), func.sum(usage_events.c.charged_nano))).one()
            return int(count), int(charged_nano or 0)

        try:
            return store.read_now(read)
        finally:
            store.close()

    def audit(self) -> str | None:
        """Compute every balance again from the ledger; what it found, None for nothing."""
        done = tokenbooth("audit", cwd=self.home)
        return None if done.returncode == 0 else done.stdout + done.stderr


@contextmanager
def run_service(home: Path, *, server_settings: str = "") -> Iterator[Service]:
    """A server and its upstream while the block runs; the server must end cleanly.

    Args:
        home: an empty directory.
        server_settings: further lines for `[server]`.
    """
    with _upstream() as upstream_url:
        (home / "tokenbooth.toml").write_text(_configuration(upstream_url, server_settings), encoding="utf-8")
        with running("serve", cwd=home, find_url=url_in_log) as server:
            yield Service(home, server.process.pid, server.base_url, upstream_url, server.log)
            code = server.stop()
            if code:
                raise AssertionError(f"the server ended with {code}:\n{server.log.read_text(encoding='utf-8')}")


@contextmanager
def _upstream() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, lean_upstream.__file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def _configuration(upstream_url: str, server_settings: str) -> str:
    return f"""
[server]
port = 0
log_format = "json"
{server_settings}
[upstreams.lean]
base_url = "{upstream_url}/v1"
[models."{MODEL}"]
upstreams = [{{ name = "lean" }}]
input_usd_per_million = "{INPUT_USD_PER_MILLION}"
output_usd_per_million = "{OUTPUT_USD_PER_MILLION}"
context_tokens = 65536
max_output_tokens = 8192
"""
