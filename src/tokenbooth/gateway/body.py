"""From the bytes of a body to its top level: name to raw value. What we price is what we send on.

The top level is decoded and always encoded again, so duplicate names collapse; values stay as they were written.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from tokenbooth.gateway.refusals import Category, Refusal, invalid_request

Fields = dict[str, msgspec.Raw]

# What msgspec raises of bytes that it cannot read; a text that is not UTF-8 and bottomless nesting are no DecodeError.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MAX_BRACKETS: Final = 100_000
# The closing quote is optional, or an unterminated string would be tried from every quote in it.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
decode_object = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


def refuse_compressed(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a body that has to be unpacked before anybody knows how large it is.

    Raises:
        Refusal: so it is.
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
    """The top level of a JSON object.

    Raises:
        Refusal: not UTF-8, not a JSON object, or nested deeper than `max_depth`.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        raise invalid_request("invalid_json", "The body is not valid UTF-8.") from None
    # Counting brackets is cheap and almost always enough; only a body with many of them is looked at closely.
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > MAX_BRACKETS:
        raise invalid_request("invalid_json", f"The body has more than {MAX_BRACKETS} objects and lists. Send less.")
    if brackets > max_depth and _depth(body) > max_depth:
        raise invalid_request("invalid_json", f"The body is nested deeper than {max_depth} levels.")
    try:
        return decode_object(body)
    except UNREADABLE as mistake:
        raise _not_json(mistake) from None


def encode_fields(fields: Fields) -> bytes:
    """The object as it goes to the upstream."""
    return _encode(fields)


def raw(value: str | int | bool) -> msgspec.Raw:
    """A value of ours among raw ones."""
    return msgspec.Raw(_encode(value))


def collapse_duplicates(value: msgspec.Raw, levels: int) -> msgspec.Raw:
    """Decode and encode the first `levels` levels of objects and lists, so that duplicate names there collapse."""
    if levels == 0 or not value:
        return value
    content = bytes(value)
    first = content.lstrip()[:1]
    if first == b"{":
        fields = decode_object(content)
        return msgspec.Raw(_encode({name: collapse_duplicates(inner, levels - 1) for name, inner in fields.items()}))
    if first == b"[":
        items = msgspec.json.decode(content, type=list[msgspec.Raw])
        return msgspec.Raw(_encode([collapse_duplicates(inner, levels - 1) for inner in items]))
    return value


def _depth(body: bytes) -> int:
    deepest = depth = 0
    for byte in _STRING.sub(b"", body):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _not_json(mistake: Exception) -> Refusal:
    return invalid_request("invalid_json", f"The body is not a JSON object: {mistake}. Send one with a model in it.")
