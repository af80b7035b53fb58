"""The connection of a client: turns, bodies and deadlines, over a transport that a test holds in its hands."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from tests.support.servers import serve
from tokenbooth.http.exchange import BodyTooLarge, ClientGone, HttpExchange, NoRoomForBody
from tokenbooth.http.limits import Bounds, FastPath, ListenerConfig
from tokenbooth.http.uvicorn import UvicornConnection, connection_class
from tokenbooth.kit.places import Caller

UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n"


class HeldTransport(asyncio.Transport):
    """Remembers what was written and asked of it; nothing leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread_bytes = 0
        self.reading = True
        self.closed = False
        self.aborted = False
        self.ended = False
        self.close_asked = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what is written."""
        self.written += data

    def get_write_buffer_size(self) -> int:
        """How much the client has not read."""
        return self.unread_bytes

    def write_eof(self) -> None:
        """Note that nothing more will be written."""
        self.ended = True

    def can_write_eof(self) -> bool:
        """As a plain socket can."""
        return True

    def is_closing(self) -> bool:
        """Whether it was closed or aborted."""
        return self.closed or self.aborted

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True
        self.close_asked.set()

    def abort(self) -> None:
        """Note that it was aborted."""
        self.aborted = True

    def pause_reading(self) -> None:
        """Note that nobody reads."""
        self.reading = False

    def resume_reading(self) -> None:
        """Note that somebody reads again."""
        self.reading = True


class FastEcho:
    """Answers with the path and the size of the body; `/fast/wait` waits to be let go before it answers."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.ended: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def handles(self, path: str) -> bool:
        """Whether a path is on the fast path."""
        return path.startswith("/fast/")

    def serve(self, exchange: HttpExchange) -> None:
        """Begin to serve a request."""
        exchange.caller = Caller("acct", True)
        task = asyncio.get_running_loop().create_task(self._answer(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, exchange: HttpExchange) -> None:
        if exchange.path == "/fast/wait":
            await self.go.wait()
        try:
            body = b"" if exchange.path == "/fast/refuse" else await exchange.body()
        except (ClientGone, BodyTooLarge, NoRoomForBody) as failure:
            self.ended.append(type(failure).__name__)
            exchange.answer(503, b"", b"no;")
            return
        self.ended.append(exchange.path)
        exchange.answer(200, b"", b"%b %d;" % (exchange.path.encode(), len(body)))


def listener_config(fast: FastEcho, bounds: Bounds) -> ListenerConfig:
    """A listener with `fast` on its fast path."""
    return ListenerConfig(FastPath(fast.handles, fast.serve), bounds, lambda: "req_1")


async def no_asgi(scope: object, receive: object, send: object) -> None:
    """Never asked."""
    raise AssertionError(scope)


@contextmanager
def connection(
    bounds: Bounds | None = None, *, fast: FastEcho | None = None
) -> Iterator[tuple[UvicornConnection, HeldTransport, FastEcho]]:
    """A connection that was just made."""
    fast = fast or FastEcho()
    config = uvicorn.Config(no_asgi, http="httptools", ws="none", lifespan="off", log_config=None)
    made = connection_class(ListenerConfig(FastPath(fast.handles, fast.serve), bounds or Bounds(), lambda: "req_1"))(
        config, ServerState(), {}
    )
    transport = HeldTransport()
    made.connection_made(transport)
    try:
        yield made, transport, fast
    finally:
        if not transport.closed or not transport.aborted:
            made.connection_lost(None)


def post(path: str, body: bytes = b"", *, length: int | None = None, headers: bytes = b"") -> bytes:
    """A request with a body, of which more may follow."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body) if length is None else length}\r\n"
    return head.encode() + headers + b"\r\n" + body


async def settled() -> None:
    """Let every task do what it can."""
    for _ in range(400):
        await asyncio.sleep(0)


def is_read(transport: HeldTransport) -> bool:
    """Whether bytes of the client are asked for."""
    return transport.reading


def answers(written: bytes) -> list[bytes]:
    """What the fast path answered, in the order in which it left."""
    return [part.rpartition(b"\r\n")[2] for part in written.split(b";") if part]


@pytest.mark.parametrize("cut", [0, 1, 20])
async def test_a_request_that_asks_for_an_upgrade_keeps_its_body(cut: int) -> None:
    """There is nothing to upgrade to: the body is the request's, and never the next request."""
    smuggled = b"GET /fast/smuggled HTTP/1.1\r\n\r\n"
    request = post("/fast/a", smuggled, headers=UPGRADE)
    at = len(request) - len(smuggled) + cut
    with connection() as (made, transport, _):
        made.data_received(request[:at])
        made.data_received(request[at:] + post("/fast/b", b"xyz"))
        await settled()
    assert answers(transport.written) == [b"/fast/a %d" % len(smuggled), b"/fast/b 3"]


async def test_a_request_behind_one_that_asks_for_an_upgrade_is_answered() -> None:
    """A bodiless request with an upgrade ends where its head ends; chunks are read as chunks."""
    get = b"GET /fast/a HTTP/1.1\r\n" + UPGRADE + b"\r\n"
    chunked = b"POST /fast/b HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + UPGRADE + b"\r\n2\r\nab\r\n0\r\n\r\n"
    with connection() as (made, transport, _):
        made.data_received(get + chunked + post("/fast/c"))
        await settled()
    assert answers(transport.written) == [b"/fast/a 0", b"/fast/b 2", b"/fast/c 0"]


async def test_nobody_is_connected_to_anything() -> None:
    """CONNECT is refused and the connection closed."""
    with connection() as (made, transport, fast):
        made.data_received(b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n")
        await settled()
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.ended
    assert fast.ended == []


async def test_the_body_behind_a_long_pipeline_is_read() -> None:
    """A request that waits behind sixteen others gets the rest of its body when its turn has come."""
    with connection() as (made, transport, _):
        made.data_received(post("/fast/a") * 16 + post("/fast/last", b"ab", length=4))
        assert not is_read(transport)
        await settled()
        assert is_read(transport)
        made.data_received(b"cd")
        await settled()
    assert answers(transport.written)[-1] == b"/fast/last 4"
    assert len(answers(transport.written)) == 17


async def test_of_a_body_that_nobody_wants_yet_little_is_read() -> None:
    """A request that waits for its turn must not fill the memory."""
    with connection() as (made, transport, fast):
        made.data_received(post("/fast/wait"))
        made.data_received(post("/fast/b", b"x" * 100_000, length=10_000_000))
        assert not is_read(transport)
        fast.go.set()
        await settled()
        assert is_read(transport)
        for _ in range(99):
            made.data_received(b"x" * 100_000)
        await settled()
    assert answers(transport.written) == [b"/fast/wait 0", b"/fast/b 10000000"]


async def test_a_body_in_small_chunks_costs_what_it_is() -> None:
    """Many small chunks are put together at once."""
    with connection() as (made, transport, _):
        made.data_received(b"POST /fast/a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        await settled()
        for _ in range(8):
            made.data_received(b"1\r\na\r\n" * 1_000)
        for _ in range(200):
            made.data_received((b"200\r\n" + b"a" * 512 + b"\r\n") * 100)
        made.data_received(b"0\r\n\r\n")
        await settled()
    assert answers(transport.written) == [b"/fast/a 10248000"]


@pytest.mark.parametrize(
    ("path", "says"), [("/fast/a", b"too many small chunks"), ("/fast/refuse", b"/fast/refuse 0;")]
)
@pytest.mark.parametrize("rest", [b"1\r\na\r\n" * 20_000, b"0\r\n" + b"a: b\r\n" * 20_000])
async def test_a_body_in_too_many_small_chunks_is_refused(path: str, says: bytes, rest: bytes) -> None:
    """Each costs a call, and a single read may bring hundreds of thousands of them, or of trailers."""
    with connection() as (made, transport, _):
        made.data_received(b"POST %b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" % path.encode())
        await settled()
        made.data_received(rest)
        assert transport.written.count(b"HTTP/1.1 ") == 1
        assert says in transport.written
        assert transport.ended


async def test_all_bodies_together_are_bounded() -> None:
    """A body that has no room beside others is refused; the room is free again when those are answered."""
    with connection(Bounds(all_bodies_bytes=150_000)) as (first, kept, fast):
        second, third = (type(first)(first.config, ServerState(), {}) for _ in range(2))
        refused, taken = HeldTransport(), HeldTransport()
        second.connection_made(refused)
        third.connection_made(taken)
        first.data_received(post("/fast/a", b"x" * 60_000, length=100_000))
        await settled()
        first.data_received(b"x" * 39_999)
        second.data_received(post("/fast/b", b"x" * 60_000, length=100_000))
        await settled()
        second.data_received(b"x" * 40_000)
        await settled()
        assert answers(refused.written) == [b"no"]
        first.data_received(b"x")
        await settled()
        third.data_received(post("/fast/c", b"x" * 60_000, length=100_000))
        await settled()
        third.data_received(b"x" * 40_000)
        await settled()
        assert (answers(kept.written), answers(taken.written)) == ([b"/fast/a 100000"], [b"/fast/c 100000"])
        assert fast.ended == ["NoRoomForBody", "/fast/a", "/fast/c"]
        second.connection_lost(None)
        third.connection_lost(None)


async def test_who_hangs_up_before_the_body_is_wanted_takes_no_room() -> None:
    """A body that somebody asks for too late is not counted, or the room would be lost for ever."""
    with connection(Bounds(all_bodies_bytes=60_000)) as (made, taken, fast):
        for _ in range(3):
            made.data_received(post("/fast/wait", b"x" * 30_000, length=100_000))
            made.connection_lost(None)
            fast.go.set()
            await settled()
            taken = HeldTransport()
            made = type(made)(made.config, ServerState(), {})
            made.connection_made(taken)
        made.data_received(post("/fast/a", b"x" * 30_000, length=40_000))
        await settled()
        made.data_received(b"x" * 10_000)
        await settled()
        made.connection_lost(None)
    assert answers(taken.written) == [b"/fast/a 40000"]


async def test_a_body_without_room_for_its_last_piece_is_not_an_empty_one() -> None:
    """It is refused for the room, although the request is complete by now."""
    with connection(Bounds(all_bodies_bytes=60_000)) as (made, transport, fast):
        made.data_received(post("/fast/a", b"x" * 40_000, length=60_000))
        await settled()
        made.data_received(b"x" * 20_000)
        await settled()
    assert answers(transport.written) == [b"no"]
    assert fast.ended == ["NoRoomForBody"]


async def test_bytes_that_trickle_in_do_not_excuse_an_unread_answer() -> None:
    """How long an answer may be left unread has nothing to do with what the client still sends."""
    with connection(Bounds(unread_s=0.1, body_s=5)) as (made, transport, _):
        made.data_received(post("/fast/wait", b"a", length=1_000))
        made.pause_writing()
        for _ in range(50):
            made.data_received(b"a")
            await asyncio.sleep(0.01)
            if transport.aborted:
                break
        assert transport.aborted


async def test_a_client_that_reads_again_still_owes_its_body() -> None:
    """Having read an answer is no reason to wait for ever for the rest of the next request."""
    with connection(Bounds(unread_s=5, body_s=0.1)) as (made, transport, _):
        made.data_received(post("/fast/a", b"a", length=1_000))
        made.pause_writing()
        made.resume_writing()
        await asyncio.sleep(0.3)
        assert transport.written.startswith(b"HTTP/1.1 408 ")
        assert transport.ended


async def test_while_we_do_not_read_the_client_is_not_late() -> None:
    """Time counts only while the client could send."""
    with connection(Bounds(body_s=0.05)) as (made, transport, fast):
        made.data_received(post("/fast/wait"))
        made.data_received(post("/fast/b", b"x" * 100_000, length=100_001))
        await asyncio.sleep(0.2)
        assert transport.written == b""
        fast.go.set()
        await settled()
        made.data_received(b"x")
        await settled()
    assert answers(transport.written) == [b"/fast/wait 0", b"/fast/b 100001"]


async def test_what_was_written_last_does_not_hold_a_connection_for_ever() -> None:
    """A connection that is to be closed is cut when nobody reads the rest."""
    with connection(Bounds(unread_s=0.05)) as (made, transport, _):
        made.data_received(b"POST /fast/a HTTP/1.1\r\nconnection: close\r\n\r\n")
        await settled()
        assert transport.closed
        await asyncio.sleep(0.2)
        assert transport.aborted


async def test_too_many_requests_at_once_end_behind_the_last_that_was_taken() -> None:
    """The answers to those that were taken come first, then the reason for the end."""
    with connection() as (made, transport, _):
        made.data_received(post("/fast/a") * 200)
        await settled()
    assert transport.written.count(b"/fast/a 0;") == 129
    assert transport.written.rpartition(b"/fast/a 0;")[2].startswith(b"HTTP/1.1 400 ")


async def test_an_answer_without_a_word_to_go_on_is_the_last() -> None:
    """Who waits for 100 before it sends a body, and is refused, may or may not send it: the connection ends."""
    with connection() as (made, transport, _):
        made.data_received(post("/fast/refuse", length=5, headers=b"expect: 100-continue\r\n"))
        await settled()
        assert b"100 Continue" not in transport.written
        assert b"connection: close\r\n" in transport.written
        assert transport.ended


async def test_a_target_with_a_host_and_no_path_is_the_root() -> None:
    """The whole address of a server, as a proxy is asked for it, names its root."""
    asked: list[str] = []

    class Fast(FastEcho):
        def handles(self, path: str) -> bool:
            asked.append(path)
            return True

    made = connection_class(listener_config(Fast(), Bounds()))(
        uvicorn.Config(no_asgi, http="httptools", ws="none", lifespan="off", log_config=None), ServerState(), {}
    )
    made.connection_made(HeldTransport())
    made.data_received(b"GET http://x HTTP/1.1\r\n\r\nGET http://x/a?b HTTP/1.1\r\n\r\n")
    made.connection_lost(None)
    assert asked == ["/", "/a"]


async def test_trailers_are_no_headers() -> None:
    """What comes behind a body changes nothing of the request."""
    seen: list[tuple[bytes, bytes]] = []

    class Fast(FastEcho):
        async def _answer(self, exchange: HttpExchange) -> None:
            await exchange.body()
            seen.extend(exchange.headers)

    made = connection_class(listener_config(Fast(), Bounds()))(
        uvicorn.Config(no_asgi, http="httptools", ws="none", lifespan="off", log_config=None), ServerState(), {}
    )
    made.connection_made(HeldTransport())
    made.data_received(
        b"POST /fast/a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-api-key: evil\r\n\r\n"
    )
    await settled()
    made.connection_lost(None)
    assert seen == [(b"transfer-encoding", b"chunked")]


async def test_the_last_words_arrive_although_the_client_goes_on_sending() -> None:
    """Bytes that nobody read must not turn the end of a connection into a reset that takes the answer with it."""
    config = listener_config(FastEcho(), Bounds(head_bytes=1_024))
    with serve(no_asgi, lifespan="off", config=config) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /fast/a HTTP/1.1\r\nx: ")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"y" * 4_000)
        said = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"y" * 100_000)
        said += await reader.read()
        writer.close()
    assert said.startswith(b"HTTP/1.1 431 ")
    assert said.endswith(b"The headers are too large. Send fewer.")


async def test_a_mistake_in_a_request_is_not_that_of_the_one_before() -> None:
    """A target without a path ends the connection, but behind the answer that is under way."""
    with connection() as (made, transport, fast):
        made.data_received(post("/fast/wait") + b"POST http:/a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello")
        fast.go.set()
        await settled()
    first, _, rest = transport.written.partition(b";")
    assert first.endswith(b"/fast/wait 0")
    assert rest.startswith(b"HTTP/1.1 400 ")


async def test_who_is_answered_hears_of_the_end_also_when_others_wait() -> None:
    """An application that waits for the client to go away is told, whatever has arrived behind its request."""
    heard: list[object] = []

    async def listens(scope: object, receive: Callable[[], Awaitable[dict[str, object]]], send: object) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        heard.append(message["type"])

    with connection() as (made, _, _lane):
        made.app = listens
        made.data_received(post("/listen") + post("/waits"))
        await settled()
    await settled()
    assert heard == ["http.disconnect"]


async def test_behind_the_last_answer_nothing_is_said() -> None:
    """A fast may answer at once, and a mistake may show behind the head: the connection is closed by then."""

    class AtOnce(FastEcho):
        def serve(self, exchange: HttpExchange) -> None:
            exchange.answer(200, b"", b"done;")

    with connection(fast=AtOnce()) as (made, transport, _):
        made.data_received(b"POST /fast/a HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: x\r\n\r\n")
        await settled()
        assert transport.written.endswith(b"done;")
        assert transport.ended


async def test_an_answer_that_waited_for_its_client_to_read_is_no_silence() -> None:
    """A request that came whole while nobody read answers is answered in peace, however long that takes."""
    with connection(Bounds(idle_s=0.05)) as (made, transport, fast):
        made.pause_writing()
        made.data_received(post("/fast/wait", b"1"))
        made.resume_writing()
        await asyncio.sleep(0.2)
        assert not transport.closed

        fast.go.set()
        await settled()
        assert answers(transport.written) == [b"/fast/wait 1"]


async def test_a_mistake_behind_a_request_that_waits_leaves_it_its_time() -> None:
    """What comes behind the mistake is thrown away for a moment only, but the answer before it may take longer."""
    with connection(Bounds(linger_idle_s=0.05)) as (made, transport, fast):
        made.pause_writing()
        made.data_received(post("/fast/wait", b"1"))
        made.data_received(b"no request\r\n\r\n")
        made.data_received(b"and more")
        made.resume_writing()
        await asyncio.sleep(0.2)
        assert not transport.closed

        fast.go.set()
        await settled()
        assert b"/fast/wait 1;HTTP/1.1 400 " in transport.written


async def test_a_request_behind_the_last_answer_does_not_keep_its_connection_open() -> None:
    """Who was answered at the head, and told that it is the end, may send what it likes: it is closed soon after."""

    class AtOnce(FastEcho):
        def serve(self, exchange: HttpExchange) -> None:
            exchange.answer(200, b"", b"done;")

    last = post("/fast/a", b"12345", headers=b"expect: 100-continue\r\n")
    with connection(Bounds(linger_idle_s=0.05), fast=AtOnce()) as (made, transport, _):
        made.data_received(last + b"POST /fast/b HTTP/1.1\r\nhost: x\r\n\r\n")
        await settled()
        assert transport.ended
        await asyncio.wait_for(transport.close_asked.wait(), timeout=10)


@pytest.mark.parametrize("cut", [300, 700, 1_100])
@pytest.mark.parametrize(("size", "is_taken"), [(1_000, True), (1_500, False)])
async def test_a_head_in_two_pieces_is_measured_whole(cut: int, size: int, is_taken: bool) -> None:
    """Wherever it is cut, what came with its first piece counts."""
    head = b"GET /fast/a HTTP/1.1\r\nhost: x\r\nx-large: "
    head += b"a" * (size - len(head) - 4) + b"\r\n\r\n"
    with connection(Bounds(head_bytes=1_024)) as (client, transport, _):
        client.data_received(head[:cut])
        client.data_received(head[cut:])
        await settled()
        status = b"200" if is_taken else b"431"
        assert transport.written.startswith(b"HTTP/1.1 " + status)


async def test_a_client_that_was_turned_away_is_not_asked_for_its_body() -> None:
    """The application reads on, but nobody sends what it waits for."""

    async def reads(scope: object, receive: Callable[[], Awaitable[object]], send: object) -> None:
        await receive()
        read.set()

    read = asyncio.Event()
    config = uvicorn.Config(reads, http="httptools", ws="none", lifespan="off", log_config=None)
    made = connection_class(listener_config(FastEcho(), Bounds()))(config, ServerState(), {})
    transport = HeldTransport()
    made.connection_made(transport)
    made.data_received(
        b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n"
    )
    await read.wait()
    made.connection_lost(None)

    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.ended
    assert b"100 Continue" not in transport.written


async def test_nothing_is_served_behind_the_last_answer() -> None:
    """Not even what came in one piece with the request that wanted it to be the last, and was answered at once."""

    class AtOnce(FastEcho):
        def serve(self, exchange: HttpExchange) -> None:
            served.append(exchange.path)
            exchange.answer(200, b"", b"")

    served: list[str] = []
    with connection(fast=AtOnce()) as (made, transport, _):
        # With HTTP/1.0 a connection ends with its first answer, whatever the client wishes; its parser reads on.
        old = b"POST /fast/b HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n"
        made.data_received(post("/fast/a") + old + post("/fast/c"))
        await settled()

    assert served == ["/fast/a", "/fast/b"]
    assert transport.written.count(b"HTTP/1.1 200 ") == 2
    assert transport.closed
