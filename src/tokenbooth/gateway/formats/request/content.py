"""Content of a request that is no text, such as images: its bytes, and the tokens that it may count for."""

from dataclasses import dataclass

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.formats.json.body import Object, is_text, size_of
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM
from tokenbooth.gateway.formats.request.steps import StepCounter
from tokenbooth.gateway.formats.request.stored_state import refuse_stored_state


@dataclass(frozen=True, slots=True)
class NonTextContent:
    """Everything in a request's messages, items or blocks that is no text.

    Attributes:
        size_bytes: its bytes in the body, such as the data of images.
        tokens: the most prompt tokens that it counts for.
    """

    size_bytes: int = 0
    tokens: int = 0


TEXT_ONLY = NonTextContent()


class ContentReader(StepCounter):
    """Reads messages, items or blocks in steps, and counts what is no text. A subclass knows the format.

    Attributes:
        model: the model that is asked, whose terms decide.
    """

    __slots__ = ("_size_bytes", "_tokens", "model")

    def __init__(self, model: Model) -> None:
        StepCounter.__init__(self)
        self.model = model
        self._size_bytes = 0
        self._tokens = 0

    def found(self) -> NonTextContent:
        """Everything that was counted so far."""
        return NonTextContent(self._size_bytes, self._tokens)

    def allows(self, name: str) -> bool:
        """Whether the operator lets a parameter of this name pass."""
        return name in self.model.allowed_parameters

    def look_at(self, holder: Object) -> None:
        """Look at the names of a message, item or part.

        Raises:
            Refusal: one of them refers to something stored.
        """
        self.add_items(len(holder) // NAMES_PER_ITEM)
        refuse_stored_state(holder, self.model)

    def count_data(self, data: object, tokens: int) -> None:
        """Count data that stands as a string in the body, and the most tokens that it may become."""
        if isinstance(data, msgspec.Raw) and is_text(data):
            self._size_bytes += size_of(data) - len(b'""')
        self._tokens += tokens

    def count_unknown(self) -> None:
        """Count a part of a kind that we do not know: it may fill the whole context."""
        self._tokens += self.model.context_tokens
