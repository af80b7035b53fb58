"""How long one account's calls take alone, and while another account floods the server.

The light account calls steadily, a stream of a tenth of a second at a time. The other one opens as many idle streams as
it gets and goes on asking for more, or calls back to back over many connections. Run it with `make bench-shares`, or
with `ARGS="--src PATH"`; it prints figures and asserts nothing. It wants a machine on which nothing else runs: where
the core of the load is busy, the clients are late and not the server.
"""

import argparse
import asyncio
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.gateway.answers import STREAM_MODEL, stream_question
from bench.gateway.booth import Prepared, another_key, prepare
from bench.gateway.gateways import Place
from bench.gateway.processes import Cores, Running, free_port

_SOURCES: Final = Path(__file__).parents[1] / "src"
_SETTINGS: Final = "\n[gateway]\nmax_open_requests = {most}\n"
_LIGHT_CLIENTS: Final = 4
_SHORT: Final = stream_question(STREAM_MODEL, chunks=5, gap_ms=20)
_IDLE: Final = stream_question(STREAM_MODEL, chunks=100_000, gap_ms=30_000)
_LEAST_PAUSE_S: Final = 1.0
_MOST_PAUSE_S: Final = 2.0
_SETTLED_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long calls took, in seconds, sorted; and how many were not answered."""

    took_s: list[float]
    refused: int

    def percentile_ms(self, percent: float) -> float:
        """What so many percent of the calls did not exceed."""
        return 1_000 * self.took_s[min(len(self.took_s) - 1, int(len(self.took_s) * percent / 100))]


async def call(port: int, key: str, body: bytes) -> int:
    """One call on a connection of its own, read to its end; returns the status, 0 when there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
    )
    try:
        head = await reader.readline()
        while await reader.read(65_536):
            pass
    finally:
        writer.close()
    return int(head.split()[1]) if head else 0


async def measure(port: int, key: str, seconds: float) -> Latencies:
    """Call steadily."""
    loop = asyncio.get_running_loop()
    until_s, took_s, refused = loop.time() + seconds, list[float](), 0

    async def client() -> None:
        nonlocal refused
        while loop.time() < until_s:
            began_s = loop.time()
            if await call(port, key, _SHORT) == 200:
                took_s.append(loop.time() - began_s)
            else:
                refused += 1

    await asyncio.gather(*(client() for _ in range(_LIGHT_CLIENTS)))
    return Latencies(sorted(took_s), refused)


async def ask_for_ever(port: int, key: str, body: bytes) -> None:
    """One connection after the other; who is refused waits as it is told."""
    while True:
        if await call(port, key, body) != 200:
            await asyncio.sleep(random.uniform(_LEAST_PAUSE_S, _MOST_PAUSE_S))


async def beside(flood: Callable[[], list[Awaitable[None]]], measured: Callable[[], Awaitable[Latencies]]) -> Latencies:
    """Measure while a flood goes on."""
    tasks = [asyncio.ensure_future(one) for one in flood()]
    await asyncio.sleep(_SETTLED_S)
    try:
        return await measured()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(_SETTLED_S)


async def compare(port: int, light: str, heavy: str, asked: argparse.Namespace) -> None:
    """Print what the light account gets alone, and beside each flood."""

    def measured() -> Awaitable[Latencies]:
        return measure(port, light, asked.seconds)

    alone = await measured()
    _print("alone", alone, alone)
    floods = {
        f"{asked.most} idle streams wanted": (asked.most, _IDLE),
        f"{asked.clients} clients without a pause": (asked.clients, _SHORT),
    }
    for name, (count, body) in floods.items():
        wanted = await beside(lambda: [ask_for_ever(port, heavy, body) for _ in range(count)], measured)  # noqa: B023
        _print(name, wanted, alone)


def _print(name: str, wanted: Latencies, alone: Latencies) -> None:
    p50, p99 = wanted.percentile_ms(50), wanted.percentile_ms(99)
    times = p99 / alone.percentile_ms(99)
    print(f"{name:34}{len(wanted.took_s):7}{wanted.refused:9}{p50:9.1f}{p99:9.1f}{times:8.2f} ×", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, default=_SOURCES, help="the directory with the package")
    parser.add_argument("--seconds", type=float, default=20, help="how long each measurement takes")
    parser.add_argument("--most", type=int, default=2_000, help="the bound of open requests")
    parser.add_argument("--clients", type=int, default=100, help="of the flood without a pause")
    asked = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with (
        tempfile.TemporaryDirectory(prefix="tokenbooth-shares-") as directory,
        _server(asked.src.resolve(), Path(directory), asked.most) as (prepared, other_key),
    ):
        print(f"{'the light account':34}{'calls':>7}{'refused':>9}{'p50 ms':>9}{'p99 ms':>9}{'p99':>9}")
        uvloop.run(compare(prepared.port, other_key, prepared.key, asked))


@contextmanager
def _server(source: Path, directory: Path, most: int) -> Iterator[tuple[Prepared, str]]:
    """The real program with two accounts; its key is the heavy one's, the other the light one's."""
    cores, port = Cores.pick(), free_port()
    env = {"PYTHONPATH": f"{source}{os.pathsep}{Path(__file__).parents[1]}"}
    command = [sys.executable, "-m", "bench.gateway.stream_server", str(port)]
    upstream = Running.start(command, core=cores.load, log=directory / "upstream.log", env=env)
    os.sched_setaffinity(0, {cores.load})
    try:
        place = Place(directory, port, port, cores)
        prepared = prepare(place, env)
        other_key = another_key(place, prepared, env, "light@example.com")
        with prepared.configuration.open("a") as file:
            file.write(_SETTINGS.format(most=most))
        server = Running.start(prepared.command, core=cores.gateway, log=directory / "log", env=env)
        try:
            _wait_until_ready(prepared.port, server)
            yield prepared, other_key
        finally:
            server.stop()
    finally:
        upstream.stop()


def _wait_until_ready(port: int, server: Running) -> None:
    while not server.has_ended():
        try:
            if asyncio.run(call(port, "", b"{}")):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the server ended:\n{server.last_words()}")


if __name__ == "__main__":
    main()
