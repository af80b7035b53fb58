"""What a gateway under test is: how it is started, where it is asked, how hard it may be driven."""

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import urlsplit

from bench.gateway.answers import question
from bench.gateway.load import Target
from bench.gateway.processes import Cores, Running

_READY_WITHIN_S: Final = 120
_POLL_S: Final = 0.005


class NotInstalled(Exception):
    """A gateway cannot take part; the message says why."""


class DidNotStart(Exception):
    """A gateway did not become ready; the message ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is asked in one run, so that it takes a second or two: fixed before, the same in every run.

    Attributes:
        requests: whole answers at 64 connections, and at one.
        streams: side by side, few enough that the gateway keeps up and no two events share a read.
        first_bytes: streams one after the other.
        idle_streams: open at once.
    """

    requests: int
    streams: int
    first_bytes: int
    idle_streams: int

    def shortened(self) -> "Effort":
        """For a quick run."""
        return Effort(
            max(self.requests // 4, 50), self.streams, max(self.first_bytes // 4, 20), min(self.idle_streams, 1_000)
        )


FAST: Final = Effort(requests=20_000, streams=200, first_bytes=200, idle_streams=2_000)
MIDDLING: Final = Effort(requests=4_000, streams=50, first_bytes=100, idle_streams=1_000)
UNHURRIED: Final = Effort(requests=1_000, streams=20, first_bytes=60, idle_streams=500)
SLOW: Final = Effort(requests=300, streams=8, first_bytes=40, idle_streams=200)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bench works.

    Attributes:
        directory: for this gateway alone, empty.
        whole_port: the upstream that answers at once and whole.
        stream_port: the upstream that streams.
        cores: which core runs what.
    """

    directory: Path
    whole_port: int
    stream_port: int
    cores: Cores

    def fill(self, template: Path, **values: object) -> Path:
        """A copy of a configuration in `directory`, with `$whole`, `$streams` and these values put in."""
        text = Template(template.read_text()).substitute(
            whole=self.whole_port, streams=self.stream_port, **{name: str(value) for name, value in values.items()}
        )
        filled = self.directory / template.name
        filled.write_text(text)
        return filled


def _nothing_to_check(_answered: int) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway under test.

    Attributes:
        name: for people.
        version: of what is installed.
        does: what it does with a request, in a few words.
        effort: how hard it is driven.
        command: starts it, in the foreground.
        target: where it is asked, once it runs.
        log: the file for what it prints.
        env: additions to the environment.
        check: called after it was stopped, with how many requests it had answered; returns what is wrong.
    """

    name: str
    version: str
    does: str
    effort: Effort
    command: tuple[str, ...]
    target: Callable[[], Target | None]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[int], tuple[str, ...]] = _nothing_to_check


def always(target: Target) -> Callable[[], Target | None]:
    """For a gateway whose address is known before it starts."""
    return lambda: target


@dataclass(frozen=True, slots=True)
class Started:
    """A gateway that answers.

    Attributes:
        running: its processes.
        target: where it is asked.
        took_s: from its start to its first answer.
    """

    running: Running
    target: Target
    took_s: float


def start(gateway: Gateway, cores: Cores) -> Started:
    """Start a gateway and ask until it answers; one request was answered then.

    Raises:
        DidNotStart: it ended, or does not answer.
    """
    began_s = time.perf_counter()
    running = Running.start(gateway.command, core=cores.gateway, log=gateway.log, env=gateway.env)
    while time.perf_counter() < began_s + _READY_WITHIN_S and not running.has_ended():
        target = gateway.target()
        if target is not None and _answers(target):
            return Started(running, target, time.perf_counter() - began_s)
        time.sleep(_POLL_S)
    running.stop()
    raise DidNotStart(f"{gateway.name} does not answer:\n{running.last_words()}")


@contextmanager
def running(gateway: Gateway, cores: Cores) -> Iterator[Started]:
    """A gateway that answers, stopped at the end.

    Raises:
        DidNotStart: it ended, or does not answer.
    """
    started = start(gateway, cores)
    try:
        yield started
    finally:
        started.running.stop()


def _answers(target: Target) -> bool:
    where = urlsplit(target.url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    headers = {"content-type": "application/json", **dict(target.headers)}
    try:
        connection.request("POST", where.path, question(target.model), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except OSError:
        return False
    finally:
        connection.close()
