"""One request of the data plane and its answer, on the connection of a client.

The connection's parser calls `receive`, `received` and `lost`; whoever serves the request reads its body and answers.
Answers are written straight to the transport. Header lines come as bytes, each with its end, and must be ours: they are
not checked here.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbooth.kit.places import ByteShares, Caller

if TYPE_CHECKING:
    from tokenbooth.http.connection import ClientConnection

RawHeaders = list[tuple[bytes, bytes]]

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_LAST_CHUNK: Final = b"0\r\n\r\n"


class ClientGone(Exception):
    """The client hung up before its request was complete; nobody is there to answer."""


class BodyTooLarge(Exception):
    """The body is larger than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self.most_bytes = most_bytes


class NoRoomForBody(Exception):
    """More of bodies would be kept at once than there is room for, in all or of the account."""


# Before a request is known to be anybody's nothing is kept for it, but for what came with its head.
_NOBODY: Final = Caller("", False)
# How far an answer is. Numbers, because a member of an enum is looked up at each use.
_NOT_BEGUN: Final = 0
_CHUNKED: Final = 1
_UNTIL_CLOSE: Final = 2
_DONE: Final = 3


class HttpExchange:
    """A request whose head has arrived, and its answer.

    Attributes:
        caller: in whose share what is kept for it counts; may not change once a body is wanted.
        method, path: of the request line; the path is decoded and without its query.
        headers: names in lower case.
        keep_alive: whether the connection stays open behind the answer.
        gone: whether the client hung up.
        write_paused: whether the client does not read what was written so far.
        on_gone: called once when the client hangs up.
        on_writable: called with False when the client falls behind, with True when it has caught up.
    """

    __slots__ = (
        "_answering",
        "_awaited_bytes",
        "_bodies",
        "_body",
        "_body_size",
        "_complete",
        "_connection",
        "_counted_bytes",
        "_expects_continue",
        "_is_1_1",
        "_most_body_bytes",
        "_no_room",
        "_waiter",
        "_wanted",
        "caller",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "on_gone",
        "on_writable",
        "path",
        "write_paused",
    )

    def __init__(
        self,
        connection: "ClientConnection",
        method: str,
        path: str,
        headers: RawHeaders,
        *,
        is_1_1: bool,
        keep_alive: bool,
        expects_continue: bool,
        most_body_bytes: int,
        bodies: ByteShares,
    ) -> None:
        """Begin with the head of a request.

        Args:
            connection: the client's.
            method, path, headers: see the attributes.
            is_1_1: whether the client speaks HTTP/1.1, so that an answer can come in chunks.
            keep_alive: whether it wants the connection to stay open.
            expects_continue: whether it waits for 100 (Continue) before it sends the body.
            most_body_bytes: the largest body that is kept.
            bodies: where the bytes of a body are counted that does not come in one piece.
        """
        self._connection = connection
        self.method = method
        self.path = path
        self.headers = headers
        self.keep_alive = keep_alive
        self.caller = _NOBODY
        self.gone = False
        self.write_paused = False
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[bool], None] | None = None
        self._is_1_1 = is_1_1
        self._expects_continue = expects_continue
        self._most_body_bytes = most_body_bytes
        # One piece as a rule; many are put together at once, or small ones would cost many times their size.
        self._body: bytes | bytearray = b""
        self._wanted = False
        self._body_size = 0
        self._bodies = bodies
        self._counted_bytes = 0
        self._no_room = False
        self._complete = False
        self._waiter: asyncio.Future[None] | None = None
        # Who waits for a part is told when it is there; until somebody does, for nothing.
        self._awaited_bytes = most_body_bytes + 1
        self._answering = _NOT_BEGUN

    @property
    def began(self) -> bool:
        """Whether an answer has begun, so that no other can be given."""
        return self._answering != _NOT_BEGUN

    @property
    def is_answered(self) -> bool:
        """Whether the answer is complete."""
        return self._answering == _DONE

    @property
    def unwanted_bytes(self) -> int:
        """How much of a body is kept that nobody has asked for yet."""
        return 0 if self._wanted else len(self._body)

    @property
    def received_bytes(self) -> int:
        """How much of the body has arrived."""
        return self._body_size

    def receive(self, part: bytes) -> None:
        """A part of the body has arrived; what follows an answer, or is too much, is dropped."""
        self._body_size += len(part)
        if self._body_size > self._most_body_bytes:
            self._body = b""
            self._wake()
        elif self._answering != _NOT_BEGUN or self._no_room:
            return
        elif self._wanted and not self._count(len(part)):
            self._wake()
        elif not self._body:
            self._body = part
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += part
        if len(self._body) >= self._awaited_bytes:
            self._wake()

    def received(self) -> None:
        """The request is complete."""
        self._complete = True
        self._wake()

    def lost(self) -> None:
        """The connection is gone."""
        self.gone = True
        self._uncount()
        self._wake()
        if self.on_gone is not None:
            self.on_gone()

    def writable(self, is_writable: bool) -> None:
        """The client has caught up with reading, or fallen behind."""
        self.write_paused = not is_writable
        if self.on_writable is not None:
            self.on_writable(is_writable)

    def small_body(self, most: int) -> bytes | None:
        """The body, if it has arrived and has at most `most` bytes; it is kept here no longer."""
        if not self._complete or self._body_size > most:
            return None
        return self.whole()

    def announced_bytes(self) -> int:
        """How much of the body has arrived, or how much the client says that it will send, if that is more.

        Raises:
            BodyTooLarge: it is more than is taken.
        """
        announced = self._body_size
        for name, value in self.headers:
            if name == b"content-length":
                announced = max(announced, int(value))
        if announced > self._most_body_bytes:
            raise BodyTooLarge(self._most_body_bytes)
        return announced

    async def part(self, start: int, most: int) -> bytes:
        """Up to `most` bytes of the body from `start` on, as soon as they have arrived; empty behind its end.

        Raises:
            BodyTooLarge: it is, or says that it will be.
            NoRoomForBody: too much is kept for others.
            ClientGone: it will never be complete.
        """
        await self._arrival(start + most)
        return bytes(self._body[start : start + most])

    async def body(self) -> bytes:
        """The whole body, as soon as it has arrived; see `part`."""
        await self._arrival(self._most_body_bytes + 1)
        return self.whole()

    def whole(self) -> bytes:
        """The body, which is complete; it is kept here no longer.

        Raises:
            BodyTooLarge: it is above its bound.
            NoRoomForBody: the memory for all bodies is used up.
        """
        body = self.kept()
        return body if isinstance(body, bytes) else bytes(body)

    def kept(self) -> bytes | bytearray:
        """As `whole`, but the very bytes that were kept: to copy a large body would take its time."""
        if self._no_room or self._body_size > self._most_body_bytes:
            self._refuse_kept()
        body, self._body = self._body, b""
        return body

    async def _arrival(self, size: int) -> None:
        """Wait until so much of the body has arrived, or all of it."""
        if not self._wanted and not self._complete:
            self.announced_bytes()
            self._want()
        while not self._complete and len(self._body) < size:
            if self.gone:
                raise ClientGone
            self._refuse_kept()
            self._awaited_bytes = size
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._refuse_kept()

    def _refuse_kept(self) -> None:
        if self._body_size > self._most_body_bytes:
            raise BodyTooLarge(self._most_body_bytes)
        if self._no_room:
            raise NoRoomForBody

    def _want(self) -> None:
        self._wanted = True
        if self.gone:
            # What were counted now would never be given back.
            raise ClientGone
        if self._expects_continue:
            self._expects_continue = False
            self._connection.write(_CONTINUE)
        self._connection.read_on()
        self._count(len(self._body))

    def answer(self, status: int, header_lines: bytes, body: bytes) -> None:
        """Give a whole answer."""
        if self.gone:
            return
        head = self._head(status, header_lines, b"content-length: %d\r\n" % len(body))
        self._connection.write(head if self.method == "HEAD" else head + body)
        self._end()

    def begin(self, status: int, header_lines: bytes) -> None:
        """Begin an answer whose length is not known."""
        if self.gone:
            return
        if self._is_1_1:
            self._answering = _CHUNKED
            self._connection.write(self._head(status, header_lines, b"transfer-encoding: chunked\r\n"))
        else:
            self._answering = _UNTIL_CLOSE
            self.keep_alive = False
            self._connection.write(self._head(status, header_lines, b""))

    def send(self, data: bytes) -> None:
        """Send a part of an answer that has begun; not empty. Nobody hears it when the client is gone."""
        if self.gone:
            return
        if self._answering == _CHUNKED:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._connection.write(data)

    def finish(self, data: bytes) -> None:
        """Send the last part of an answer that has begun; not empty."""
        if self.gone:
            return
        if self._answering == _CHUNKED:
            data = b"%x\r\n%b\r\n%b" % (len(data), data, _LAST_CHUNK)
        self._connection.write(data)
        self._end()

    def abort(self) -> None:
        """Cut the connection: the answer cannot be ended as it should. One that is complete has left."""
        if not self.gone and not self.is_answered:
            self._connection.abort()

    def _head(self, status: int, header_lines: bytes, framing: bytes) -> bytes:
        if self._expects_continue and not self._complete:
            # Whether the client sends its body without having been asked for it, nobody can tell.
            self.keep_alive = False
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        return b"".join((status_line, self._connection.common_headers(), header_lines, framing, end))

    def _end(self) -> None:
        self._answering = _DONE
        self._body = b""
        self._uncount()
        self._connection.ended(self)

    def _count(self, size: int) -> bool:
        """Count bytes that are kept; without room for them none are."""
        if self._bodies.take(self.caller, size):
            self._counted_bytes += size
            return True
        self._no_room = True
        self._body = b""
        self._uncount()
        return False

    def _uncount(self) -> None:
        if self._counted_bytes:
            self._bodies.give_back(self.caller, self._counted_bytes)
            self._counted_bytes = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
