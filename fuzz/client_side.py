"""What a `ClientConnection` serves in its target: a fast path and an ASGI application.

How a request is answered follows from the input's number and the request's place on the connection.
"""

import asyncio
import random
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import cast

from fuzz.readers import Headers
from tokenbooth.http.exchange import BodyTooLarge, ClientGone, HttpExchange, NoRoomForBody
from tokenbooth.http.server import Message, Receive, Send


class How(Enum):
    """How a request is answered."""

    AT_ONCE = auto()
    UNREAD = auto()
    WHOLE = auto()
    LATER = auto()
    STREAMED = auto()
    EARLY_STREAM = auto()
    NEVER = auto()
    ABORTED = auto()
    CUT_OFF = auto()

    @property
    def ends_well(self) -> bool:
        """Whether the answer will be complete."""
        return self not in (How.NEVER, How.ABORTED, How.CUT_OFF)


@dataclass(slots=True)
class Seen:
    """A request that was served.

    Attributes:
        headers: as they were at first.
        body: if it was read, and complete.
        is_too_large: whether reading it failed for its size.
        has_no_room: whether it did because too much was kept.
        exchange: None for ASGI.
    """

    method: str
    path: str
    headers: Headers
    how: How
    body: bytes | None = None
    is_too_large: bool = False
    has_no_room: bool = False
    exchange: HttpExchange | None = None
    scope_headers: Headers = field(default_factory=list)


class Unwell(Exception):
    """What the application fails with."""


class Servers:
    """The fast path and the application of one connection."""

    def __init__(self, seed: int) -> None:
        self.seen: list[Seen] = []
        self.failures: list[BaseException] = []
        self._seed = seed
        self._tasks: set[asyncio.Task[None]] = set()

    def handles(self, path: str) -> bool:
        """Whether a path is on the fast path."""
        return path.startswith("/v1")

    def serve(self, exchange: HttpExchange) -> None:
        """Begin to serve a request."""
        how, rng = self._plan()
        seen = Seen(exchange.method, exchange.path, list(exchange.headers), how, exchange=exchange)
        seen.scope_headers = exchange.headers
        header_lines = b"x-place: %d\r\n" % len(self.seen)
        self.seen.append(seen)
        if how is How.AT_ONCE:
            exchange.answer(_status(seen.method), header_lines, _body(rng))
            return
        task = asyncio.get_running_loop().create_task(self._serve(seen, exchange, header_lines, rng))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, seen: Seen, exchange: HttpExchange, header_lines: bytes, rng: random.Random) -> None:
        try:
            if seen.how is How.EARLY_STREAM and exchange.method != "HEAD":
                exchange.begin(_status(seen.method), header_lines)
            if seen.how not in (How.UNREAD, How.EARLY_STREAM):
                seen.body = await exchange.body()
            await self._answer(seen, exchange, header_lines, rng)
        except BodyTooLarge:
            seen.is_too_large = True
            exchange.answer(413, header_lines, b"too large")
        except NoRoomForBody:
            seen.has_no_room = True
            exchange.answer(503, header_lines, b"no room")
        except ClientGone:
            pass

    async def _answer(self, seen: Seen, exchange: HttpExchange, header_lines: bytes, rng: random.Random) -> None:
        match seen.how:
            case How.UNREAD | How.WHOLE:
                exchange.answer(_status(seen.method), header_lines, _body(rng))
            case How.LATER:
                await asyncio.sleep(rng.choice((0, 1, 7)))
                exchange.answer(_status(seen.method), header_lines, _body(rng))
            case How.NEVER:
                gone = asyncio.Event()
                exchange.on_gone = gone.set
                if not exchange.gone:
                    await gone.wait()
                assert exchange.gone
            case How.ABORTED:
                exchange.abort()
            case _:
                await _stream(seen, exchange, header_lines, rng)

    async def application(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        try:
            await self._application(scope, receive, send)
        except Exception as failure:
            if not isinstance(failure, Unwell):
                # uvicorn would answer with a 500.
                self.failures.append(failure)
            raise

    async def _application(self, scope: Message, receive: Receive, send: Send) -> None:
        how, rng = self._plan()
        method, path = cast("str", scope["method"]), cast("str", scope["path"])
        headers = cast("Headers", scope["headers"])
        seen = Seen(method, path, list(headers), how, scope_headers=headers)
        answer_headers = [(b"x-place", b"%d" % len(self.seen))]
        self.seen.append(seen)
        if how not in (How.UNREAD, How.AT_ONCE) and not await _read(seen, receive):
            return
        if how is How.NEVER:
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if how is How.ABORTED:
            raise Unwell
        if how is How.LATER:
            await asyncio.sleep(rng.choice((0, 1, 7)))
        parts = [_body(rng) for _ in range(rng.choice((1, 1, 2, 5)))]
        if rng.randrange(2):
            answer_headers.append((b"content-length", b"%d" % sum(map(len, parts))))
        await send({"type": "http.response.start", "status": _status(method), "headers": answer_headers})
        for part in parts:
            if how is How.STREAMED:
                await asyncio.sleep(rng.choice((0, 1)))
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if how is How.CUT_OFF:
            raise Unwell
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _plan(self) -> tuple[How, random.Random]:
        rng = random.Random(self._seed * 1_000 + len(self.seen))
        if self._seed % 3 == 0:
            return rng.choice((How.WHOLE, How.STREAMED)), rng
        how = rng.choice(list(How))
        # Few: nothing comes behind them.
        return (how if how.ends_well or rng.randrange(3) == 0 else How.WHOLE), rng


async def _stream(seen: Seen, exchange: HttpExchange, header_lines: bytes, rng: random.Random) -> None:
    if exchange.method == "HEAD":
        exchange.answer(_status(seen.method), header_lines, b"")
        return
    if not exchange.began:
        exchange.begin(_status(seen.method), header_lines)
    for _ in range(rng.choice((0, 1, 2, 5))):
        await asyncio.sleep(rng.choice((0, 0, 1, 7)))
        exchange.send(_body(rng) or b"x")
    if seen.how is How.CUT_OFF:
        exchange.abort()
    else:
        exchange.finish(_body(rng) or b"x")


async def _read(seen: Seen, receive: Receive) -> bool:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        body += cast("bytes", message["body"])
        if not message["more_body"]:
            seen.body = body
            return True


def _status(method: str) -> int:
    # What comes behind a success is not HTTP any more.
    return 405 if method == "CONNECT" else 200


def _body(rng: random.Random) -> bytes:
    return bytes(rng.choices(b"ab\r\n0", k=rng.choice((0, 1, 20, 300))))
