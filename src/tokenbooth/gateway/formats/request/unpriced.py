"""Fields of a request that nobody priced: they are refused by name, or left out where their value changes nothing.

A field that would buy something beside tokens, or reach state that belongs to the operator's account at the upstream,
is refused unless the model's `allowed_parameters` has its name.
"""

import re
from collections.abc import Generator, Mapping
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_fields import CREDENTIAL_MARKS, DEFAULTS, FOLDED_CEILINGS, folded
from tokenbooth.config.upstream_table import KeptBack
from tokenbooth.gateway.errors import unsupported_parameter
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    decode_list,
    decode_object,
    is_list,
    is_object,
    raw,
    size_of,
)
from tokenbooth.gateway.formats.request.parameters import LONGEST_DEFAULT_BYTES, LONGEST_NAME, is_one_of, refuse_large
from tokenbooth.gateway.formats.request.steps import StepCounter
from tokenbooth.gateway.formats.request.stored_state import STATE_FIELDS

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
).union(STATE_FIELDS)
# These values of a refused field are the default, which buys nothing.
HARMLESS_VALUES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "service_tier": (b"null", b'"default"'),
    "store": (b"null", b"false"),
    "background": (b"null", b"false"),
}

_CHANGES_NOTHING: Final = frozenset((b"null", b"false", b"[]", b'""'))
# To decode and encode so much takes as long as to look at a name.
_BYTES_PER_ITEM: Final = 8 * 1024
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
    """The names in a body that are neither read (`known`) nor free, and that some server may know."""
    return [name for name in fields if name not in known and name not in _FREE_FIELDS and len(name) <= LONGEST_NAME]


def refuse_unpriced(
    fields: Fields,
    model: Model,
    refused: frozenset[str] = REFUSED_FIELDS,
    harmless: Mapping[str, tuple[bytes, ...]] = HARMLESS_VALUES,
) -> None:
    """Refuse fields that buy something unpriced or reach the operator's account.

    Raises:
        Refusal: one of them has a value that is not harmless, and the model does not allow it.
    """
    for name in refused.intersection(fields):
        if name not in model.allowed_parameters and not is_one_of(fields[name], harmless.get(name, (b"null",))):
            raise unsupported_parameter(name)


def keep_back(
    fields: Fields, model: Model, unusual: list[str], also: frozenset[str] = frozenset()
) -> Generator[None, None, tuple[str, ...]]:
    """Keep back, in steps, the fields that the model's upstreams must not get from a client, by their kinds.

    A field whose value changes nothing is removed. Any other is refused by its name.

    Args:
        fields: the top level. What is kept back is removed from it.
        model: the model that is asked for.
        unusual: the names in it that have to be looked at.
        also: further names to keep back, folded.

    Returns:
        The names that were removed, if they may stand in a header.

    Raises:
        Refusal: a field would buy something unpriced, lift the ceiling, or reach the operator's account.
    """
    rules, omitted = model.kept_back, []
    looking = _Looking(model)
    for name in unusual:
        short = folded(name)
        is_opened = short in rules.opened
        if not (is_opened or short in also or _is_kept_back(short, rules)) or name in model.allowed_parameters:
            continue
        if _changes_nothing(fields[name], short):
            del fields[name]
            if _PLAIN_NAME.fullmatch(name):
                omitted.append(name)
        elif not is_opened or not is_object(fields[name]):
            # In an opened field only an object can be looked into: nobody knows what a server reads in anything else.
            raise unsupported_parameter(name)
        else:
            refuse_large(fields, name)
            fields[name] = raw((yield from looking.look_into(fields[name], name)))
    return tuple(omitted)


def _changes_nothing(value: msgspec.Raw, short: str) -> bool:
    if size_of(value) > LONGEST_DEFAULT_BYTES:
        return False
    written = b"".join(bytes(value).split())
    return written in _CHANGES_NOTHING or written in DEFAULTS.get(short, ())


class _Looking(StepCounter):
    """Looks for kept-back fields in objects that an upstream merges with the fields beside them."""

    __slots__ = ("_model",)

    def __init__(self, model: Model) -> None:
        StepCounter.__init__(self)
        self._model = model

    def look_into(self, value: msgspec.Raw, path: str) -> Generator[None, None, object]:
        """Look in steps at all names in a value; returns the value, with each name once.

        Raises:
            Refusal: there is a name that decides about money, or is kept back.
        """
        # What is nested is decoded on each of its levels.
        self.add_items(size_of(value) // _BYTES_PER_ITEM)
        if is_list(value):
            items: list[object] = []
            for item in decode_list(value):
                if self.is_step_done():
                    yield
                items.append((yield from self.look_into(item, path)) if _has_objects(item) else item)
            return items
        if not is_object(value):
            return value
        object_: Object = decode_object(value)
        for name, inner in object_.items():
            if self.is_step_done():
                yield
            inner_path = f"{path}.{name[:LONGEST_NAME]}"[: 4 * LONGEST_NAME]
            self._refuse_name(name, inner_path)
            if _has_objects(inner):
                object_[name] = yield from self.look_into(inner, inner_path)
        return object_

    def _refuse_name(self, name: str, path: str) -> None:
        short = folded(name[:LONGEST_NAME])
        if short not in _MONEY_INSIDE and not _is_kept_back(short, self._model.kept_back):
            return
        if path not in self._model.allowed_parameters:
            raise unsupported_parameter(path)


def _has_objects(value: msgspec.Raw) -> bool:
    return is_object(value) or (is_list(value) and b"{" in bytes(value))


def _is_kept_back(short: str, rules: KeptBack) -> bool:
    return short in rules.names or short.startswith(rules.prefixes) or _CREDENTIAL.search(short) is not None
