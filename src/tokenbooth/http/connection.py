"""The connection of a client: whose turn it is to be answered, and how long everything may take.

Requests on the fast path become `HttpExchange`s; all others are requests of the ASGI application, which
`tokenbooth.http.uvicorn` brings. Answers leave in the order of the requests.
"""

import asyncio
from math import inf

from uvicorn.protocols.http.flow_control import FlowControl

from tokenbooth.http import faults
from tokenbooth.http.asgi import AsgiServer
from tokenbooth.http.body_arrival import BodyArrival
from tokenbooth.http.deadline import Deadline
from tokenbooth.http.discard import Discard
from tokenbooth.http.exchange import HttpExchange, RawHeaders
from tokenbooth.http.faults import Fault
from tokenbooth.http.limits import ListenerConfig
from tokenbooth.http.parser import BODY, NOTHING, RequestParser
from tokenbooth.http.unread import Unread
from tokenbooth.http.waiting import UNWANTED_BYTES, PendingRequest, WaitingRequests
from tokenbooth.kit.places import Caller


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
        address: str,
    ) -> None:
        """Begin with a connection that was just made.

        Args:
            transport, flow, server, loop: uvicorn's.
            config: what all connections of the listener have in common.
            address: of the client; whatever has no account counts for it.
        """
        self._transport = transport
        self._loop = loop
        self._flow = flow
        self._config = config
        self._server = server
        self._bounds = bounds = config.bounds
        self._client = Caller(address, False)
        self.parser = RequestParser(self, config.bounds)
        self._fault: Fault | None = None
        self._closing = False
        # What is being answered, what the parser is in the body of, and what waits for its turn.
        self._current: PendingRequest | None = None
        self._receiving: PendingRequest | None = None
        self._waiting = WaitingRequests()
        # The request whose answer was complete before it was, if its body is still arriving.
        self._answered_early: PendingRequest | None = None
        self._discard = Discard(loop, bounds.linger_bytes)
        self._common_of: RawHeaders | None = None
        self._common = b""
        self._reading = Deadline(loop, self._too_slow)
        self._body = BodyArrival(loop, bounds, config.bodies, self._client)
        self._head_in_pieces = False
        self._unread = Unread(transport, loop, bounds, config.unread, self.abort)
        self._without_request = config.connections.without_request
        if config.connections.add(self, address):
            self._reading.set(bounds.idle_s)
        else:
            self.abort()

    @property
    def loss_by_closing(self) -> int:
        """What a client without a request loses by being closed: 0 nothing, 1 half a request, 2 a part of an answer."""
        if self._transport.get_write_buffer_size():
            return 2
        return 0 if self.parser.phase == NOTHING else 1

    def lost(self) -> None:
        """The connection is gone."""
        self._closing = True
        self._waiting.clear()
        self._receiving = self._answered_early = None
        self._reading.close()
        self._unread.lost()
        self._config.connections.remove(self)
        self._body.lost()
        self.parser.close()
        current, self._current = self._current, None
        if current is not None:
            current.lost()

    def half_closed(self) -> None:
        """The client has closed its half of the connection; it is taken for gone."""
        self._hang_up()

    def receive(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._closing or self._fault is not None:
            self._throw_away(len(data))
            return
        fault = self.parser.feed(data)
        if fault is not None:
            self._close_with(fault)
        elif self.parser.phase != NOTHING:
            self._go_on_later(len(data))

    def _go_on_later(self, piece_bytes: int) -> None:
        """A request is incomplete: count what there is of it, and how long the rest takes."""
        parser = self.parser
        began = parser.count_piece()
        if parser.phase == BODY:
            if self._receiving is not None and self._receiving is self._answered_early:
                self._throw_away(piece_bytes)
            elif parser.is_body_too_large():
                self._close_with(faults.BODY_TOO_LARGE)
            else:
                self._go_on_with_body(piece_bytes, is_first=began or self._head_in_pieces)
        elif parser.is_head_too_large():
            self._close_with(faults.HEAD_TOO_LARGE)
        elif began:
            self._head_in_pieces = True
            self._reading.set(self._bounds.head_s)

    def _go_on_with_body(self, piece_bytes: int, *, is_first: bool) -> None:
        """A part of a body has come, and more is to come: until when?"""
        self._head_in_pieces = False
        if is_first:
            self._body.begin()
        else:
            self._body.moved(piece_bytes)
        receiving = self._receiving
        if isinstance(receiving, HttpExchange):
            if not self._flow.read_paused:
                self._reading.set_at(self._body.late_at_s)
        elif receiving is None or self._body.keep(receiving, piece_bytes):
            # The application pauses by itself, and nobody tells us when it reads on.
            self._reading.set_at(self._body.late_at_s)
        else:
            self._close_with(faults.NO_ROOM)

    def on_head(self) -> None:
        """The head of a request is there: who serves it?"""
        parser = self.parser
        if self._closing:
            # The answer to the request before was the last one, and was given at once.
            parser.stop(faults.NOT_HTTP)
        self._reading.clear()
        self._without_request.pop(self, None)
        path = parser.path()
        request: PendingRequest
        if self._config.fast_path.handles(path):
            request = parser.exchange(path, self._config.bodies)
        else:
            # With HTTP/1.0 nobody waits for a word to go on, and one in between would be taken for the answer.
            expects = parser.expects_continue and parser.http.get_http_version() == "1.1"
            request = self._server.asgi_request(parser.url, parser.headers, expects_continue=expects)
        self._begin_or_wait(request)
        self._receiving = request

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        receiving = self._receiving
        if receiving is not None:
            receiving.receive(body)
        if self._waiting.requests:
            # It is the last one that waits.
            self._waiting.add_bytes(len(body))
            if self._waiting.are_many:
                self._pause()
        elif isinstance(receiving, HttpExchange) and receiving.unwanted_bytes > UNWANTED_BYTES:
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
        if self._current is None and not self._waiting.requests:
            self._reading.set(self._bounds.idle_s)

    def answered(self) -> None:
        """ASGI's answer to the current request is complete."""
        current = self._current
        if current is not None and not isinstance(current, HttpExchange):
            self._body.forget(current)
        self._ended(is_last=current is not None and not current.keep_alive)

    def pause_writing(self) -> None:
        """The client does not read."""
        current = self._current
        if isinstance(current, HttpExchange):
            self._unread.fell_behind(current.caller if current.caller.account else self._client)
            current.writable(False)
        else:
            self._unread.fell_behind(self._client)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._unread.caught_up()
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
        if self._unread.is_behind:
            self._unread.writes(len(data))
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
        if not flow.read_paused or self._fault is not None or self._waiting.are_many:
            return
        flow.resume_reading()
        self._body.resume()
        if self.parser.phase == BODY:
            self._reading.set_at(self._body.late_at_s)

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._transport.abort()

    def _pause(self) -> None:
        """Read no more for now. While we don't read, the client cannot be late."""
        self._flow.pause_reading()
        self._body.pause()
        self._reading.clear()

    def _begin_or_wait(self, request: PendingRequest) -> None:
        """Begin to serve a request now, or behind those before it, or when the client reads its answers."""
        if self._current is None and not self._flow.write_paused:
            self._begin(request)
            return
        if self._waiting.are_too_many:
            self.parser.stop(faults.TOO_MANY_REQUESTS)
        self._waiting.add(request, self.parser.headers)
        if self._waiting.are_many:
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
            if self.parser.phase == NOTHING and not self._waiting.requests and self._fault is None:
                self._hang_up()
            else:
                self._linger()
            return
        is_early = self._receiving is not None and self._receiving is self._current
        self._next_turn()
        if is_early and not self._closing:
            self._answered_early = self._receiving
            self._discard.begin(self._bounds.linger_s)
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
        elif self._waiting.requests:
            if self.parser.phase == NOTHING:
                # Nothing has to arrive while it is answered.
                self._reading.clear()
            self._begin(self._waiting.next())
            self.read_on()
        elif self._fault is not None:
            self._say_and_hang_up(self._fault)
        else:
            self._without_request[self] = None
            self.read_on()
            if self.parser.phase == NOTHING:
                self._reading.set(self._bounds.idle_s)

    def _too_slow(self) -> None:
        if self._closing or self.parser.phase == NOTHING:
            self._hang_up()
        elif self.parser.phase == BODY and self._flow.read_paused:
            # The application has fallen behind, and the client cannot be late meanwhile.
            self._body.begin()
            self._reading.set_at(self._body.late_at_s)
        else:
            self._close_with(faults.TOO_SLOW)

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
        self._discard.begin(inf)
        half, self._receiving = self._receiving, None
        self.parser.forget()
        if half is not None and half is self._current and not half.began:
            # Nobody answers half a request; the answer to it is the fault.
            self._current = None
            half.lost()
        elif half is not None and not self._waiting.remove_last(half):
            # It was answered before it was complete.
            self._fault = faults.UNSAID
        if self._current is None and not self._waiting.requests:
            self._say_and_hang_up(self._fault)

    def _say_and_hang_up(self, fault: Fault) -> None:
        if fault.status_line:
            self.write(fault.answer(self._config.new_request_id()))
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more is said, and throw away what still comes, for a moment, before closing.

        A kernel that closes over unread bytes resets the connection, which takes the answer from the client.
        """
        if self._transport.is_closing():
            self._hang_up()
            return
        self._closing = True
        self._without_request[self] = None
        self._waiting.clear()
        self._receiving = self._answered_early = None
        self.parser.forget()
        self._flow.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._discard.begin(self._bounds.linger_s)
        self._reading.set(self._bounds.linger_idle_s)

    def _throw_away(self, size: int) -> None:
        """Bytes have come that nobody wants; cut off a client that sends too many, or for too long."""
        if self._transport.is_closing():
            return
        if self._discard.is_too_much(size):
            self.abort()
        elif self._current is None:
            self._reading.set(self._bounds.linger_idle_s)

    def _hang_up(self) -> None:
        """Close when what was written has left, but don't wait for ever for that."""
        self._closing = True
        self._reading.clear()
        self._unread.closes()
        self._transport.close()
