"""Counting what is read in one step, see `json.steps`."""

from tokenbooth.gateway.formats.json.steps import STEP_ITEMS


class StepCounter:
    """Counts the items that were read since the last pause."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items = 0

    def is_step_done(self) -> bool:
        """Count one more item; True when it is time for a pause."""
        self._items += 1
        if self._items < STEP_ITEMS:
            return False
        self._items = 0
        return True

    def add_items(self, items: int) -> None:
        """Count further items, without a pause."""
        self._items += items
