"""The open connections of a listener: how many there are, and which one makes room for the next."""

import resource
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Final

from tokenbooth.domain.shares import Shares

if TYPE_CHECKING:
    from tokenbooth.http.connection import ClientConnection

# Each may need one to an upstream, and the process itself needs some for its files.
_FILES_PER_CONNECTION: Final = 2
_OTHER_FILES: Final = 128
_LOOKED_AT: Final = 64


class OpenConnections:
    """The connections of a listener, shared by the addresses of clients.

    An address that has more than its fair share gets no more. For another one there is always a place: where none is
    left, a connection is closed whose requests are all answered, or that has none yet. nginx does the same when its
    `worker_connections` are used up.

    Attributes:
        refused: how often one was not taken in.
        without_request: those that may make room, the longest ones first; each takes itself out while it has a request.
    """

    def __init__(self, most: int) -> None:
        """Begin with none.

        Args:
            most: how many there may be; fewer where the process may not open so many files.
        """
        self._shares = Shares(min(most, _most_by_files()))
        self.refused = 0
        self._open: dict[ClientConnection, str] = {}
        self.without_request: OrderedDict[ClientConnection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: "ClientConnection", address: str) -> bool:
        """Take in a connection of a client's address; False when it has to be closed."""
        shares = self._shares
        if not shares.take(address, has_money=True):
            is_above_fair_share = shares.held(address, has_money=True) * (shares.accounts + 1) >= shares.most
            if is_above_fair_share or not self._close_one() or not shares.take(address, has_money=True):
                self.refused += 1
                return False
        self._open[connection] = address
        self.without_request[connection] = None
        return True

    def remove(self, connection: "ClientConnection") -> None:
        """A connection is gone; one that was not taken in changes nothing."""
        self.without_request.pop(connection, None)
        address = self._open.pop(connection, None)
        if address is not None:
            self._shares.give_back(address, has_money=True)

    def _close_one(self) -> bool:
        """Close a connection without a request, of the longest ones one that loses least; False when there is none."""
        longest = list(islice(self.without_request, _LOOKED_AT))
        if not longest:
            return False
        closed = min(longest, key=_loss_by_closing)
        closed.abort()
        self.remove(closed)
        return True


def _loss_by_closing(connection: "ClientConnection") -> int:
    return connection.loss_by_closing


def _most_by_files() -> int:
    """How many connections the process has files for."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most_files == resource.RLIM_INFINITY:
        most_files = 1 << 31
    return max((most_files - _OTHER_FILES) // _FILES_PER_CONNECTION, 1)
