"""The connection of a client: uvicorn's parser and life cycle, with bounds on everything that a client controls.

Requests under the paths of the data plane become `HttpExchange`s, without an ASGI scope; all others go to the ASGI
application as uvicorn does it. Answers leave in the order of the requests. Only `tokenbooth.server` and tests import
this.

Source of the bounds: RFC 9112 leaves them to the server; 431 and 408 are from RFC 6585 and RFC 9110.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import ClassVar, Final, Protocol, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tokenbooth.clock import SystemClock
from tokenbooth.http_exchange import HttpExchange
from tokenbooth.ids import IdPrefix, new_id

_NEVER: Final = float("inf")
# Reading stops at the first number; a client that has sent more in one piece is cut off at the second.
_PIPELINED_UNREAD: Final = 16
_PIPELINED_MOST: Final = 128
# Framing may double the size of a body; what is larger is nonsense.
_FRAMING_FACTOR: Final = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may send, and how long it may take.

    Attributes:
        head_bytes: the request line and all headers together.
        head_lines: the number of headers.
        body_bytes: a request's body on the data plane.
        head_s: from a request's first byte to the end of its head, in seconds.
        body_s: between two parts of a body, in seconds.
        idle_s: between two requests, in seconds.
        unread_s: how long a client may leave an answer unread, in seconds.
    """

    head_bytes: int = 64 * 1024
    head_lines: int = 100
    body_bytes: int = 20 * 1024 * 1024
    head_s: float = 10
    body_s: float = 30
    # Longer than the idle time-outs of common load balancers (60 s), so that we are never the first to hang up.
    idle_s: float = 75
    unread_s: float = 120


class Lane(Protocol):
    """Serves the requests of some paths without ASGI."""

    def takes(self, path: str) -> bool:
        """Whether requests for a path are its own."""
        ...

    def serve(self, exchange: HttpExchange) -> None:
        """Begin to serve a request whose head has arrived and whose turn it is; must not wait."""
        ...


class NoLane:
    """Every path is the ASGI application's."""

    def takes(self, path: str) -> bool:
        """See `Lane.takes`."""
        return False

    def serve(self, exchange: HttpExchange) -> None:
        """See `Lane.serve`."""
        raise AssertionError("no path is taken")


@dataclass(frozen=True, slots=True)
class Edge:
    """What all connections of a listener have in common; even what is no request is answered with an id."""

    lane: Lane
    bounds: Bounds
    new_request_id: Callable[[], str]


PLAIN_EDGE: Final = Edge(NoLane(), Bounds(), lambda: new_id(IdPrefix.REQUEST, SystemClock().now_us()))
"""Everything goes to the ASGI application."""


class _Phase(Enum):
    """What of a request is arriving."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


# A member is looked up in its class at some cost, which every request would pay many times.
_NOTHING: Final = _Phase.NOTHING
_HEAD: Final = _Phase.HEAD
_BODY: Final = _Phase.BODY


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a connection is closed, in an answer's words."""

    status_line: bytes
    text: bytes


_BAD: Final = _Fault(b"400 Bad Request", b"This is not valid HTTP/1.1.")
_HEAD_TOO_LARGE: Final = _Fault(b"431 Request Header Fields Too Large", b"The headers are too large. Send fewer.")
_BODY_TOO_LARGE: Final = _Fault(b"413 Content Too Large", b"The body is too large. Send less.")
_TOO_SLOW: Final = _Fault(b"408 Request Timeout", b"The request did not arrive in time. Send it again.")
_TOO_MANY: Final = _Fault(b"400 Bad Request", b"Too many requests at once on one connection. Wait for answers.")


class _Stop(Exception):
    """Ends the parsing of what has arrived."""


