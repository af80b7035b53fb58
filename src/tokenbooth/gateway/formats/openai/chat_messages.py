"""The messages of a chat request: what in them is no text, and what must not be in them.

Plain text needs no look: its bytes bound its tokens. Objects in it are decoded to their names, so that an image or a
reference to somebody's stored file is found whatever it is written like; texts and everything else stay raw.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_kinds import IMAGE_SIZES, folded
from tokenbooth.gateway.errors import invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    is_list,
    is_null,
    is_text,
    opened,
    opened_field,
    short_text,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, items_in_steps, objects_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_BYTES
from tokenbooth.gateway.formats.openai.reading import Reading
from tokenbooth.gateway.formats.parameters import LONGEST_NAME, refuse_other_case
from tokenbooth.gateway.formats.stored_state import STATE_FIELDS

_BACKSLASH: Final = ord("\\")
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


NOTHING: Final = Parts()


def read_messages(fields: Fields, model: Model) -> Generator[None, None, Parts]:
    """Read the messages in steps, collapsing duplicate names in what is looked at.

    Raises:
        Refusal: they are malformed, or hold what is not priced.
    """
    messages = fields.get("messages")
    if messages is None:
        raise invalid_request("missing_messages", "The body has no 'messages'.", "messages")
    if size_of(messages) <= STEP_BYTES and is_flat(messages):
        return NOTHING
    yield
    decoded = yield from objects_in_steps(messages)
    if decoded is None:
        raise invalid_request("invalid_parameter", "'messages' must be a list of messages.", "messages")
    yield
    reading = _Reading(model)
    for message in decoded:
        if reading.is_step_done():
            yield
        content = reading.content_of(message)
        if content is None:
            continue
        if size_of(content) > STEP_BYTES:
            yield
        parts = yield from items_in_steps(content)
        for number in range(len(parts)):
            if reading.is_step_done():
                yield
            reading.read_part(opened(parts, number))
        message["content"] = parts
    yield
    fields["messages"] = yield from encoded_in_steps(decoded, size_of(messages))
    return Parts(reading.size_bytes, reading.tokens)


def is_flat(messages: msgspec.Raw | None) -> bool:
    """Whether these messages are surely a flat list of strings by name: the common case, to be asked of small ones."""
    if messages is None:
        return False
    # A text with ": [" in it only costs a closer look.
    content = bytes(messages)
    if content[:1] != b"[" or _NESTED.search(content) is not None:
        return False
    # Most have no escape at all, and one character is found at the least cost.
    return _BACKSLASH not in content or not holds(content, b"\\u00")


class _Reading(Reading):
    """What was found in the messages so far."""

    __slots__ = ()

    def content_of(self, message: Object) -> msgspec.Raw | None:
        """The content of a message when it is a list of parts.

        Raises:
            Refusal: the message is malformed, or holds what is not priced.
        """
        content: msgspec.Raw | None = message.get("content")
        if not message.keys() <= _PLAIN_MESSAGE:
            refuse_other_case(message, _NAMES, "messages")
            # An answer that was spoken is told back by its id.
            if not is_null(message.get("audio")) and "messages.audio" not in self.model.allowed_parameters:
                raise unsupported_parameter("messages.audio")
            self.look_at(message)
        if content is None or is_text(content) or is_null(content):
            return None
        if not is_list(content):
            raise invalid_request("invalid_parameter", "A message's 'content' must be a string or a list.", "messages")
        return content

    def read_part(self, part: Object | msgspec.Raw) -> None:
        """Count what a part holds beside text.

        Raises:
            Refusal: it is malformed, or not priced.
        """
        if not isinstance(part, dict):
            if is_text(part):
                return
            raise invalid_request("invalid_parameter", "Each part of a message must be an object.", "messages")
        kind = short_text(part.get("type"))
        if not kind:
            raise unsupported_parameter("messages")
        text: msgspec.Raw | None = part.get("text")
        is_plain = part.keys() <= _PLAIN_PART and text is not None and is_text(text)
        if not is_plain:
            refuse_other_case(part, _NAMES, "messages")
        is_words = kind in _TEXT_PARTS and "image_url" not in part
        if not is_words and kind != "image_url" and f"content.{kind}" not in self.model.allowed_parameters:
            raise unsupported_parameter(f"content.{kind}")
        if not is_plain:
            self.look_at(part)
        if is_words:
            return
        if kind == "image_url":
            self._read_image(part)
            return
        # What we don't know may fill the whole context.
        self.tokens += self.model.context_tokens

    def _read_image(self, part: Object) -> None:
        self._refuse_sizes(part)
        self.tokens += self.model.image_tokens_max
        image = opened_field(part, "image_url")
        for name in image or ():
            if name not in _IMAGE_FIELDS:
                raise unsupported_parameter(f"image_url.{name[:LONGEST_NAME]}")
        url: msgspec.Raw | None = part.get("image_url") if image is None else image.get("url")
        if url is not None and is_text(url):
            self.size_bytes += size_of(url) - len(b'""')

    def _refuse_sizes(self, part: Object) -> None:
        """What an image is read at decides how many tokens it counts for."""
        for name in part:
            if name in _NAMES or len(name) > LONGEST_NAME or name in self.model.allowed_parameters:
                continue
            if folded(name) in IMAGE_SIZES:
                raise unsupported_parameter(name)
