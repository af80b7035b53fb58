"""The messages of a chat request: what in them is no text, and what must not be in them.

Plain text needs no look: its bytes bound its tokens. Everything nested is decoded, so that an image or a reference to
somebody's stored file is found whatever it is written like.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import Fields, collapse_duplicates
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter
from tokenbooth.gateway.stored_state import STATE_FIELDS, refuse_stored_state
from tokenbooth.upstream_kinds import IMAGE_SIZES, folded

_TEXT_PARTS: Final = frozenset(("text", "refusal", "input_text", "output_text", "thinking"))
_NAMES: Final = STATE_FIELDS.union(("role", "content", "type", "text", "image_url", "audio", "tool_calls"))
# In what has no other names there is nothing to look for.
_PLAIN_MESSAGE: Final = frozenset(("role", "content", "name", "tool_calls", "tool_call_id"))
_PLAIN_PART: Final = frozenset(("type", "text"))
_IMAGE_FIELDS: Final = frozenset(("url", "detail"))
_NESTED: Final = re.compile(rb":\s*[\[{]")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the messages hold beside text: its bytes, and the most prompt tokens that it counts for."""

    size_bytes: int = 0
    tokens: int = 0


_NONE: Final = Parts()


def read_messages(fields: Fields, model: Model) -> Parts:
    """Read the messages, collapsing duplicate names in what is looked at.

    Raises:
        Refusal: they are malformed, or hold what is not priced.
    """
    messages = fields.get("messages")
    if messages is None:
        raise invalid_request("missing_messages", "The body has no 'messages'.", "messages")
    content = bytes(messages)
    # The common case is a flat list of strings by name; a text with ": [" in it only costs a closer look.
    if content.lstrip()[:1] == b"[" and _NESTED.search(content) is None and b"\\u00" not in content:
        return _NONE
    fields["messages"] = collapse_duplicates(messages, levels=5)
    try:
        decoded = msgspec.json.decode(fields["messages"], type=list[dict[str, object]])
    except (msgspec.DecodeError, RecursionError):
        raise invalid_request("invalid_parameter", "'messages' must be a list of messages.", "messages") from None
    read = [_read_message(message, model) for message in decoded]
    return Parts(sum(parts.size_bytes for parts in read), sum(parts.tokens for parts in read))


def _read_message(message: dict[str, object], model: Model) -> Parts:
    if not message.keys() <= _PLAIN_MESSAGE:
        _refuse_other_case(message)
        # An answer that was spoken is told back by its id.
        if message.get("audio") is not None and "messages.audio" not in model.allowed_parameters:
            raise unsupported_parameter("messages.audio")
        refuse_stored_state(message, model)
    content = message.get("content")
    if content is None or isinstance(content, str):
        return _NONE
    if not isinstance(content, list):
        raise invalid_request("invalid_parameter", "A message's 'content' must be a string or a list.", "messages")
    read = [_read_part(part, model) for part in content]
    return Parts(sum(part.size_bytes for part in read), sum(part.tokens for part in read))


def _read_part(part: object, model: Model) -> Parts:
    if isinstance(part, str):
        return _NONE
    if not isinstance(part, dict):
        raise invalid_request("invalid_parameter", "Each part of a message must be an object.", "messages")
    kind = part.get("type")
    if not isinstance(kind, str):
        raise unsupported_parameter("messages")
    is_plain = part.keys() <= _PLAIN_PART and isinstance(part.get("text"), str)
    if not is_plain:
        _refuse_other_case(part)
    is_text = kind in _TEXT_PARTS and "image_url" not in part
    if not is_text and kind != "image_url" and f"content.{kind}" not in model.allowed_parameters:
        raise unsupported_parameter(f"content.{kind}")
    if not is_plain:
        refuse_stored_state(part, model)
    if is_text:
        return _NONE
    if kind == "image_url":
        _refuse_sizes(part, model)
        return _read_image(part.get("image_url"), model)
    # What we don't know may fill the whole context.
    return Parts(tokens=model.context_tokens)


def _read_image(image: object, model: Model) -> Parts:
    if isinstance(image, dict):
        for name in image:
            if name not in _IMAGE_FIELDS:
                raise unsupported_parameter(f"image_url.{name}")
        image = image.get("url")
    return Parts(len(image) if isinstance(image, str) else 0, model.image_tokens_max)


def _refuse_sizes(part: dict[str, object], model: Model) -> None:
    """What an image is read at decides how many tokens it counts for."""
    for name in part:
        if name not in _NAMES and folded(name[:64]) in IMAGE_SIZES and name not in model.allowed_parameters:
            raise unsupported_parameter(name)


def _refuse_other_case(names: dict[str, object]) -> None:
    for name in names:
        if name not in _NAMES and name.casefold() in _NAMES:
            raise invalid_request("invalid_parameter", f"Unknown field '{name}'. Names are in lower case.", "messages")
