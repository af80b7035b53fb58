"""The connection of a client: whose turn it is to be answered, and bounds on everything that a client controls.

Requests under the paths of the data plane become `HttpExchange`s; all others are turns of the ASGI application, which
`tokenbooth.http.uvicorn` brings. Answers leave in the order of the requests.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

import httptools

from tokenbooth.http.deadline import Deadline
from tokenbooth.http.exchange import HttpExchange, RawHeaders
from tokenbooth.http.limits import Edge

# Reading stops at the first number; a client that has sent more in one piece is cut off at the second.
_PIPELINED_UNREAD: Final = 16
_PIPELINED_MOST: Final = 128
# So much of a body is read before anybody wants it.
_UNWANTED_BODY_BYTES: Final = 64 * 1024
# Framing may double the size of a body; what is larger is nonsense.
_FRAMING_FACTOR: Final = 2
# The parser calls us for each chunk, and one read may bring two mebibytes of them. So many are few; of more, each must
# bring so many bytes on average.
_FEW_CHUNKS: Final = 8_192
_CHUNK_BYTES: Final = 256
_FRAMING_HEADERS: Final = (b"content-length", b"transfer-encoding")


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
    """Why a connection is closed, in an answer's words; without a status line nothing is said."""

    status_line: bytes
    text: bytes


_BAD: Final = _Fault(b"400 Bad Request", b"This is not valid HTTP/1.1.")
_HEAD_TOO_LARGE: Final = _Fault(b"431 Request Header Fields Too Large", b"The headers are too large. Send fewer.")
_BODY_TOO_LARGE: Final = _Fault(b"413 Content Too Large", b"The body is too large. Send less.")
_TOO_SLOW: Final = _Fault(b"408 Request Timeout", b"The request did not arrive in time. Send it again.")
_TOO_MANY: Final = _Fault(b"400 Bad Request", b"Too many requests at once on one connection. Wait for answers.")
_SMALL_CHUNKS: Final = _Fault(
    b"400 Bad Request", b"The body comes in too many small chunks. Send larger ones, or a Content-Length."
)
_UNSAID: Final = _Fault(b"", b"")


class _Stop(Exception):
    """Ends the parsing of what has arrived."""


