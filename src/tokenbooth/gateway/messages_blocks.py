"""The content blocks of a messages request: what in them is no text, and what must not be in them."""

from collections.abc import Iterator, Mapping
from typing import Final

from tokenbooth.catalog import Model
from tokenbooth.gateway.chat_messages import Parts
from tokenbooth.gateway.fields import mapping, refuse_other_case, type_of
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter
from tokenbooth.gateway.stored_state import STATE_FIELDS, refuse_stored_state

# Text, or told back by the client of an earlier turn.
_TEXT_BLOCKS: Final = frozenset(("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "search_result"))
_NAMES: Final = STATE_FIELDS.union(("role", "content", "type", "text", "source", "cache_control", "ttl"))
_READ_BLOCKS: Final = _TEXT_BLOCKS.union(("image", "document"))
_PRICED_TTLS: Final = (None, "5m")


def read_blocks(system: object, messages: list[object], model: Model) -> Parts:
    """What the system prompt and the messages hold beside text.

    Raises:
        Refusal: they are malformed, or hold what is not priced.
    """
    if not messages:
        raise invalid_request("missing_messages", "The body has no 'messages'.", "messages")
    size_bytes = tokens = 0
    for block in _blocks(system):
        if type_of(block) != "text":
            raise invalid_request("invalid_parameter", "'system' must be a text or a list of text blocks.", "system")
        refuse_long_cache(block, model)
    for message in messages:
        if not isinstance(message, dict):
            raise invalid_request("invalid_parameter", "Each message must be an object.", "messages")
        refuse_other_case(message, _NAMES, "messages")
        refuse_stored_state(message, model)
        for block in _blocks(message.get("content")):
            parts = _read_block(block, model)
            size_bytes += parts.size_bytes
            tokens += parts.tokens
    return Parts(size_bytes, tokens)


def refuse_long_cache(block: Mapping[str, object], model: Model) -> None:
    """A cache that lives longer costs more to write than the price list says.

    Raises:
        Refusal: the block asks for one, and the model does not allow it.
    """
    cache = mapping(block.get("cache_control"))
    if cache.get("ttl") not in _PRICED_TTLS and "cache_control.ttl" not in model.allowed_parameters:
        raise unsupported_parameter("cache_control.ttl")


def _blocks(content: object) -> Iterator[Mapping[str, object]]:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise invalid_request("invalid_parameter", "'content' must be a text or a list of blocks.", "messages")
    for block in content:
        if not isinstance(block, dict):
            raise invalid_request("invalid_parameter", "Each content block must be an object.", "messages")
        yield block


def _read_block(block: Mapping[str, object], model: Model) -> Parts:
    refuse_other_case(block, _NAMES, "messages")
    refuse_long_cache(block, model)
    kind = type_of(block)
    if kind not in _READ_BLOCKS and f"content.{kind}" not in model.allowed_parameters:
        raise unsupported_parameter(f"content.{kind}" if kind else "messages")
    refuse_stored_state(block, model)
    source = mapping(block.get("source"))
    refuse_other_case(source, _NAMES, "messages")
    if type_of(source) == "file" and "file_id" not in model.allowed_parameters:
        raise unsupported_parameter("file_id")
    if kind == "tool_result":
        return _read_all(block.get("content"), model)
    if kind in _TEXT_BLOCKS:
        return Parts()
    if kind == "image":
        data = source.get("data")
        return Parts(len(data) if isinstance(data, str) else 0, model.image_tokens_max)
    if kind == "document":
        return _read_document(source, model)
    return Parts(tokens=model.context_tokens)


def _read_all(content: object, model: Model) -> Parts:
    read = [_read_block(inner, model) for inner in _blocks(content)]
    return Parts(sum(parts.size_bytes for parts in read), sum(parts.tokens for parts in read))


def _read_document(source: Mapping[str, object], model: Model) -> Parts:
    match type_of(source):
        case "text":
            return Parts()
        case "content":
            return _read_all(source.get("content"), model)
        case _:
            # Pages are text and images, and may fill the whole context.
            data = source.get("data")
            return Parts(len(data) if isinstance(data, str) else 0, model.context_tokens)
