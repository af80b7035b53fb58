"""Instructions per request: how much work the server does, as valgrind's callgrind counts it.

Times of one machine differ by a fifth from run to run; instructions hardly do, so they show a change of a few percent.
The server is the real one with all of the money on, its hash seed is fixed, and what it does while nobody asks is taken
off. Look at the loop's figure first: under callgrind all takes fifty times as long, so fewer charges share a commit in
the other threads than otherwise. Run it with `make bench-instructions`; it takes some minutes. Two states of the code
are compared in one run, each named by the directory that holds the package:

    make bench-instructions ARGS="--src ../before/src --src src"

or with a file that an earlier run saved: `ARGS="--save FILE"`, then `ARGS="--against FILE"`.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from bench.gateway.agent_bodies import SIZES, agent_body
from bench.gateway.answers import STREAM_MODEL, WHOLE_MODEL, question, stream_question
from bench.gateway.booth import prepare
from bench.gateway.gateways import Place
from bench.gateway.processes import Cores, Running, free_port

_SOURCES: Final = Path(__file__).parents[2] / "src"
_COMPILED: Final = Path(sys.prefix) / "compiled"
_PATH: Final = "/v1/chat/completions"
_READY_WITHIN_S: Final = 180
_SHORT_EVENTS: Final = 20
_LONG_EVENTS: Final = 120
_EVENT_GAP_MS: Final = 4
# The start leaves work behind that would be taken for idling.
_SETTLING_S: Final = 5.0
_IDLE_S: Final = 10.0
# The flusher commits within a quarter of a second; what it does is a request's work, too.
_AFTERWARDS_S: Final = 1.5
_TOTALS: Final = re.compile(r"^totals: (\d+)", re.MULTILINE)
_THREAD: Final = re.compile(r"^thread: (\d+)", re.MULTILINE)


class Counted(NamedTuple):
    """Instructions: of the event loop's thread, and of all."""

    loop: float
    whole: float


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, and how often at the usual effort."""

    name: str
    body: bytes
    times: int


CASES: Final = (
    Case("small request", question(WHOLE_MODEL), 2_000),
    Case("agent, 7 KB", agent_body(WHOLE_MODEL, SIZES["7 KB"]), 500),
    Case("agent, 30 KB", agent_body(WHOLE_MODEL, SIZES["30 KB"]), 250),
    Case("agent, 200 KB", agent_body(WHOLE_MODEL, SIZES["200 KB"]), 80),
    Case("agent, 1 MB", agent_body(WHOLE_MODEL, SIZES["1 MB"]), 20),
)
_STREAMS: Final = 10
EVENT: Final = "streamed event"


class Counter:
    """A server that runs under callgrind, and a client of it on one connection."""

    def __init__(self, server: Running, port: int, key: str, out: Path) -> None:
        self._server = server
        self._out = out
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self._idle_per_s = Counted(0, 0)

    def wait_until_ready(self) -> None:
        """Ask until the server answers, then begin to count.

        Raises:
            RuntimeError: it does not start.
        """
        until_s = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < until_s and not self._server.has_ended():
            try:
                self.ask(question(WHOLE_MODEL))
            except OSError:
                self._connection.close()
                time.sleep(0.2)
            else:
                self._control("--instr=on")
                return
        raise RuntimeError(f"the server does not answer:\n{self._server.last_words()}")

    def ask(self, body: bytes) -> None:
        """One request, to the end of its answer.

        Raises:
            RuntimeError: it was refused.
        """
        self._connection.request("POST", _PATH, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {content[:300]!r}")

    def idle(self) -> None:
        """Learn what it does while nobody asks."""
        time.sleep(_SETTLING_S)
        self._begin()
        time.sleep(_IDLE_S)
        counted = self._end()
        self._idle_per_s = Counted(counted.loop / _IDLE_S, counted.whole / _IDLE_S)

    def count(self, body: bytes, times: int) -> Counted:
        """Instructions of so many requests."""
        for _ in range(max(times // 10, 3)):
            self.ask(body)
        time.sleep(_AFTERWARDS_S)
        self._begin()
        began_s = time.monotonic()
        for _ in range(times):
            self.ask(body)
        time.sleep(_AFTERWARDS_S)
        took_s = time.monotonic() - began_s
        counted, idle = self._end(), self._idle_per_s
        return Counted(counted.loop - idle.loop * took_s, counted.whole - idle.whole * took_s)

    def _begin(self) -> None:
        self._control("--zero")

    def _end(self) -> Counted:
        before = set(self._out.iterdir())
        self._control("--dump")
        texts = [file.read_text(errors="replace") for file in set(self._out.iterdir()) - before]
        by_thread = [(_first(_THREAD, text), _first(_TOTALS, text)) for text in texts]
        for file in self._out.iterdir():
            file.unlink()
        # uvloop runs in the main thread.
        return Counted(sum(n for thread, n in by_thread if thread == 1), sum(n for _, n in by_thread))

    def _control(self, command: str) -> None:
        subprocess.run(["callgrind_control", command, str(self._server.process.pid)], check=True, capture_output=True)


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", action="append", type=Path, help="a directory with the package; may be repeated")
    parser.add_argument("--save", type=Path, help="write the last build's figures to a file")
    parser.add_argument("--against", type=Path, help="compare with a file written by --save")
    parser.add_argument("--effort", type=float, default=1.0, help="0.1: a tenth of the requests")
    parser.add_argument("--only", default="", help="cases with this in their name")
    asked = parser.parse_args()
    for program, package in (("valgrind", "valgrind"), ("callgrind_control", "valgrind")):
        if shutil.which(program) is None:
            parser.error(f"{program} is not installed (Debian: {package})")
    builds = asked.src or [_SOURCES, *([_COMPILED] if _COMPILED.exists() else [])]
    results: list[tuple[str, dict[str, Counted]]] = []
    if asked.against is not None:
        saved = json.loads(asked.against.read_text())
        results.append((str(asked.against), {name: Counted(*figures) for name, figures in saved.items()}))
    for build in builds:
        print(f"counting {build}", flush=True)
        results.append((str(build), count(build.resolve(), asked.effort, asked.only)))
    print(table(results))
    if asked.save is not None:
        asked.save.write_text(json.dumps(results[-1][1], indent=2) + "\n")
    return 0


def count(build: Path, effort: float, only: str) -> dict[str, Counted]:
    """Instructions per request of each case, and per streamed event."""
    with (
        tempfile.TemporaryDirectory(prefix="tokenbooth-instructions-") as directory,
        _counter(build, Path(directory)) as counter,
    ):
        counter.idle()
        found: dict[str, Counted] = {}
        for case in CASES:
            if only not in case.name:
                continue
            times = max(round(case.times * effort), 3)
            found[case.name] = _each(counter.count(case.body, times), times)
        if only not in EVENT:
            return found
        streams = max(round(_STREAMS * effort), 3)
        short, long = (
            counter.count(stream_question(STREAM_MODEL, chunks=events, gap_ms=_EVENT_GAP_MS), streams)
            for events in (_SHORT_EVENTS, _LONG_EVENTS)
        )
        slope = Counted(long.loop - short.loop, long.whole - short.whole)
        found[EVENT] = _each(slope, streams * (_LONG_EVENTS - _SHORT_EVENTS))
        return found


def table(results: Sequence[tuple[str, dict[str, Counted]]]) -> str:
    """Thousands of instructions: of the loop, in parentheses of all threads, and the loop's change from the first."""
    lines = [f"\n{'thousand instructions: loop (all)':<34}" + "".join(f"{name[-30:]:>34}" for name, _ in results)]
    first = results[0][1]
    for name in results[-1][1]:
        cells = [f"{name:<34}"]
        for number, (_, found) in enumerate(results):
            counted = found[name]
            ratio = f" {counted.loop / first[name].loop - 1:+.1%}" if number else ""
            cells.append(f"{counted.loop / 1e3:,.1f} ({counted.whole / 1e3:,.1f}){ratio}".rjust(34))
        lines.append("".join(cells))
    return "\n".join(lines)


@contextmanager
def _counter(build: Path, directory: Path) -> Iterator[Counter]:
    cores, port = Cores.pick(), free_port()
    env = {"PYTHONPATH": str(build), "PYTHONHASHSEED": "0"}
    out = directory / "counts"
    out.mkdir()
    command = [sys.executable, "-m", "bench.gateway.stream_server", str(port)]
    upstream = Running.start(command, core=cores.load, log=directory / "upstream.log", env={"PYTHONPATH": os.getcwd()})
    try:
        prepared = prepare(Place(directory, port, port, cores), env)
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes"]
        valgrind += [f"--callgrind-out-file={out}/counted"]
        server = Running.start(
            [*valgrind, *prepared.command], core=cores.gateway, log=directory / "server.log", env=env
        )
        try:
            counter = Counter(server, prepared.port, prepared.key, out)
            counter.wait_until_ready()
            yield counter
        finally:
            server.stop()
    finally:
        upstream.stop()


def _each(counted: Counted, times: int) -> Counted:
    return Counted(counted.loop / times, counted.whole / times)


def _first(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
