"""Tokenbooth with all of the money on, set up as an operator would: commands, then the management API."""

import http.client
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """An installation with an account in credit, ready to serve.

    Attributes:
        key: has limits and a cap that are all checked and never reached.
        command: serves.
    """

    configuration: Path
    port: int
    key: str
    command: tuple[str, ...]


def prepare(place: Place, env: Mapping[str, str]) -> Prepared:
    """Set up an installation of the package that `env` names by its `PYTHONPATH`."""
    port = free_port()
    configuration = place.directory / "tokenbooth.toml"
    configuration.write_text(
        _CONFIGURATION.format(port=port, whole=place.whole_port, streams=place.stream_port)
        + _MODEL.format(model=WHOLE_MODEL, upstream="whole")
        + _MODEL.format(model=STREAM_MODEL, upstream="streams")
    )
    key = _key_of_new_account(place, configuration, port, env, "bench@example.com")
    return Prepared(configuration, port, key, _command("serve", configuration))


def another_key(place: Place, prepared: Prepared, env: Mapping[str, str], email: str) -> str:
    """A key as the prepared one, of another account; the server must not run."""
    return _key_of_new_account(place, prepared.configuration, prepared.port, env, email)


def _key_of_new_account(place: Place, configuration: Path, port: int, env: Mapping[str, str], email: str) -> str:
    account = json.loads(_run(configuration, env, "account", "create", "--email", email, "--json"))
    granted = ("--account", account["accountId"], "--amount", _CREDIT_USD, "--reason", "bench")
    _run(configuration, env, "credit", "grant", *granted)
    return _create_key(place, configuration, port, account["managementKey"], env)


def _booth(place: Place, name: str, does: str, env: Mapping[str, str]) -> Gateway:
    prepared = prepare(place, env)
    url = f"http://127.0.0.1:{prepared.port}/v1/chat/completions"
    headers = (("authorization", f"Bearer {prepared.key}"),)
    target = Target(url, url, WHOLE_MODEL, STREAM_MODEL, headers, headers)
    return Gateway(
        name=name,
        version=version("tokenbooth"),
        does=does,
        effort=FAST,
        env=env,
        command=prepared.command,
        target=always(target),
        log=place.directory / "log",
        check=lambda answered: _check(prepared.configuration, answered),
    )


def _create_key(place: Place, configuration: Path, port: int, management_key: str, env: Mapping[str, str]) -> str:
    """A credit key, made over the management API of a server that is stopped again."""
    asked = {"name": "bench", "maxBudget": _CREDIT_USD, "rpm": 1_000_000_000, "tpm": 2_000_000_000}
    headers = {"authorization": f"Bearer {management_key}", "content-type": "application/json"}
    command = _command("serve", configuration)
    server = Running.start(command, core=place.cores.gateway, log=place.directory / "log", env=env)
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


def _run(configuration: Path, env: Mapping[str, str], *arguments: str) -> str:
    command = _command(*arguments, configuration)
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **env}).stdout


def _command(*parts: str | Path) -> tuple[str, ...]:
    *arguments, configuration = map(str, parts)
    return (sys.executable, "-m", "tokenbooth", *arguments, "--config", configuration)
