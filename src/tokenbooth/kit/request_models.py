"""What a client sends, as models: the types of its values, and the one mapping of a model's refusal to our error.

The same model reads a request and describes it in the OpenAPI document. Null is as good as missing, a field that is not
named is not accepted, numbers are exact, and an error names the field, says what belongs there, and never repeats a
value.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from tokenbooth.domain.money import InvalidAmount, parse_usd
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.kit.logs import redact
from tokenbooth.kit.pagination import InvalidCursor, read_cursor
from tokenbooth.kit.strict_json import JsonValue, any_text
from tokenbooth.kit.timestamps import InvalidTime, read_end, read_instant, read_start

E = TypeVar("E", bound=StrEnum)
M = TypeVar("M", bound="RequestModel")

INT32_MAX: Final = 2**31 - 1
_LABEL_MAX: Final = 100
_ID_MAX: Final = 100
_TEXT_MAX: Final = 1_000
_INSTANT_MAX: Final = 40
_MAX_INTEGER_DIGITS: Final = 20
# PostgreSQL takes no NUL in a text, and no id, slug or time has any of the others.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SHOWABLE_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}", re.ASCII)


class RequestModel(BaseModel):
    """The base of bodies, query strings and forms; a field's name on the wire is its name here in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


def validate(model: type[M], values: Mapping[str, JsonValue], *, what: str = "field") -> M:
    """The model of what a client sent.

    Args:
        model: what is known here.
        values: by their names on the wire.
        what: what a name that is not known is called.

    Raises:
        InvalidRequest: one of them is not known, holds a NUL, is missing, or is not what belongs there.
    """
    for name, value in values.items():
        check_field(name, value, names_of(model), what=what)
    try:
        return model.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as refused:
        raise _invalid_request(refused.errors(include_url=False, include_input=False)[0]) from None


def names_of(model: type[RequestModel]) -> list[str]:
    """The names of a model's fields on the wire."""
    return [field.alias or name for name, field in model.model_fields.items()]


def check_field(name: str, value: JsonValue, known: Sequence[str], *, what: str = "field") -> None:
    """Refuse a name that is not known, and a NUL in any text of the value, whatever its type should be."""
    if name not in known:
        raise _unknown(what, name, known)
    if any_text(value, _holds_nul):
        raise InvalidRequest("invalid_value", f"`{name}` must not hold control characters.", param=name)


def refuse_type(expected: str) -> PydanticCustomError:
    """For a validator: the value has another type; `expected` is what it must be."""
    return PydanticCustomError("invalid_type", "must be {expected}", {"expected": expected})


def refuse_value(rule: str) -> PydanticCustomError:
    """For a validator: the value breaks a rule, such as "must be above zero"."""
    return PydanticCustomError("invalid_value", "{rule}", {"rule": rule})


def read_text(value: object, *, max_length: int = _TEXT_MAX) -> str:
    """A string of 1 to `max_length` characters, none of which is a control character."""
    if not isinstance(value, str):
        raise refuse_type("a string")
    if not 1 <= len(value) <= max_length:
        raise refuse_value(f"must have 1 to {max_length} characters")
    if _CONTROL.search(value):
        raise refuse_value("must not hold control characters")
    return value


def read_label(value: object) -> str:
    """A name that people give to a thing."""
    text = read_text(value, max_length=_LABEL_MAX)
    if not text.isprintable() or "\\" in text or not text.strip():
        raise refuse_value(f"must be 1 to {_LABEL_MAX} printable characters without backslashes")
    return text


def read_integer(value: object, *, at_least: int, at_most: int = INT32_MAX) -> int:
    """A whole number; "60.0" is one, too, and one with a large exponent is never expanded."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise refuse_type("a whole number")
    is_whole = isinstance(value, int) or (
        value.adjusted() <= _MAX_INTEGER_DIGITS and value == value.to_integral_value()
    )
    if not is_whole or not at_least <= value <= at_most:
        raise refuse_value(f"must be a whole number from {at_least} to {at_most}")
    return int(value)


def read_amount_nano(value: object, *, max_decimals: int = 9) -> int:
    """An amount of USD above zero, a number or a decimal string, in nano-USD."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise refuse_type("an amount of USD, as a number or a decimal string")
    try:
        amount_nano = parse_usd(value, max_decimals=max_decimals)
    except InvalidAmount as mistake:
        raise refuse_value(str(mistake)) from None
    if amount_nano <= 0:
        raise refuse_value("must be above zero")
    return amount_nano


