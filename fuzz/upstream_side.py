"""The other end of an `UpstreamConnection`: a transport without a socket, for its target and its tests."""

import asyncio

from fuzz.hand_loop import HandLoop
from tokenbooth.gateway.upstream.connection import UpstreamConnection


class UpstreamLine(asyncio.Transport):
    """A transport.

    Attributes:
        protocol: the connection.
        reads: whether it wants more bytes.
        written: all that was written.
        is_over: whether it was closed; the connection hears of that in the loop's next turn.
    """

    def __init__(self, loop: HandLoop) -> None:
        super().__init__()
        self.protocol: UpstreamConnection | None = None
        self.reads = True
        self.written = b""
        self.is_over = False
        self._loop = loop

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The request."""
        self.written += data

    def pause_reading(self) -> None:
        """No more bytes for now."""
        self.reads = False

    def resume_reading(self) -> None:
        """More bytes."""
        self.reads = True

    def abort(self) -> None:
        """Close it."""
        self.lose(None)

    def lose(self, failure: Exception | None) -> None:
        """The end of it; the connection is told in the loop's next turn."""
        if not self.is_over:
            self.is_over = True
            assert self.protocol is not None
            self._loop.call_soon(self.protocol.connection_lost, failure)
