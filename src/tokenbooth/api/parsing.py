"""Reading request bodies and query strings: bounded, exact, and strict about what is not known.

Numbers never become floats. An error names the field, and never repeats a value.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn

from starlette.requests import Request

from tokenbooth.domain.money import InvalidAmount, parse_usd
from tokenbooth.kit.errors import InvalidRequest, TooLarge, UnsupportedMedia
from tokenbooth.kit.logs import redact

JsonValue = None | bool | int | Decimal | str | list["JsonValue"] | dict[str, "JsonValue"]

_MAX_DEPTH: Final = 16
# No body here has more; each would be looked at in Python.
_MAX_BRACKETS: Final = 1_000
_MAX_NUMBER_TEXT: Final = 64
_MAX_INTEGER_TEXT: Final = 20
_NAME_MAX: Final = 100
_TEXT_MAX: Final = 1_000
INT32_MAX: Final = 2**31 - 1

# A string, closed or not, is skipped in one step, so that the scan is linear whatever the bytes are.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
# PostgreSQL takes no NUL in a text, and no id, slug or time has any of the others.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SHOWABLE_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a body, read one by one; an error says which one is wrong and what belongs there."""

    values: Mapping[str, JsonValue]

    def text(self, name: str, *, max_length: int = _TEXT_MAX) -> str:
        """A string that must be there.

        Raises:
            InvalidRequest: it is missing, no string, empty, longer than `max_length` characters, or holds a
                control character.
        """
        value = self._needed(name)
        if not isinstance(value, str):
            _wrong_type(name, "a string")
        if not 1 <= len(value) <= max_length:
            _wrong_value(name, f"must have 1 to {max_length} characters")
        if _CONTROL.search(value):
            _wrong_value(name, "must not hold control characters")
        return value

    def optional_text(self, name: str, *, max_length: int = _TEXT_MAX) -> str | None:
        """A string, or None when it is missing or null."""
        return None if self.values.get(name) is None else self.text(name, max_length=max_length)

    def label(self, name: str) -> str:
        """A name that people give to a thing: 1 to 100 printable characters, no backslash."""
        value = self.text(name, max_length=_NAME_MAX)
        if not value.isprintable() or "\\" in value or not value.strip():
            _wrong_value(name, f"must be 1 to {_NAME_MAX} printable characters without backslashes")
        return value

    def integer(self, name: str, *, at_least: int, at_most: int = INT32_MAX) -> int:
        """A whole number that must be there."""
        value = self._needed(name)
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            _wrong_type(name, "a whole number")
        if isinstance(value, Decimal):
            # "60.0" is a whole number; one with a large exponent is never expanded.
            if value.adjusted() > _MAX_INTEGER_TEXT or value != value.to_integral_value():
                _wrong_value(name, f"must be a whole number from {at_least} to {at_most}")
            value = int(value)
        if not at_least <= value <= at_most:
            _wrong_value(name, f"must be a whole number from {at_least} to {at_most}")
        return value

    def optional_integer(self, name: str, *, at_least: int, at_most: int = INT32_MAX) -> int | None:
        """A whole number, or None when it is missing or null."""
        return None if self.values.get(name) is None else self.integer(name, at_least=at_least, at_most=at_most)

    def amount_nano(self, name: str, *, max_decimals: int = 9) -> int:
        """An amount of USD above zero that must be there, a number or a decimal string; in nano-USD."""
        value = self._needed(name)
        if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
            _wrong_type(name, "an amount of USD, as a number or a decimal string")
        try:
            amount_nano = parse_usd(value, max_decimals=max_decimals)
        except InvalidAmount as mistake:
            _wrong_value(name, str(mistake))
        if amount_nano <= 0:
            _wrong_value(name, "must be above zero")
        return amount_nano

    def optional_amount_nano(self, name: str, *, max_decimals: int = 9) -> int | None:
        """An amount of USD, or None when it is missing or null; returned in nano-USD."""
        return None if self.values.get(name) is None else self.amount_nano(name, max_decimals=max_decimals)

    def optional_flag(self, name: str) -> bool | None:
        """True or false, or None when it is missing or null."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            _wrong_type(name, "true or false")
        return value

    def optional_texts(self, name: str, *, max_items: int) -> list[str] | None:
        """A list of strings, or None when it is missing or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            _wrong_type(name, "a list of strings")
        texts = [item for item in value if isinstance(item, str)]
        if len(texts) != len(value):
            _wrong_type(name, "a list of strings")
        if not 1 <= len(texts) <= max_items:
            _wrong_value(name, f"must have 1 to {max_items} entries")
        return texts

    def _needed(self, name: str) -> JsonValue:
        value = self.values.get(name)
        if value is None:
            raise InvalidRequest("missing_parameter", f"`{name}` is missing.", param=name)
        return value


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body: the raw bytes, and the JSON object in them."""

    raw: bytes
    values: Mapping[str, JsonValue]

    def only(self, *names: str) -> Fields:
        """The fields, none of which may have another name.

        Raises:
            InvalidRequest: a field is not known here, or holds a NUL, whatever its type should be.
        """
        for name, value in self.values.items():
            if name not in names:
                raise _unknown("field", name, names)
            if _any_text(value, _holds_nul):
                _wrong_value(name, "must not hold control characters")
        return Fields(self.values)


async def read_body(request: Request, *, max_bytes: int) -> Body:
    """Read a JSON object.

    Raises:
        UnsupportedMedia: the media type is not JSON, or the body is compressed.
        TooLarge: it has more than `max_bytes` bytes.
        InvalidRequest: it is not one JSON object in UTF-8, or a name stands in it twice.
    """
    _check_media(request)
    raw = await read_raw(request, max_bytes=max_bytes)
    return Body(raw=raw, values=parse_object(raw))


async def read_raw(request: Request, *, max_bytes: int) -> bytes:
    """Read the bytes of a body, whatever they are.

    Raises:
        TooLarge: there are more than `max_bytes`.
    """
    announced = request.headers.get("content-length", "")
    if (
        announced.isascii()
        and announced.isdigit()
        and (len(announced) > _MAX_INTEGER_TEXT or int(announced) > max_bytes)
    ):
        raise _too_large(max_bytes)
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(raw)


def parse_object(raw: bytes) -> dict[str, JsonValue]:
    """The JSON object in `raw`.

    Raises:
        InvalidRequest: there is something else in it.
    """
    _check_depth(raw)
    try:
        value: JsonValue = json.loads(
            raw.decode("utf-8"),
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_no_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        raise _invalid_json("The body is not valid UTF-8.") from None
    except json.JSONDecodeError:
        raise _invalid_json("The body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise _invalid_json("The body must be a JSON object.")
    # A body is UTF-8, so that half a character can only be written as an escape.
    if b"\\ud" in raw.lower() and _any_text(value, _has_lone_surrogate):
        raise _invalid_json("A string in the body holds half of a character (a lone surrogate).")
    return value


def read_query(request: Request, *names: str) -> dict[str, str]:
    """The parameters of the query string, none of which may have another name or stand there twice.

    Raises:
        InvalidRequest: one does.
    """
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names:
            raise _unknown("query parameter", name, names)
        if name in found:
            raise InvalidRequest("invalid_value", f"`{name}` stands in the query more than once.", param=name)
        found[name] = value
    return found


def _check_media(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise UnsupportedMedia("unsupported_media_type", "Send the body as `Content-Type: application/json`.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("unsupported_content_encoding", "Send the body without `Content-Encoding`.")


def _check_depth(raw: bytes) -> None:
    brackets = raw.count(b"{") + raw.count(b"[")
    if brackets > _MAX_BRACKETS:
        raise _invalid_json(f"The body has more than {_MAX_BRACKETS} objects and lists.")
    if brackets <= _MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(raw):
        byte = match[0]
        if byte in (b"{", b"["):
            depth += 1
            if depth > _MAX_DEPTH:
                raise _invalid_json(f"The body is nested deeper than {_MAX_DEPTH} levels.")
        elif byte in (b"}", b"]"):
            depth -= 1


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_TEXT:
        raise _invalid_json("A number in the body has too many digits.")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > _MAX_NUMBER_TEXT:
        raise _invalid_json("A number in the body has too many digits.")
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _invalid_json("A number in the body is out of range.") from None


def _no_constant(_text: str) -> NoReturn:
    raise _invalid_json("The body is not valid JSON: it holds NaN or Infinity.")


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _invalid_json("A name stands twice in one object of the body.")
    return found


def _any_text(value: JsonValue, holds: Callable[[str], bool]) -> bool:
    """Whether something holds of a text in a value, names included."""
    match value:
        case str():
            return holds(value)
        case list():
            return any(_any_text(item, holds) for item in value)
        case dict():
            return any(holds(name) or _any_text(item, holds) for name, item in value.items())
        case _:
            return False


def _has_lone_surrogate(text: str) -> bool:
    return _LONE_SURROGATE.search(text) is not None


def _holds_nul(text: str) -> bool:
    return "\0" in text


def _unknown(what: str, name: str, names: tuple[str, ...]) -> InvalidRequest:
    known = ", ".join(f"`{known}`" for known in names) or "nothing"
    # What a client sends as a name may be anything, also a key; only what looks like a name is repeated.
    if _SHOWABLE_NAME.fullmatch(name) is None or redact(name) != name:
        return InvalidRequest("unknown_parameter", f"A {what} is not known here. Known: {known}.")
    return InvalidRequest("unknown_parameter", f"The {what} `{name}` is not known here. Known: {known}.", param=name)


def _wrong_type(name: str, expected: str) -> NoReturn:
    raise InvalidRequest("invalid_type", f"`{name}` must be {expected}.", param=name)


def _wrong_value(name: str, rule: str) -> NoReturn:
    raise InvalidRequest("invalid_value", f"`{name}` {rule}.", param=name)


def _invalid_json(message: str) -> InvalidRequest:
    return InvalidRequest("invalid_json", message)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge("request_too_large", f"The body may have at most {max_bytes} bytes.")
