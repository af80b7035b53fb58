"""Pages of a list: opaque cursors for programs, numbers for people."""

import base64
import binascii
import re
from typing import Final

_CURSOR: Final = re.compile(r"(\d{1,17}):([a-z]{2,8}_[0-9a-f]{26})", re.ASCII)
_CURSOR_MAX: Final = 100
_MAX_PAGE: Final = 10_000


class InvalidCursor(ValueError):
    """A text that `write_cursor` never wrote."""


def write_cursor(at_us: int, row_id: str) -> str:
    """The cursor behind a row of a list that is ordered by time (UTC microseconds) and id."""
    return base64.urlsafe_b64encode(f"{at_us}:{row_id}".encode()).decode().rstrip("=")


def read_cursor(text: str) -> tuple[int, str]:
    """The time and the id of the row that a cursor stands behind.

    Raises:
        InvalidCursor: it is none of ours.
    """
    try:
        if len(text) > _CURSOR_MAX:
            raise InvalidCursor
        plain = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        match = _CURSOR.fullmatch(plain.decode("ascii"))
    except (ValueError, binascii.Error):
        match = None
    if match is None:
        raise InvalidCursor
    return int(match[1]), match[2]


def page_number(text: str, *, last: int = _MAX_PAGE) -> int:
    """The number of a page from 1 to `last`; 1 for a text that is no number."""
    return max(min(int(text), last), 1) if text.isascii() and text.isdigit() and len(text) < 6 else 1
