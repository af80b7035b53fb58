"""How accounts share one bound, such as that of open requests or of the bytes of bodies.

An account may use what nobody else wants, but it never holds more than three times what it leaves free. Alone it gets
three quarters of the bound; beside others it gets as much as each of them, and something is left for the next one who
comes. Who holds more than that is refused until it has given back, or others have.

Accounts without money share a sixteenth of the bound by the same rule, all of them together.

It is the dynamic threshold of shared-memory switches (Choudhury and Hahne, 1998).
"""

from typing import Final

# An account may hold so many times what is left free: three quarters and a quarter.
_TIMES_FREE: Final = 3
_UNFUNDED_PART: Final = 16


class Shares:
    """What accounts hold of one bound. Only those that hold something take memory.

    Attributes:
        most: the bound, of all accounts together. With a lower one, what is held is held until it is given back.
        used: how much of it is held.
    """

    __slots__ = ("_held", "_held_unfunded", "_used_unfunded", "most", "used")

    def __init__(self, most: int) -> None:
        """Begin with nothing held of `most`."""
        self.most = most
        self.used = 0
        self._used_unfunded = 0
        self._held: dict[str, int] = {}
        self._held_unfunded: dict[str, int] = {}

    @property
    def accounts(self) -> int:
        """How many accounts hold something; one that holds with and without money counts twice."""
        return len(self._held) + len(self._held_unfunded)

    def held(self, account: str, *, has_money: bool) -> int:
        """How much an account holds that it took while it had money, or had none."""
        return (self._held if has_money else self._held_unfunded).get(account, 0)

    def has_room(self, account: str, amount: int, *, has_money: bool) -> bool:
        """Whether `take` would take."""
        free = self.most - self.used
        if has_money:
            return is_within_share(self._held.get(account, 0), amount, free)
        free = min(free, unfunded_part(self.most) - self._used_unfunded)
        return is_within_share(self._held_unfunded.get(account, 0), amount, free)

    def take(self, account: str, amount: int = 1, *, has_money: bool) -> bool:
        """Take some of the bound for an account; False, and nothing is taken, when its share does not allow it.

        Args:
            account: whose it is; the same text wherever the account takes and gives back.
            amount: how much, in the bound's unit.
            has_money: whether the account has any. The same has to be said when it is given back.
        """
        if not has_money:
            return self._take_unfunded(account, amount)
        used = self.used + amount
        # While all together hold no more than three times what is free, no single one does.
        if used > _TIMES_FREE * (self.most - used) and not self.has_room(account, amount, has_money=True):
            return False
        self.used = used
        held = self._held
        held[account] = held.get(account, 0) + amount
        return True

    def _take_unfunded(self, account: str, amount: int) -> bool:
        if not self.has_room(account, amount, has_money=False):
            return False
        self.used += amount
        self._used_unfunded += amount
        self._held_unfunded[account] = self._held_unfunded.get(account, 0) + amount
        return True

    def give_back(self, account: str, amount: int = 1, *, has_money: bool) -> None:
        """Give back what was taken, or a part of it."""
        held = self._held
        if not has_money:
            held = self._held_unfunded
            self._used_unfunded -= amount
        self.used -= amount
        left = held[account] - amount
        assert left >= 0, "more was given back than was taken"
        if left:
            held[account] = left
        else:
            del held[account]


def is_within_share(held: int, amount: int, free: int) -> bool:
    """Whether somebody who holds so much may take `amount` of what is free.

    Three quarters of the bound are rounded down, and the very last unit goes to somebody who has none: a bound of 1
    serves one, of 2 one each for two, of 3 two and one.
    """
    return held + amount <= _TIMES_FREE * (free - amount) or (held == 0 and amount == free == 1)


def unfunded_part(most: int) -> int:
    """What all accounts without money may hold of a bound together.

    At least 1: what costs nothing stays reachable in a small installation.
    """
    return max(most // _UNFUNDED_PART, 1)
