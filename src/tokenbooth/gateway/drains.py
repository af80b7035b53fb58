"""Room for answers that are read on although nobody waits for them any more: of all accounts, and of one.

Each keeps its hold and its place at the upstream meanwhile.
"""

from tokenbooth.kit.places import Caller, Place, Places


class Drains:
    """The places of answers that are read on.

    Attributes:
        places: those of all accounts, which share them.
    """

    __slots__ = ("_most_per_account", "places")

    def __init__(self, *, most: int, most_per_account: int) -> None:
        """Set how many there may be.

        Args:
            most: of all accounts at once.
            most_per_account: of one, whatever its share is.
        """
        self.places = Places(most)
        self._most_per_account = most_per_account

    def take(self, caller: Caller) -> Place | None:
        """Take a place; None when there is none."""
        held = self.places.shares.held(caller.account, has_money=caller.has_money)
        place = self.places.take(caller) if held < self._most_per_account else None
        if place is None:
            self.places.refused += 1
        return place
