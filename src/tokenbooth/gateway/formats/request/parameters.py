"""Reading single fields of a request's body, and its output ceiling."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tokenbooth.config.upstream_fields import FOLDED_CEILINGS, folded
from tokenbooth.gateway.errors import Refusal, invalid_request
from tokenbooth.gateway.formats.json.body import (
    SHORT_BYTES,
    Fields,
    Object,
    decode_json,
    decode_object,
    is_list,
    is_object,
    is_text,
    refuse_many_names,
    size_of,
)
from tokenbooth.gateway.formats.json.steps import STEP_BYTES

MAX_CHOICES: Final = 128
MAX_CEILING: Final = 2**31 - 1
# No server knows a longer name, and nothing of a client's is repeated at any length.
LONGEST_NAME: Final = 64
# No default value is longer.
LONGEST_DEFAULT_BYTES: Final = 64


def reject_miscased_fields(names: Object, known: frozenset[str], param: str = "") -> None:
    """Refuse a name that is a known one in other letters: some upstream would read what was not priced.

    Args:
        names: the names of a body, or of an object in it.
        known: the names that are read, in lower case.
        param: the field of the body that the object is in; empty for the body itself.

    Raises:
        Refusal: there is such a name, or there are too many names.
    """
    refuse_many_names(names)
    for name in names:
        # Folding never makes a name shorter; of a long one it would take its time and many times its size.
        if name not in known and len(name) <= LONGEST_NAME and name.casefold() in known:
            what = "field" if param else "parameter"
            raise invalid_request(
                "invalid_parameter", f"Unknown {what} '{name}'. Names are in lower case.", param or name
            )


def refuse_large(fields: Fields, name: str) -> None:
    """Refuse a field that is looked at closely and larger than any settings are.

    Raises:
        Refusal: it is larger than one step reads.
    """
    if size_of(fields[name]) > STEP_BYTES:
        raise invalid_request("invalid_parameter", f"'{name}' is larger than {STEP_BYTES} bytes.", name)


def is_one_of(value: msgspec.Raw, written: tuple[bytes, ...]) -> bool:
    """Whether a raw value is written like one of these."""
    return size_of(value) <= LONGEST_DEFAULT_BYTES and bytes(value).strip() in written


def ceiling_names(unusual: list[str]) -> list[str]:
    """Those of some names that some server takes for an output ceiling, in whatever letters they are written."""
    return [name for name in unusual if folded(name) in FOLDED_CEILINGS]


def take_ceiling(fields: Fields, names: Iterable[str]) -> int | None:
    """Take every output ceiling out of a body; returns the smallest, None when there is none.

    Each upstream gets one under the name that it obeys, and never one of another name beside it.

    Raises:
        Refusal: one of them is no whole number above zero.
    """
    smallest = None
    for name in names:
        if name not in fields:
            continue
        value = positive(fields, name, MAX_CEILING)
        del fields[name]
        if value is not None and (smallest is None or value < smallest):
            smallest = value
    return smallest


def object_of(fields: Fields, name: str) -> Fields:
    """A field that is an object, to its first level; empty when it is absent or null.

    Raises:
        Refusal: it is something else, or larger than any settings.
    """
    value = fields.get(name)
    if value is None or is_one_of(value, (b"null",)):
        return {}
    refuse_large(fields, name)
    try:
        return decode_object(value)
    except msgspec.DecodeError:
        raise invalid_request("invalid_parameter", f"'{name}' must be an object.", name) from None


def _scalar_of(fields: Fields, name: str) -> object:
    """A field that is short if it is right; a longer one stays raw, however it goes on.

    Raises:
        Refusal: it is not valid JSON, as a number is that no machine can hold.
    """
    value = fields.get(name)
    if value is None:
        return None
    if size_of(value) <= SHORT_BYTES:
        return value_of(fields, name)
    if is_text(value) or is_list(value) or is_object(value):
        return value
    raise _not_json(name)


def value_of(fields: Fields, name: str) -> object:
    """A field, decoded; None when it is absent or null.

    Raises:
        Refusal: it is not valid JSON.
    """
    value = fields.get(name)
    if value is None:
        return None
    try:
        return decode_json(value)
    except (msgspec.DecodeError, RecursionError):
        raise _not_json(name) from None


def _not_json(name: str) -> Refusal:
    return invalid_request("invalid_json", f"'{name}' is not valid JSON.", name)


def boolean(fields: Fields, name: str) -> bool:
    """A field that is true or false; false when it is absent or null.

    Raises:
        Refusal: it is something else.
    """
    value = _scalar_of(fields, name)
    if value is not None and not isinstance(value, bool):
        raise invalid_request("invalid_parameter", f"'{name}' must be true or false.", name)
    return bool(value)


def positive(fields: Fields, name: str, most: int) -> int | None:
    """A field that is a whole number from 1 to `most`; None when it is absent or null.

    Raises:
        Refusal: it is something else.
    """
    value = _scalar_of(fields, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise invalid_request("invalid_parameter", f"'{name}' must be an integer from 1 to {most}.", name)
    return value
