"""The mock upstream for streams: prepared events, each written by itself on a timer.

A request says what it wants in fields that every gateway passes on: `max_tokens` is the number of events with content,
`seed` the gap between them in milliseconds. Run as a process of its own: `python -m bench.gateway.stream_server PORT`.
"""

import asyncio
import re
import sys
from typing import Final, cast

import httptools
import uvloop

from bench.gateway.answers import WHOLE, event

_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WHOLE_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_COUNT: Final = re.compile(rb'"max_(?:completion_)?tokens"\s*:\s*(\d+)')
_GAP: Final = re.compile(rb'"seed"\s*:\s*(\d+)')
_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')


def _piece(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_CONTENT: Final = _piece(event("word "))
_LAST: Final = _piece(event(None)) + _piece(event(None, usage=True)) + _piece(b"data: [DONE]\n\n") + _piece(b"")


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._left = 0
        self._gap_s = 0.0
        self._next_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._parts.clear()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._parts)
        if not _STREAM.search(body):
            self._transport.write(_WHOLE_HEAD % len(WHOLE) + WHOLE)
            return
        count, gap = _COUNT.search(body), _GAP.search(body)
        self._left = int(count[1]) - 1 if count else 0
        self._gap_s = int(gap[1]) / 1_000 if gap else 0.0
        self._transport.write(_HEAD + _CONTENT)
        self._next_at_s = self._loop.time()
        self._wait()

    def _wait(self) -> None:
        # From a fixed beginning, so that a late event does not delay all that follow.
        self._next_at_s += self._gap_s
        self._loop.call_at(self._next_at_s, self._write)

    def _write(self) -> None:
        if self._transport.is_closing():
            return
        if self._left == 0:
            self._transport.write(_LAST)
            return
        self._left -= 1
        self._transport.write(_CONTENT)
        self._wait()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=4_096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
