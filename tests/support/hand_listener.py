"""A listener without sockets, in time that a test says: clients that send and read as slowly as they like."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import uvicorn
from uvicorn.server import ServerState

from fuzz.hand_loop import HandLoop
from tokenbooth.http.exchange import BodyTooLarge, ClientGone, HttpExchange, NoRoomForBody
from tokenbooth.http.limits import Bounds, FastPath, ListenerConfig
from tokenbooth.http.server import Message, Receive, Send
from tokenbooth.http.uvicorn import UvicornConnection, connection_class
from tokenbooth.kit.places import Caller


def head(path: str, size: int, *, account: str = "one") -> bytes:
    """The head of a request with a body, of an account with money."""
    return f"POST {path} HTTP/1.1\r\nx-account: {account}\r\ncontent-length: {size}\r\n\r\n".encode()


class Line(asyncio.Transport):
    """A transport to a client that reads what the test says.

    Attributes:
        waiting: what was written and not read.
        read_bytes: how much was read.
        reads_on: whether the server wants more.
        ended_at_s: when the server ended it; None before that.
        cut: whether what waited then was lost.
    """

    HIGH: Final = 64 * 1024
    LOW: Final = 16 * 1024

    def __init__(self, loop: HandLoop, address: str, port: int) -> None:
        super().__init__({"peername": (address, port), "sockname": ("127.0.0.1", 80)})
        self.loop = loop
        self.protocol: asyncio.Protocol | None = None
        self.waiting = bytearray()
        self.read_bytes = 0
        self.first_words = b""
        self.reads_on = True
        self.ended_at_s: float | None = None
        self.cut = False
        self._is_full = False
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it until it is read."""
        self.first_words = self.first_words or bytes(data[:32])
        self.waiting += data
        if len(self.waiting) > self.HIGH and not self._is_full:
            self._is_full = True
            assert self.protocol is not None
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """What waits."""
        return len(self.waiting)

    def read(self, size: int) -> None:
        """The client reads."""
        self.read_bytes += min(size, len(self.waiting))
        del self.waiting[:size]
        if self._is_full and len(self.waiting) <= self.LOW and self.protocol is not None:
            self._is_full = False
            self.loop.call_soon(self.protocol.resume_writing)
        if self._closing and not self.waiting:
            self._end()

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Nothing more will be written."""

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self._closing

    def close(self) -> None:
        """Close it when all was read."""
        self._closing = True
        if not self.waiting:
            self._end()

    def abort(self) -> None:
        """Close it now."""
        self._closing = True
        self.cut = bool(self.waiting)
        self._end()

    def pause_reading(self) -> None:
        """No more for now."""
        self.reads_on = False

    def resume_reading(self) -> None:
        """More."""
        self.reads_on = True

    def _end(self) -> None:
        if self.ended_at_s is None:
            self.ended_at_s = self.loop.now_s
            assert self.protocol is not None
            self.loop.call_soon(self.protocol.connection_lost, None)


class HandListener:
    """A listener with an application on either plane, and connections to it.

    The application reads the body and answers with so many bytes as the last part of the path says; a `stream` goes on
    until the end, as fast as it is read.
    """

    def __init__(self, bounds: Bounds, trusted_proxies: Sequence[str] = ()) -> None:
        self.loop = HandLoop()
        fast_path = FastPath(lambda path: path.startswith("/fast/"), self._serve)
        self.config = ListenerConfig(fast_path, bounds, lambda: "req_1", trusted_proxies)
        self.class_ = connection_class(self.config)
        self.began_s = self.loop.now_s
        self.ends = False
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, address: str = "203.0.113.1", port: int = 1) -> Line:
        """A client."""
        line = Line(self.loop, address, port)
        config = uvicorn.Config(self._asgi, interface="asgi3", ws="none", lifespan="off", log_config=None)
        config.load()
        connection = self.class_(config, ServerState(), {}, self.loop)
        line.protocol = connection
        self.loop.do(partial(connection.connection_made, line))
        return line

    def send(self, line: Line, data: bytes) -> None:
        """The client sends."""
        assert isinstance(line.protocol, UvicornConnection)
        if line.ended_at_s is None:
            self.loop.do(partial(line.protocol.data_received, data))

    def run(self, line: Line, every_s: float, act: Callable[[], object], *, at_most_s: float = 10_000) -> float:
        """Let the client act every so many seconds until the server has said or done something; returns when."""
        passed_s = 0.0
        while passed_s < at_most_s and line.ended_at_s is None and not line.first_words:
            self.loop.advance(every_s)
            passed_s += every_s
            act()
        return passed_s

    def end(self) -> None:
        """Nothing may be left."""
        self.ends = True
        self.loop.advance(10_000)
        assert (self.config.bodies.shares.used, self.config.unread.shares.used, len(self.config.connections)) == (
            0,
            0,
            0,
        )
        self.loop.check()
        self.loop.close()

    def _serve(self, exchange: HttpExchange) -> None:
        exchange.caller = Caller(dict(exchange.headers).get(b"x-account", b"").decode(), True)
        task = self.loop.create_task(self._answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: HttpExchange) -> None:
        try:
            await exchange.body()
        except ClientGone:
            return
        except BodyTooLarge:
            exchange.answer(413, b"", b"")
            return
        except NoRoomForBody:
            exchange.answer(503, b"", b"")
            return
        if not exchange.path.endswith("stream"):
            exchange.answer(200, b"", b"x" * int(exchange.path.rpartition("/")[2]))
            return
        exchange.begin(200, b"")
        while not exchange.gone and not self.ends:
            if not exchange.write_paused:
                exchange.send(b"x" * 10_000)
            await asyncio.sleep(0.1)

    async def _asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        path = str(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if not path.endswith("stream"):
            await send({"type": "http.response.body", "body": b"x" * int(path.rpartition("/")[2])})
            return
        while not self.ends:
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            await asyncio.sleep(0.1)
