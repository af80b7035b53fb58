"""The client to upstreams, against servers that answer byte for byte what a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.forward_proxy import forward_proxy
from tests.support.raw_server import Handler, RawServer, raw_server, read_request
from tokenbooth.config.catalog import Upstream
from tokenbooth.gateway.errors import ClientHungUp, UpstreamBroke, UpstreamTimedOut, UpstreamUnreachable
from tokenbooth.gateway.upstream.base import MAX_ANSWER_BYTES, Timeouts, UpstreamCall, UpstreamRequest, Upstreams
from tokenbooth.gateway.upstream.connect import Connector
from tokenbooth.gateway.upstream.pool import HttpUpstreams
from tokenbooth.gateway.upstream.proxy import ProxiedUpstreams, UpstreamsByWay

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
QUICK = Timeouts(connect_s=0.2, first_byte_s=0.2, idle_s=0.2, whole_answer_s=0.2)
PATIENT = Timeouts(connect_s=5, first_byte_s=5, idle_s=5)


def at(server: RawServer, *, base_path: str = "/v1", scheme: str = "http") -> Upstream:
    """The upstream at a server."""
    return Upstream("there", f"{scheme}://127.0.0.1:{server.port}{base_path}", "sk-of-the-operator", False)


def says(*answers: bytes, seen: list[bytes] | None = None, then: str = "wait") -> Handler:
    """Answers the requests of a connection one after the other, then waits, or closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            request = await read_request(reader)
            if seen is not None:
                seen.append(request)
            writer.write(answer)
            await writer.drain()
        if then == "wait":
            await reader.read()

    return handle


@asynccontextmanager
async def client(timeouts: Timeouts = PATIENT) -> AsyncIterator[HttpUpstreams]:
    """The client, closed at the end."""
    upstreams = HttpUpstreams(timeouts)
    try:
        yield upstreams
    finally:
        await upstreams.close()


def call_to(upstreams: Upstreams, upstream: Upstream, *, stream: bool = False) -> UpstreamCall:
    """A call with a small body."""
    return upstreams.post(upstream, UpstreamRequest("/chat/completions", b'{"a":1}', stream))


async def ask(upstreams: Upstreams, upstream: Upstream) -> bytes:
    """One whole call."""
    call = call_to(upstreams, upstream)
    try:
        await call.begin()
        return await call.read()
    finally:
        call.end()


def gather(pieces: list[bytes], most: int = 10**9) -> Callable[[bytes], bool]:
    """Takes parts until there are `most`."""

    def take(piece: bytes) -> bool:
        pieces.append(piece)
        return len(pieces) < most

    return take


async def test_a_request_says_what_is_needed_and_no_more() -> None:
    """The request has our key, the operator's path and a fixed set of headers."""
    seen: list[bytes] = []
    async with raw_server(says(OK, seen=seen)) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
    head, _, body = seen[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert body == b'{"a":1}'
    assert headers == [
        f"host: 127.0.0.1:{server.port}",
        "content-type: application/json",
        "accept: application/json",
        "accept-encoding: identity",
        "user-agent: tokenbooth",
        "authorization: Bearer sk-of-the-operator",
        "content-length: 7",
    ]


async def test_a_connection_is_used_again() -> None:
    """Calls one after the other share a connection."""
    async with raw_server(says(OK, OK, OK)) as server, client() as upstreams:
        for _ in range(3):
            assert await ask(upstreams, at(server)) == b"{}"
        assert server.connections == 1


async def test_a_server_that_closes_gets_a_new_connection() -> None:
    """`Connection: close` is obeyed."""
    closing = OK.replace(b"content-length", b"connection: close\r\ncontent-length")
    async with raw_server(says(closing, then="close")) as server, client() as upstreams:
        for _ in range(2):
            assert await ask(upstreams, at(server)) == b"{}"
        assert server.connections == 2


async def test_a_stale_connection_is_replaced_once() -> None:
    """A kept-alive connection that dies under a request without a byte of an answer is no failure."""

    async def dies_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)

    async with raw_server(dies_at_the_second, says(OK)) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
        assert await ask(upstreams, at(server)) == b"{}"
        assert server.connections == 2


async def test_a_new_connection_that_dies_is_a_failure() -> None:
    """Without an answer on a connection of its own the request is not sent again."""
    async with raw_server(says(b"", then="close")) as server, client() as upstreams:
        with pytest.raises(UpstreamBroke):
            await ask(upstreams, at(server))
        assert server.connections == 1


async def test_a_used_connection_that_dies_behind_a_first_byte_is_a_failure() -> None:
    """Once something of an answer came, the request may have been run."""

    async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.write(b"HTTP/1.1 2")

    async with raw_server(half_an_answer) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
        with pytest.raises(UpstreamBroke):
            await ask(upstreams, at(server))
        assert server.connections == 1


