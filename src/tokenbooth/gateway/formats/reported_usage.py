"""The usage object of an answer: where servers of OpenAI's older formats put it, and how it leaves with the cost."""

from typing import Final

import msgspec

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_object, encode, is_null, raw
from tokenbooth.gateway.formats.public_answers import usd_number
from tokenbooth.gateway.formats.schema import ChatEvent, UsageHolder, decode_chat_event

_NO_USAGE: Final = msgspec.Raw(b"{}")


def is_counted(usage: Usage | None) -> bool:
    """Whether a usage counts any tokens: no answer consumes nothing."""
    return usage is not None and (usage.prompt_tokens > 0 or usage.completion_tokens > 0)


def reported_in(event: ChatEvent) -> dict[str, object] | None:
    """The usage object of an event that has none at its top; None when it has none at all.

    It is in the choice (Moonshot), in a vendor's extension (Groq), in the response or the message of the event.
    """
    holders: list[UsageHolder | None] = [*(event.choices or ()), event.x_groq, event.response, event.message]
    for holder in holders:
        if holder is not None and isinstance(holder.usage, dict) and holder.usage:
            return holder.usage
    return None


def take_reported(event: dict[str, object]) -> dict[str, object] | None:
    """Take every usage object out of a decoded event; returns the first, in the order of `reported_in`."""
    choices = event.get("choices")
    holders = [event, *(choices if isinstance(choices, list) else ())]
    holders += [event.get(name) for name in ("x_groq", "response", "message")]
    found = [holder.pop("usage", None) for holder in holders if isinstance(holder, dict)]
    return next((usage for usage in found if isinstance(usage, dict) and usage), None)


def reported_elsewhere(body: bytes) -> dict[str, object] | None:
    """The usage object of a whole answer that has none at its top; None when it has none at all."""
    try:
        return reported_in(decode_chat_event(body))
    except UNREADABLE:
        return None


def with_cost(usage_event: bytes, cost_nano: int) -> bytes:
    """The data of an event, with the exact cost in USD as `usage.cost`. What cannot be read stays as it is."""
    try:
        fields = decode_object(usage_event)
    except UNREADABLE:
        return usage_event
    usage = fields.get("usage")
    # A format may report the usage in an event before this one.
    fields["usage"] = usage_with_cost(_NO_USAGE if usage is None or is_null(usage) else usage, cost_nano)
    return encode(fields)


def usage_with_cost(usage: msgspec.Raw, cost_nano: int) -> msgspec.Raw:
    """A usage object with the exact cost in USD as its `cost`."""
    fields = decode_object(usage)
    fields["cost"] = msgspec.Raw(usd_number(cost_nano))
    return raw(fields)
