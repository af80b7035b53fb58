"""Reading single fields of a decoded body, and the rules of refusal that every wire format shares.

A field that would buy something beside tokens, or reach state that belongs to the operator's account at the upstream,
is refused by name unless the model's configuration allows it. Only the readers of requests import this.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import Fields, decode_object
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter
from tokenbooth.upstream_kinds import CREDENTIAL_MARKS, DEFAULTS, FOLDED_CEILINGS, KeptBack, folded

_decode: Final = msgspec.json.Decoder().decode
OUTPUT_FLOOR: Final = 256
REASONING_OUTPUT_FLOOR: Final = 4_096
MAX_CHOICES: Final = 128
MAX_CEILING: Final = 2**31 - 1

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

_CHANGES_NOTHING: Final = frozenset((b"null", b"false", b"[]", b'""'))
# No server knows a longer name, and nothing of a client's is repeated at any length.
_LONGEST_NAME: Final = 64
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
# What decides about money beside a request's own fields decides about it inside an object that is merged with them too.
_MONEY_INSIDE: Final = FOLDED_CEILINGS | frozenset(
    map(
        folded,
        (
            *REFUSED_FIELDS,
            "best_of",
            "functions",
            "input",
            "messages",
            "modalities",
            "model",
            "n",
            "stream",
            "stream_options",
            "tools",
        ),
    )
)

# Every client of these formats may send them and they cost nothing, so that nobody has to look twice.
_FREE_FIELDS: Final = frozenset(
    (
        "frequency_penalty",
        "include",
        "instructions",
        "logit_bias",
        "logprobs",
        "messages",
        "metadata",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "stop",
        "stop_sequences",
        "stream_options",
        "system",
        "temperature",
        "text",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
        "verbosity",
    )
)
_CREDENTIAL: Final = re.compile("|".join(CREDENTIAL_MARKS))


def unusual_names(fields: Fields, known: frozenset[str]) -> list[str]:
    """The names in a body that are neither read elsewhere (`known`) nor free, and that some server may know."""
    return [name for name in fields if name not in known and name not in _FREE_FIELDS and len(name) <= _LONGEST_NAME]


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
        if bytes(fields[name]).strip() not in harmless.get(name, (b"null",)) and name not in model.allowed_parameters:
            raise unsupported_parameter(name)


def keep_back(fields: Fields, model: Model, unusual: list[str], also: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Keep back what the kinds of the model's upstreams must not get from a client.

    A field whose value changes nothing is taken out; any other is refused by its name.

    Args:
        fields: the top level; what is kept back is taken out of it.
        model: the model that is asked for.
        unusual: the names in it that have to be looked at.
        also: further names to keep back, folded.

    Returns:
        The names that were taken out, as they may stand in a header.

    Raises:
        Refusal: there is a field that would buy something unpriced, lift the ceiling or reach what is not the client's.
    """
    rules, omitted = model.kept_back, []
    for name in unusual:
        short = folded(name)
        is_opened = short in rules.opened
        if not (is_opened or short in also or _is_kept_back(short, rules)) or name in model.allowed_parameters:
            continue
        value = b"".join(bytes(fields[name]).split())
        if value in _CHANGES_NOTHING or value in DEFAULTS.get(short, ()):
            del fields[name]
            if _PLAIN_NAME.fullmatch(name):
                omitted.append(name)
        elif not is_opened:
            raise unsupported_parameter(name)
        else:
            _look_into(object_to_open(fields, name), rules, model, name)
    return tuple(omitted)


def object_to_open(fields: Fields, name: str) -> dict[str, object]:
    """An object whose fields count like those beside it.

    Raises:
        Refusal: it is something else, so that nobody knows what a server reads in it.
    """
    value = value_of(fields, name)
    if not isinstance(value, dict):
        raise unsupported_parameter(name)
    return value


def _look_into(value: object, rules: KeptBack, model: Model, path: str) -> None:
    if isinstance(value, list):
        for item in value:
            _look_into(item, rules, model, path)
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        short, inner_path = folded(name[:_LONGEST_NAME]), f"{path}.{name}"[: 4 * _LONGEST_NAME]
        if (short in _MONEY_INSIDE or _is_kept_back(short, rules)) and inner_path not in model.allowed_parameters:
            raise unsupported_parameter(inner_path)
        _look_into(inner, rules, model, inner_path)


def _is_kept_back(short: str, rules: KeptBack) -> bool:
    return short in rules.names or short.startswith(rules.prefixes) or _CREDENTIAL.search(short) is not None


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
        Refusal: it is something else.
    """
    value = fields.get(name)
    if value is None or bytes(value).strip() == b"null":
        return {}
    try:
        return decode_object(value)
    except msgspec.DecodeError:
        raise invalid_request("invalid_parameter", f"'{name}' must be an object.", name) from None


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
        raise invalid_request("invalid_json", f"'{name}' is not valid JSON.", name) from None


def list_of(fields: Fields, name: str) -> list[object]:
    """A field that is a list; empty when it is absent or null.

    Raises:
        Refusal: it is something else.
    """
    value = value_of(fields, name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_request("invalid_parameter", f"'{name}' must be a list.", name)
    return value


def boolean(fields: Fields, name: str) -> bool:
    """A field that is true or false; false when it is absent or null.

    Raises:
        Refusal: it is something else.
    """
    value = value_of(fields, name)
    if value is not None and not isinstance(value, bool):
        raise invalid_request("invalid_parameter", f"'{name}' must be true or false.", name)
    return bool(value)


def positive(fields: Fields, name: str, most: int) -> int | None:
    """A field that is a whole number from 1 to `most`; None when it is absent or null.

    Raises:
        Refusal: it is something else.
    """
    value = value_of(fields, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise invalid_request("invalid_parameter", f"'{name}' must be an integer from 1 to {most}.", name)
    return value


def refuse_other_case(names: Mapping[str, object], known: frozenset[str], param: str) -> None:
    """A nested name in other letters would be read by some upstream as the one that we looked for.

    Raises:
        Refusal: there is one.
    """
    for name in names:
        if name not in known and name.casefold() in known:
            raise invalid_request("invalid_parameter", f"Unknown field '{name}'. Names are in lower case.", param)


def mapping(value: object) -> Mapping[str, object]:
    """A decoded object; empty when it is something else."""
    return value if isinstance(value, dict) else {}


def type_of(value: object) -> str:
    """The `type` of a decoded part, tool or block; empty when it has none."""
    kind = mapping(value).get("type")
    return kind if isinstance(kind, str) else ""
