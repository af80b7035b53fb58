"""The real command line in processes of its own. Only tests import it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_READY_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 60.0


def tokenbooth(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        _command(arguments), cwd=cwd, env=_environment(env), capture_output=True, text=True, timeout=_END_TIMEOUT_S
    )


def answer(*arguments: str, cwd: Path) -> dict[str, object]:
    """Run a command that must succeed, with `--json`, and read what it prints."""
    done = tokenbooth(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert isinstance(read, dict)
    return read


@dataclass(slots=True)
class Running:
    """A server in a process of its own."""

    process: "subprocess.Popen[bytes]"
    base_url: str
    output: Path
    log: Path

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(_END_TIMEOUT_S)


@contextmanager
def running(
    *arguments: str, cwd: Path, find_url: Callable[[str, str], str | None], env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A server that is ready, killed at the end of the block if it still runs.

    Args:
        arguments: of the command.
        cwd: where it runs, and where its two outputs are written.
        find_url: finds the base URL in standard output and standard error, once it stands there.
        env: what is added to the environment.
    """
    output, log = cwd / "server.out", cwd / "server.err"
    with output.open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(_command(arguments), cwd=cwd, env=_environment(env), stdout=out, stderr=err)
    try:
        yield Running(process, _wait_for_url(process, output, log, find_url), output, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_END_TIMEOUT_S)


def url_in_log(_output: str, log: str) -> str | None:
    """The address in the line with which `serve` says that it listens."""
    for line in log.splitlines():
        if '"event": "listening"' in line:
            return str(json.loads(line)["url"])
    return None


def _wait_for_url(
    process: "subprocess.Popen[bytes]", output: Path, log: Path, find_url: Callable[[str, str], str | None]
) -> str:
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        url = find_url(output.read_text(encoding="utf-8"), log.read_text(encoding="utf-8"))
        if url is not None:
            return url
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"the server did not get ready:\n{log.read_text(encoding='utf-8')}")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Return when something that happens in another process has happened."""
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"it did not happen: {what}")
        time.sleep(0.02)


def is_refused(url: str) -> bool:
    """Whether nothing listens at an address any more."""
    try:
        httpx.get(url, timeout=5)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        # Accepted at the last moment, and dropped.
        return False
    return False


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-c", "from tokenbooth.cli import main; main()", *arguments]


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOKENBOOTH_")}
    return {**kept, "COLUMNS": "200", **(added or {})}
