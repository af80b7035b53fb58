"""The ceiling on streams that one key has open at once."""

from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.errors import too_many_streams


class StreamSlot:
    """A place among the streams that a key may have open; to be freed before the client hears of the end."""

    __slots__ = ("_key", "_taken")

    def __init__(self, key: KeyState, limit: int) -> None:
        """Take a place.

        Raises:
            Refusal: there is none.
        """
        if key.open_streams >= limit:
            raise too_many_streams(key.open_streams, limit)
        key.open_streams += 1
        self._key = key
        self._taken = True

    def free(self) -> None:
        """Give the place back; a repeated call changes nothing."""
        if self._taken:
            self._taken = False
            self._key.open_streams -= 1