async def test_nobody_there_is_unreachable() -> None:
    """A closed port, and a name that is none, are no connection."""
    async with raw_server(says(OK)) as server:
        gone = at(server)
    async with client(QUICK) as upstreams:
        for upstream in (gone, Upstream("there", "http://no-such-name.invalid/v1", None, False)):
            with pytest.raises(UpstreamUnreachable):
                await ask(upstreams, upstream)


async def test_silence_before_the_first_byte_is_a_timeout() -> None:
    """The time to the first byte is bounded."""
    async with raw_server(says(b"")) as server, client(QUICK) as upstreams:
        with pytest.raises(UpstreamTimedOut):
            await ask(upstreams, at(server))


@pytest.mark.parametrize("head", [b"", CHUNKED], ids=["before the head", "behind the head"])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_late_can_be_waited_for(head: bytes, stream: bool) -> None:
    """The connection outlives the time-out before the first byte, and nothing of what comes then is missed."""
    proceed = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await proceed.wait()
        writer.write((b"" if head else CHUNKED) + b"2\r\n{}\r\n0\r\n\r\n")

    async with raw_server(late) as server, client(QUICK) as upstreams:
        call = call_to(upstreams, at(server), stream=stream)
        with pytest.raises(UpstreamTimedOut):
            await _answer_of(call, stream=stream)
        assert call.is_alive
        proceed.set()
        await call.wait_on(5)
        pieces: list[bytes] = []
        await call.for_each_chunk(gather(pieces))
        assert (call.status, b"".join(pieces)) == (200, b"{}")
        call.end()


async def _answer_of(call: UpstreamCall, *, stream: bool) -> None:
    await call.begin()
    await (call.for_each_chunk(lambda _: True) if stream else call.read())


async def test_waiting_on_has_an_end_too() -> None:
    """A second time-out; and a call that was given up is not alive."""
    async with raw_server(says(b"")) as server, client(QUICK) as upstreams:
        call = call_to(upstreams, at(server))
        for wait in (call.begin(), call.wait_on(0.1)):
            with pytest.raises(UpstreamTimedOut):
                await wait
        call.end()
        assert not call.is_alive


async def test_silence_in_the_middle_is_a_timeout() -> None:
    """The time between two parts is bounded, for a whole answer and for a stream."""
    async with raw_server(says(CHUNKED + b"1\r\nx\r\n")) as server, client(QUICK) as upstreams:
        with pytest.raises(UpstreamTimedOut):
            await ask(upstreams, at(server))
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        pieces: list[bytes] = []
        with pytest.raises(UpstreamTimedOut):
            await call.for_each_chunk(gather(pieces))
        call.end()
        assert pieces == [b"x"]


async def test_an_answer_that_is_cut_is_a_failure() -> None:
    """A promised length that does not come, and chunks without their end, are broken."""
    for answer in (OK.replace(b"length: 2", b"length: 9"), CHUNKED + b"5\r\nhello\r\n"):
        async with raw_server(says(answer, then="close")) as server, client() as upstreams:
            with pytest.raises(UpstreamBroke):
                await ask(upstreams, at(server))


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """HTTP/1.0 servers say nothing of length."""
    async with raw_server(says(b"HTTP/1.0 200 OK\r\n\r\n{}", then="close")) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
        assert await ask(upstreams, at(server)) == b"{}"
        assert server.connections == 2


async def test_an_interim_answer_is_passed_over() -> None:
    """100 and 103 come before the answer."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with raw_server(says(interim + OK)) as server, client() as upstreams:
        call = call_to(upstreams, at(server))
        await call.begin()
        assert (call.status, call.header("link")) == (200, None)
        assert await call.read() == b"{}"
        call.end()


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
    ],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    """Nonsense, smuggling, a switch of protocols and an endless head are broken answers."""
    async with raw_server(says(answer)) as server, client() as upstreams:
        with pytest.raises(UpstreamBroke):
            await ask(upstreams, at(server))


async def test_more_than_an_answer_ends_the_connection_but_not_the_answer() -> None:
    """What follows an answer on the same connection is never taken for the next one."""
    async with raw_server(says(OK + OK)) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
        assert await ask(upstreams, at(server)) == b"{}"
        assert server.connections == 2


async def test_what_comes_unasked_ends_the_connection() -> None:
    """A server that speaks on an idle connection is not listened to."""

    async def chatty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await proceed.wait()
        writer.write(OK)
        assert await reader.read() == b""
        closed.set()

    proceed, closed = asyncio.Event(), asyncio.Event()
    async with raw_server(chatty, says(OK)) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
        proceed.set()
        await closed.wait()
        assert await ask(upstreams, at(server)) == b"{}"
        assert server.connections == 2


async def test_an_answer_that_is_too_large_is_a_failure() -> None:
    """A whole answer is kept in memory, so its size is bounded."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        piece = b" " * 2**20
        for _ in range(MAX_ANSWER_BYTES // len(piece) + 2):
            writer.write(piece)
            await writer.drain()

    async with raw_server(endless) as server, client() as upstreams:
        with pytest.raises(UpstreamBroke):
            await ask(upstreams, at(server))


async def test_parts_are_handed_over_as_they_arrive() -> None:
    """Each part of a stream is there before the next one is sent."""
    parts: list[bytes] = []
    arrived = [asyncio.Event() for _ in range(3)]

    async def stepwise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED)
        for number in range(3):
            writer.write(b"2\r\np%d\r\n" % number)
            await arrived[number].wait()
        writer.write(b"0\r\n\r\n")
        await reader.read()

    def take(part: bytes) -> bool:
        parts.append(part)
        arrived[len(parts) - 1].set()
        return True

    async with raw_server(stepwise) as server, client() as upstreams:
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        await call.for_each_chunk(take)
        call.end()
    assert parts == [b"p0", b"p1", b"p2"]


