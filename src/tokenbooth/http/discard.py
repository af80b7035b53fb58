"""What a client still sends although nobody wants it: read and thrown away, but not for ever."""

import asyncio


class Discard:
    """How much is thrown away, and until when. A kernel that closes over unread bytes would take the answer along."""

    __slots__ = ("_loop", "_most_bytes", "_size", "_until_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, most_bytes: int) -> None:
        """Take the connection's loop, and how many bytes are thrown away at most."""
        self._loop = loop
        self._most_bytes = most_bytes
        self._size = 0
        self._until_s = 0.0

    def begin(self, seconds: float) -> None:
        """Throw away what comes in so many seconds."""
        self._until_s = self._loop.time() + seconds
        self._size = 0

    def is_too_much(self, size: int) -> bool:
        """Count bytes; whether the client sends too many, or for too long."""
        self._size += size
        return self._size > self._most_bytes or self._loop.time() > self._until_s
