"""Reading JSON strictly: bounded in depth and digits, each name once, and no number ever a float."""

import json
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn

from tokenbooth.kit.errors import InvalidRequest

JsonValue = None | bool | int | Decimal | str | list["JsonValue"] | dict[str, "JsonValue"]

_MAX_DEPTH: Final = 16
# No body here has more; each would be looked at in Python.
_MAX_BRACKETS: Final = 1_000
_MAX_NUMBER_TEXT: Final = 64
_MAX_INTEGER_TEXT: Final = 20

# A string, closed or not, is skipped in one step, so that the scan is linear whatever the bytes are.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


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
    if b"\\ud" in raw.lower() and any_text(value, _has_lone_surrogate):
        raise _invalid_json("A string in the body holds half of a character (a lone surrogate).")
    return value


def any_text(value: JsonValue, holds: Callable[[str], bool]) -> bool:
    """Whether something holds of a text in a value, names included."""
    match value:
        case str():
            return holds(value)
        case list():
            return any(any_text(item, holds) for item in value)
        case dict():
            return any(holds(name) or any_text(item, holds) for name, item in value.items())
        case _:
            return False


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


def _has_lone_surrogate(text: str) -> bool:
    return _LONE_SURROGATE.search(text) is not None


def _invalid_json(message: str) -> InvalidRequest:
    return InvalidRequest("invalid_json", message)
