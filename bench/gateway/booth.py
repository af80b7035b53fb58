"""Tokenbooth with all of the money on, set up as an operator would: commands, then the management API."""

import http.client
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.gateway.answers import STREAM_MODEL, WHOLE_MODEL
from bench.gateway.gateways import FAST, Gateway, NotInstalled, Place, always
from bench.gateway.load import Target
from bench.gateway.processes import Running, free_port

_CREDIT_USD: Final = "100000"
_CONFIGURATION: Final = """
[server]
port = {port}
log_format = "json"
drain_s = 5

[store]
url = "sqlite:///tokenbooth.db"

[upstreams.whole]
base_url = "http://127.0.0.1:{whole}/v1"
api_key = "not-a-secret"

[upstreams.streams]
base_url = "http://127.0.0.1:{streams}/v1"
api_key = "not-a-secret"
"""
_MODEL: Final = """
[models.{model}]
upstreams = [{{ name = "{upstream}", model = "bench" }}]
input_usd_per_million = "0.27"
cached_input_usd_per_million = "0.07"
output_usd_per_million = "1.10"
context_tokens = 65536
max_output_tokens = 8192
"""


# Where `make compile` puts the compiled package.
_COMPILED: Final = Path(sys.prefix) / "compiled"


def tokenbooth(place: Place) -> Gateway:
    """The compiled package.

    Raises:
        NotInstalled: there is none.
    """
    if not _COMPILED.exists():
        raise NotInstalled("it is not compiled (make compile)")
    return _booth(place, "Tokenbooth", "all of the money on, compiled", {"PYTHONPATH": str(_COMPILED)})


def interpreted(place: Place) -> Gateway:
    """The sources as they are."""
    return _booth(place, "Tokenbooth, interpreted", "the same, not compiled", {"PYTHONPATH": ""})


def _booth(place: Place, name: str, does: str, env: Mapping[str, str]) -> Gateway:
    """An account with credit, and a key of it with limits and a cap that are all checked and never reached."""
    port = free_port()
    configuration = place.directory / "tokenbooth.toml"
    configuration.write_text(
        _CONFIGURATION.format(port=port, whole=place.whole_port, streams=place.stream_port)
        + _MODEL.format(model=WHOLE_MODEL, upstream="whole")
        + _MODEL.format(model=STREAM_MODEL, upstream="streams")
    )
    account = json.loads(_run(configuration, "account", "create", "--email", "bench@example.com", "--json"))
    _run(
        configuration,
        "credit",
        "grant",
        "--account",
        account["accountId"],
        "--amount",
        _CREDIT_USD,
        "--reason",
        "bench",
    )
    key = _create_key(place, configuration, port, account["managementKey"])
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    headers = (("authorization", f"Bearer {key}"),)
    target = Target(url, url, WHOLE_MODEL, STREAM_MODEL, headers, headers)
    return Gateway(
        name=name,
        version=version("tokenbooth"),
        does=does,
        effort=FAST,
        env=env,
        command=_command("serve", configuration),
        target=always(target),
        log=place.directory / "log",
        check=lambda answered: _check(configuration, answered),
    )


def _create_key(place: Place, configuration: Path, port: int, management_key: str) -> str:
    """A credit key, made over the management API of a server that is stopped again."""
    asked = {"name": "bench", "maxBudget": _CREDIT_USD, "rpm": 1_000_000_000, "tpm": 2_000_000_000}
    headers = {"authorization": f"Bearer {management_key}", "content-type": "application/json"}
    server = Running.start(_command("serve", configuration), core=place.cores.gateway, log=place.directory / "log")
    try:
        answer = _post_when_up(server, port, "/api/keys/credit", json.dumps(asked).encode(), headers)
    finally:
        server.stop()
    key = json.loads(answer)["apiKey"]
    assert isinstance(key, str)
    return key


def _post_when_up(server: Running, port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    while not server.has_ended():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except ConnectionRefusedError:
            continue
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content.decode()}")
        return content
    raise RuntimeError(f"tokenbooth serve ended:\n{server.last_words()}")


def _check(configuration: Path, answered: int) -> tuple[str, ...]:
    """What is wrong with the books after the run; the server has ended."""
    wrong = []
    audit = subprocess.run(_command("audit", configuration), capture_output=True, text=True, check=False)
    if audit.returncode:
        wrong.append(f"the audit found differences:\n{audit.stdout}")
    database = sqlite3.connect(configuration.with_name("tokenbooth.db"))
    try:
        (events,) = database.execute("SELECT count(*) FROM usage_events").fetchone()
    finally:
        database.close()
    if events != answered:
        wrong.append(f"{answered} requests were answered, and {events} usage events are in the store")
    return tuple(wrong)


def _run(configuration: Path, *arguments: str) -> str:
    return subprocess.run(_command(*arguments, configuration), capture_output=True, text=True, check=True).stdout


def _command(*parts: str | Path) -> tuple[str, ...]:
    *arguments, configuration = map(str, parts)
    return (sys.executable, "-m", "tokenbooth", *arguments, "--config", configuration)
