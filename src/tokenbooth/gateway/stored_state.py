"""References to what is stored at an upstream: files, containers, conversations, items of earlier responses.

All of it lies in the operator's account, whoever stored it, so an id is the key to another customer's work. A reference
is refused by its name in every format, unless the model's `allowed_parameters` has that name. Only the readers of
requests import this.

Sources: OpenAI's reference of Responses, Chat Completions and Containers, Anthropic's of Messages, Files and Skills,
Google's of context caching, xAI's of collections.
"""

from collections.abc import Mapping
from typing import Final

from tokenbooth.catalog import Model
from tokenbooth.gateway.refusals import unsupported_parameter

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


def refuse_stored_state(part: Mapping[str, object], model: Model) -> None:
    """Refuse a part of a message that refers to something stored, by itself or by an object in it.

    Raises:
        Refusal: it does, and the model does not allow it.
    """
    _refuse_names(part, model.allowed_parameters)
    # Most parts hold no object, which is seen here without a step for each of their values.
    if dict not in map(type, part.values()):
        return
    for name, value in part.items():
        if isinstance(value, dict) and name not in _NEVER_READ:
            _refuse_names(value, model.allowed_parameters)


def refuse_stored_state_of_tool(tool: Mapping[str, object], kind: str, model: Model) -> None:
    """Refuse a hosted tool that the model allows when it names more than such a tool needs.

    Raises:
        Refusal: it names a container, a file or the like.
    """
    allowed = model.allowed_parameters | _NEEDED_BY_TOOL.get(kind, frozenset())
    container = tool.get("container")
    if isinstance(container, dict):
        # A new one, made for this call.
        _refuse_names(container, allowed)
        allowed |= {"container"}
    _refuse_names(tool, allowed)
    for name, value in tool.items():
        if isinstance(value, dict) and name != "container":
            _refuse_names(value, allowed)


def is_item_reference(item: Mapping[str, object], kind: str) -> bool:
    """Whether an item of the responses format stands for one that is stored: it has an id, and says nothing itself.

    Args:
        item: the item.
        kind: its type; "" for none. Without one it is a message, for which it must have a role and a content, or else
            an upstream takes it for a reference.
    """
    if item.get("id") is None:
        return False
    if not kind:
        return not isinstance(item.get("role"), str) or not isinstance(item.get("content"), str | list)
    return all(item.get(name) is None for name in _PAYLOADS)


def is_empty_reasoning(item: Mapping[str, object], kind: str) -> bool:
    """Whether an item is reasoning that says nothing, as clients tell it back that did not ask for it encrypted.

    An upstream would look its id up; without the item it answers as it would to somebody whose reasoning is not stored.
    """
    return kind == "reasoning" and item.get("summary") == [] and not any(item.get(name) for name in _PAYLOADS)


def _refuse_names(names: Mapping[str, object], allowed: frozenset[str]) -> None:
    if STATE_FIELDS.isdisjoint(names):
        return
    for name in sorted(STATE_FIELDS.intersection(names)):
        # Nothing, or an empty list of them, refers to nothing.
        if names[name] and name not in allowed:
            raise unsupported_parameter(name)
