"""The clients: h2load for whole answers, a small protocol on uvloop for streams. They run on the load's core."""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.gateway.answers import question, stream_question

_PATIENCE_S: Final = 300
_DATA: Final = b"data: "
_US_PER_S: Final = 1_000_000


class LoadFailed(Exception):
    """A request was not answered as it should be."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where chat completions are asked for: a gateway, or the upstream itself.

    Attributes:
        url: for whole answers.
        stream_url: for streams.
        model: the name that leads to whole answers there.
        stream_model: the name that leads to streams there.
        headers: credentials and what else this one wants with a request for a whole answer.
        stream_headers: with one for a stream.
    """

    url: str
    stream_url: str
    model: str
    stream_model: str
    headers: tuple[tuple[str, str], ...] = ()
    stream_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What a number of requests took: requests a second, and each one's latency in µs, sorted."""

    per_s: float
    latencies_us: tuple[int, ...]

    def percentile_us(self, percent: float) -> int:
        """The latency that so many percent of the requests did not exceed."""
        return self.latencies_us[min(len(self.latencies_us) - 1, int(len(self.latencies_us) * percent / 100))]


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a number of streams brought: reads of the client that held events, events, first bytes' times in µs."""

    reads: int
    events: int
    first_us: tuple[int, ...]


def ask(target: Target, scratch: Path, *, requests: int, connections: int, content: bytes | None = None) -> Answered:
    """Whole answers over kept-alive connections, a fixed number, one after the other on each.

    Raises:
        LoadFailed: one of them was not answered with 200.
    """
    body, log = scratch / "question.json", scratch / "latencies.tsv"
    body.write_bytes(content or question(target.model))
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "--threads=1", f"--requests={requests}", f"--clients={connections}"]
    command += [f"--data={body}", f"--log-file={log}", "--header=content-type: application/json"]
    command += [f"--header={name}: {value}" for name, value in target.headers]
    done = subprocess.run([*command, target.url], capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    rows = [tuple(map(int, line.split())) for line in log.read_text().splitlines()] if log.exists() else []
    good = [row for row in rows if row[1] == 200]
    if len(good) != requests:
        raise LoadFailed(f"{len(good)} of {requests} requests were answered with 200\n{done.stdout[-400:]}")
    taken_us = max(started + took for started, _, took in good) - min(started for started, _, _ in good)
    return Answered(requests * _US_PER_S / taken_us, tuple(sorted(took for _, _, took in good)))


def stream(target: Target, *, streams: int, chunks: int, gap_ms: int) -> Streamed:
    """Streams side by side, each on a connection of its own, begun one after the other within one gap.

    Raises:
        LoadFailed: a stream broke, or was not answered with 200.
    """
    return uvloop.run(_side_by_side(target, streams, chunks, gap_ms))


def first_bytes(target: Target, *, streams: int) -> Streamed:
    """Short streams one after the other on one kept-alive connection.

    Raises:
        LoadFailed: a stream broke, or was not answered with 200.
    """
    return uvloop.run(_in_turn(target, streams))


class IdleStreams:
    """Streams that began and then say nothing, held open until `close`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._clients: list[_Client] = []

    def open(self, streams: int) -> None:
        """Begin so many, and wait until each brought its first event.

        Raises:
            LoadFailed: a stream broke, or was not answered with 200.
        """
        self._runner.run(self._open(streams))

    def wait(self, seconds: float) -> int:
        """Let them be silent for a while; returns how many are still open."""
        self._runner.run(asyncio.sleep(seconds))
        return sum(client.is_open for client in self._clients)

    def close(self) -> None:
        """Hang up."""
        for client in self._clients:
            client.hang_up()
        self._runner.run(asyncio.sleep(0.1))
        self._runner.close()

    async def _open(self, streams: int) -> None:
        # A second event in an hour: never in this run.
        request = _request(self._target, chunks=2, gap_ms=3_600_000)
        for begin in range(0, streams, 50):
            new = [await _connect(self._target) for _ in range(min(50, streams - begin))]
            self._clients += new
            began = [client.begin(request) for client in new]
            await _all(began)


class _Client(asyncio.Protocol):
    """A connection that asks for one stream at a time."""

    def __init__(self) -> None:
        self.reads = 0
        self.events = 0
        self.first_us: list[int] = []
        self._parser = httptools.HttpResponseParser(self)
        self._first: asyncio.Future[None] | None = None
        self._end: asyncio.Future[None] | None = None
        self._asked_s = 0.0
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def begin(self, request: bytes) -> "asyncio.Future[None]":
        """Ask; the future is done with the first event."""
        loop = asyncio.get_running_loop()
        self._first, self._end = loop.create_future(), None
        self._asked_s = time.perf_counter()
        self._transport.write(request)
        return self._first

    async def whole(self, request: bytes) -> None:
        """Ask, and wait until the stream has ended."""
        first = self.begin(request)
        self._end = end = asyncio.get_running_loop().create_future()
        await first
        await end

    def hang_up(self) -> None:
        """Close the connection."""
        self._first = self._end = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        found = data.count(_DATA)
        if not found:
            return
        self.reads += 1
        self.events += found
        if self._first is not None and not self._first.done():
            self.first_us.append(round((time.perf_counter() - self._asked_s) * _US_PER_S))
            self._first.set_result(None)

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self._fail(f"status {self._parser.get_status_code()}")

    def on_message_complete(self) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail("the connection ended early")

    def _fail(self, reason: str) -> None:
        for waiting in (self._first, self._end):
            if waiting is not None and not waiting.done():
                waiting.set_exception(LoadFailed(reason))
                return


async def _connect(target: Target) -> _Client:
    where = urlsplit(target.stream_url)
    assert where.hostname is not None
    assert where.port is not None
    try:
        _, client = await asyncio.get_running_loop().create_connection(_Client, where.hostname, where.port)
    except OSError as failure:
        raise LoadFailed(f"no connection: {failure}") from failure
    return client


async def _side_by_side(target: Target, streams: int, chunks: int, gap_ms: int) -> Streamed:
    request = _request(target, chunks=chunks, gap_ms=gap_ms)
    clients = [await _connect(target) for _ in range(streams)]
    started = asyncio.get_running_loop().time()

    async def one(number: int, client: _Client) -> None:
        at_s = started + number * gap_ms / 1_000 / streams
        await asyncio.sleep(at_s - asyncio.get_running_loop().time())
        await client.whole(request)

    await _all([one(number, client) for number, client in enumerate(clients)])
    return _sum(clients)


async def _in_turn(target: Target, streams: int) -> Streamed:
    request = _request(target, chunks=2, gap_ms=1)
    client = await _connect(target)
    async with asyncio.timeout(_PATIENCE_S):
        for _ in range(streams):
            await client.whole(request)
    return _sum([client])


async def _all(waiting: Sequence[Awaitable[None]]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        await asyncio.gather(*waiting)


def _sum(clients: Sequence[_Client]) -> Streamed:
    for client in clients:
        client.hang_up()
    return Streamed(
        sum(client.reads for client in clients),
        sum(client.events for client in clients),
        tuple(sorted(us for client in clients for us in client.first_us)),
    )


def _request(target: Target, *, chunks: int, gap_ms: int) -> bytes:
    where = urlsplit(target.stream_url)
    body = stream_question(target.stream_model, chunks=chunks, gap_ms=gap_ms)
    headers = {
        "host": where.netloc,
        "content-type": "application/json",
        "content-length": str(len(body)),
        **dict(target.stream_headers),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {where.path} HTTP/1.1\r\n{lines}\r\n".encode() + body
