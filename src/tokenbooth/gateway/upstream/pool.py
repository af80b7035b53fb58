"""Upstreams over HTTP/1.1, with a pool of kept-alive connections for each server.

A connection that was kept alive may have been closed by the server just when a request was written to it. If the loss
shows at once and nothing of an answer came, the request is sent once more, on a new connection. RFC 9110, 9.2.2 allows
that only where the request was not applied; a server that dies in its work is not asked again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

from tokenbooth.config.catalog import Upstream
from tokenbooth.gateway.errors import ClientHungUp, UpstreamBroke
from tokenbooth.gateway.formats.base import Credential
from tokenbooth.gateway.formats.json.steps import STEP_BYTES
from tokenbooth.gateway.upstream.base import Timeouts, UpstreamCall, UpstreamRequest, sent_headers
from tokenbooth.gateway.upstream.connect import Connector
from tokenbooth.gateway.upstream.connection import UpstreamConnection
from tokenbooth.gateway.upstream.write_batch import WriteBatch

# Servers commonly keep idle connections for 60 s and more; a shorter time meets fewer that were just closed.
_KEPT_IDLE_S: Final = 30.0


@dataclass(slots=True)
class _Server:
    """A server with what every request to it begins with, and its idle connections, the last used ones last."""

    upstream: Upstream
    host: str
    port: int
    is_tls: bool
    host_header: str
    base_path: str
    idle: list[UpstreamConnection] = field(default_factory=list)
    heads: dict[tuple[str, bool, Credential], bytes] = field(default_factory=dict)

    def head(self, upstream: Upstream, request: UpstreamRequest) -> bytes:
        """The head of a request, up to the number behind `content-length`."""
        if request.headers:
            return self._head(upstream, request)
        kind = (request.path, request.stream, request.credential)
        known = self.heads.get(kind)
        if known is None:
            known = self.heads[kind] = self._head(upstream, request)
        return known

    def _head(self, upstream: Upstream, request: UpstreamRequest) -> bytes:
        lines = [f"POST {self.base_path}{request.path} HTTP/1.1", f"host: {self.host_header}"]
        lines += [f"{name}: {value}" for name, value in sent_headers(upstream, request).items()]
        lines.append("content-length: ")
        return "\r\n".join(lines).encode("latin-1")


class HttpCall:
    """One request over a connection of the pool."""

    __slots__ = (
        "_begun",
        "_body",
        "_connecting",
        "_connection",
        "_first_byte_s",
        "_interrupted",
        "_request",
        "_server",
        "_upstreams",
    )

    def __init__(
        self, upstreams: "HttpUpstreams", server: _Server, request: bytes, body: bytes, first_byte_s: float
    ) -> None:
        self._upstreams = upstreams
        self._server = server
        self._request = request
        self._body = body
        self._first_byte_s = first_byte_s
        self._connecting: asyncio.Task[UpstreamConnection] | None = None
        self._connection: UpstreamConnection | None = None
        self._interrupted = False
        self._begun = False

    @property
    def sent(self) -> bool:
        """Whether the request has left, so that the upstream may be working on it."""
        return self._connection is not None and self._connection.is_sent

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return self._answering.status

    def header(self, name: str) -> str | None:
        """A header's first value; `name` in lower case."""
        wanted = name.encode()
        for known, value in self._answering.headers:
            if known == wanted:
                return value.decode("latin-1")
        return None

    async def begin(self) -> None:
        """Send the request and wait for the head of the answer."""
        self._begun = True
        self._upstreams.calls += 1
        if self._server.idle:
            try:
                await self._send_on(self._server.idle.pop())
                return
            except UpstreamBroke:
                if not self._answering.was_stale:
                    raise
                self._connection = None
                # The others are as old or older.
                self._upstreams.drop_idle(self._server)
        await self._send_on(await self._connect())

    async def _connect(self) -> UpstreamConnection:
        if self._interrupted:
            raise ClientHungUp
        connecting = self._connecting = asyncio.ensure_future(self._upstreams.connect(self._server))
        try:
            return await connecting
        except asyncio.CancelledError:
            if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
                connecting.result().close()
            if self._interrupted:
                raise ClientHungUp from None
            raise
        finally:
            self._connecting = None

    async def _send_on(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        upstreams = self._upstreams
        if upstreams.calls > 1:
            connection.prepare(self._request, self._first_byte_s, self._body)
            upstreams.write_batch.add(connection)
        else:
            connection.send(self._request, self._first_byte_s, self._body)
        await connection.head()

    @property
    def is_alive(self) -> bool:
        """Whether an answer, or the rest of it, may still come."""
        return self._connection is not None and self._connection.is_alive

    async def wait_on(self, timeout_s: float) -> None:
        """After a time-out wait once more: for the head, and then for the first byte of the body."""
        self._answering.wait_on(timeout_s)
        await self._answering.head()

    async def read(self) -> bytes:
        """The whole body."""
        return await self._answering.read()

    async def each(self, take: Callable[[bytes], bool]) -> None:
        """Hand over the body as it arrives, until its end or until `take` returns False."""
        await self._answering.each(take)

    def answer_began(self) -> None:
        """From now on silence is bounded, instead of the time to the answer's begin."""
        if self._connection is not None:
            self._connection.answer_began()

    def interrupt(self) -> None:
        """Let what waits for the upstream raise `ClientHungUp`, once."""
        self._interrupted = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.interrupt()

    def pause(self) -> None:
        """Read no more of the body for now."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def end(self) -> None:
        """End the call: its connection serves the next one if the answer was complete, else it is closed."""
        if self._begun:
            self._begun = False
            self._upstreams.calls -= 1
        connection, self._connection = self._connection, None
        if connection is not None and connection.release(_KEPT_IDLE_S):
            self._server.idle.append(connection)

    @property
    def _answering(self) -> UpstreamConnection:
        assert self._connection is not None
        return self._connection


class HttpUpstreams:
    """Sends requests over pooled connections.

    Attributes:
        timeouts: see there.
        calls: how many are under way.
        write_batch: for requests of many calls at once; a call that is alone need not wait for the turn's end.
    """

    def __init__(self, timeouts: Timeouts, connector: Connector | None = None) -> None:
        """Know the limits, and what makes the connections; by default that goes straight to the servers."""
        self.timeouts = timeouts
        self.calls = 0
        self.write_batch = WriteBatch()
        self._connector = connector or Connector(timeouts.connect_s)
        self._servers: dict[str, _Server] = {}
        self._open: set[UpstreamConnection] = set()

    def post(self, upstream: Upstream, request: UpstreamRequest) -> UpstreamCall:
        """A call, not sent yet."""
        server = self._server(upstream)
        head, body = server.head(upstream, request), request.body
        first_byte_s = self.timeouts.first_s(request.stream)
        if len(body) > STEP_BYTES:
            return HttpCall(self, server, b"%b%d\r\n\r\n" % (head, len(body)), body, first_byte_s)
        return HttpCall(self, server, b"%b%d\r\n\r\n%b" % (head, len(body), body), b"", first_byte_s)

    def _server(self, upstream: Upstream) -> _Server:
        """The server of an upstream; a new one where the configuration of its name has changed."""
        server = self._servers.get(upstream.name)
        if server is None or (server.upstream is not upstream and server.upstream != upstream):
            server = self._servers[upstream.name] = _server_of(upstream)
        # After a new configuration that says the same, the next call finds its own again.
        server.upstream = upstream
        return server

    async def connect(self, server: _Server) -> UpstreamConnection:
        """A new connection.

        Raises:
            UpstreamUnreachable: there is none within the time for it.
        """
        connection = UpstreamConnection(self.timeouts.idle_s, partial(self._lost, server))
        protocol = cast("asyncio.Protocol", connection)
        await self._connector.connect(protocol, server.host, server.port, is_tls=server.is_tls)
        self._open.add(connection)
        return connection

    def drop_idle(self, server: _Server) -> None:
        """Close the idle connections to a server."""
        idle, server.idle = server.idle, []
        for connection in idle:
            connection.close()

    async def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.close()

    def _lost(self, server: _Server, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection in server.idle:
            server.idle.remove(connection)


def _server_of(upstream: Upstream) -> _Server:
    url = urlsplit(upstream.base_url)
    is_tls = url.scheme == "https"
    return _Server(
        upstream,
        host=url.hostname or "",
        port=url.port or (443 if is_tls else 80),
        is_tls=is_tls,
        host_header=url.netloc.rpartition("@")[2],
        base_path=url.path,
    )
