"""Texts that nothing of ours may keep: PostgreSQL has no text with a NUL, and a lone surrogate has no UTF-8.

Refused where they come in, on every plane, so that both databases say the same. Anybody may import this.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from tokenbooth.errors import InvalidRequest

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# No path of ours has such characters, and none is as long.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_PATH_MAX: Final = 1_000


def is_storable(text: str) -> bool:
    """Whether both databases keep the text as it is."""
    return _UNSTORABLE.search(text) is None


class UnstorableText(InvalidRequest):
    """A text of a request cannot be kept."""

    def __init__(self, where: str = "The request") -> None:
        super().__init__("invalid_text", f"{where} holds a NUL or half of a character (a lone surrogate).")


def refused_target(scope: Mapping[str, object]) -> InvalidRequest | None:
    """Why the path or the query of an ASGI request is refused, before any route reads it; None for a good one."""
    path, query = scope["path"], scope["query_string"]
    assert isinstance(path, str)
    assert isinstance(query, bytes)
    if len(path) > _PATH_MAX:
        return InvalidRequest("invalid_path", f"The path is longer than {_PATH_MAX} characters.")
    if _CONTROL.search(path):
        return InvalidRequest("invalid_path", "The path holds a control character.")
    if b"%" in query and b"\0" in unquote_to_bytes(query):
        return UnstorableText("The query")
    return None