class AsgiTurn(Protocol):
    """A request for the ASGI application."""

    @property
    def began(self) -> bool:
        """Whether an answer has begun."""
        ...

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open behind the answer."""
        ...

    def begin(self) -> None:
        """It is its turn: let the application run."""
        ...

    def receive(self, body: bytes) -> None:
        """A part of the body has arrived."""
        ...

    def received(self) -> None:
        """The request is complete."""
        ...

    def end_connection(self) -> None:
        """Its answer is the last one of the connection."""
        ...

    def lost(self) -> None:
        """Nobody is there to answer."""
        ...


class Server(Protocol):
    """What serves the connection, beside the lane."""

    def asgi_turn(self, url: bytes, headers: RawHeaders, *, expects_continue: bool) -> AsgiTurn:
        """A request for the ASGI application, whose head the parser has just read."""
        ...

    def default_headers(self) -> RawHeaders:
        """The headers that every answer has; the same list while they are the same."""
        ...


class Flow(Protocol):
    """Who waits for whom."""

    read_paused: bool
    write_paused: bool

    def pause_reading(self) -> None:
        """Let the client wait."""
        ...

    def resume_reading(self) -> None:
        """Read on."""
        ...


_Turn = HttpExchange | AsgiTurn


class ClientConnection:
    """One connection of a client, from its beginning to its end.

    Attributes:
        parser: of what the client sends.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: Flow,
        edge: Edge,
        server: Server,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._flow = flow
        self._edge = edge
        self._server = server
        self._bounds = edge.bounds
        self.parser = _parser_for(self)
        # Of the request that is arriving.
        self._phase = _NOTHING
        self._url = b""
        self._headers: RawHeaders = []
        self._expects_continue = False
        self._chunks = 0
        self._body_bytes = 0
        # Without the piece in which it began, which may hold others too.
        self._fed_bytes = 0
        self._piece_bytes = 0
        self._is_new = False
        # A head that asks for an upgrade stops the parser; see `_go_on_parsing`.
        self._upgrading = False
        self._muted = False
        self._fault: _Fault | None = None
        self._closing = False
        # The request whose answer was complete before it was, if its body is still arriving.
        self._answered_early: _Turn | None = None
        # What is thrown away: until when, on the loop's clock, and how much of it there was.
        self._discards_until_s = 0.0
        self._discarded_bytes = 0
        self._reading = Deadline(loop, self._too_slow)
        self._writing = Deadline(loop, self.abort)
        # What is being answered, what the parser is in the body of, and what waits for its turn.
        self._current: _Turn | None = None
        self._receiving: _Turn | None = None
        self._turns: deque[_Turn] = deque()
        self._common_of: RawHeaders | None = None
        self._common = b""
        self._reading.within(self._bounds.idle_s)

    def lost(self) -> None:
        """The connection is gone."""
        self._closing = True
        self._turns.clear()
        self._receiving = self._answered_early = None
        self._reading.end()
        self._writing.end()
        # They know each other, and would wait for the garbage collector.
        self.parser = _NO_PARSER
        current, self._current = self._current, None
        if current is not None:
            current.lost()

    def half_closed(self) -> None:
        """The client has closed its half of the connection; it is taken for gone."""
        self._hang_up()

    def receive(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._is_deaf():
            self._discard(len(data))
            return
        self._piece_bytes = len(data)
        try:
            self._feed(data)
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
            if self._receiving is not None and self._receiving is self._answered_early:
                self._discard(self._piece_bytes)
            elif self._fed_bytes > bounds.head_bytes + _FRAMING_FACTOR * bounds.body_bytes:
                self._close_with(_BODY_TOO_LARGE)
            elif not self._flow.read_paused:
                self._reading.within(bounds.body_s)
        elif self._fed_bytes > bounds.head_bytes:
            self._close_with(_HEAD_TOO_LARGE)
        elif began:
            self._reading.within(bounds.head_s)

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stopped:
                data = data[stopped.args[0] :]
                self._go_on_parsing()

    def _go_on_parsing(self) -> None:
        """A head asked for an upgrade. There is nothing to upgrade to, but the parser has stopped behind it.

        A new one is told of a request with the same framing, and will read its body.
        """
        self._upgrading = False
        framing = b"".join(b"%b: %b\r\n" % header for header in self._headers if header[0] in _FRAMING_HEADERS)
        self.parser = _parser_for(self)
        self._muted = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        self._muted = False

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._muted:
            return
        self._phase = _HEAD
        self._is_new = True
        self._fed_bytes = 0
        self._chunks = 0
        self._body_bytes = 0
        self._url = b""
        self._expects_continue = False
        self._headers = []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        if not self._muted:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. A trailer behind a body in chunks is dropped: nobody looks for one."""
        if self._phase is _BODY:
            self._count_chunk(0)
            return
        name = name.lower()
        if name == b"expect" and value.strip().lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there: whose request is it?"""
        if self._muted:
            return
        if self._closing:
            # The answer to the request before was the last one, and was given at once.
            raise _Stop
        self._reading.stop()
        self._check_head()
        parser = self.parser
        if parser.should_upgrade():
            self._upgrading = parser.get_method() != b"CONNECT"
            if not self._upgrading:
                self._fault = _BAD
                raise _Stop
        path = self._path()
        turn: _Turn
        if self._edge.lane.takes(path):
            turn = self._exchange(path)
        else:
            # With HTTP/1.0 nobody waits for a word to go on, and one in between would be taken for the answer.
            expects = self._expects_continue and parser.get_http_version() == "1.1"
            turn = self._server.asgi_turn(self._url, self._headers, expects_continue=expects)
        self._take_turn(turn)
        self._receiving = turn
        self._phase = _BODY

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._upgrading = False
        self._count_chunk(len(body))
        receiving = self._receiving
        if receiving is None:
            return
        receiving.receive(body)
        if isinstance(receiving, HttpExchange) and receiving.unwanted_bytes > _UNWANTED_BODY_BYTES:
            self._pause()

    def _count_chunk(self, size: int) -> None:
        """Count a part of a body, or a trailer behind it.

        Raises:
            _Stop: there are too many for what they bring.
        """
        self._chunks += 1
        self._body_bytes += size
        if self._chunks > _FEW_CHUNKS and self._chunks * _CHUNK_BYTES > self._body_bytes + _FEW_CHUNKS * _CHUNK_BYTES:
            self._fault = _SMALL_CHUNKS
            raise _Stop

    def on_message_complete(self) -> None:
        """A request is complete."""
        if self._upgrading:
            return
        receiving, self._receiving = self._receiving, None
        self._phase = _NOTHING
        if receiving is not None:
            receiving.received()
        if self._closing:
            # It was answered at its head; how long its connection lives on is decided.
            return
        self._reading.stop()
        # One that waits for the client to read its answers is no silence: it may be answered for long.
        if self._current is None and not self._turns:
            self._reading.within(self._bounds.idle_s)

    def answered(self) -> None:
        """ASGI's answer to the current request is complete."""
        current = self._current
        self._ended(is_last=current is not None and not current.keep_alive)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writing.within(self._bounds.unread_s)
        if isinstance(self._current, HttpExchange):
            self._current.writable(False)

    def resume_writing(self) -> None:
        """The client reads again."""
        if not self._closing:
            self._writing.stop()
        if isinstance(self._current, HttpExchange):
            self._current.writable(True)
        elif self._current is None:
            self._next_turn()

    def shutdown(self) -> None:
        """The server stops: end behind the answer that is under way, or now."""
        current = self._current
        if current is None:
            self._hang_up()
        elif isinstance(current, HttpExchange):
            current.keep_alive = False
        else:
            current.end_connection()

    def write(self, data: bytes) -> None:
        """See `Line.write`."""
        self._transport.write(data)

    def common_headers(self) -> bytes:
        """See `Line.common_headers`."""
        headers = self._server.default_headers()
        if headers is not self._common_of:
            # The server makes a new list every second, for the date.
            self._common_of = headers
            self._common = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._common

    def ended(self, exchange: HttpExchange) -> None:
        """See `Line.ended`."""
        self._ended(is_last=not exchange.keep_alive)

    def read_on(self) -> None:
        """See `Line.read_on`."""
        flow = self._flow
        if flow.read_paused and self._fault is None and len(self._turns) < _PIPELINED_UNREAD:
            flow.resume_reading()
            if self._phase is _BODY:
                self._reading.within(self._bounds.body_s)

    def abort(self) -> None:
        """See `Line.abort`."""
        self._closing = True
        self._transport.abort()

    def _pause(self) -> None:
        """Read no more for now. While we don't read, the client cannot be late."""
        self._flow.pause_reading()
        self._reading.stop()

    def _path(self) -> str:
        """The path of the request, decoded.

        Raises:
            ValueError: there is none.
        """
        url = self._url
        if not url.startswith(b"/"):
            url = urlsplit(url).path or b"/"
        path = url.partition(b"?")[0].decode("ascii")
        return unquote(path) if "%" in path else path

    def _check_head(self) -> None:
        """Refuse a head that has too many headers, or is too large but came in one piece.

        Raises:
            _Stop: so it is.
        """
        bounds = self._bounds
        # All of it came in this piece; otherwise nobody has counted what came with the first one.
        is_small = self._is_new and self._piece_bytes <= bounds.head_bytes
        if is_small and len(self._headers) <= bounds.head_lines:
            return
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > bounds.head_bytes or len(self._headers) > bounds.head_lines:
            self._fault = _HEAD_TOO_LARGE
            raise _Stop

    def _exchange(self, path: str) -> HttpExchange:
        parser = self.parser
        is_1_1 = parser.get_http_version() == "1.1"
        return HttpExchange(
            self,
            parser.get_method().decode("ascii"),
            path,
            self._headers,
            is_1_1=is_1_1,
            keep_alive=is_1_1 and parser.should_keep_alive(),
            expects_continue=is_1_1 and self._expects_continue,
            most_body_bytes=self._bounds.body_bytes,
            room=self._edge.room,
        )

    def _take_turn(self, turn: _Turn) -> None:
        """Begin to serve a request now, or behind those before it, or when the client reads its answers."""
        if self._current is None and not self._flow.write_paused:
            self._begin(turn)
            return
        if len(self._turns) >= _PIPELINED_MOST:
            self._fault = _TOO_MANY
            raise _Stop
        self._turns.append(turn)
        if len(self._turns) >= _PIPELINED_UNREAD:
            self._pause()

    def _begin(self, turn: _Turn) -> None:
        self._current = turn
        if isinstance(turn, HttpExchange):
            turn.write_paused = self._flow.write_paused
            self._edge.lane.serve(turn)
        else:
            turn.begin()

    def _ended(self, *, is_last: bool) -> None:
        """The answer to the current request is complete; `is_last`: so is what the connection was for."""
        if is_last and not self._closing:
            self._current = None
            if self._phase is _NOTHING and not self._turns and self._fault is None:
                self._hang_up()
            else:
                self._linger()
            return
        is_early = self._receiving is not None and self._receiving is self._current
        self._next_turn()
        if is_early and not self._closing:
            self._answered_early = self._receiving
            self._begin_discarding(self._bounds.linger_s)
            self._reading.within(self._bounds.linger_idle_s)

    def _next_turn(self) -> None:
        self._current = None
        if self._closing:
            return
        if self._transport.is_closing():
            # ASGI's answer was cut off.
            self._hang_up()
        elif self._flow.write_paused:
            return
        elif self._turns:
            if self._phase is _NOTHING:
                # Nothing has to arrive while it is answered.
                self._reading.stop()
            self._begin(self._turns.popleft())
            self.read_on()
        elif self._fault is not None:
            self._say_and_hang_up(self._fault)
        else:
            self.read_on()
            if self._phase is _NOTHING:
                self._reading.within(self._bounds.idle_s)

    def _too_slow(self) -> None:
        if self._closing or self._phase is _NOTHING:
            self._hang_up()
        else:
            self._close_with(_TOO_SLOW)

    def _close_with(self, fault: _Fault) -> None:
        """Take in nothing any more; say why behind the answers that are under way, and close.

        What comes is read and thrown away, so that the client's end is heard of.
        """
        if self._closing:
            # The request was answered at once, and the mistake shows only now.
            return
        self._fault = fault
        self._reading.stop()
        self._flow.resume_reading()
        # Answers that are under way may take their time.
        self._begin_discarding(inf)
        half, self._receiving = self._receiving, None
        self._phase = _NOTHING
        if half is None:
            pass
        elif half is self._current and not half.began:
            # Nobody answers half a request; the answer to it is the fault.
            self._current = None
            half.lost()
        elif self._turns and half is self._turns[-1]:
            self._turns.pop()
        else:
            # It was answered before it was complete.
            self._fault = _UNSAID
        if self._current is None and not self._turns:
            self._say_and_hang_up(self._fault)

    def _say_and_hang_up(self, fault: _Fault) -> None:
        if fault.status_line:
            self._transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"x-request-id: %b\r\nconnection: close\r\n\r\n%b"
                % (fault.status_line, len(fault.text), self._edge.new_request_id().encode(), fault.text)
            )
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more is said, and throw away what still comes, for a moment, before closing.

        A kernel that closes over unread bytes resets the connection, which takes the answer from the client.
        """
        if self._transport.is_closing():
            self._hang_up()
            return
        self._closing = True
        self._turns.clear()
        self._receiving = self._answered_early = None
        self._phase = _NOTHING
        self._flow.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._begin_discarding(self._bounds.linger_s)
        self._reading.within(self._bounds.linger_idle_s)

    def _begin_discarding(self, seconds: float) -> None:
        self._discards_until_s = self._loop.time() + seconds
        self._discarded_bytes = 0

    def _discard(self, size: int) -> None:
        """Bytes have come that nobody wants; cut off a client that sends too many, or for too long."""
        if self._transport.is_closing():
            return
        self._discarded_bytes += size
        if self._discarded_bytes > self._bounds.linger_bytes or self._loop.time() > self._discards_until_s:
            self.abort()
        elif self._current is None:
            self._reading.within(self._bounds.linger_idle_s)

    def _hang_up(self) -> None:
        """Close when what was written has left, but don't wait for ever for that."""
        self._closing = True
        self._reading.stop()
        self._transport.close()
        self._writing.within(self._bounds.unread_s)


def _parser_for(connection: ClientConnection) -> httptools.HttpRequestParser:
    """A parser that lets a request behind one with `Connection: close` be read; it is never answered."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


_NO_PARSER: Final = httptools.HttpRequestParser(object())
