"""Reading the messages of a chat request: what in them is no text, and what must not be in them.

Plain text is not looked at: its bytes bound its tokens. Objects are decoded to their names, so that an image or a
reference to a stored file is found however it is written; texts and everything else stay raw.
"""

import re
from collections.abc import Generator
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_fields import IMAGE_SIZES, folded
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
from tokenbooth.gateway.formats.request.content import TEXT_ONLY, ContentReader, NonTextContent
from tokenbooth.gateway.formats.request.parameters import LONGEST_NAME, reject_miscased_fields
from tokenbooth.gateway.formats.request.stored_state import STATE_FIELDS

_BACKSLASH: Final = ord("\\")
_TEXT_PARTS: Final = frozenset(("text", "refusal", "input_text", "output_text", "thinking"))
_NAMES: Final = STATE_FIELDS.union(("role", "content", "type", "text", "image_url", "audio", "tool_calls"))
# In what has no other names there is nothing to look for.
_PLAIN_MESSAGE: Final = frozenset(("role", "content", "name", "tool_calls", "tool_call_id"))
_PLAIN_PART: Final = frozenset(("type", "text"))
_IMAGE_FIELDS: Final = frozenset(("url", "detail"))
_NESTED: Final = re.compile(rb":\s*[\[{]")


def read_messages(fields: Fields, model: Model) -> Generator[None, None, NonTextContent]:
    """Read the messages in steps. Names that come twice in what is looked at come once afterwards.

    Raises:
        Refusal: they are malformed, or hold what is not priced.
    """
    messages = fields.get("messages")
    if messages is None:
        raise invalid_request("missing_messages", "The body has no 'messages'.", "messages")
    if size_of(messages) <= STEP_BYTES and is_flat(messages):
        return TEXT_ONLY
    yield
    decoded = yield from objects_in_steps(messages)
    if decoded is None:
        raise invalid_request("invalid_parameter", "'messages' must be a list of messages.", "messages")
    yield
    reader = _MessageReader(model)
    for message in decoded:
        if reader.is_step_done():
            yield
        content = reader.content_of(message)
        if content is None:
            continue
        if size_of(content) > STEP_BYTES:
            yield
        parts = yield from items_in_steps(content)
        for number in range(len(parts)):
            if reader.is_step_done():
                yield
            reader.read_part(opened(parts, number))
        message["content"] = parts
    yield
    fields["messages"] = yield from encoded_in_steps(decoded, size_of(messages))
    return reader.found()


def is_flat(messages: msgspec.Raw | None) -> bool:
    """Whether each message is certainly an object of strings, which is the common case. Ask it of small ones."""
    if messages is None:
        return False
    # A text with ": [" in it only costs a closer look.
    content = bytes(messages)
    if content[:1] != b"[" or _NESTED.search(content) is not None:
        return False
    # Most have no escape at all, and one character is found at the least cost.
    return _BACKSLASH not in content or not holds(content, b"\\u00")


class _MessageReader(ContentReader):
    """Reads chat messages."""

    __slots__ = ()

    def content_of(self, message: Object) -> msgspec.Raw | None:
        """The content of a message when it is a list of parts.

        Raises:
            Refusal: the message is malformed, or holds what is not priced.
        """
        content: msgspec.Raw | None = message.get("content")
        if not message.keys() <= _PLAIN_MESSAGE:
            reject_miscased_fields(message, _NAMES, "messages")
            # A client sends a spoken answer back by its id.
            if not is_null(message.get("audio")) and not self.allows("messages.audio"):
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
            reject_miscased_fields(part, _NAMES, "messages")
        is_words = kind in _TEXT_PARTS and "image_url" not in part
        if not is_words and kind != "image_url" and not self.allows(f"content.{kind}"):
            raise unsupported_parameter(f"content.{kind}")
        if not is_plain:
            self.look_at(part)
        if is_words:
            return
        if kind == "image_url":
            self._read_image(part)
            return
        self.count_unknown()

    def _read_image(self, part: Object) -> None:
        self._refuse_sizes(part)
        image = opened_field(part, "image_url")
        for name in image or ():
            if name not in _IMAGE_FIELDS:
                raise unsupported_parameter(f"image_url.{name[:LONGEST_NAME]}")
        self.count_data(part.get("image_url") if image is None else image.get("url"), self.model.image_tokens_max)

    def _refuse_sizes(self, part: Object) -> None:
        """Refuse the size at which an image is read: it decides how many tokens the image counts for."""
        for name in part:
            if name in _NAMES or len(name) > LONGEST_NAME or self.allows(name):
                continue
            if folded(name) in IMAGE_SIZES:
                raise unsupported_parameter(name)
