"""Whether a request asks its model to think before it answers, and how hard, in every dialect of the formats.

An unknown name counts when it contains "think" or "reason". Reading an answer to its end for nothing costs little; an
answer that is wrongly taken for a plain one could be had for free.
"""

from typing import Final

import msgspec

from tokenbooth.config.upstream_kinds import KINDS
from tokenbooth.config.upstream_table import GENERIC
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.formats.json.body import UNREADABLE, Fields, decode_json

# With no other names than these a request does not ask for it.
_PLAIN: Final = frozenset(
    (
        "model",
        "messages",
        "system",
        "input",
        "instructions",
        "prompt",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "stop_sequences",
        "seed",
        "user",
        "metadata",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "presence_penalty",
        "frequency_penalty",
        "store",
    )
)
# Objects that hold such names beside others: those that some kind of upstream looks into, and the format's own.
_HOLDERS: Final = frozenset((*KINDS[GENERIC].opened, "extra_body", "output_config"))
_HELD_LEVELS: Final = 3
_SWITCHED_OFF: Final = frozenset(("", "none", "off", "false", "disabled"))
_EFFORTS: Final = ("", "minimal", "low", "medium", "high", "xhigh", "max")
_LOW_BUDGET_TOKENS: Final = 4_096
_MEDIUM_BUDGET_TOKENS: Final = 16_384
_LEVELS: Final = 3


def thinks(request: PricedRequest) -> bool:
    """Whether its model reasons, or the request asks it to."""
    return request.model.reasoning or is_asked_to_think(request)


def is_asked_to_think(request: PricedRequest) -> bool:
    """Whether a request asks its model to think. The result is kept in the request."""
    asked = request.asks_to_think
    if asked is None:
        asked = request.asks_to_think = asks_to_think(request.fields)
    return asked


def asks_to_think(fields: Fields) -> bool:
    """Whether the top level of a request asks the model to think."""
    return not _is_plain(fields) and any(not _is_off(value) for value in _values(fields))


def switches_thinking_off(fields: Fields) -> bool:
    """Whether the top level of a request has settings for thinking, all of which switch it off."""
    values = [] if _is_plain(fields) else _values(fields)
    return bool(values) and all(map(_is_off, values))


def effort_of(fields: Fields) -> str:
    """How hard a request asks the model to think, as one of OpenAI's words for it; empty when it does not say.

    A budget of tokens counts as the effort that it is usual for. Of several the highest counts.
    """
    if _is_plain(fields):
        return ""
    return _EFFORTS[max((_rank(value, _LEVELS) for value in _values(fields)), default=0)]


def _is_plain(fields: Fields) -> bool:
    # A loop, because every call comes here: the frozenset's own comparison makes a set of the names first.
    for name in fields:  # noqa: SIM110
        if name not in _PLAIN:
            return False
    return True


def _values(fields: Fields) -> list[object]:
    """The values of the fields that are about thinking."""
    found: list[object] = []
    for name, value in fields.items():
        if name in _HOLDERS:
            found += _held_values(_decoded(value), _HELD_LEVELS)
        elif _is_about_thinking(name):
            found.append(_decoded(value))
    return found


def _held_values(held: object, levels: int) -> list[object]:
    """The values of the names that are about thinking, in an object and in the objects in it."""
    found: list[object] = []
    if isinstance(held, dict) and levels:
        for name, value in held.items():
            if _is_about_thinking(name) or name == "effort":
                found.append(value)
            else:
                found += _held_values(value, levels - 1)
    return found


def _is_about_thinking(name: str) -> bool:
    lower = name.lower()
    return "think" in lower or "reason" in lower


def _decoded(value: msgspec.Raw) -> object:
    try:
        return decode_json(value)
    except UNREADABLE:
        return None


def _is_off(value: object) -> bool:
    match value:
        case None | False | 0:
            return True
        case str():
            return value.lower() in _SWITCHED_OFF
        case dict():
            switches = [value[name] for name in ("type", "enabled", "effort") if name in value]
            return not value or any(map(_is_off, switches))
        case _:
            return False


def _rank(value: object, levels: int) -> int:
    match value:
        case bool():
            return 0
        case str():
            return _EFFORTS.index(value) if value in _EFFORTS else 0
        case int():
            if value <= 0:
                return 0
            if value <= _LOW_BUDGET_TOKENS:
                return _EFFORTS.index("low")
            return _EFFORTS.index("medium" if value <= _MEDIUM_BUDGET_TOKENS else "high")
        case dict() if levels:
            return max((_rank(one, levels - 1) for one in value.values()), default=0)
        case _:
            return 0
