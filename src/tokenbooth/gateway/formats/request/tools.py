"""Reading the tools of a request. A tool that the upstream runs costs money, so it is refused unless it is allowed."""

from collections.abc import Callable, Generator
from typing import Any, Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.errors import invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.json.body import Fields, Object, is_list, is_null, opened, size_of
from tokenbooth.gateway.formats.json.split import encoded_in_steps, items_in_steps
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM, STEP_ITEMS
from tokenbooth.gateway.formats.request.stored_state import refuse_stored_state_of_tool

TOOL_NAMES: Final = frozenset(("type", "name", "function", "cache_control"))
CheckTool = Callable[[Object, Model], str]
"""Checks one tool of a format, raises Refusal; returns the type of the tool."""


def read_tools(
    fields: Fields, model: Model, check: CheckTool, namespace_levels: int | None = None
) -> Generator[None, None, None]:
    """Check the tools of a request in steps. Names that come twice in a tool come once afterwards.

    Args:
        fields: the body.
        model: the model that is asked.
        check: checks one tool.
        namespace_levels: how deep namespaces of tools may be nested; None for a format that has none.

    Raises:
        Refusal: `tools` is no list, or one of them is refused.
    """
    given = fields.get("tools")
    if given is None or is_null(given):
        return
    if not is_list(given):
        raise invalid_request("invalid_parameter", "'tools' must be a list.", "tools")
    tools = yield from read_tool_list(given, model, check, namespace_levels)
    yield
    fields["tools"] = yield from encoded_in_steps(tools, size_of(given))


def read_tool_list(
    given: msgspec.Raw, model: Model, check: CheckTool, namespace_levels: int | None = None
) -> Generator[None, None, list[Any]]:
    """The tools of a list, each checked.

    Args:
        given: the list.
        model: the model that is asked.
        check: checks one tool.
        namespace_levels: how deep namespaces, which are lists of tools with a name, may be nested; None for a format
            without them.

    Raises:
        Refusal: a tool is refused, or namespaces are nested deeper.
    """
    tools = yield from items_in_steps(given)
    for number in range(len(tools)):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        one = opened(tools, number)
        tool: Object = one if isinstance(one, dict) else {}
        kind = check(tool, model)
        if namespace_levels is not None and kind == "namespace":
            inner = tool.get("tools")
            if namespace_levels == 0 or inner is None or not is_list(inner):
                raise invalid_request("invalid_parameter", "A namespace must hold a list of tools.", "tools")
            tool["tools"] = yield from read_tool_list(inner, model, check, namespace_levels - 1)
        elif len(tool) > NAMES_PER_ITEM:
            yield
    return tools


def refuse_hosted_tool(tool: Object, kind: str, model: Model) -> None:
    """Refuse a tool that the upstream runs, unless the model allows its kind.

    Raises:
        Refusal: it is not allowed, or refers to something stored that such a tool does not need.
    """
    if not kind or f"tools.{kind}" not in model.allowed_parameters:
        raise unsupported_parameter(f"tools.{kind}" if kind else "tools")
    refuse_stored_state_of_tool(tool, kind, model)
