"""Parts of a messages request without counterpart in the chat format: they are refused, or left out and named."""

import re
from typing import Final

from tokenbooth.gateway.errors import Refusal, invalid_request

_MOST_OMITTED: Final = 32
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def no_counterpart(name: str, advice: str) -> Refusal:
    """400: something that changes the answer cannot be expressed in the upstream's format.

    Args:
        name: of the field, block or tool.
        advice: what the client can do.
    """
    return invalid_request(
        "unsupported_parameter", f"'{name}' cannot be told to this model's server in this form. {advice}", name
    )


class Omitted:
    """Names of what is left out, as they may stand in a header."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def add(self, name: str) -> None:
        """Remember a name, if there are few yet: a client may send any number."""
        if len(self._names) < _MOST_OMITTED and _PLAIN_NAME.fullmatch(name):
            self._names[name] = None

    def names(self) -> tuple[str, ...]:
        """Each of them once."""
        return tuple(self._names)
