"""Bytes that are kept for clients, in shares of one bound."""

from tokenbooth.domain.shares import Shares
from tokenbooth.kit.places import Caller


class ByteShares:
    """The bytes of one bound.

    Attributes:
        shares: what each account has of them.
        refused: how often there was no room.
    """

    __slots__ = ("refused", "shares")

    def __init__(self, most_bytes: int) -> None:
        self.shares = Shares(most_bytes)
        self.refused = 0

    def take(self, caller: Caller, size: int) -> bool:
        """Keep so many bytes for a caller; False, and nothing is kept, where its share has no room for them."""
        if size and not self.shares.take(caller.account, size, has_money=caller.has_money):
            self.refused += 1
            return False
        return True

    def give_back(self, caller: Caller, size: int) -> None:
        """So many bytes are not kept any more."""
        if size:
            self.shares.give_back(caller.account, size, has_money=caller.has_money)