async def test_who_takes_may_stop_or_fail() -> None:
    """Taking ends when no more is wanted, and with what goes wrong there."""

    def fail(_: bytes) -> bool:
        raise ZeroDivisionError

    async with raw_server(says(CHUNKED + b"1\r\na\r\n")) as server, client() as upstreams:
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        pieces: list[bytes] = []
        await call.for_each_chunk(gather(pieces, most=1))
        assert pieces == [b"a"]
        call.end()
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        with pytest.raises(ZeroDivisionError):
            await call.for_each_chunk(fail)
        call.end()
        assert server.connections == 2


async def test_an_interruption_ends_each_wait_once() -> None:
    """A client that hangs up ends the wait for the head and for the body; afterwards one can go on listening."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(CHUNKED + b"1\r\na\r\n")
        await reader.read(1)

    asked = asyncio.Event()
    async with raw_server(never, slowly) as server, client() as upstreams:
        call = call_to(upstreams, at(server), stream=True)
        begin = asyncio.create_task(call.begin())
        await asked.wait()
        call.interrupt()
        with pytest.raises(ClientHungUp):
            await begin
        call.end()
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        pieces: list[bytes] = []

        def take(piece: bytes) -> bool:
            pieces.append(piece)
            call.interrupt()
            return True

        with pytest.raises(ClientHungUp):
            await call.for_each_chunk(take)
        listening = asyncio.create_task(call.for_each_chunk(gather(pieces)))
        await asyncio.sleep(0)
        assert not listening.done()
        listening.cancel()
        call.end()
        assert pieces == [b"a"]


async def test_what_goes_wrong_with_the_last_part_is_told() -> None:
    """A failure of who takes it ends a call also when the answer was complete in that part."""

    def fail(_: bytes) -> bool:
        raise ZeroDivisionError

    async with raw_server(says(CHUNKED + b"1\r\na\r\n0\r\n\r\n")) as server, client() as upstreams:
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        with pytest.raises(ZeroDivisionError):
            await call.for_each_chunk(fail)
        call.end()


async def test_a_server_that_dies_in_its_work_is_not_asked_again() -> None:
    """Only a loss that shows at once means that the request was not run."""

    async def dies_at_work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        await asyncio.sleep(1.2)

    async with raw_server(dies_at_work, says(OK)) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"{}"
        with pytest.raises(UpstreamBroke):
            await ask(upstreams, at(server))
        assert server.connections == 1


async def test_a_body_in_small_chunks_is_whole() -> None:
    """Many small chunks are put together."""
    answer = CHUNKED + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n"
    async with raw_server(says(answer)) as server, client() as upstreams:
        assert await ask(upstreams, at(server)) == b"a" * 10_000


async def test_an_interruption_ends_the_connecting_too() -> None:
    """Who hung up while we connect is let go at once, and was not asked for anything."""

    class Slow(Connector):
        async def connect(self, protocol: asyncio.Protocol, host: str, port: int, *, is_tls: bool) -> None:
            connecting.set()
            await asyncio.Event().wait()

    connecting = asyncio.Event()
    call = call_to(
        HttpUpstreams(PATIENT, Slow(5)), Upstream("there", "http://127.0.0.1:1/v1", None, False), stream=True
    )
    begin = asyncio.create_task(call.begin())
    await connecting.wait()
    call.interrupt()
    with pytest.raises(ClientHungUp):
        await begin
    assert not call.sent
    call.end()


async def test_an_interruption_before_the_connection_is_there_sends_nothing() -> None:
    """Who hung up while we connected is not billed."""
    seen: list[bytes] = []
    async with raw_server(says(OK, seen=seen)) as server, client() as upstreams:
        call = call_to(upstreams, at(server), stream=True)
        call.interrupt()
        with pytest.raises(ClientHungUp):
            await call.begin()
        call.end()
    assert seen == []


async def test_a_pause_holds_the_server_back_and_is_no_silence() -> None:
    """Nothing is read in a pause, however long it is; then everything comes."""
    size = 32 * 2**20
    written = 0

    async def much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % size)
        piece = b"x" * 2**16
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()
            written += len(piece)
        await reader.read()

    async with raw_server(much) as server, client(Timeouts(connect_s=5, first_byte_s=5, idle_s=0.3)) as upstreams:
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        taken = 0

        def take(piece: bytes) -> bool:
            nonlocal taken
            if not taken:
                call.pause()
            taken += len(piece)
            return True

        taking = asyncio.create_task(call.for_each_chunk(take))
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.4)
        assert written < size
        assert not taking.done()
        call.resume()
        await taking
        call.end()
        assert taken == size


async def test_an_idle_connection_that_was_closed_is_forgotten() -> None:
    """The pool holds no connection that has ended."""
    async with raw_server(says(OK, then="close")) as server, client() as upstreams:
        for number in range(1, 4):
            assert await ask(upstreams, at(server)) == b"{}"
            assert server.connections == number


async def test_tls_checks_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose certificate the system vouches for is spoken to; another one is no connection."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with raw_server(says(OK), tls=context) as server:
        async with client() as upstreams:
            with pytest.raises(UpstreamUnreachable):
                await ask(upstreams, at(server, scheme="https"))
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with client() as upstreams:
            assert await ask(upstreams, at(server, scheme="https")) == b"{}"


async def test_an_upstream_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream goes through the environment's proxy if one is named for it, whole and streamed, others directly."""
    whole, streamed = says(OK, then="close"), says(CHUNKED + b"1\r\na\r\n0\r\n\r\n", then="close")
    async with forward_proxy() as (lines, url), raw_server(whole, streamed) as server:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        there = at(server)
        upstreams = UpstreamsByWay(
            direct=HttpUpstreams(QUICK),
            proxied=ProxiedUpstreams(PATIENT),
            is_proxied=lambda asked: asked == there.base_url,
        )
        assert await ask(upstreams, there) == b"{}"
        call = call_to(upstreams, there, stream=True)
        await call.begin()
        pieces: list[bytes] = []
        await call.for_each_chunk(gather(pieces))
        call.end()
        assert pieces == [b"a"]
        target = f"POST http://127.0.0.1:{server.port}/v1/chat/completions HTTP/1.1"
        assert lines == [target, target]
        async with raw_server(says(OK)) as other:
            assert await ask(upstreams, at(other)) == b"{}"
        assert lines == [target, target]
        await upstreams.close()


