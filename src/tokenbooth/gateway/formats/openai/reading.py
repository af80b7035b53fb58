"""What the readers of messages and of input items share: what was found so far, and when it is time for a pause."""

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.formats.json.body import Object
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM, STEP_ITEMS
from tokenbooth.gateway.formats.stored_state import refuse_stored_state


class Reading:
    """What was found so far.

    Attributes:
        size_bytes: of what is no text for a model, such as the data of images.
        tokens: the most that images and other parts may count for.
    """

    __slots__ = ("_items", "model", "size_bytes", "tokens")

    def __init__(self, model: Model) -> None:
        self.model = model
        self._items = 0
        self.size_bytes = 0
        self.tokens = 0

    def is_step_done(self) -> bool:
        """Count one more message, item or part; True when it is time for a pause."""
        self._items += 1
        if self._items < STEP_ITEMS:
            return False
        self._items = 0
        return True

    def look_at(self, holder: Object) -> None:
        """Look at the names of a message, item or part.

        Raises:
            Refusal: one of them stands for something stored.
        """
        self._items += len(holder) // NAMES_PER_ITEM
        refuse_stored_state(holder, self.model)
