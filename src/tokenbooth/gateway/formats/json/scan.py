"""Counting the values, names and brackets of a JSON body before it is decoded, part by part and in C code only.

A decoder makes an object of each value, list and name: a body of two million ones would take a hundred megabytes and a
tenth of a second. Texts do not count: a file pasted into a prompt may hold any number of brackets and commas. Whether
the body is JSON is left to the decoder.
"""

from array import array
from codecs import utf_8_decode
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from tokenbooth.gateway.errors import invalid_request

_BACKSLASH: Final = ord("\\")
_STRUCTURE: Final = b'"[]{},:'
_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(_STRUCTURE))
_WHITE_SPACE: Final = b" \t\r\n"
# Each opening bracket is one level more, each closing one a level less: 255 is -1 as a signed byte.
_LEVELS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """Bounds of a body, outside its texts.

    Attributes:
        depth: how deep lists and objects may be nested.
        values: how many values there may be, counted by commas and opening brackets.
        names: how many names all objects together may have.
        containers: how many lists and objects there may be.
        name_bytes: how many bytes all names together may have. They are counted after the first so many bytes of the
            body, so that there are at most twice as many.
    """

    depth: int
    values: int = 100_000
    names: int = 50_000
    containers: int = 40_000
    name_bytes: int = 1024 * 1024


class JsonScan:
    """Counts in a body that comes in parts."""

    __slots__ = (
        "_bounds",
        "_containers",
        "_depth",
        "_escape",
        "_in_text",
        "_last_text_bytes",
        "_name_bytes",
        "_names",
        "_taken_bytes",
        "_unfinished",
        "_values",
    )

    def __init__(self, bounds: JsonBounds) -> None:
        self._bounds = bounds
        self._values = 1
        self._names = 0
        self._containers = 0
        self._depth = 0
        self._in_text = False
        self._taken_bytes = 0
        self._name_bytes = 0
        # Of the text that the last part did not end, or ended without a word of what follows.
        self._last_text_bytes = 0
        # A character that the last part began and did not end, and a backslash whose character has not come.
        self._unfinished = b""
        self._escape = b""

    def take(self, part: bytes) -> None:
        """Count one more part of the body.

        Raises:
            Refusal: it is not UTF-8, or something is above its bound.
        """
        self._check_text(part)
        outside = self._outside_texts(part)
        opened = outside.count(b"[") + outside.count(b"{")
        self._containers += opened
        self._values += opened + outside.count(b",")
        self._names += outside.count(b":")
        self._follow_depth(outside, opened)
        self._check_counts()

    def end(self) -> None:
        """Check the end of the body.

        Raises:
            Refusal: it ends in the middle of a character.
        """
        if self._unfinished:
            raise invalid_request("invalid_json", "The body is not valid UTF-8.")

    def _check_text(self, part: bytes) -> None:
        if not self._unfinished and part.isascii():
            return
        begun = self._unfinished + part
        try:
            _, read = utf_8_decode(begun, "strict", False)
        except UnicodeDecodeError:
            raise invalid_request("invalid_json", "The body is not valid UTF-8.") from None
        self._unfinished = begun[read:]

    def _outside_texts(self, part: bytes) -> bytes:
        """The brackets, commas and colons that are no part of a text."""
        self._taken_bytes += len(part)
        part = self._escape + part
        self._escape = b""
        if _BACKSLASH in part:
            if (len(part) - len(part.rstrip(b"\\"))) % 2:
                part, self._escape = part[:-1], b"\\"
            part = part.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        if self._taken_bytes > self._bounds.name_bytes:
            self._count_name_bytes(part)
        # Every quote that is left begins a text or ends one.
        pieces = part.translate(None, _NOT_STRUCTURE).split(b'"')
        outside = b"".join(pieces[1::2] if self._in_text else pieces[0::2])
        if len(pieces) % 2 == 0:
            self._in_text = not self._in_text
        return outside

    def _count_name_bytes(self, part: bytes) -> None:
        """Count the bytes of the texts before colons; `part` has no escaped quotes."""
        pieces = part.split(b'"')
        texts, between = (pieces[0::2], pieces[1::2]) if self._in_text else (pieces[1::2], pieces[0::2])
        sizes = [len(text) for text in texts]
        if self._in_text:
            sizes[0] += self._last_text_bytes
        else:
            sizes.insert(0, self._last_text_bytes)
        for size, behind in zip(sizes, between, strict=False):
            if behind.lstrip(_WHITE_SPACE)[:1] == b":":
                self._name_bytes += size
        is_followed = len(sizes) == len(between) and between[-1].strip(_WHITE_SPACE) != b""
        self._last_text_bytes = 0 if is_followed else sizes[-1]

    def _check_counts(self) -> None:
        bounds = self._bounds
        if self._name_bytes > bounds.name_bytes:
            raise invalid_request(
                "too_many_values",
                f"The names in the body have more than {bounds.name_bytes} bytes together. Send them as text.",
            )
        for count, most, what in (
            (self._containers, bounds.containers, "objects and lists"),
            (self._names, bounds.names, "names in objects"),
            (self._values, bounds.values, "values"),
        ):
            if count > most:
                raise invalid_request(
                    "too_many_values",
                    f"The body has more than {most} {what} outside its texts. Send less, or send it as text.",
                )

    def _follow_depth(self, outside: bytes, opened: int) -> None:
        most = self._bounds.depth
        if self._depth + opened <= most:
            self._depth += 2 * opened - len(outside.translate(None, b",:"))
            return
        levels = array("b", outside.translate(_LEVELS, b",:"))
        if max(accumulate(levels, initial=self._depth)) > most:
            raise invalid_request("invalid_json", f"The body is nested deeper than {most} levels.")
        self._depth += sum(levels)