async def test_a_proxied_call_can_be_interrupted_and_fails_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a proxy, too, a hang-up ends the wait, silence is a time-out, and a cut is a failure."""
    async with (
        forward_proxy() as (_, url),
        raw_server(says(CHUNKED + b"1\r\na\r\n"), says(CHUNKED), says(CHUNKED + b"1\r\n", then="close")) as server,
    ):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        upstreams = ProxiedUpstreams(Timeouts(connect_s=5, first_byte_s=5, idle_s=0.3))
        call = call_to(upstreams, at(server), stream=True)
        await call.begin()
        pieces: list[bytes] = []

        def take(piece: bytes) -> bool:
            pieces.append(piece)
            call.interrupt()
            return True

        with pytest.raises(ClientHungUp):
            await call.for_each_chunk(take)
        call.end()
        for expected in (UpstreamTimedOut, UpstreamBroke):
            call = call_to(upstreams, at(server), stream=True)
            with pytest.raises(expected):
                await _stream(call)
            call.end()
        await upstreams.close()


async def _stream(call: UpstreamCall) -> None:
    await call.begin()
    await call.for_each_chunk(lambda _: True)


async def test_a_late_answer_through_a_proxy_can_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without one: what was sent goes on when the time is over; one that is given up leaves nothing behind."""
    proceed = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await proceed.wait()
        writer.write(OK)

    async with forward_proxy() as (_, url), raw_server(late, says(b"")) as server:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        upstreams = ProxiedUpstreams(QUICK)
        call = call_to(upstreams, at(server))
        with pytest.raises(UpstreamTimedOut):
            await call.begin()
        assert call.is_alive
        proceed.set()
        await call.wait_on(5)
        assert (call.status, await call.read()) == (200, b"{}")
        call.end()
        call = call_to(upstreams, at(server))
        with pytest.raises(UpstreamTimedOut):
            await call.begin()
        call.end()
        assert not call.is_alive
        await upstreams.close()
