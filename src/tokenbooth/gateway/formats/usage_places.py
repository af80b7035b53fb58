"""Where in an answer of OpenAI's older formats servers put its usage, beside the place of its own."""

from tokenbooth.gateway.formats.json.body import UNREADABLE
from tokenbooth.gateway.formats.schema import ChatEvent, UsageHolder, decode_chat_event


def reported_in(event: ChatEvent) -> dict[str, object] | None:
    """The usage object of an event that has none at its top; None when it has none at all.

    In the choice (Moonshot), in a vendor's extension (Groq), in the response or the message that an event is about.
    """
    holders: list[UsageHolder | None] = [*(event.choices or ()), event.x_groq, event.response, event.message]
    for holder in holders:
        if holder is not None and isinstance(holder.usage, dict) and holder.usage:
            return holder.usage
    return None


def take_reported(event: dict[str, object]) -> dict[str, object] | None:
    """See `reported_in`; of a decoded event, its own place first. Whatever it has of a usage is taken out of it."""
    choices = event.get("choices")
    holders = [event, *(choices if isinstance(choices, list) else ())]
    holders += [event.get(name) for name in ("x_groq", "response", "message")]
    found = [holder.pop("usage", None) for holder in holders if isinstance(holder, dict)]
    return next((usage for usage in found if isinstance(usage, dict) and usage), None)


def reported_elsewhere(body: bytes) -> dict[str, object] | None:
    """See `reported_in`; of a whole answer."""
    try:
        return reported_in(decode_chat_event(body))
    except UNREADABLE:
        return None
