"""The load: as many requests as are asked for, over so many kept-alive connections, on raw sockets."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

MODEL: Final = "soak/pancake"
CHAT: Final = "/v1/chat/completions"
BROKEN: Final = 0
"""Stands for a status where the connection ended instead of an answer."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def post(key: str, path: str = CHAT, **fields: object) -> bytes:
    """A call with one short message, as it goes over the wire."""
    body = msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": "How flat?"}], **fields})
    head = f"POST {path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(key: str, path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {key}\r\n\r\n".encode()


@dataclass(slots=True)
class Load:
    """What is sent, and what came back.

    Attributes:
        requests: what is still to be sent.
        statuses: how many answers had which status; `BROKEN` for those that never came.
        answered: called for each answer with the number of answers so far.
    """

    requests: Iterator[bytes]
    answered: Callable[[int], None] = lambda _: None
    statuses: Counter[int] = field(default_factory=Counter)
    count: int = 0

    def take(self, status: int) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        self.count += 1
        self.answered(self.count)


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._waits = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._next()

    def connection_lost(self, failure: Exception | None) -> None:
        if self._waits:
            self._load.take(BROKEN)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(self._received, 0, end + 2)
        assert found is not None, self._received[:end]
        if len(self._received) < end + 4 + int(found.group(1)):
            return
        status, self._received, self._waits = int(self._received[9:12]), b"", False
        self._load.take(status)
        self._next()

    def _next(self) -> None:
        request = next(self._load.requests, None)
        if request is None:
            self._transport.close()
            return
        self._waits = True
        self._transport.write(request)


async def drive(port: int, load: Load, *, connections: int) -> None:
    """Send all of a load; a connection that breaks is replaced.

    Args:
        port: of the server, on this machine.
        load: what to send; filled with what came back.
        connections: how many requests are under way at once.
    """

    async def keep_one() -> None:
        loop = asyncio.get_running_loop()
        broken_before = -1
        # A new one only where the last one broke; it ends by itself when nothing is left to send.
        while broken_before < load.statuses[BROKEN]:
            broken_before = load.statuses[BROKEN]
            _, connection = await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
            await connection.ended

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(keep_one())
