"""Halves of characters in JSON: escapes of lone surrogates.

A model that is cut off inside an emoji leaves one, and a server that streams token by token sends the two halves in two
events. JSON allows it; a decoder that makes UTF-8 of it does not. Sources: elizaOS/eliza#30904; RFC 8259, 8.2.
"""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.json.body import UNREADABLE

T = TypeVar("T")
_BACKSLASH: Final = ord("\\")
# Each escape, so that a backslash that is escaped itself begins none; first the pairs, which are whole characters.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_MARK: Final = b"half-of-a-character-5b1f-"
_MARKED: Final = re.compile(_MARK + rb"([0-9a-fA-F]{4})")


def may_have_halves(data: bytes) -> bool:
    """Whether any escape could be a half. A cheap test."""
    return _BACKSLASH in data and (holds(data, b"\\ud") or holds(data, b"\\uD"))


def without_halves(data: bytes) -> bytes:
    """JSON with U+FFFD in place of each half."""
    return _ESCAPE.sub(_replaced, data) if may_have_halves(data) else data


def marked_halves(data: bytes) -> bytes:
    """JSON with a mark in place of each half, for `restored_halves`."""
    return _ESCAPE.sub(_marked, data) if may_have_halves(data) else data


def restored_halves(data: bytes) -> bytes:
    """JSON with its halves in place of the marks: the client puts them together over two events."""
    return _MARKED.sub(rb"\\u\1", data)


def decode_with_halves(decode: Callable[[bytes], T], data: bytes) -> T:
    """Decode JSON that may hold halves; each becomes U+FFFD.

    Raises:
        UNREADABLE: it cannot be decoded without them either.
    """
    try:
        return decode(data)
    except UNREADABLE:
        if not may_have_halves(data):
            raise
    return decode(without_halves(data))


def _replaced(match: re.Match[bytes]) -> bytes:
    return match.group() if match.group(1) is None else rb"\ufffd"


def _marked(match: re.Match[bytes]) -> bytes:
    return match.group() if match.group(1) is None else _MARK + match.group(1)
