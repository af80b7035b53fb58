"""Answers that are given before the request was read: they reach the client, and who sends for ever is cut off."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.raw_client import RawClient
from tests.support.servers import serve
from tokenbooth.http.exchange import HttpExchange
from tokenbooth.http.limits import Bounds, FastPath, ListenerConfig

Receive = Callable[[], Awaitable[dict[str, object]]]
Send = Callable[[dict[str, object]], Awaitable[None]]

MIB = 1024 * 1024
PLANES = ["/fast/refused", "/asgi/refused"]


class FastRefusal:
    """Answers 401 without a look at the body; `/fast/read` reads it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def handles(self, path: str) -> bool:
        """Whether a path is on the fast path."""
        return path.startswith("/fast/")

    def serve(self, exchange: HttpExchange) -> None:
        """Begin to serve a request."""
        task = asyncio.get_running_loop().create_task(self._answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: HttpExchange) -> None:
        if exchange.path == "/fast/read":
            exchange.answer(200, b"", b"%d" % len(await exchange.body()))
        else:
            exchange.answer(401, b"", b"who are you?")


async def refusing(scope: dict[str, object], receive: Receive, send: Send) -> None:
    """The same as an ASGI application; `/asgi/read` reads the body."""
    status, body = 401, b"who are you?"
    if scope["path"] == "/asgi/read":
        size, more = 0, True
        while more:
            message = await receive()
            part = message["body"]
            assert isinstance(part, bytes)
            size, more = size + len(part), bool(message["more_body"])
        status, body = 200, b"%d" % size
    head = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def server(bounds: Bounds | None = None) -> Iterator[int]:
    """Both planes on one port."""
    fast = FastRefusal()
    config = ListenerConfig(FastPath(fast.handles, fast.serve), bounds or Bounds(), lambda: "req_1")
    with serve(refusing, lifespan="off", config=config) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Both planes with the bounds that a server has."""
    with server() as number:
        yield number


def head(path: str, version: str, framing: str) -> bytes:
    """The head of a request."""
    return f"POST {path} HTTP/{version}\r\nhost: x\r\n{framing}\r\n\r\n".encode()


@pytest.mark.parametrize("path", PLANES)
@pytest.mark.parametrize(("version", "connection"), [("1.0", "close"), ("1.1", "close"), ("1.1", "keep-alive")])
@pytest.mark.parametrize("size", [100_000, MIB, 25 * MIB, 60 * MIB])
def test_who_sends_a_whole_body_first_reads_the_refusal(
    port: int, path: str, version: str, connection: str, size: int
) -> None:
    """Most clients read only when all is sent; bytes that nobody read must not reset the connection by then."""
    with RawClient(port) as client:
        client.send(head(path, version, f"connection: {connection}\r\ncontent-length: {size}"))
        client.send(b"x" * size)
        answer = client.answer()
        assert (answer.status, answer.body) == (401, b"who are you?")
        if connection == "close":
            assert answer.headers["connection"] == "close"
            assert client.is_closed()


@pytest.mark.parametrize("path", PLANES)
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_body_in_chunks_is_thrown_away_as_well(port: int, path: str, connection: str) -> None:
    """Its end is found by its chunks, and the next request behind it."""
    with RawClient(port) as client:
        client.send(head(path, "1.1", f"connection: {connection}\r\ntransfer-encoding: chunked"))
        for _ in range(8):
            client.send(b"100000\r\n" + b"x" * MIB + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.answer().status == 401
        if connection == "close":
            assert client.is_closed()
        else:
            read = path.replace("refused", "read")
            assert client.send(head(read, "1.1", "content-length: 3") + b"abc").answer().body == b"3"


@pytest.mark.parametrize("path", PLANES)
def test_a_body_that_was_not_asked_for_may_come_or_not(port: int, path: str) -> None:
    """Who expects 100 (Continue) and is refused hears so without it, and that the connection ends."""
    framing = f"expect: 100-continue\r\ncontent-length: {MIB}"
    with RawClient(port) as client:
        answer = client.send(head(path, "1.1", framing)).answer()
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert client.send(b"x" * MIB).is_closed()
    with RawClient(port) as client:
        assert client.send(head(path, "1.1", framing) + b"x" * MIB).answer().status == 401


@pytest.mark.parametrize("path", PLANES)
def test_a_body_that_is_asked_for_comes(port: int, path: str) -> None:
    """Who expects 100 (Continue) gets it when somebody reads the body; with HTTP/1.0 there is no such word."""
    read, framing = path.replace("refused", "read"), "expect: 100-continue\r\ncontent-length: 3"
    with RawClient(port) as client:
        assert client.send(head(read, "1.1", framing)).answer().status == 100
        answer = client.send(b"abc").answer()
        assert (answer.status, answer.body, "connection" in answer.headers) == (200, b"3", False)
    with RawClient(port) as client:
        answer = client.send(head(read, "1.0", framing) + b"abc").answer()
        assert (answer.status, answer.body) == (200, b"3")


@pytest.mark.parametrize("path", PLANES)
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize(
    "bounds",
    [Bounds(linger_bytes=MIB), Bounds(linger_s=0.2), Bounds(linger_s=60, linger_idle_s=0.2)],
    ids=["too much", "too long", "too slow"],
)
def test_who_sends_for_ever_is_cut_off(path: str, connection: str, bounds: Bounds) -> None:
    """By the bytes, by the whole time, and by the time between two pieces; the others go on being served."""
    with server(bounds) as port, RawClient(port) as client:
        client.send(head(path, "1.1", f"connection: {connection}\r\ncontent-length: {1024 * MIB}"))
        assert client.answer().status == 401
        if bounds.linger_idle_s > 1:
            for _ in range(2_000):
                client.send(b"x" * 65_536)
                if client.is_cut_off(0.01):
                    break
        assert client.is_closed()
        with RawClient(port) as other:
            assert other.send(head("/fast/read", "1.1", "content-length: 3") + b"abc").answer().status == 200


def test_a_request_that_was_read_closes_at_once(port: int) -> None:
    """Lingering is for bodies that nobody read: an ordinary last answer ends its connection without a pause."""
    for path in ("/fast/read", "/asgi/read"):
        with RawClient(port) as client:
            answer = client.send(head(path, "1.0", "content-length: 3") + b"abc").answer()
            assert (answer.status, answer.body) == (200, b"3")
            assert client.is_closed()
