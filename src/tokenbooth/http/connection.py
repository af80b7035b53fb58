"""The connection of a client: whose turn it is to be answered, and how long everything may take.

Requests on the fast path become `HttpExchange`s; all others are requests of the ASGI application, which
`tokenbooth.http.uvicorn` brings. Answers leave in the order of the requests.
"""

import asyncio
from collections import deque
from math import inf
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

from tokenbooth.http.asgi import AsgiRequest, AsgiServer
from tokenbooth.http.deadline import Deadline
from tokenbooth.http.exchange import HttpExchange, RawHeaders
from tokenbooth.http.faults import BODY_TOO_LARGE, HEAD_TOO_LARGE, NOT_HTTP, TOO_MANY_REQUESTS, TOO_SLOW, UNSAID, Fault
from tokenbooth.http.limits import ListenerConfig
from tokenbooth.http.parser import BODY, NOTHING, RequestParser

# Reading stops at the first number; a client that has sent more in one piece is cut off at the second.
_PIPELINED_UNREAD: Final = 16
_PIPELINED_MOST: Final = 128
# So much of a body is read before anybody wants it.
_UNWANTED_BODY_BYTES: Final = 64 * 1024

PendingRequest = HttpExchange | AsgiRequest


class ClientConnection:
    """One connection of a client, from its beginning to its end.

    Attributes:
        parser: reads what the client sends.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        config: ListenerConfig,
        server: AsgiServer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._flow = flow
        self._config = config
        self._server = server
        self._bounds = config.bounds
        self.parser = RequestParser(self, config.bounds)
        self._fault: Fault | None = None
        self._closing = False
        # What is being answered, what the parser is in the body of, and what waits for its turn.
        self._current: PendingRequest | None = None
        self._receiving: PendingRequest | None = None
        self._waiting: deque[PendingRequest] = deque()
        # The request whose answer was complete before it was, if its body is still arriving.
        self._answered_early: PendingRequest | None = None
        # What is thrown away: until when, on the loop's clock, and how much of it there was.
        self._discards_until_s = 0.0
        self._discarded_bytes = 0
        self._common_of: RawHeaders | None = None
        self._common = b""
        self._reading = Deadline(loop, self._too_slow)
        self._writing = Deadline(loop, self.abort)
        self._reading.set(self._bounds.idle_s)

    def lost(self) -> None:
        """The connection is gone."""
        self._closing = True
        self._waiting.clear()
        self._receiving = self._answered_early = None
        self._reading.close()
        self._writing.close()
        self.parser.close()
        current, self._current = self._current, None
        if current is not None:
            current.lost()

    def half_closed(self) -> None:
        """The client has closed its half of the connection; it is taken for gone."""
        self._hang_up()

    def receive(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._is_closed():
            self._discard(len(data))
            return
        fault = self.parser.feed(data)
        if fault is not None:
            self._close_with(fault)
        elif self.parser.phase != NOTHING:
            self._go_on_later(len(data))

    def _is_closed(self) -> bool:
        return self._closing or self._fault is not None

    def _go_on_later(self, piece_bytes: int) -> None:
        """A request is incomplete: count what there is of it, and how long the rest takes."""
        parser = self.parser
        began = parser.count_piece()
        if parser.phase == BODY:
            if self._receiving is not None and self._receiving is self._answered_early:
                self._discard(piece_bytes)
            elif parser.is_body_too_large():
                self._close_with(BODY_TOO_LARGE)
            elif not self._flow.read_paused:
                self._reading.set(self._bounds.body_s)
        elif parser.is_head_too_large():
            self._close_with(HEAD_TOO_LARGE)
        elif began:
            self._reading.set(self._bounds.head_s)

    def on_head(self) -> None:
        """The head of a request is there: who serves it?"""
        parser = self.parser
        if self._closing:
            # The answer to the request before was the last one, and was given at once.
            parser.stop(NOT_HTTP)
        self._reading.clear()
        path = parser.path()
        request: PendingRequest
        if self._config.fast_path.handles(path):
            request = self._exchange(path)
        else:
            # With HTTP/1.0 nobody waits for a word to go on, and one in between would be taken for the answer.
            expects = parser.expects_continue and parser.http.get_http_version() == "1.1"
            request = self._server.asgi_request(parser.url, parser.headers, expects_continue=expects)
        self._begin_or_wait(request)
        self._receiving = request

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        receiving = self._receiving
        if receiving is None:
            return
        receiving.receive(body)
        if isinstance(receiving, HttpExchange) and receiving.unwanted_bytes > _UNWANTED_BODY_BYTES:
            self._pause()

    def on_request_complete(self) -> None:
        """A request is complete."""
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.received()
        if self._closing:
            # It was answered at its head; how long its connection lives on is decided.
            return
        self._reading.clear()
        # One that waits for the client to read its answers is no silence: it may be answered for long.
        if self._current is None and not self._waiting:
            self._reading.set(self._bounds.idle_s)

    def answered(self) -> None:
        """ASGI's answer to the current request is complete."""
        current = self._current
        self._ended(is_last=current is not None and not current.keep_alive)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writing.set(self._bounds.unread_s)
        if isinstance(self._current, HttpExchange):
            self._current.writable(False)

    def resume_writing(self) -> None:
        """The client reads again."""
        if not self._closing:
            self._writing.clear()
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
        """Write, whether or not somebody reads."""
        self._transport.write(data)

    def common_headers(self) -> bytes:
        """The header lines that every answer has."""
        headers = self._server.default_headers()
        if headers is not self._common_of:
            # The server makes a new list every second, for the date.
            self._common_of = headers
            self._common = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._common

    def ended(self, exchange: HttpExchange) -> None:
        """The answer to `exchange` is complete."""
        self._ended(is_last=not exchange.keep_alive)

    def read_on(self) -> None:
        """Somebody wants the body: read it, if reading was paused."""
        flow = self._flow
        if flow.read_paused and self._fault is None and len(self._waiting) < _PIPELINED_UNREAD:
            flow.resume_reading()
            if self.parser.phase == BODY:
                self._reading.set(self._bounds.body_s)

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._transport.abort()

    def _pause(self) -> None:
        """Read no more for now. While we don't read, the client cannot be late."""
        self._flow.pause_reading()
        self._reading.clear()

    def _exchange(self, path: str) -> HttpExchange:
        parser = self.parser
        http = parser.http
        is_1_1 = http.get_http_version() == "1.1"
        return HttpExchange(
            self,
            http.get_method().decode("ascii"),
            path,
            parser.headers,
            is_1_1=is_1_1,
            keep_alive=is_1_1 and http.should_keep_alive(),
            expects_continue=is_1_1 and parser.expects_continue,
            most_body_bytes=self._bounds.body_bytes,
            memory=self._config.body_memory,
        )

    def _begin_or_wait(self, request: PendingRequest) -> None:
        """Begin to serve a request now, or behind those before it, or when the client reads its answers."""
        if self._current is None and not self._flow.write_paused:
            self._begin(request)
            return
        if len(self._waiting) >= _PIPELINED_MOST:
            self.parser.stop(TOO_MANY_REQUESTS)
        self._waiting.append(request)
        if len(self._waiting) >= _PIPELINED_UNREAD:
            self._pause()

    def _begin(self, request: PendingRequest) -> None:
        self._current = request
        if isinstance(request, HttpExchange):
            request.write_paused = self._flow.write_paused
            self._config.fast_path.serve(request)
        else:
            request.begin()

    def _ended(self, *, is_last: bool) -> None:
        """The answer to the current request is complete; `is_last`: so is what the connection was for."""
        if is_last and not self._closing:
            self._current = None
            if self.parser.phase == NOTHING and not self._waiting and self._fault is None:
                self._hang_up()
            else:
                self._linger()
            return
        is_early = self._receiving is not None and self._receiving is self._current
        self._next_turn()
        if is_early and not self._closing:
            self._answered_early = self._receiving
            self._begin_discarding(self._bounds.linger_s)
            self._reading.set(self._bounds.linger_idle_s)

    def _next_turn(self) -> None:
        self._current = None
        if self._closing:
            return
        if self._transport.is_closing():
            # ASGI's answer was cut off.
            self._hang_up()
        elif self._flow.write_paused:
            return
        elif self._waiting:
            if self.parser.phase == NOTHING:
                # Nothing has to arrive while it is answered.
                self._reading.clear()
            self._begin(self._waiting.popleft())
            self.read_on()
        elif self._fault is not None:
            self._say_and_hang_up(self._fault)
        else:
            self.read_on()
            if self.parser.phase == NOTHING:
                self._reading.set(self._bounds.idle_s)

    def _too_slow(self) -> None:
        if self._closing or self.parser.phase == NOTHING:
            self._hang_up()
        else:
            self._close_with(TOO_SLOW)

    def _close_with(self, fault: Fault) -> None:
        """Take in nothing any more; say why behind the answers that are under way, and close.

        What comes is read and thrown away, so that the client's end is heard of.
        """
        if self._closing:
            # The request was answered at once, and the mistake shows only now.
            return
        self._fault = fault
        self._reading.clear()
        self._flow.resume_reading()
        # Answers that are under way may take their time.
        self._begin_discarding(inf)
        half, self._receiving = self._receiving, None
        self.parser.forget()
        if half is None:
            pass
        elif half is self._current and not half.began:
            # Nobody answers half a request; the answer to it is the fault.
            self._current = None
            half.lost()
        elif self._waiting and half is self._waiting[-1]:
            self._waiting.pop()
        else:
            # It was answered before it was complete.
            self._fault = UNSAID
        if self._current is None and not self._waiting:
            self._say_and_hang_up(self._fault)

    def _say_and_hang_up(self, fault: Fault) -> None:
        if fault.status_line:
            self._transport.write(fault.answer(self._config.new_request_id()))
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more is said, and throw away what still comes, for a moment, before closing.

        A kernel that closes over unread bytes resets the connection, which takes the answer from the client.
        """
        if self._transport.is_closing():
            self._hang_up()
            return
        self._closing = True
        self._waiting.clear()
        self._receiving = self._answered_early = None
        self.parser.forget()
        self._flow.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._begin_discarding(self._bounds.linger_s)
        self._reading.set(self._bounds.linger_idle_s)

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
            self._reading.set(self._bounds.linger_idle_s)

    def _hang_up(self) -> None:
        """Close when what was written has left, but don't wait for ever for that."""
        self._closing = True
        self._reading.clear()
        self._transport.close()
        self._writing.set(self._bounds.unread_s)
