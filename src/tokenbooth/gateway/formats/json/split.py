"""Decoding and encoding large JSON in steps: no single call reads all of it, unless it has many short texts.

The body is read in windows. First it is checked: a window inside a text is checked by itself, and the decoder checks
the rest once. Then an object or list is cut at its commas: short items are decoded in runs, large ones stay views. JSON
up to `LARGE_BYTES` is decoded at once. Never compiled: it is for large bodies alone.
"""

import re
from collections.abc import Generator, Iterator
from mmap import mmap
from typing import Any, Final

import msgspec

from tokenbooth.gateway.errors import Refusal, invalid_request
from tokenbooth.gateway.formats.json.body import (
    UNREADABLE,
    Fields,
    Object,
    decode_object,
    decode_text,
    encode,
    is_list,
    is_object,
    items_of,
    objects_of,
    size_of,
)
from tokenbooth.gateway.formats.json.steps import STEP_BYTES, STEP_ITEMS

LARGE_BYTES: Final = 2 * 1024 * 1024
"""The largest JSON that is decoded or encoded in one call, which takes one or two milliseconds."""
_WINDOW_BYTES: Final = 16 * 1024
_COPIED_BYTES: Final = 512 * 1024
# To find a bracket, a comma or a text takes as long as to go over so many bytes.
_BYTES_PER_TOKEN: Final = 64
# Of what is in front of a large value.
_LONGEST_NAME_BYTES: Final = 4 * 1024
# An escape that the window does not end, or half a surrogate pair; escaped backslashes and quotes are gone by then.
_UNFINISHED: Final = re.compile(
    rb"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?\\(?:u[0-9a-fA-F]{0,3})?\Z|\\u[dD][89abAB][0-9a-fA-F]{2}\Z"
)
_LONGEST_UNFINISHED: Final = 11
_TOKEN: Final = re.compile(rb'"[^"]*"?|[\[\]{},]')
_NAME: Final = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:')
_NOT_WHITE: Final = re.compile(rb"[^ \t\r\n]")
# Where the formats have an image's object.
_OPENED: Final = frozenset(("image_url", "source"))
_WHITE_SPACE: Final = b" \t\r\n"
_SPACE: Final = b" "
_OPEN: Final = b"[{"
_CLOSE: Final = b"]}"
_COMMA: Final = ord(",")
_check = msgspec.json.Decoder(msgspec.Raw).decode


class Buffer:
    """A buffer that takes memory as it is filled, so that each step pays for its own part."""

    def __init__(self, about_bytes: int) -> None:
        """Reserve about so many bytes: more takes a copy, and unused ones cost nothing."""
        self._map = mmap(-1, max(2 * about_bytes, STEP_BYTES))
        self._size_bytes = 0

    def add(self, part: bytes | memoryview) -> None:
        """Append a part."""
        end = self._size_bytes + len(part)
        if end > len(self._map):
            larger = mmap(-1, 2 * end)
            larger[: self._size_bytes] = self._map[: self._size_bytes]
            self._map = larger
        self._map[self._size_bytes : end] = part
        self._size_bytes = end

    def drop_last(self) -> None:
        """Take the last byte back."""
        self._size_bytes -= 1

    def written(self) -> msgspec.Raw:
        """All that was appended, as a raw value. Nothing may be added afterwards."""
        return msgspec.Raw(memoryview(self._map)[: self._size_bytes])


def top_in_steps(body: bytes | bytearray) -> Generator[None, None, Fields]:
    """The top level of a JSON object that was counted, see `JsonScan`; nobody may write to the body any more.

    Raises:
        Refusal: it is not a JSON object.
    """
    if len(body) <= LARGE_BYTES:
        try:
            return decode_object(body)
        except UNREADABLE:
            raise _not_json() from None
    yield from _check_in_steps(memoryview(body))
    start, end = body.find(b"{"), body.rfind(b"}") + 1
    yield
    return (yield from _members_in_steps(memoryview(body)[start:end], opens=False))


def items_in_steps(value: msgspec.Raw) -> Generator[None, None, list[Any]]:
    """A list, decoded to its items in steps; each is to be `opened` before it is looked at.

    Large objects are decoded to their names already.
    """
    if size_of(value) <= LARGE_BYTES:
        return items_of(value)
    content = memoryview(value)
    items: list[Any] = []
    for start, end in (yield from _pieces(content)):
        yield
        if end - start <= LARGE_BYTES:
            items += items_of(msgspec.Raw(_within(b"[", content[start:end], b"]")))
            continue
        item = yield from _without_white_space(content[start:end])
        if item:
            raw = msgspec.Raw(item)
            items.append((yield from _members_in_steps(item, opens=True)) if is_object(raw) else raw)
    return items


