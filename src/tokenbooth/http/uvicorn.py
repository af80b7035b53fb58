"""How uvicorn and `ClientConnection` work together: uvicorn has the socket and runs ASGI, ours has the rest.

It uses names inside uvicorn, whose version is bounded for that.
"""

import asyncio
from dataclasses import dataclass
from typing import ClassVar, cast

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.middleware.proxy_headers import _TrustedHosts
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tokenbooth.http.addresses import is_loopback
from tokenbooth.http.asgi import AsgiRequest
from tokenbooth.http.connection import ClientConnection
from tokenbooth.http.exchange import RawHeaders
from tokenbooth.http.limits import ListenerConfig
from tokenbooth.kit.networks import network_of


class UvicornConnection(HttpToolsProtocol):
    """One connection of a client, for uvicorn.

    Attributes:
        listener_config: what all connections of the listener have in common; set by `connection_class`.
        trusted_proxies: who stands for many clients.
    """

    listener_config: ClassVar[ListenerConfig]
    trusted_proxies: ClassVar[_TrustedHosts] = _TrustedHosts([])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._made: list[_AsgiRequest] = []
        address = self._address_to_count()
        self._ours = ClientConnection(self.transport, self.flow, self.listener_config, self, self.loop, address)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._ours.lost()

    def eof_received(self) -> None:
        """The client has closed its half."""
        self._ours.half_closed()

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._ours.receive(data)

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._ours.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._ours.resume_writing()

    def shutdown(self) -> None:
        """The server stops."""
        self._ours.shutdown()

    def on_response_complete(self) -> None:
        """ASGI's answer is complete."""
        self.server_state.total_requests += 1
        self._ours.answered()

    def default_headers(self) -> RawHeaders:
        """The headers that every answer has; uvicorn makes a new list every second, for the date."""
        return self.server_state.default_headers

    def asgi_request(self, url: bytes, headers: RawHeaders, *, expects_continue: bool) -> AsgiRequest:
        """Let uvicorn make what it makes at the beginning of a request; it comes back with it at once."""
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects_continue
        self.headers.extend(headers)
        # The order of answers is kept elsewhere, so uvicorn must not look at the request before this one.
        self.cycle = cast("RequestResponseCycle", None)
        self.parser = self._ours.parser.http
        super().on_headers_complete()
        return self._made.pop()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.transport = cast("asyncio.Transport", _AnswerTransport(self.transport, cycle))
        self._made.append(_AsgiRequest(self, cycle, app))

    def _address_to_count(self) -> str:
        """Whose connections this one counts with: those of a proxy, listed or on this machine, are all of others."""
        if self.client is None:
            return ""
        host, port = self.client
        is_proxy = host in self.trusted_proxies or is_loopback(host)
        return f"{host} {port}" if is_proxy else network_of(host)

    def run_asgi(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the application answer."""
        super()._start_asgi_task(cycle, app)


@dataclass(frozen=True, slots=True)
class _AnswerTransport:
    """What uvicorn writes an answer to. Behind a complete one, `ClientConnection` closes, in its own way."""

    transport: asyncio.Transport
    cycle: RequestResponseCycle

    def write(self, data: bytes) -> None:
        """Write a part of the answer."""
        self.transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self.transport.is_closing()

    def close(self) -> None:
        """Close behind an answer that is not complete, so that it is cut off."""
        if not self.cycle.response_complete:
            self.transport.close()


def _closing_unless_continued(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """The application, for a client that waits for 100 (Continue) before it sends its body.

    When it is answered without having been asked for the body, nobody can tell whether it still sends it, so the
    answer is the connection's last one (RFC 9110, 10.1.1).
    """

    async def closing(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def sent(message: ASGISendEvent) -> None:
            if cycle.waiting_for_100_continue:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, sent)

    return closing


@dataclass(slots=True, eq=False)
class _AsgiRequest:
    """A request for the application, as uvicorn's cycle."""

    connection: UvicornConnection
    cycle: RequestResponseCycle
    app: ASGI3Application
    kept_bytes: int = 0

    @property
    def began(self) -> bool:
        """Whether an answer has begun."""
        return self.cycle.response_started

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open behind the answer."""
        return self.cycle.keep_alive

    def begin(self) -> None:
        """Let the application answer."""
        app = self.app
        if self.cycle.waiting_for_100_continue:
            app = _closing_unless_continued(self.cycle, app)
        self.connection.run_asgi(self.cycle, app)

    def receive(self, body: bytes) -> None:
        """Take a part of the body that has arrived."""
        self.connection.on_body(body)

    def received(self) -> None:
        """The request is complete."""
        self.connection.on_message_complete()

    def end_connection(self) -> None:
        """Make its answer the last one of the connection."""
        self.cycle.keep_alive = False

    def lost(self) -> None:
        """The client is gone."""
        if not self.cycle.response_complete:
            self.cycle.disconnected = True
        # Who reads the body from now on must not ask the client for it.
        self.cycle.waiting_for_100_continue = False
        self.cycle.message_event.set()


def connection_class(config: ListenerConfig) -> type[UvicornConnection]:
    """The class of the connections of one listener."""

    class Connection(UvicornConnection):
        pass

    Connection.listener_config = config
    Connection.trusted_proxies = _TrustedHosts(list(config.trusted_proxies))
    return Connection
