"""The requests of a connection that wait for their turn, with a bound on their number and on their bytes."""

from collections import deque
from typing import Final

from tokenbooth.http.asgi import AsgiRequest
from tokenbooth.http.exchange import HttpExchange, RawHeaders

PendingRequest = HttpExchange | AsgiRequest

UNWANTED_BYTES: Final = 64 * 1024
"""So much is read before anybody wants it: of a body, and of all requests that wait."""
# Reading stops at the first number; a client that has sent more in one piece is cut off at the second.
_UNREAD: Final = 16
_MOST: Final = 128


class WaitingRequests:
    """Requests behind the one that is being answered.

    Attributes:
        requests: all of them, in their order.
    """

    __slots__ = ("_bytes", "requests")

    def __init__(self) -> None:
        self.requests: deque[PendingRequest] = deque()
        self._bytes = 0

    @property
    def are_many(self) -> bool:
        """Whether no more is to be read before one of them had its turn."""
        return len(self.requests) >= _UNREAD or self._bytes > UNWANTED_BYTES

    @property
    def are_too_many(self) -> bool:
        """Whether no further one is taken."""
        return len(self.requests) >= _MOST

    def add(self, request: PendingRequest, headers: RawHeaders) -> None:
        """A request has to wait; its body may still arrive."""
        self.requests.append(request)
        self._bytes += sum(len(name) + len(value) for name, value in headers)

    def add_bytes(self, size: int) -> None:
        """A part of the body of the last one has arrived."""
        self._bytes += size

    def next(self) -> PendingRequest:
        """The one whose turn it is; there is one."""
        request = self.requests.popleft()
        if not self.requests:
            # Until then all of them count: reading goes on when they are few.
            self._bytes = 0
        return request

    def remove_last(self, request: PendingRequest) -> bool:
        """Take out the last one if it is this one; whether it was."""
        if not self.requests or self.requests[-1] is not request:
            return False
        self.requests.pop()
        return True

    def clear(self) -> None:
        """None of them is answered."""
        self.requests.clear()
        self._bytes = 0