def objects_in_steps(value: msgspec.Raw) -> Generator[None, None, list[Object] | None]:
    """A list of objects, decoded to their names in steps; None when it is something else."""
    if size_of(value) <= LARGE_BYTES:
        return objects_of(value)
    if not is_list(value):
        return None
    items = yield from items_in_steps(value)
    return items if all(isinstance(item, dict) for item in items) else None


def encoded_in_steps(items: list[Any], size_bytes: int) -> Generator[None, None, msgspec.Raw]:
    """A decoded list with raw values in it, as one raw value.

    Args:
        items: the list.
        size_bytes: how large it was before it was decoded.
    """
    if size_bytes <= LARGE_BYTES:
        return msgspec.Raw(encode(items))
    whole = Buffer(size_bytes)
    yield from _encode_list(items, whole)
    return whole.written()


def encode_large(fields: Fields) -> bytes:
    """The object as it goes to the upstream, with a single copy of large values: the encoder would copy repeatedly."""
    parts: list[bytes | memoryview] = []
    for name, value in fields.items():
        parts += (b"," if parts else b"{", encode(name), b":", memoryview(value))
    parts.append(b"}" if parts else b"{}")
    return b"".join(parts)


def _check_in_steps(content: memoryview) -> Generator[None, None, None]:
    """Check that it is a JSON object.

    A text without some of its middle is still a text. So windows inside a text, which begin and end between two of its
    characters, are checked alone and left out of what is checked as a whole. Of a window of white space one character
    is left.
    """
    rest, taken_bytes = Buffer(len(content)), 0
    for start, plain, in_text in _windows(content):
        part = content[start : start + len(plain)]
        if in_text and b'"' not in plain:
            try:
                _check(_within(b'"', part, b'"'))
            except UNREADABLE:
                raise _not_json() from None
        elif not in_text and plain[:1] in _WHITE_SPACE and not plain.strip(_WHITE_SPACE):
            rest.add(_SPACE)
        else:
            rest.add(part)
        taken_bytes += len(plain)
        if taken_bytes >= STEP_BYTES:
            taken_bytes = 0
            yield
    yield
    try:
        is_sound = is_object(_check(rest.written()))
    except UNREADABLE:
        is_sound = False
    if not is_sound:
        raise _not_json()
    yield


def _windows(content: memoryview) -> Iterator[tuple[int, bytes, bool]]:
    """The start of each window, its bytes with escaped quotes replaced, and whether it begins inside a text."""
    start, in_text = 0, False
    while start < len(content):
        plain = bytes(content[start : start + _WINDOW_BYTES])
        if b"\\" in plain:
            plain = plain.replace(b"\\\\", b"__").replace(b'\\"', b"__")
            unfinished = _UNFINISHED.search(plain, max(len(plain) - _LONGEST_UNFINISHED, 0))
            if unfinished is not None and start + len(plain) < len(content):
                plain = plain[: unfinished.start()]
        yield start, plain, in_text
        in_text ^= bool(plain.count(b'"') % 2)
        start += len(plain)


def _pieces(content: memoryview) -> Generator[None, None, list[tuple[int, int]]]:
    """The places of the items or members of a valid list or object: runs of about a window, or a longer one alone."""
    pieces, begun, end = [], 1, len(content) - 1
    depth, taken_bytes = -1, 0
    for at, plain, in_text in _windows(content):
        depth, commas, tokens = _commas(plain, depth, in_text=in_text)
        if commas:
            # What began before this window ends at its first comma; what is behind the last one goes on.
            for comma in dict.fromkeys((commas[0], commas[-1]) if begun < at else commas[-1:]):
                pieces.append((begun, at + comma))
                begun = at + comma + 1
        taken_bytes += len(plain) + tokens * _BYTES_PER_TOKEN
        if taken_bytes >= STEP_BYTES:
            taken_bytes = 0
            yield
    pieces.append((begun, end))
    return pieces


