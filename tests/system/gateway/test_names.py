"""Connections to upstreams by name: over several addresses, beside names that nobody answers for."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.raw_server import RawServer, raw_server, read_request
from tokenbooth.config.catalog import Upstream
from tokenbooth.gateway.errors import UpstreamUnreachable
from tokenbooth.gateway.upstream.base import Timeouts, UpstreamRequest
from tokenbooth.gateway.upstream.connect import Connector
from tokenbooth.gateway.upstream.names import Names, Resolve
from tokenbooth.gateway.upstream.pool import HttpUpstreams

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, and the connection is closed."""
    await read_request(reader)
    writer.write(OK)
    await writer.drain()


@asynccontextmanager
async def client(resolve: Resolve, *, connect_s: float = 5) -> AsyncIterator[HttpUpstreams]:
    """A client whose names are looked up so."""
    upstreams = HttpUpstreams(Timeouts(connect_s, 5, 5), Connector(connect_s, Names(resolve)))
    try:
        yield upstreams
    finally:
        await upstreams.close()


async def ask(upstreams: HttpUpstreams, host: str, server: RawServer, scheme: str = "http") -> bytes:
    """One call."""
    upstream = Upstream(host, f"{scheme}://{host}:{server.port}/v1", None, False)
    call = upstreams.post(upstream, UpstreamRequest("/chat/completions", b"{}", stream=False))
    try:
        await call.begin()
        return await call.read()
    finally:
        call.end()


async def test_an_address_that_takes_no_connection_is_passed_over() -> None:
    """And comes last from then on."""

    def resolve(_: str) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async with raw_server(*[answers] * 4) as server, client(resolve) as upstreams:
        assert [await ask(upstreams, "models.test", server) for _ in range(4)] == [b"{}"] * 4
        assert server.connections == 4


async def test_what_the_last_address_said_is_told() -> None:
    """Where none takes a connection."""
    async with raw_server(answers) as server, client(lambda _: ["127.0.0.2", "127.0.0.3"]) as upstreams:
        with pytest.raises(UpstreamUnreachable, match=r"127\.0\.0\.3|refused"):
            await ask(upstreams, "models.test", server)


async def test_a_name_that_nobody_answers_for_holds_up_nobody_else() -> None:
    """Forty calls wait for it and fail in their time; calls to others, also new ones, are answered meanwhile."""
    may_answer = threading.Event()

    def resolve(host: str) -> Sequence[str]:
        if host == "silent.test":
            assert may_answer.wait(20)
        return ["127.0.0.1"]

    async with raw_server(*[answers] * 20) as server, client(resolve, connect_s=1) as upstreams:
        waiting = [asyncio.ensure_future(ask(upstreams, "silent.test", server)) for _ in range(40)]
        await asyncio.sleep(0)
        for number in range(10):
            assert await ask(upstreams, f"models-{number}.test", server) == b"{}"
        assert not any(task.done() for task in waiting)
        failures = await asyncio.gather(*waiting, return_exceptions=True)
        assert {str(failure) for failure in failures} == {"the name was not looked up in time"}

        may_answer.set()
        assert await ask(upstreams, "silent.test", server) == b"{}"


async def test_the_certificate_is_checked_for_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the connection is made to an address."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("models.test").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

    async with (
        raw_server(answers, answers, tls=context) as server,
        client(lambda _: ["127.0.0.1"]) as upstreams,
    ):
        assert await ask(upstreams, "models.test", server, "https") == b"{}"
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await ask(upstreams, "others.test", server, "https")