class ClientConnection(HttpToolsProtocol):
    """One connection of a client. `edge` is set by `connection_class`."""

    edge: ClassVar[Edge]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._bounds = self.edge.bounds
        self._phase = _NOTHING
        self._fault: _Fault | None = None
        self._closing = False
        # Of the request that is arriving, without the piece in which it began, which may hold others too.
        self._fed_bytes = 0
        self._piece_bytes = 0
        self._is_new = False
        self._deadline_s = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        # What is being answered; of ASGI's requests only that it is so.
        self._exchange: HttpExchange | None = None
        self._busy = False
        # The exchange that the parser is in; None while it is in a request for ASGI.
        self._receiving: HttpExchange | None = None
        self._turns: deque[Callable[[], None]] = deque()
        self._common_of: list[tuple[bytes, bytes]] | None = None
        self._common = b""
        self._by(self._bounds.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._closing = True
        self._turns.clear()
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        exchange = self._exchange
        if exchange is not None:
            self._exchange = None
            exchange.lost()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_deaf():
            return
        self._piece_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing to upgrade to: the request is answered as if it had not asked.
            pass
        except httptools.HttpParserError:
            self._close_with(self._fault or _BAD)
            return
        if self._phase is not _NOTHING:
            self._go_on_later()

    def _is_deaf(self) -> bool:
        return self._closing or self._fault is not None

    def _go_on_later(self) -> None:
        """A request is incomplete: count what there is of it, and how long the rest takes."""
        bounds = self._bounds
        began, self._is_new = self._is_new, False
        if not began:
            self._fed_bytes += self._piece_bytes
        if self._phase is _BODY:
            if self._fed_bytes > bounds.head_bytes + _FRAMING_FACTOR * bounds.body_bytes:
                self._close_with(_BODY_TOO_LARGE)
            else:
                self._by(bounds.body_s)
        elif self._fed_bytes > bounds.head_bytes:
            self._close_with(_HEAD_TOO_LARGE)
        elif began:
            self._by(bounds.head_s)

    def on_message_begin(self) -> None:
        """A request begins. The parts of it that only ASGI needs are made when it is for ASGI."""
        self._phase = _HEAD
        self._is_new = True
        self._fed_bytes = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer behind a body in chunks."""
        if len(self.headers) >= self._bounds.head_lines:
            self._fault = _HEAD_TOO_LARGE
            raise _Stop
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: whose request is it?"""
        self._no_hurry()
        # Until here a mistake is answered by the connection; then the request is somebody's, who answers.
        if self._fed_bytes + self._piece_bytes > self._bounds.head_bytes:
            self._check_head()
        path = self._path()
        self._phase = _BODY
        if self.edge.lane.takes(path):
            self._begin_exchange(path)
        else:
            self._begin_asgi()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._receiving is not None:
            self._receiving.receive(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._phase = _NOTHING
        if self._receiving is not None:
            self._receiving.received()
            self._receiving = None
        else:
            super().on_message_complete()
        self._no_hurry()
        if not self._busy:
            self._by(self._bounds.idle_s)

    def on_response_complete(self) -> None:
        """ASGI's answer is complete."""
        self.server_state.total_requests += 1
        self._next_turn()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._by(self._bounds.unread_s)
        if self._exchange is not None:
            self._exchange.writable(False)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._no_hurry()
        if self._exchange is not None:
            self._exchange.writable(True)
        elif not self._busy:
            self._next_turn()

    def shutdown(self) -> None:
        """The server stops: end behind the answer that is under way, or now."""
        if self._exchange is not None:
            self._exchange.keep_alive = False
        elif self._busy:
            super().shutdown()
        else:
            self._hang_up()

    def write(self, data: bytes) -> None:
        """See `Line.write`."""
        self.transport.write(data)

    def common_headers(self) -> bytes:
        """See `Line.common_headers`."""
        headers = self.server_state.default_headers
        if headers is not self._common_of:
            # The server makes a new list every second, for the date.
            self._common_of = headers
            self._common = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._common

    def ended(self, exchange: HttpExchange) -> None:
        """See `Line.ended`."""
        self._exchange = None
        if exchange.keep_alive:
            self._next_turn()
        else:
            self._hang_up()

    def abort(self) -> None:
        """See `Line.abort`."""
        self._closing = True
        self.transport.abort()

    def _path(self) -> str:
        """The path of the request, decoded.

        Raises:
            UnicodeDecodeError, HttpParserInvalidURLError: there is none.
        """
        url = self.url
        if not url.startswith(b"/"):
            url = httptools.parse_url(url).path
        path = url.partition(b"?")[0].decode("ascii")
        return unquote(path) if "%" in path else path

    def _check_head(self) -> None:
        """Refuse a head that is too large but came in one piece.

        Raises:
            _Stop: so it is.
        """
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._bounds.head_bytes:
            self._fault = _HEAD_TOO_LARGE
            raise _Stop

    def _begin_exchange(self, path: str) -> None:
        parser = self.parser
        is_1_1 = parser.get_http_version() == "1.1"
        exchange = HttpExchange(
            self,
            parser.get_method().decode("ascii"),
            path,
            self.headers,
            is_1_1=is_1_1,
            keep_alive=is_1_1 and parser.should_keep_alive(),
            expects_continue=self.expect_100_continue,
            most_body_bytes=self._bounds.body_bytes,
        )
        self._receiving = exchange
        self._take_turn(partial(self._serve, exchange))

    def _serve(self, exchange: HttpExchange) -> None:
        self._exchange = exchange
        exchange.write_paused = self.flow.write_paused
        self.edge.lane.serve(exchange)

    def _begin_asgi(self) -> None:
        """Make what uvicorn makes at the beginning of a request, and let it go on from there."""
        url, headers, expects_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects_continue
        self.headers.extend(headers)
        # The order of answers is kept here, so uvicorn must not look at the request before this one.
        self.cycle = cast("RequestResponseCycle", None)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._take_turn(partial(super()._start_asgi_task, cycle, app))

    def _take_turn(self, begin: Callable[[], None]) -> None:
        """Begin to serve a request now, or behind those before it, or when the client reads its answers."""
        if not self._busy and not self.flow.write_paused:
            self._busy = True
            begin()
            return
        if len(self._turns) >= _PIPELINED_MOST:
            self._fault = _TOO_MANY
            raise _Stop
        self._turns.append(begin)
        if len(self._turns) >= _PIPELINED_UNREAD:
            self.flow.pause_reading()

    def _next_turn(self) -> None:
        self._busy = False
        flow = self.flow
        if self._closing or flow.write_paused or self.transport.is_closing():
            return
        if self._turns:
            self._busy = True
            self._turns.popleft()()
        elif self._fault is not None:
            self._close_with(self._fault)
        else:
            if flow.read_paused:
                flow.resume_reading()
            if self._phase is _NOTHING:
                self._by(self._bounds.idle_s)

    def _close_with(self, fault: _Fault) -> None:
        """Read nothing any more; say why behind the answers that are under way, and close."""
        self._fault = fault
        self.flow.pause_reading()
        self._no_hurry()
        answered = self._phase is _BODY and not self._busy and not self._turns
        if self._phase is _BODY and not answered:
            self._abandon()
        self._phase = _NOTHING
        if self._busy or self._turns:
            return
        if not answered:
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"x-request-id: %b\r\nconnection: close\r\n\r\n%b"
                % (fault.status_line, len(fault.text), self.edge.new_request_id().encode(), fault.text)
            )
        self._hang_up()

    def _abandon(self) -> None:
        """Half a request is there, and no more of it will come: the answer to it is the fault."""
        if self._turns:
            self._turns.pop()
            return
        self._busy = False
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _hang_up(self) -> None:
        """Close when what was written has left, but don't wait for ever for that."""
        self._closing = True
        self.transport.close()
        self._by(self._bounds.unread_s)

    def _no_hurry(self) -> None:
        if not self.flow.write_paused:
            self._deadline_s = _NEVER

    def _by(self, seconds: float) -> None:
        """Something has to happen within `seconds`. The timer is left alone if it goes off early enough."""
        now_s = self.loop.time()
        self._deadline_s = now_s + seconds
        if self._timer is None or self._timer.when() > self._deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """The timer has gone off: is it late, or only time to look again?"""
        self._timer = None
        left_s = self._deadline_s - self.loop.time()
        if left_s == _NEVER:
            return
        if left_s > 0:
            self._timer = self.loop.call_later(left_s, self._look)
        elif self._closing or self.flow.write_paused:
            self.transport.abort()
        elif self._phase is _NOTHING:
            self._hang_up()
        else:
            self._close_with(_TOO_SLOW)


def connection_class(edge: Edge) -> type[ClientConnection]:
    """The class of the connections of one listener."""

    class Connection(ClientConnection):
        pass

    Connection.edge = edge
    return Connection
