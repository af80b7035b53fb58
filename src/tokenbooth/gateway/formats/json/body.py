"""Decoding the top level of a body to raw values by name. What is priced is what is sent on.

The top level is always decoded and encoded again, so that each name comes once; values stay as they were written. Below
it objects and lists are decoded as far as something in them decides about the price. A value that could be large never
becomes a Python object: it stays a view of the body.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tokenbooth.gateway.errors import Category, Refusal, invalid_request
from tokenbooth.gateway.formats.json.scan import JsonBounds, JsonScan
from tokenbooth.gateway.formats.json.steps import STEP_BYTES

Fields = dict[str, msgspec.Raw]
# Raw values by name, and decoded ones in the place of those that were looked into.
Object = dict[str, Any]

# What msgspec raises of bytes that it cannot read; a text that is not UTF-8 and bottomless nesting are no DecodeError.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# The most names of an object that is looked at closely.
MOST_NAMES: Final = 250
# No number, name or other short value that we look at is larger.
SHORT_BYTES: Final = 512
decode_json: Final = msgspec.json.Decoder().decode
decode_dict: Final = msgspec.json.Decoder(dict[str, object]).decode
decode_object: Final = msgspec.json.Decoder(Fields).decode
decode_objects: Final = msgspec.json.Decoder(list[Fields]).decode
decode_text: Final = msgspec.json.Decoder(str).decode
decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
encode: Final = msgspec.json.Encoder().encode
_QUOTE: Final = 0x22
_OPEN_LIST: Final = 0x5B
_OPEN_OBJECT: Final = 0x7B
_OPENING: Final = (_OPEN_LIST, _OPEN_OBJECT)
_EMPTY: Final = (b"", b"null", b"false", b"0", b'""')


def refuse_compressed(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a compressed body, whose size is not known before it is unpacked.

    Raises:
        Refusal: its `Content-Encoding` is not `identity`.
    """
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            raise Refusal(
                415,
                Category.INVALID,
                "unsupported_encoding",
                "Send the body uncompressed, without Content-Encoding.",
            )


def body_too_large(most_bytes: int) -> Refusal:
    """413: the body is above the limit for all bodies."""
    return Refusal(
        413, Category.TOO_LARGE, "request_too_large", f"The body is larger than {most_bytes} bytes. Send less."
    )


def decode_fields(body: bytes, max_depth: int) -> Fields:
    """The top level of a JSON object, after counting what it holds.

    Raises:
        Refusal: not UTF-8, not a JSON object, nested deeper than `max_depth`, or above the bounds of `JsonBounds`.
    """
    # Counting brackets is cheap and almost always enough; only a body with many of them is looked at closely.
    if len(body) <= STEP_BYTES and body.count(b"{") + body.count(b"[") <= max_depth:
        try:
            body.decode()
        except UnicodeDecodeError:
            raise invalid_request("invalid_json", "The body is not valid UTF-8.") from None
        try:
            return decode_object(body)
        except UNREADABLE as mistake:
            raise _not_json(mistake) from None
    scan = JsonScan(JsonBounds(max_depth))
    for start in range(0, len(body), STEP_BYTES):
        scan.take(body[start : start + STEP_BYTES])
    scan.end()
    return decode_top(body)


def decode_top(body: bytes) -> Fields:
    """The top level of a JSON object that `JsonScan` has counted.

    Raises:
        Refusal: it is not a JSON object.
    """
    try:
        return decode_object(body)
    except UNREADABLE as mistake:
        raise _not_json(mistake) from None


def refuse_many_names(names: Object) -> None:
    """Refuse an object with more names than any format has: each one that is looked at takes time.

    Raises:
        Refusal: there are more than `MOST_NAMES`.
    """
    if len(names) > MOST_NAMES:
        raise invalid_request(
            "too_many_values", f"The body, or a message, part, item or tool in it, has more than {MOST_NAMES} names."
        )