def _commas(plain: bytes, depth: int, *, in_text: bool) -> tuple[int, list[int], int]:
    """The depth after a window, the places of its commas that are not nested, and its number of tokens."""
    commas: list[int] = []
    at = tokens = 0
    if in_text:
        at = plain.find(b'"') + 1
        if not at:
            return depth, commas, tokens
    for token in _TOKEN.finditer(plain, at):
        tokens += 1
        sign = plain[token.start()]
        if sign in _OPEN:
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
        elif sign == _COMMA and not depth:
            commas.append(token.start())
    return depth, commas, tokens


def _members_in_steps(content: memoryview, *, opens: bool) -> Generator[None, None, Object]:
    """A valid object, decoded to its names; of a name that comes twice the last counts.

    Args:
        content: the object.
        opens: whether objects in it that may hold an image are decoded as well, so that no reader does it in one call.
    """
    if len(content) <= LARGE_BYTES:
        return decode_object(content)
    fields: Object = {}
    for start, end in (yield from _pieces(content)):
        yield
        if end - start <= LARGE_BYTES:
            fields.update(decode_object(_within(b"{", content[start:end], b"}")))
            continue
        member = yield from _without_white_space(content[start:end])
        if not member:
            continue
        name = _NAME.match(bytes(member[:_LONGEST_NAME_BYTES]))
        if name is None:
            raise invalid_request(
                "too_many_values", f"The body has a name, or white space, of more than {_LONGEST_NAME_BYTES} bytes."
            )
        value = yield from _without_white_space(member[name.end() :])
        raw = msgspec.Raw(value)
        key = decode_text(name[1])
        is_opened = opens and key in _OPENED and is_object(raw)
        fields[key] = (yield from _members_in_steps(value, opens=True)) if is_opened else raw
    return fields


def _within(before: bytes, content: memoryview, behind: bytes) -> bytes:
    return b"".join((before, content, behind))


def _without_white_space(content: memoryview) -> Generator[None, None, memoryview]:
    start, end = 0, len(content)
    while start < end:
        found = _NOT_WHITE.search(content[start : start + STEP_BYTES])
        if found is not None:
            start += found.start()
            break
        start = min(start + STEP_BYTES, end)
        yield
    while start < end:
        last = bytes(content[max(end - STEP_BYTES, start) : end])
        kept = len(last.rstrip(_WHITE_SPACE))
        end -= len(last) - kept
        if kept:
            break
        yield
    return content[start:end]


def _encode_list(items: list[Any], whole: Buffer) -> Generator[None, None, None]:
    """Encode a list in runs, and append it."""
    whole.add(b"[")
    run: list[Any] = []
    run_bytes = 0
    for item in items:
        size_bytes = _size(item)
        if run and (run_bytes + size_bytes > STEP_BYTES or len(run) >= STEP_ITEMS):
            whole.add(encode(run)[1:-1] + b",")
            run, run_bytes = [], 0
            yield
        if size_bytes <= STEP_BYTES:
            run.append(item)
            run_bytes += size_bytes
        else:
            yield from _encode_large(item, whole)
            whole.add(b",")
    whole.add(encode(run)[1:-1])
    if items and not run:
        # The comma behind the last one, which was large.
        whole.drop_last()
    whole.add(b"]")


def _encode_large(value: object, whole: Buffer) -> Generator[None, None, None]:
    if isinstance(value, msgspec.Raw):
        written = memoryview(value)
        for start in range(0, len(written), _COPIED_BYTES):
            whole.add(written[start : start + _COPIED_BYTES])
            yield
    elif isinstance(value, list):
        yield from _encode_list(value, whole)
    elif isinstance(value, dict):
        sign = b"{"
        for name, inner in value.items():
            whole.add(sign + encode(name) + b":")
            sign = b","
            yield from _encode_large(inner, whole)
        whole.add(b"}" if value else b"{}")
    else:
        whole.add(encode(value))


def _size(value: object) -> int:
    """About how many bytes a decoded value has. A long list counts as large, without a look into it."""
    if isinstance(value, msgspec.Raw):
        return size_of(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values())) + _BYTES_PER_TOKEN * len(value)
    if isinstance(value, list):
        return STEP_BYTES + 1 if len(value) > STEP_ITEMS else sum(map(_size, value))
    return _BYTES_PER_TOKEN


def _not_json() -> Refusal:
    return invalid_request("invalid_json", "The body is not a JSON object. Send one with a model in it.")
