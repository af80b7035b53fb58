"""Texts that nothing of ours may keep: PostgreSQL has no text with a NUL, and a lone surrogate has no UTF-8.

Refused where they come in, on every plane, so that both databases say the same.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from tokenbooth.kit.errors import InvalidRequest, NotFound, TokenboothError

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
# No path of ours is as long; what is longer could not stand in an index of PostgreSQL.
_PATH_MAX: Final = 1_000
_NAME: Final = re.compile(r"[A-Za-z]{1,40}")


def is_storable(text: str) -> bool:
    """Whether both databases keep the text as it is."""
    return _UNSTORABLE.search(text) is None


class UnstorableText(InvalidRequest):
    """A text of a request cannot be kept."""

    def __init__(self, where: str = "The request", *, param: str | None = None) -> None:
        super().__init__(
            "invalid_value", f"{where} holds a NUL or half of a character (a lone surrogate).", param=param
        )


def refused_target(scope: Mapping[str, object]) -> TokenboothError | None:
    """Why the path or the query of an ASGI request is refused, before any route reads it; None for a good one."""
    path, query = scope["path"], scope["query_string"]
    assert isinstance(path, str)
    assert isinstance(query, bytes)
    if "\0" in path:
        return InvalidRequest("invalid_path", "The path holds a NUL.")
    if len(path) > _PATH_MAX:
        return NotFound("route_not_found", "There is nothing at this path.")
    return _refused_query(query) if b"%00" in query else None


def _refused_query(query: bytes) -> InvalidRequest:
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if "\0" in value and _NAME.fullmatch(name):
            return UnstorableText(f"`{name}`", param=name)
    return UnstorableText("The query")
