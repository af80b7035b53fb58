"""The other end of a `ClientConnection`: a transport without a socket, for its target and its tests."""

import asyncio
from typing import Final

from fuzz.hand_loop import HandLoop

# Above what a transport keeps without a word.
_MUCH_BYTES: Final = 70_000


class Socket(asyncio.Transport):
    """A transport that keeps what is written.

    Attributes:
        written: what has left, or will.
        reads: whether the connection wants more bytes.
        is_slow: whether the client has stopped reading, so that what is written waits.
        is_full: whether so much waits that the connection was told of it.
        lost: whether the connection has been told that it is over.
        late: what was written behind the end.
    """

    def __init__(self, loop: HandLoop) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol | None = None
        self.written = bytearray()
        self.reads = True
        self.is_slow = False
        self.is_full = False
        self.lost = False
        self.late = b""
        self._loop = loop
        self._closing = False
        self._has_ended = False
        self._half_closed = False
        self._dead = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Addresses."""
        return ("127.0.0.1", 80) if name in ("peername", "sockname") else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it. Behind the end it would leave too if the client has not read what was before."""
        if self._dead or self._half_closed:
            return
        if self._closing or self._has_ended:
            self.late += data
        else:
            self.written += data

    def get_write_buffer_size(self) -> int:
        """How much waits for a client that has stopped reading."""
        return _MUCH_BYTES if self.is_full else 0

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Nothing more will be written."""
        if self._closing and not self._dead and not self._half_closed:
            self.late += b"(the end)"
        self._has_ended = True

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._closing

    def close(self) -> None:
        """Close it when all has left."""
        self._closing = True
        if not self.is_slow:
            self.lose(None)

    def abort(self) -> None:
        """Close it now."""
        self._closing = True
        self.lose(None)

    def lose(self, failure: Exception | None) -> None:
        """The end of it; the connection is told in the loop's next turn."""
        if not self._dead:
            self._dead = self._closing = True
            self._loop.call_soon(self._tell, failure)

    def pause_reading(self) -> None:
        """No more bytes for now."""
        self.reads = False

    def resume_reading(self) -> None:
        """More bytes."""
        self.reads = True

    def fill(self) -> None:
        """The client stops reading, and much waits."""
        assert self.protocol is not None
        if not self._closing and not self.is_full:
            self.is_slow = self.is_full = True
            self.protocol.pause_writing()

    def drain(self) -> None:
        """The client reads what there is."""
        assert self.protocol is not None
        self.is_slow = False
        if self.is_full and not self._dead:
            self.is_full = False
            self.protocol.resume_writing()
        if self._closing:
            self.lose(None)

    def half_close(self) -> None:
        """The client sends no more."""
        assert self.protocol is not None
        if not self._closing and not self.protocol.eof_received():
            # By the loop, not by the connection, which hears of it later.
            self._half_closed = True
            self.close()

    def _tell(self, failure: Exception | None) -> None:
        assert self.protocol is not None
        self.lost = True
        self.protocol.connection_lost(failure)
