"""How uvicorn and `ClientConnection` work together: uvicorn has the socket and runs ASGI, ours reads and gives turns.

It uses names inside uvicorn, whose version is bounded for that.
"""

import asyncio
from dataclasses import dataclass
from typing import ClassVar, cast

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tokenbooth.http.connection import AsgiTurn, ClientConnection
from tokenbooth.http.exchange import RawHeaders
from tokenbooth.http.limits import Edge


class UvicornConnection(HttpToolsProtocol):
    """One connection of a client, for uvicorn. `edge` is set by `connection_class`."""

    edge: ClassVar[Edge]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._made: list[_AsgiTurn] = []
        self._ours = ClientConnection(self.transport, self.flow, self.edge, self, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._ours.lost()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self._ours.half_closed()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._ours.receive(data)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._ours.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
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
        """See `Server.default_headers`; uvicorn makes a new list every second, for the date."""
        return self.server_state.default_headers

    def asgi_turn(self, url: bytes, headers: RawHeaders, *, expects_continue: bool) -> AsgiTurn:
        """Let uvicorn make what it makes at the beginning of a request; it comes back with it at once."""
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects_continue
        self.headers.extend(headers)
        # The order of answers is kept elsewhere, so uvicorn must not look at the request before this one.
        self.cycle = cast("RequestResponseCycle", None)
        self.parser = self._ours.parser
        super().on_headers_complete()
        return self._made.pop()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.transport = cast("asyncio.Transport", _AnswerTransport(self.transport, cycle))
        self._made.append(_AsgiTurn(self, cycle, app))

    def run_asgi(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Let the application answer."""
        super()._start_asgi_task(cycle, app)


@dataclass(frozen=True, slots=True)
class _AnswerTransport:
    """What uvicorn writes an answer to. Behind a complete one, `ClientConnection` closes, in its own way."""

    transport: asyncio.Transport
    cycle: RequestResponseCycle

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport`."""
        self.transport.write(data)

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self.transport.is_closing()

    def close(self) -> None:
        """See `asyncio.Transport`. An answer that is not complete is cut off."""
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
class _AsgiTurn:
    """See `AsgiTurn`."""

    connection: UvicornConnection
    cycle: RequestResponseCycle
    app: ASGI3Application

    @property
    def began(self) -> bool:
        """See `AsgiTurn.began`."""
        return self.cycle.response_started

    @property
    def keep_alive(self) -> bool:
        """See `AsgiTurn.keep_alive`."""
        return self.cycle.keep_alive

    def begin(self) -> None:
        """See `AsgiTurn.begin`."""
        app = self.app
        if self.cycle.waiting_for_100_continue:
            app = _closing_unless_continued(self.cycle, app)
        self.connection.run_asgi(self.cycle, app)

    def receive(self, body: bytes) -> None:
        """See `AsgiTurn.receive`."""
        self.connection.on_body(body)

    def received(self) -> None:
        """See `AsgiTurn.received`."""
        self.connection.on_message_complete()

    def end_connection(self) -> None:
        """See `AsgiTurn.end_connection`."""
        self.cycle.keep_alive = False

    def lost(self) -> None:
        """See `AsgiTurn.lost`."""
        if not self.cycle.response_complete:
            self.cycle.disconnected = True
        # Who reads the body from now on must not ask the client for it.
        self.cycle.waiting_for_100_continue = False
        self.cycle.message_event.set()


def connection_class(edge: Edge) -> type[UvicornConnection]:
    """The class of the connections of one listener."""

    class Connection(UvicornConnection):
        pass

    Connection.edge = edge
    return Connection
