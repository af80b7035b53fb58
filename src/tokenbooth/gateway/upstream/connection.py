"""One connection to an upstream server: an HTTP/1.1 response parser between its socket and who waits for the answer.

It carries one call at a time: `send`, then `head`, then `read` or `each`.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, cast

import httptools

from tokenbooth.gateway.errors import ClientHungUp, UpstreamBroke, UpstreamTimedOut
from tokenbooth.gateway.upstream.base import MAX_ANSWER_BYTES
from tokenbooth.http.deadline import Deadline

_MAX_HEAD_BYTES: Final = 256 * 1024
# A closed socket says so within a round trip; a second leaves room for slow ones.
_STALE_WITHIN_S: Final = 1.0


class _Phase(Enum):
    """How far the answer is."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    COMPLETE = auto()
    LOST = auto()


# A member is looked up in its class at some cost, which every request would pay many times.
_IDLE: Final = _Phase.IDLE
_HEAD: Final = _Phase.HEAD
_BODY: Final = _Phase.BODY
_COMPLETE: Final = _Phase.COMPLETE
_LOST: Final = _Phase.LOST


class UpstreamConnection:
    """A connection, in the pool or with a call; an `asyncio.Protocol` in all but its bases.

    Attributes:
        status: of the answer.
        headers: of the answer, names in lower case.
        has_answered: whether anything came since the call was sent.
        reused: whether it has carried a call before.
    """

    def __init__(self, idle_s: float, on_lost: Callable[["UpstreamConnection"], None]) -> None:
        """Take what it works with.

        Args:
            idle_s: the longest silence inside an answer, in seconds.
            on_lost: told when the connection has ended.
        """
        self._idle_s = idle_s
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._phase = _IDLE
        self._keep_alive = True
        self._framed = True
        self._interim = False
        self._paused = False
        # Bytes that brought nothing of a body: of the head, and behind it since the last part.
        self._head_bytes = 0
        # One piece as a rule; many are put together at once, or small ones would cost many times their size.
        self._body: bytes | bytearray = b""
        self._take: Callable[[bytes], bool] | None = None
        self._failure: Exception | None = None
        self._take_failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._interrupted = False
        self._is_late = False
        self._has_begun = False
        self._reads_whole = False
        self._deadline = Deadline(self._loop, self._too_late)
        self._sent_at_s = 0.0
        self._unsent = b""
        self._unsent_body = b""
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_answered = False
        self.reused = False

    def send(self, request: bytes, first_byte_s: float, body: bytes = b"") -> None:
        """Begin a call; its answer has to begin within `first_byte_s` seconds.

        What is read whole begins with its first byte; a stream when who takes it says so.

        Args:
            request: its head, and its body, if that is small.
            first_byte_s: see above.
            body: of a large request: to put both together would copy it.
        """
        self.prepare(request, first_byte_s, body)
        self.write_out()

    def prepare(self, request: bytes, first_byte_s: float, body: bytes = b"") -> None:
        """Begin a call as `send` does, but leave the writing to `write_out`."""
        self._phase = _HEAD
        self._unsent = request
        self._unsent_body = body
        self._head_bytes = 0
        self.headers = []
        self.has_answered = False
        self._interrupted = False
        self._is_late = False
        self._has_begun = False
        self._reads_whole = False
        self._sent_at_s = self._loop.time()
        self._deadline.set(first_byte_s)

    def write_out(self) -> None:
        """Write the request, unless the call has ended meanwhile, or the connection."""
        if self._phase is _HEAD and self._transport is not None:
            request, self._unsent = self._unsent, b""
            self._transport.write(request)
            if self._unsent_body:
                body, self._unsent_body = self._unsent_body, b""
                self._transport.write(body)

    @property
    def is_sent(self) -> bool:
        """Whether the request of the call has left."""
        return not self._unsent

    @property
    def is_alive(self) -> bool:
        """Whether an answer, or the rest of it, may still come."""
        return self._phase is _HEAD or self._phase is _BODY

    def wait_on(self, timeout_s: float) -> None:
        """Give an answer that has not begun so many more seconds."""
        if self.is_alive:
            self._deadline.set(timeout_s)

    @property
    def was_stale(self) -> bool:
        """Whether the loss of the connection means that it was closed before the request could be read.

        Nothing of an answer came, and nothing can have been run in the short time that a closed socket needs to say so.
        """
        lived_s = self._loop.time() - self._sent_at_s
        return self._phase is _LOST and self.reused and not self.has_answered and lived_s < _STALE_WITHIN_S

    async def head(self) -> None:
        """Wait for the head of the answer.

        Raises:
            UpstreamTimedOut, UpstreamBroke, ClientHungUp
        """
        while self._is_in(_HEAD):
            await self._arrival()
        if self._is_in(_LOST):
            raise self._why_lost()

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            UpstreamTimedOut, UpstreamBroke, ClientHungUp
        """
        self._reads_whole = True
        if self._body:
            self.answer_began()
        while self._is_in(_BODY):
            await self._arrival()
        if not self._is_in(_COMPLETE):
            raise self._why_lost()
        return self._body if isinstance(self._body, bytes) else bytes(self._body)

    async def each(self, take: Callable[[bytes], bool]) -> None:
        """Hand over the body as it arrives, until its end or until `take` returns False.

        Raises:
            UpstreamTimedOut, UpstreamBroke, ClientHungUp, and what `take` raises
        """
        self._take = take
        self._hand_over()
        while self._is_taking() and self._is_in(_BODY):
            await self._arrival()
        if self._take_failure is not None:
            raise self._take_failure
        if self._is_taking() and not self._is_in(_COMPLETE):
            raise self._why_lost()
        self._take = None

    def answer_began(self) -> None:
        """From now on silence is bounded; until then the time to the begin of the answer goes on."""
        if not self._has_begun:
            self._has_begun = True
            if self._phase is _BODY and not self._paused:
                self._deadline.set(self._idle_s)

    def interrupt(self) -> None:
        """The client hung up: whoever waits gets `ClientHungUp`."""
        self._interrupted = True
        self._wake()

    def pause(self) -> None:
        """Read no more for now; the time does not count as silence."""
        if not self._paused and self._transport is not None and self._phase is _BODY:
            self._paused = True
            self._deadline.clear()
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None:
            self._paused = False
            if self._phase is _BODY:
                self._deadline.set(self._idle_s)
            self._transport.resume_reading()

    def release(self, idle_s: float) -> bool:
        """End the call; returns whether the connection can carry another one within `idle_s` seconds."""
        reusable = self._phase is _COMPLETE and self._keep_alive
        self._take = None
        self._body = b""
        if not reusable:
            self.close()
            return False
        self.resume()
        self._phase = _IDLE
        self.reused = True
        self._deadline.set(idle_s)
        return True

    def close(self) -> None:
        """End the connection, and with it what is under way there."""
        self._keep_alive = False
        if self._phase is not _COMPLETE:
            self._phase = _LOST
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer arrived."""
        self.has_answered = True
        self._head_bytes += len(data)
        if self._phase is _BODY:
            if self._has_begun:
                self._deadline.set(self._idle_s)
        elif self._phase is not _HEAD:
            # Nobody asked, or the answer is over.
            self._fail(UpstreamBroke("more than an answer came"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(UpstreamBroke("the answer is not HTTP"))
        if self._head_bytes > _MAX_HEAD_BYTES and not self._is_in(_COMPLETE):
            # The parser keeps a header and a trailer while they grow.
            self._fail(UpstreamBroke("the head of the answer is too large, or what is around its body"))
            return
        if self._is_in(_HEAD):
            return
        if self._take is not None:
            self._hand_over()
        elif self._is_in(_COMPLETE):
            self._wake()
        elif len(self._body) > MAX_ANSWER_BYTES:
            self._fail(UpstreamBroke("the answer is too large"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; an answer without a length ends with it."""
        self._deadline.close()
        if self._phase is _BODY and not self._framed and exc is None:
            # An answer without a length ends with its connection.
            self._phase = _COMPLETE
            self._keep_alive = False
        elif self._phase is not _COMPLETE:
            self._phase = _LOST
        self._keep_alive = False
        self._wake()
        self._on_lost(self)
        # They know each other, and would wait for the garbage collector.
        self._parser = _NO_PARSER

    def eof_received(self) -> None:
        """The server writes no more: the loop closes the connection."""

    def pause_writing(self) -> None:
        """Nothing to pause: a request has been written as a whole."""

    def resume_writing(self) -> None:
        """Nothing was paused."""

    def on_message_begin(self) -> None:
        """The parser found the begin of an answer."""
        if self._phase is not _HEAD:
            raise UpstreamBroke("more than an answer came")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. A trailer behind a body in chunks is dropped: it must not pass for a header (RFC 9110, 6.5.1)."""
        if self._phase is _HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The parser has the head of an answer."""
        self.status = self._parser.get_status_code()
        self._interim = self.status < 200
        if self._interim:
            self.headers.clear()
            return
        self._phase = _BODY
        # With another coding than chunked, which we never ask for, the parser would read to the end of the connection.
        self._framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        # Some servers send the head at once and think behind it: until the answer begins the same time-out goes on.
        self._wake()

    def on_body(self, body: bytes) -> None:
        """The parser has a part of the body."""
        self._head_bytes = 0
        if self._reads_whole and not self._has_begun:
            self.answer_began()
        if not self._body:
            self._body = body
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += body

    def on_message_complete(self) -> None:
        """The parser has all of an answer."""
        if self._interim:
            self._interim = False
            return
        self._phase = _COMPLETE
        self._keep_alive = self._parser.should_keep_alive()
        self._deadline.clear()

    def _hand_over(self) -> None:
        """Give what has arrived to who takes it; its failure ends the call."""
        body, self._body = self._body, b""
        if body and self._take is not None:
            try:
                wants_more = self._take(body if isinstance(body, bytes) else bytes(body))
            except Exception as failure:
                # It ends the call also behind an answer that is complete.
                self._take_failure = failure
                self._fail(failure)
                return
            if not wants_more:
                self._take = None
        if self._take is None or self._phase is _COMPLETE:
            self._wake()

    def _is_in(self, phase: _Phase) -> bool:
        return self._phase is phase

    def _is_taking(self) -> bool:
        return self._take is not None

    async def _arrival(self) -> None:
        if not (self._interrupted or self._is_late):
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._interrupted:
            self._interrupted = False
            raise ClientHungUp
        if self._is_late:
            self._is_late = False
            # Who waits on may want to take it otherwise.
            self._take = None
            raise UpstreamTimedOut("no answer in time")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self.close()
        self._wake()

    def _why_lost(self) -> Exception:
        return self._failure or UpstreamBroke("the connection ended before the answer did")

    def _too_late(self) -> None:
        if self._phase is _IDLE:
            self.close()
        elif self._has_begun:
            self._fail(UpstreamTimedOut("silence"))
        else:
            # The server may still be working on it, so the connection stays for who wants to wait on.
            self._is_late = True
            self._wake()


_NO_PARSER: Final = httptools.HttpResponseParser(object())
