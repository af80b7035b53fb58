"""How the bodies of one connection arrive: until when the next part has to be there, and what is kept for ASGI."""

import asyncio

from tokenbooth.http.asgi import AsgiRequest
from tokenbooth.http.limits import Bounds
from tokenbooth.http.min_rate import MinRate
from tokenbooth.kit.places import ByteShares, Caller


class BodyArrival:
    """The body that a connection is in, and the bytes of those before it that the application still has.

    The data plane counts its bodies itself, by account. What the application reads is nobody's until it knows who asks:
    it counts for the client's address, among what all accounts without money may take together.
    """

    __slots__ = ("_bodies", "_client", "_kept_bytes", "_loop", "_paused_at_s", "_rate")

    def __init__(self, loop: asyncio.AbstractEventLoop, bounds: Bounds, bodies: ByteShares, client: Caller) -> None:
        """Begin with none.

        Args:
            loop: the connection's.
            bounds: how slowly a body may arrive.
            bodies: where bytes are counted.
            client: who counts for what the application reads.
        """
        self._loop = loop
        self._bodies = bodies
        self._client = client
        self._rate = MinRate(bounds.body_s, bounds.min_bytes_per_s, bounds.transfer_s)
        # When reading was paused by us, on the loop's clock; 0 while it was not.
        self._paused_at_s = 0.0
        self._kept_bytes = 0

    @property
    def late_at_s(self) -> float:
        """When the next part is late, on the loop's clock."""
        return self._rate.late_at_s

    def begin(self) -> None:
        """The body begins, or begins to be read."""
        self._rate.begin(self._loop.time())

    def moved(self, size: int) -> None:
        """A part has come, and more is to come."""
        self._rate.moved(self._loop.time(), size)

    def pause(self) -> None:
        """Reading pauses; the client cannot be late meanwhile."""
        if not self._paused_at_s:
            self._paused_at_s = self._loop.time()

    def resume(self) -> None:
        """Reading goes on."""
        if self._paused_at_s:
            self._rate.put_off(self._loop.time() - self._paused_at_s)
            self._paused_at_s = 0.0
        else:
            # It was the application that had paused.
            self.begin()

    def keep(self, request: AsgiRequest, size: int) -> bool:
        """Keep a part for the application; False when there is no room for it."""
        if not self._bodies.take(self._client, size):
            return False
        request.kept_bytes += size
        self._kept_bytes += size
        return True

    def forget(self, request: AsgiRequest) -> None:
        """The request is answered; its body is kept no longer."""
        self._give_back(request.kept_bytes)
        request.kept_bytes = 0

    def lost(self) -> None:
        """The connection is gone."""
        self._give_back(self._kept_bytes)

    def _give_back(self, size: int) -> None:
        self._bodies.give_back(self._client, size)
        self._kept_bytes -= size
