"""Refusing references to what is stored at an upstream: files, containers, conversations, items of earlier responses.

All of it is in the operator's account, whoever stored it, so an id opens another customer's work. A reference is
refused by its name in every format, unless the model's `allowed_parameters` has that name.

Sources: OpenAI's reference of Responses, Chat Completions and Containers, Anthropic's of Messages, Files and Skills,
Google's of context caching, xAI's of collections.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.errors import unsupported_parameter
from tokenbooth.gateway.formats.json.body import (
    Object,
    is_empty,
    is_list,
    is_null,
    is_object,
    is_text,
    opened_field,
    refuse_many_names,
)

STATE_FIELDS: Final = frozenset(
    (
        "assistant_id",
        "cached_content",
        "cachedcontent",
        "collection_ids",
        "connector_id",
        "container",
        "container_id",
        "conversation",
        "conversation_id",
        "file_id",
        "file_ids",
        "input_file_id",
        "previous_response_id",
        "skills",
        "thread_id",
        "vector_store_id",
        "vector_store_ids",
    )
)
# What a hosted tool that the operator allows cannot do without.
_NEEDED_BY_TOOL: Final[Mapping[str, frozenset[str]]] = {
    "file_search": frozenset(("vector_store_ids",)),
    "mcp": frozenset(("connector_id",)),
}
# The model's sources, what it calls a tool with, and notes of the client: nothing is read because of what stands there.
_NEVER_READ: Final = frozenset(("annotations", "citations", "input", "metadata"))
# What an item of a response holds beside its id. Without any of it, the id is all that there is to say.
_PAYLOADS: Final = (
    "content",
    "output",
    "arguments",
    "input",
    "action",
    "operation",
    "summary",
    "encrypted_content",
)


def refuse_stored_state(part: Object, model: Model) -> None:
    """Refuse a part of a message that refers to something stored, by itself or by an object in it.

    Objects in it are opened, and stay so, each name once.

    Raises:
        Refusal: it does, and the model does not allow it.
    """
    _refuse_names(part, model.allowed_parameters)
    for name, value in part.items():
        if _is_object(value) and name not in _NEVER_READ:
            _refuse_names(opened_field(part, name) or {}, model.allowed_parameters)


def refuse_stored_state_of_tool(tool: Object, kind: str, model: Model) -> None:
    """Refuse a hosted tool that the model allows when it names more than such a tool needs.

    Objects in it are opened, and stay so, each name once.

    Raises:
        Refusal: it names a container, a file or the like; or it has too many names.
    """
    refuse_many_names(tool)
    allowed = model.allowed_parameters | _NEEDED_BY_TOOL.get(kind, frozenset())
    container = opened_field(tool, "container")
    if container is not None:
        # A new one, made for this call.
        _refuse_names(container, allowed)
        allowed |= {"container"}
    _refuse_names(tool, allowed)
    for name, value in tool.items():
        if _is_object(value) and name != "container":
            _refuse_names(opened_field(tool, name) or {}, allowed)


def is_item_reference(item: Object, kind: str) -> bool:
    """Whether an item of the responses format refers to a stored one: it has an id, and no content of its own.

    Args:
        item: the item, nothing in it opened yet.
        kind: its type; "" for none. Without one it is a message, for which it must have a role and a content, or else
            an upstream takes it for a reference.
    """
    if is_null(item.get("id")):
        return False
    if not kind:
        role, content = item.get("role"), item.get("content")
        if role is None or not is_text(role) or content is None:
            return True
        return not (is_text(content) or is_list(content))
    return all(is_null(item.get(name)) for name in _PAYLOADS)


def is_empty_reasoning(item: Object, kind: str) -> bool:
    """Whether an item is reasoning without content, which clients send back that did not ask for it encrypted.

    An upstream would look its id up. Without the item it answers as if no reasoning were stored.

    Args:
        item: the item, nothing in it opened yet.
        kind: its type.
    """
    if kind != "reasoning":
        return False
    summary = item.get("summary")
    return summary is not None and is_list(summary) and all(is_empty(item.get(name)) for name in _PAYLOADS)


def _is_object(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, msgspec.Raw) and is_object(value))


def _refuse_names(names: Object, allowed: frozenset[str]) -> None:
    if STATE_FIELDS.isdisjoint(names):
        return
    for name in sorted(STATE_FIELDS.intersection(names)):
        # Nothing, or an empty list of them, refers to nothing.
        if name not in allowed and not _is_nothing(names[name]):
            raise unsupported_parameter(name)


def _is_nothing(value: object) -> bool:
    return is_empty(value) if isinstance(value, msgspec.Raw) else not value
