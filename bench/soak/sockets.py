"""Hostile sockets in numbers: slow heads and bodies, silence, heads and bodies without an end, streams left unread."""

import asyncio
import socket
from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final

from bench.soak.process import MB, rss_bytes
from tests.support.gateway.load import CHAT, Load, drive, post
from tests.support.service import Service

_UNREAD_S: Final = 5
# Bodies are kept until they are complete, so a process needs what all of its connections may send at once.
_MAX_BODY_BYTES: Final = 256 * 1024
SETTINGS: Final = f"""
header_timeout_s = 5
body_timeout_s = 5
idle_timeout_s = 5
unread_timeout_s = {_UNREAD_S}
max_body_bytes = {_MAX_BODY_BYTES}
"""
MOST_BYTES: Final = 256 * MB
"""What the hostile connections of a kind together may make the server use on top."""
_CALLS: Final = 500
_PAUSE_S: Final = 0.5
_PATIENCE_S: Final = 90
# Small, so that an answer that nobody reads soon fills everything between the two.
_BUFFER_BYTES: Final = 4_096


@dataclass(slots=True)
class _Attack:
    """What one kind of client does until it is thrown out, and the first words that it then heard.

    Attributes:
        begin: what it sends first.
        go_on: what it sends from time to time.
        pause_s: how long it waits in between.
        reads: whether it reads what it is told before it is too late.
        statuses: what it may be told. Who goes on sending to a closed connection, or comes too late, may hear nothing.
    """

    begin: bytes
    go_on: bytes = b""
    pause_s: float = _PAUSE_S
    reads: bool = True
    statuses: tuple[int, ...] = ()
    heard: Counter[bytes] = field(default_factory=Counter)
    left_alone: int = 0


def attacks(key: str) -> dict[str, _Attack]:
    """The kinds of clients."""
    head = f"POST {CHAT} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {key}\r\n".encode()
    chunked = head + b"transfer-encoding: chunked\r\n\r\n"
    flood = post(key, stream=True, messages=[{"role": "user", "content": "flood"}])
    return {
        "slow heads": _Attack(head, b"x", statuses=(408,)),
        "stopped bodies": _Attack(head + b"content-length: 100000\r\n\r\n{", statuses=(408,)),
        "dripping bodies": _Attack(head + b"content-length: 100000\r\n\r\n{", b" ", statuses=(408,)),
        "silence": _Attack(b""),
        "endless heads": _Attack(head + b"x: ", b"a" * 16_384, 0, statuses=(431,)),
        "endless bodies": _Attack(chunked, b"4000\r\n" + b"a" * 16_384 + b"\r\n", 0, statuses=(413, 408)),
        "bad chunks": _Attack(chunked + b"zz\r\n", statuses=(400,)),
        "long pipelines": _Attack(post(key) * 2_000, statuses=(200,)),
        "unread streams": _Attack(flood, reads=False, statuses=(200,)),
    }


def soak_sockets(service: Service, each: int) -> list[str]:
    """So many hostile clients at once, kind by kind: others are served, memory is bounded, and all are thrown out."""
    key = service.keys(accounts=1, per_account=1)[0]
    before = rss_bytes(service.pid)
    broken = []
    for name, kind in attacks(key).items():
        load = Load(repeat(post(key), _CALLS))
        # A stream that floods is as much work for everybody as many clients of the other kinds.
        clients = each if kind.reads else max(1, each // 10)
        peak = asyncio.run(_attack(service, kind, clients, load))
        heard = ", ".join(f"{times:,} {words.decode() or 'nothing'}" for words, times in kind.heard.items())
        print(
            f"  {name:14} {clients:,} heard {heard or 'nothing'}; {kind.left_alone} stayed; at most {peak / MB:.1f} MB"
        )
        allowed = {b"", *(b"HTTP/1.1 %d" % status for status in kind.statuses)}
        if kind.left_alone or not kind.heard.keys() <= allowed:
            broken.append(f"{name}: not all were thrown out as they should be")
        if load.statuses != {200: _CALLS}:
            broken.append(f"{name}: others were not served: {dict(load.statuses)}")
        if peak - before > MOST_BYTES:
            broken.append(f"{name}: they took {(peak - before) / MB:.0f} MB")
    print(f"  {'memory':14} {before / MB:.1f} MB before, {rss_bytes(service.pid) / MB:.1f} MB afterwards", flush=True)
    if service.held():
        broken.append(f"{service.held()} USD are held for nobody")
    return broken


async def _attack(service: Service, kind: _Attack, each: int, load: Load) -> int:
    """Let them loose; returns the most memory that the server used meanwhile, in bytes."""
    peak = rss_bytes(service.pid)
    clients = [_client(service.port, kind) for _ in range(each)]
    running = asyncio.gather(*clients, drive(service.port, load, connections=8))
    while not running.done():
        peak = max(peak, rss_bytes(service.pid))
        await asyncio.wait([running], timeout=0.1)
    await running
    return peak


async def _client(port: int, kind: _Attack) -> None:
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connected, limit=_BUFFER_BYTES)
    sending = asyncio.create_task(_send(writer, kind))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            if not kind.reads:
                await asyncio.sleep(3 * _UNREAD_S)
            heard = await _first_words(reader)
        kind.heard[heard] += 1
    except TimeoutError:
        kind.left_alone += 1
    finally:
        sending.cancel()
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, kind: _Attack) -> None:
    try:
        writer.write(kind.begin)
        await writer.drain()
        while kind.go_on:
            await asyncio.sleep(kind.pause_s)
            writer.write(kind.go_on)
            await writer.drain()
    except OSError:
        return


async def _first_words(reader: asyncio.StreamReader) -> bytes:
    """The first words of what comes until the connection ends; a stream that came whole would say so instead."""
    heard = last = b""
    try:
        while piece := await reader.read(65_536):
            heard, last = heard or piece[:12], (last + piece)[-100:]
    except OSError:
        pass
    return b"[DONE]" if b"[DONE]" in last else heard