def read_choice(value: object, choices: type[E]) -> E:
    """One of the values of an enumeration."""
    try:
        return choices(str(value))
    except ValueError:
        raise refuse_value(f"must be one of {', '.join(choices)}") from None


def _read_cursor(value: object) -> tuple[int, str]:
    try:
        return read_cursor(str(value))
    except InvalidCursor:
        raise refuse_value("must be the `nextCursor` of a page") from None


def _read_time(value: object, read: Callable[[str], int]) -> int:
    if not isinstance(value, str):
        raise refuse_type("a string")
    try:
        return read(value)
    except InvalidTime as mistake:
        raise refuse_value(str(mistake)) from None


def _read_instant(value: object) -> int:
    return _read_time(read_text(value, max_length=_INSTANT_MAX), read_instant)


def _text_schema(max_length: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "maxLength": max_length})


_DECIMAL_USD: Final = r"^[0-9]{1,9}(\.[0-9]{1,%d})?$"


def usd_schema(max_decimals: int) -> WithJsonSchema:
    """For a type: an amount of USD above zero with this many decimals at most."""
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e9},
                {"type": "string", "pattern": _DECIMAL_USD % max_decimals},
            ]
        }
    )


Text = Annotated[str, PlainValidator(read_text), _text_schema(_TEXT_MAX)]
Id = Annotated[str, PlainValidator(partial(read_text, max_length=_ID_MAX)), _text_schema(_ID_MAX)]
"""An id or a slug that is only looked up."""
Label = Annotated[
    str,
    PlainValidator(read_label),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": _LABEL_MAX,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f\\]+$",
            "description": "Printable characters, not only spaces, no backslash.",
            "examples": ["prod-api"],
        }
    ),
]
UsdNano = Annotated[int, PlainValidator(read_amount_nano), usd_schema(9)]
"""USD on the wire (a number or a decimal string), nano-USD in the program."""
CardUsdNano = Annotated[int, PlainValidator(partial(read_amount_nano, max_decimals=2)), usd_schema(2)]
"""As `UsdNano`, in whole cents."""
UsdcUsdNano = Annotated[int, PlainValidator(partial(read_amount_nano, max_decimals=6)), usd_schema(6)]
"""As `UsdNano`, in units of a token with six decimals."""
PerMinute = Annotated[
    int,
    PlainValidator(partial(read_integer, at_least=1)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": INT32_MAX}),
]
InstantUs = Annotated[int, PlainValidator(_read_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
"""An instant with a zone, in UTC microseconds."""
StartUs = Annotated[int, PlainValidator(partial(_read_time, read=read_start)), WithJsonSchema({"type": "string"})]
"""A date or an instant at which a span begins, in UTC microseconds."""
EndUs = Annotated[int, PlainValidator(partial(_read_time, read=read_end)), WithJsonSchema({"type": "string"})]
"""A date that a span includes, or an instant that it ends before, in UTC microseconds."""
Cursor = Annotated[tuple[int, str], PlainValidator(_read_cursor), WithJsonSchema({"type": "string"})]
"""The place behind a row: its time in UTC microseconds, and its id."""


_NATIVE: Final[Mapping[str, str]] = {
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list of strings",
}
"""How we call the types that pydantic checks by itself."""


def _invalid_request(error: ErrorDetails) -> InvalidRequest:
    param = str(error["loc"][0])
    kind = error["type"]
    if kind == "missing":
        return InvalidRequest("missing_parameter", f"`{param}` is missing.", param=param)
    if kind in _NATIVE:
        return InvalidRequest("invalid_type", f"`{param}` must be {_NATIVE[kind]}.", param=param)
    return InvalidRequest(kind, f"`{param}` {error['msg']}.", param=param)


def _holds_nul(text: str) -> bool:
    return "\0" in text


def _unknown(what: str, name: str, names: Sequence[str]) -> InvalidRequest:
    known = ", ".join(f"`{known}`" for known in names) or "nothing"
    # What a client sends as a name may be anything, also a key; only what looks like a name is repeated.
    if _SHOWABLE_NAME.fullmatch(name) is None or redact(name) != name:
        return InvalidRequest("unknown_parameter", f"A {what} is not known here. Known: {known}.")
    return InvalidRequest("unknown_parameter", f"The {what} `{name}` is not known here. Known: {known}.", param=name)