def encode_fields(fields: Fields) -> bytes:
    """The object as it goes to the upstream."""
    return encode(fields)


def raw(value: object) -> msgspec.Raw:
    """A value as a raw one. What holds decoded objects is encoded with each name once."""
    return msgspec.Raw(encode(value))


def release_body(fields: Fields) -> None:
    """Copy small values, so that no view keeps the body in memory once its large values were encoded anew."""
    for name, value in fields.items():
        if size_of(value) <= STEP_BYTES:
            fields[name] = value.copy()


def size_of(value: msgspec.Raw) -> int:
    """The size of a raw value in bytes."""
    return len(value)


def is_text(value: msgspec.Raw) -> bool:
    """Whether a raw value is a string."""
    return memoryview(value)[0] == _QUOTE


def is_list(value: msgspec.Raw) -> bool:
    """Whether a raw value is a list."""
    return memoryview(value)[0] == _OPEN_LIST


def is_object(value: msgspec.Raw) -> bool:
    """Whether a raw value is an object."""
    return memoryview(value)[0] == _OPEN_OBJECT


def is_null(value: msgspec.Raw | None) -> bool:
    """Whether a value is absent or null."""
    return value is None or bytes(memoryview(value)[:5]) == b"null"


def objects_of(value: msgspec.Raw) -> list[Object] | None:
    """A list of objects, decoded to their names; None when it is something else."""
    try:
        return decode_objects(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def items_of(value: msgspec.Raw) -> list[Any]:
    """A list, decoded to its items; each is to be `opened` before it is looked at."""
    objects: list[Any] | None = objects_of(value)
    return decode_list(value) if objects is None else objects


def opened(items: list[Any], number: int) -> Object | msgspec.Raw:
    """One of the items: an object decoded to its names, which replaces it in the list, or something else as it is."""
    item: Object | msgspec.Raw = items[number]
    if not isinstance(item, dict) and is_object(item):
        items[number] = item = decode_object(item)
    return item


def opened_field(holder: Object, name: str) -> Object | None:
    """An object in a field, decoded to its names, which replaces it there; None when it is something else."""
    value = holder.get(name)
    if isinstance(value, dict):
        opened_value: Object = value
        return opened_value
    if not isinstance(value, msgspec.Raw) or not is_object(value):
        return None
    holder[name] = opened_value = decode_object(value)
    return opened_value


def is_empty(value: msgspec.Raw | None) -> bool:
    """Whether a value is absent, null, false, zero, or has nothing in it."""
    if value is None or size_of(value) > SHORT_BYTES:
        return value is None
    written = bytes(value)
    return written in _EMPTY or (written[0] in _OPENING and not written[1:-1].strip())


def short_value(value: msgspec.Raw | None) -> object:
    """A short value, decoded; None when it is absent, null, or longer than any value that we know."""
    if value is None or size_of(value) > SHORT_BYTES:
        return None
    try:
        return decode_json(value)
    except UNREADABLE:
        # A number that no machine can hold.
        return None


def short_text(value: msgspec.Raw | None) -> str:
    """A short string, decoded; empty when it is absent, or something else."""
    text = short_value(value)
    return text if isinstance(text, str) else ""


def collapse_duplicates(value: msgspec.Raw, levels: int) -> msgspec.Raw:
    """Encode the first `levels` levels of objects and lists anew, so that each name comes once there."""
    if levels == 0 or not value:
        return value
    content = bytes(value)
    first = content.lstrip()[:1]
    if first == b"{":
        fields = decode_object(content)
        return raw({name: collapse_duplicates(inner, levels - 1) for name, inner in fields.items()})
    if first == b"[":
        return raw([collapse_duplicates(inner, levels - 1) for inner in decode_list(content)])
    return value


def _not_json(mistake: Exception) -> Refusal:
    return invalid_request("invalid_json", f"The body is not a JSON object: {mistake}. Send one with a model in it.")
