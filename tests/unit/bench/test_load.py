"""The benchmark's own clients and processes, against its mock upstream for streams."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.gateway.answers import STREAM_MODEL, WHOLE_MODEL
from bench.gateway.gateways import FAST, DidNotStart, Gateway, Started, always, running
from bench.gateway.load import IdleStreams, LoadFailed, Target, first_bytes, stream
from bench.gateway.processes import Cores, free_port


def _server(directory: Path, *command: str, port: int) -> Gateway:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return Gateway(
        name="mock",
        version="1",
        does="streams",
        effort=FAST,
        command=command,
        target=always(Target(url, url, WHOLE_MODEL, STREAM_MODEL)),
        log=directory / "log",
    )


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """The mock upstream for streams, as a process."""
    port = free_port()
    server = _server(tmp_path, sys.executable, "-m", "bench.gateway.stream_server", str(port), port=port)
    with running(server, Cores.pick()) as one:
        yield one


def test_streams_bring_every_event(started: Started) -> None:
    """Content events, the end, the usage and the marker behind it, of each stream."""
    got = stream(started.target, streams=3, chunks=5, gap_ms=1)
    assert got.events == 3 * (5 + 3)
    assert len(got.first_us) == 3


def test_streams_follow_each_other_on_one_connection(started: Started) -> None:
    """Each has a time to its first byte."""
    assert len(first_bytes(started.target, streams=4).first_us) == 4


def test_idle_streams_stay_open(started: Started) -> None:
    """They brought one event, and nothing ends them."""
    idle = IdleStreams(started.target)
    idle.open(60)
    assert idle.wait(0) == 60
    idle.close()


def test_a_stream_without_a_connection_is_a_failure(started: Started) -> None:
    """The load generator says so instead of counting less."""
    elsewhere = Target(started.target.url, f"http://127.0.0.1:{free_port()}/", WHOLE_MODEL, STREAM_MODEL)
    with pytest.raises(LoadFailed, match="no connection"):
        stream(elsewhere, streams=1, chunks=1, gap_ms=1)


def test_cpu_time_and_memory_are_of_the_process(started: Started) -> None:
    """Both are there, and CPU time does not run backwards."""
    before_s = started.running.cpu_s()
    stream(started.target, streams=20, chunks=20, gap_ms=1)
    assert started.running.cpu_s() >= before_s
    assert started.running.memory_bytes() > 1_000_000


def test_a_gateway_that_ends_says_why(tmp_path: Path) -> None:
    """What it printed is in the message."""
    server = _server(tmp_path, sys.executable, "-c", "raise SystemExit('no configuration')", port=free_port())
    with pytest.raises(DidNotStart, match="no configuration"), running(server, Cores.pick()):
        pass
