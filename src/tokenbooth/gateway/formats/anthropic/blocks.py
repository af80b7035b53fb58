"""Reading the content blocks of a messages request: what in them is no text, and what must not be in them.

Blocks are decoded to their names, as deep as an image can be; texts and the input of tools stay raw.
"""

from collections.abc import Generator
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.errors import Refusal, invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    is_list,
    is_null,
    is_text,
    opened_field,
    raw,
    short_text,
    short_value,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, objects_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_BYTES
from tokenbooth.gateway.formats.request.content import ContentReader, NonTextContent
from tokenbooth.gateway.formats.request.parameters import reject_miscased_fields
from tokenbooth.gateway.formats.request.stored_state import STATE_FIELDS

# Text, or sent back by the client from an earlier turn.
_TEXT_BLOCKS: Final = frozenset(("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "search_result"))
_NAMES: Final = STATE_FIELDS.union(("role", "content", "type", "text", "source", "cache_control", "ttl"))
_READ_BLOCKS: Final = _TEXT_BLOCKS.union(("image", "document"))
_PRICED_TTLS: Final = (None, "5m")
# A message, the result of a tool in it, a document in that, and the blocks of its text.
_CONTENT_LEVELS: Final = 4

_Steps = Generator[None, None, None]


def read_blocks(fields: Fields, model: Model) -> Generator[None, None, NonTextContent]:
    """Read the system prompt and the messages in steps. Names that come twice come once afterwards.

    Raises:
        Refusal: they are malformed, or hold what is not priced.
    """
    yield
    given = fields.get("messages")
    messages = yield from _messages_of(given)
    yield
    reader = _BlockReader(model)
    yield from reader.read_system(fields)
    for message in messages:
        yield from reader.read_message(message)
    yield
    assert given is not None  # it would have been refused
    fields["messages"] = yield from encoded_in_steps(messages, size_of(given))
    return reader.found()


def refuse_long_cache(block: Object, model: Model) -> None:
    """Refuse a cache that lives longer than the price list covers: writing it costs more.

    Raises:
        Refusal: the block asks for one, and the model does not allow it.
    """
    cache = opened_field(block, "cache_control")
    if cache is None:
        return
    ttl = cache.get("ttl")
    # What is too long to be looked at is none of the priced ones.
    lives = "?" if ttl is not None and not is_null(ttl) and short_value(ttl) is None else short_value(ttl)
    if lives not in _PRICED_TTLS and "cache_control.ttl" not in model.allowed_parameters:
        raise unsupported_parameter("cache_control.ttl")


def _messages_of(messages: msgspec.Raw | None) -> Generator[None, None, list[Object]]:
    if messages is None or is_null(messages):
        raise _no_messages()
    if not is_list(messages):
        raise invalid_request("invalid_parameter", "'messages' must be a list.", "messages")
    decoded = yield from objects_in_steps(messages)
    if decoded is None:
        raise invalid_request("invalid_parameter", "Each message must be an object.", "messages")
    if not decoded:
        raise _no_messages()
    return decoded


class _BlockReader(ContentReader):
    """Reads content blocks."""

    __slots__ = ()

    def read_system(self, fields: Fields) -> _Steps:
        """Read the system prompt.

        Raises:
            Refusal: it is neither a text nor a list of text blocks.
        """
        system = fields.get("system")
        if system is None or is_text(system) or is_null(system):
            return
        yield
        blocks = yield from _blocks_of(system)
        for block in blocks:
            if self.is_step_done():
                yield
            if short_text(block.get("type")) != "text":
                raise invalid_request(
                    "invalid_parameter", "'system' must be a text or a list of text blocks.", "system"
                )
            refuse_long_cache(block, self.model)
        fields["system"] = raw(blocks)

    def read_message(self, message: Object) -> _Steps:
        """Read a message.

        Raises:
            Refusal: it is malformed, or holds what is not priced.
        """
        reject_miscased_fields(message, _NAMES, "messages")
        self.look_at(message)
        yield from self._read_content(message, _CONTENT_LEVELS)

    def _read_content(self, holder: Object, levels: int) -> _Steps:
        """Read the `content` of a message, or of a block that holds others, and put what was read in its place.

        Raises:
            Refusal: it is malformed, or holds what is not priced, or goes on below `levels` levels.
        """
        if self.is_step_done():
            yield
        if opened_field(holder, "content") is not None:
            raise _not_blocks()
        content = holder.get("content")
        if content is None or is_text(content) or is_null(content):
            return
        if levels == 0:
            raise invalid_request("invalid_parameter", "Content blocks are nested too deep.", "messages")
        if size_of(content) > STEP_BYTES:
            yield
        blocks = yield from _blocks_of(content)
        for block in blocks:
            if self.is_step_done():
                yield
            yield from self._read_block(block, levels - 1)
        holder["content"] = blocks

    def _read_block(self, block: Object, levels: int) -> _Steps:
        reject_miscased_fields(block, _NAMES, "messages")
        refuse_long_cache(block, self.model)
        kind = short_text(block.get("type"))
        if kind not in _READ_BLOCKS and not self.allows(f"content.{kind}"):
            raise unsupported_parameter(f"content.{kind}" if kind else "messages")
        self.look_at(block)
        source = opened_field(block, "source") or {}
        reject_miscased_fields(source, _NAMES, "messages")
        if short_text(source.get("type")) == "file" and not self.allows("file_id"):
            raise unsupported_parameter("file_id")
        if kind == "tool_result":
            yield from self._read_content(block, levels)
        elif kind == "image":
            self.count_data(source.get("data"), self.model.image_tokens_max)
        elif kind == "document":
            yield from self._read_document(source, levels)
        elif kind not in _TEXT_BLOCKS:
            self.count_unknown()

    def _read_document(self, source: Object, levels: int) -> _Steps:
        match short_text(source.get("type")):
            case "text":
                return
            case "content":
                yield from self._read_content(source, levels)
            case _:
                # Pages are text and images, and may fill the whole context.
                self.count_data(source.get("data"), self.model.context_tokens)


def _blocks_of(content: msgspec.Raw) -> Generator[None, None, list[Object]]:
    if not is_list(content):
        raise _not_blocks()
    blocks = yield from objects_in_steps(content)
    if blocks is None:
        raise invalid_request("invalid_parameter", "Each content block must be an object.", "messages")
    return blocks


def _not_blocks() -> Refusal:
    return invalid_request("invalid_parameter", "'content' must be a text or a list of blocks.", "messages")


def _no_messages() -> Refusal:
    return invalid_request("missing_messages", "The body has no 'messages'.", "messages")
