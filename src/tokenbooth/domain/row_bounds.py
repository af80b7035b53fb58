"""How many rows of a kind one account may have."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowBound:
    """A bound on an account's rows.

    Attributes:
        funded: of an account that had money at some time.
        unfunded: of one that never had any, which costs its owner nothing and so may be one of many.
    """

    funded: int
    unfunded: int

    def of(self, *, was_funded: bool) -> int:
        """The bound of an account; never a larger one for being without money."""
        return self.funded if was_funded else min(self.funded, self.unfunded)
