"""Texts and JSON put together as they are written: one of many megabytes need not become a string of Python."""

from collections.abc import Generator, Sequence

import msgspec

from tokenbooth.gateway.errors import invalid_request
from tokenbooth.gateway.formats.json.body import Object, decode_object, is_object, is_text, size_of
from tokenbooth.gateway.formats.json.split import Buffer, objects_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_BYTES, STEP_ITEMS


def object_in(value: msgspec.Raw | None) -> Object:
    """A raw object, decoded to its names; empty when it is none."""
    return decode_object(value) if value is not None and is_object(value) else {}


def blocks_in(content: msgspec.Raw | None) -> Generator[None, None, list[Object]]:
    """The blocks of a content, decoded to their names in steps; empty when it is no list of objects."""
    if content is None:
        return []
    if size_of(content) > STEP_BYTES:
        yield
    return (yield from objects_in_steps(content)) or []


def joined(texts: Sequence[msgspec.Raw | None], between: bytes = b"") -> Generator[None, None, msgspec.Raw]:
    """One text of several, as they are written.

    Args:
        texts: as raw values; one that is absent is empty.
        between: what stands between them, as JSON has it.

    Raises:
        Refusal: one of them is something else.
    """
    if len(texts) == 1:
        only = texts[0]
        if only is not None and is_text(only):
            return only
    parts: list[bytes | memoryview] = [b'"']
    for number, text in enumerate(texts):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        if text is not None and not is_text(text):
            raise invalid_request("invalid_parameter", "The 'text' of a block must be a string.", "messages")
        if number:
            parts.append(between)
        if text is not None:
            parts.append(memoryview(text)[1:-1])
    parts.append(b'"')
    return msgspec.Raw(b"".join(parts))


def texts_of(content: msgspec.Raw | None) -> Generator[None, None, msgspec.Raw]:
    """A text, or the texts of a list of blocks in one.

    Raises:
        Refusal: one of them is something else.
    """
    if content is not None and is_text(content):
        return content
    blocks = yield from blocks_in(content)
    return (yield from joined([block.get("text") for block in blocks], rb"\n\n"))


def as_text(value: msgspec.Raw) -> Generator[None, None, msgspec.Raw]:
    """The JSON of a value as a JSON string: what is escaped in it is escaped once more."""
    view, size_bytes = memoryview(value), size_of(value)
    if size_bytes <= STEP_BYTES:
        return msgspec.Raw(b'"%b"' % _escaped(bytes(view)))
    text = Buffer(size_bytes)
    text.add(b'"')
    for start in range(0, size_bytes, STEP_BYTES):
        yield
        text.add(_escaped(bytes(view[start : start + STEP_BYTES])))
    text.add(b'"')
    return text.written()


def _escaped(part: bytes) -> bytes:
    """JSON as it stands in a string of JSON."""
    part = part.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    # Between values JSON may have white space, which a string may not.
    return part.replace(b"\n", b"\\n").replace(b"\r", b"\\r").replace(b"\t", b"\\t")
