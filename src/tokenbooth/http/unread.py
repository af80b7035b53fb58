"""What was written to a client and not read by it: how much there may be of it, and for how long."""

import asyncio
from collections.abc import Callable

from tokenbooth.http.deadline import Deadline
from tokenbooth.http.limits import Bounds
from tokenbooth.http.min_rate import MinRate
from tokenbooth.kit.places import ByteShares, Caller


class Unread:
    """The unread bytes of one connection; counted while there are more than the transport takes without a word.

    Who reads too slowly is cut off, and so is who leaves more unread than the account's share of `shares` has room for.

    Attributes:
        is_behind: whether they are counted now.
    """

    __slots__ = (
        "_caller",
        "_cut",
        "_deadline",
        "_is_closing",
        "_loop",
        "_rate",
        "_rested_since_s",
        "_shares",
        "_taken_bytes",
        "_transport",
        "_waiting_bytes",
        "is_behind",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        bounds: Bounds,
        shares: ByteShares,
        cut: Callable[[], None],
    ) -> None:
        """Nothing is unread yet.

        Args:
            transport: of the connection.
            loop: it runs in.
            bounds: how long a client may take.
            shares: of what all clients together leave unread, in bytes.
            cut: cuts the connection off.
        """
        self._transport = transport
        self._loop = loop
        self._shares = shares
        self._cut = cut
        self._deadline = Deadline(loop, self._look)
        self._rate = MinRate(bounds.unread_s, bounds.min_bytes_per_s, bounds.transfer_s)
        self._rested_since_s = 0.0
        self.is_behind = False
        self._is_closing = False
        # As it was when it was looked at last; the difference to what waits now was read.
        self._waiting_bytes = 0
        self._taken_bytes = 0
        self._caller: Caller | None = None

    def fell_behind(self, caller: Caller) -> None:
        """The client does not read what was written for `caller`."""
        now_s = self._loop.time()
        self.is_behind = True
        self._caller = caller
        self._waiting_bytes = self._transport.get_write_buffer_size()
        self._take(self._waiting_bytes)
        if not self._is_closing:
            self._rate.begin_again(now_s, now_s - self._rested_since_s)
            self._deadline.set_at(self._rate.late_at_s)

    def writes(self, size: int) -> None:
        """More is written now, for a client that is behind."""
        self._waiting_bytes += size
        self._take(size)

    def caught_up(self) -> None:
        """The client has read what there was, but for what the transport keeps without a word."""
        self.is_behind = False
        self._give_back()
        if self._is_closing:
            return
        now_s = self._rested_since_s = self._loop.time()
        self._rate.moved(now_s, self._moved_bytes())
        self._deadline.clear()

    def closes(self) -> None:
        """Nothing more is written: the connection ends when all of it has left, or does so too slowly."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self.is_behind:
            self._rate.begin(self._loop.time())
            self._waiting_bytes = self._transport.get_write_buffer_size()
        self._deadline.set_at(self._rate.late_at_s)

    def lost(self) -> None:
        """The connection is gone."""
        self._deadline.close()
        self._give_back()

    def _look(self) -> None:
        """It would be too late if nothing had been read."""
        now_s = self._loop.time()
        self._rate.moved(now_s, self._moved_bytes())
        if self._rate.late_at_s > now_s:
            self._deadline.set_at(self._rate.late_at_s)
        else:
            self._cut()

    def _moved_bytes(self) -> int:
        before, self._waiting_bytes = self._waiting_bytes, self._transport.get_write_buffer_size()
        return max(before - self._waiting_bytes, 0)

    def _take(self, size: int) -> None:
        if self._caller is not None and self._shares.take(self._caller, size):
            self._taken_bytes += size
        else:
            self._cut()

    def _give_back(self) -> None:
        if self._caller is not None:
            self._shares.give_back(self._caller, self._taken_bytes)
            self._taken_bytes = 0
