"""Room for answers that are read on although nobody waits for them any more: of all accounts, and of one.

Each keeps its hold and its place at the upstream meanwhile.
"""

from tokenbooth.gateway.access.cache import AccountState


class Drains:
    """Counts the answers that are read on."""

    __slots__ = ("_most", "_most_per_account", "_open")

    def __init__(self, *, most: int, most_per_account: int) -> None:
        """Set how many there may be.

        Args:
            most: of all accounts at once.
            most_per_account: of one, so that nobody takes all of them.
        """
        self._most = most
        self._most_per_account = most_per_account
        self._open = 0

    def take(self, account: AccountState) -> bool:
        """Take a place; False when there is none."""
        if self._open >= self._most or account.draining >= self._most_per_account:
            return False
        self._open += 1
        account.draining += 1
        return True

    def give_back(self, account: AccountState) -> None:
        """Give a place back."""
        self._open -= 1
        account.draining -= 1
