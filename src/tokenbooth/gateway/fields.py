"""Reading single fields of a decoded body, and the rule of refusal that every wire format shares.

A field that would buy something beside tokens, or reach state that belongs to the operator's account at the upstream,
is refused by name unless the model's configuration allows it. Only the readers of requests import this.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import SHORT_BYTES, Fields, decode_object, is_list, is_object, is_text, size_of
from tokenbooth.gateway.refusals import Refusal, invalid_request, unsupported_parameter

_decode: Final = msgspec.json.Decoder().decode
OUTPUT_FLOOR: Final = 256
REASONING_OUTPUT_FLOOR: Final = 4_096
MAX_CHOICES: Final = 128
MAX_CEILING: Final = 2**31 - 1

_LONGEST_HARMLESS_BYTES: Final = 64

TOOL_NAMES: Final = frozenset(("type", "name", "function", "cache_control"))

# Buys something beside tokens, or reaches state in the operator's account, or belongs to another reseller's routing.
REFUSED_FIELDS: Final = frozenset(
    (
        "api_base",
        "api_key",
        "audio",
        "background",
        "base_url",
        "container",
        "conversation",
        "custom_llm_provider",
        "enable_search",
        "extra_body",
        "extra_headers",
        "fallbacks",
        "file_id",
        "mcp_servers",
        "models",
        "plugins",
        "preset",
        "previous_response_id",
        "prompt",
        "provider",
        "route",
        "routing",
        "search_parameters",
        "service_tier",
        "store",
        "transforms",
        "web_search",
        "web_search_options",
    )
)
# These values of a refused field are the default, which buys nothing.
HARMLESS_VALUES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "service_tier": (b"null", b'"default"'),
    "store": (b"null", b"false"),
    "background": (b"null", b"false"),
}


def refuse_disguised(fields: Fields, watched: frozenset[str]) -> None:
    """A money-bearing name in other letters would be priced by us in one way and read by an upstream in another.

    Raises:
        Refusal: there is one.
    """
    for name in fields:
        if name not in watched and name.casefold() in watched:
            raise invalid_request("invalid_parameter", f"Unknown parameter '{name}'. Names are in lower case.", name)


def refuse_unpriced(
    fields: Fields,
    model: Model,
    refused: frozenset[str] = REFUSED_FIELDS,
    harmless: Mapping[str, tuple[bytes, ...]] = HARMLESS_VALUES,
) -> None:
    """Refuse fields that nobody priced.

    Raises:
        Refusal: there is one, with a value that is not harmless, and the model does not allow it.
    """
    for name in refused.intersection(fields):
        if name not in model.allowed_parameters and not _is_one_of(fields[name], harmless.get(name, (b"null",))):
            raise unsupported_parameter(name)


def object_of(fields: Fields, name: str) -> Fields:
    """A field that is an object, to its first level; empty when it is absent or null.

    Raises:
        Refusal: it is something else.
    """
    value = fields.get(name)
    if value is None or _is_one_of(value, (b"null",)):
        return {}
    try:
        return decode_object(value)
    except msgspec.DecodeError:
        raise invalid_request("invalid_parameter", f"'{name}' must be an object.", name) from None


def _is_one_of(value: msgspec.Raw, written: tuple[bytes, ...]) -> bool:
    return size_of(value) <= _LONGEST_HARMLESS_BYTES and bytes(value).strip() in written


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
        return _decode(value)
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


def refuse_other_case(names: Iterable[str], known: frozenset[str], param: str) -> None:
    """A nested name in other letters would be read by some upstream as the one that we looked for.

    Raises:
        Refusal: there is one.
    """
    # One call for all of them: an object may have very many names.
    unknown = frozenset(names) - known
    if not unknown or known.isdisjoint("\0".join(unknown).casefold().split("\0")):
        return
    for name in unknown:
        if name.casefold() in known:
            raise invalid_request("invalid_parameter", f"Unknown field '{name}'. Names are in lower case.", param)


def mapping(value: object) -> Mapping[str, object]:
    """A decoded object; empty when it is something else."""
    return value if isinstance(value, dict) else {}


def type_of(value: object) -> str:
    """The `type` of a decoded part, tool or block; empty when it has none."""
    kind = mapping(value).get("type")
    return kind if isinstance(kind, str) else ""
