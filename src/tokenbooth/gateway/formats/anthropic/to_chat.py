"""A messages request in OpenAI's chat format, for upstreams that only speak that.

What saves work or says who asks (cache marks, metadata) is left out. What has no counterpart and changes details
(`top_k`, citations) is left out and named in the answer's headers. What would be missed (a PDF, a tool that is built
into another vendor's models) is refused by name.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.config.upstream_fields import folded
from tokenbooth.config.upstream_table import UpstreamKind
from tokenbooth.gateway.errors import invalid_request
from tokenbooth.gateway.formats.anthropic.raw_text import as_text, joined, object_in
from tokenbooth.gateway.formats.anthropic.tool_names import ToolNames
from tokenbooth.gateway.formats.anthropic.turns import THOUGHT, Conversation
from tokenbooth.gateway.formats.anthropic.untranslatable import Omitted, no_counterpart
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    decode_object,
    is_empty,
    is_null,
    is_object,
    objects_of,
    raw,
    short_text,
    short_value,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, objects_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_ITEMS

_SAME_NAME: Final = ("temperature", "top_p", "stream")
_LOW_EFFORT_TOKENS: Final = 4_096
_MEDIUM_EFFORT_TOKENS: Final = 16_384
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

# What of a request is translated and may be large.
TRANSLATED: Final = frozenset(("messages", "system", "tools"))
_HANDLED: Final = TRANSLATED.union(
    (*_SAME_NAME, "model", "output_config", "output_format", "stop_sequences", "thinking", "tool_choice")
)
# They change no answer: what is cached, who asks, and defaults that buy nothing.
_WITHOUT_EFFECT: Final[Mapping[str, tuple[bytes, ...]]] = {
    "service_tier": (b'"auto"', b'"standard_only"'),
    "speed": (b'"standard"',),
}
_QUIET: Final = frozenset(("cache_control", "metadata"))
# Whoever is let pass them there, they would multiply what was held for.
_NEVER_PASSING: Final = frozenset(("n", "bestof", "streamoptions"))
_KNOWN_OF_TOOLS: Final = frozenset(
    (
        "cache_control",
        # A tool that would be looked up first is offered at once.
        "defer_loading",
        "description",
        "eager_input_streaming",
        "input_examples",
        "input_schema",
        "name",
        "strict",
        "type",
    )
)
# With one of these a schema need not say of which type its values are.
_COMBINING: Final = frozenset(("$ref", "allOf", "anyOf", "const", "enum", "if", "not", "oneOf"))
# How almost every schema begins.
_USUAL_SCHEMA: Final = re.compile(rb'\{\s*"type"\s*:\s*"object"\s*,\s*"properties"\s*:\s*\{')
_USUAL_BYTES: Final = 128
_OBJECT: Final = raw("object")
_NOTHING: Final = msgspec.Raw(b"{}")
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_EXAMPLES: Final = raw("Examples of its input: ")
_BLANK_THOUGHT: Final = raw(" ")
_TRUE: Final = raw(True)
_THOUGHT_NAME: Final = b'"%b":' % THOUGHT.encode()
_CALLS_NAME: Final = b'"tool_calls":'


@dataclass(frozen=True, slots=True)
class ChatBody:
    """The chat completion request that a messages request becomes.

    Attributes:
        fields: the body without its ceiling, whose name depends on the upstream.
        own_names: the client's name of each tool that goes out under another one.
        omitted: names of what was left out although it would change details of the answer.
        ends_begun: whether the last message is an assistant's answer that the model is to continue.
    """

    fields: Fields
    own_names: Mapping[str, str]
    omitted: tuple[str, ...]
    ends_begun: bool


def chat_body(fields: Fields, model: Model) -> Generator[None, None, ChatBody]:
    """The chat completion that asks the same, in steps.

    Args:
        fields: the messages request, as read and checked.
        model: the model that it names.

    Raises:
        Refusal: something in it has no form in the other format.
    """
    names, omitted = ToolNames(), Omitted()
    conversation = Conversation(names, omitted)
    if not is_null(fields.get("system")):
        yield from conversation.take({"role": raw("system"), "content": fields["system"]})
    yield
    given_messages = fields["messages"]
    for number, message in enumerate((yield from objects_in_steps(given_messages)) or (), 1):
        if number % STEP_ITEMS == 0:
            yield
        yield from conversation.take(message)
    yield from conversation.end_turn()
    yield
    messages = yield from encoded_in_steps(conversation.messages, size_of(given_messages))
    chat: Fields = {"model": fields["model"], "messages": messages}
    chat.update({name: fields[name] for name in _SAME_NAME if not is_null(fields.get(name))})
    if not is_empty(fields.get("stop_sequences")):
        chat["stop"] = fields["stop_sequences"]
    tools = yield from _tools(fields.get("tools"), names, omitted)
    if tools:
        yield
        chat["tools"] = raw(tools)
    chat.update(_tool_choice(fields.get("tool_choice"), names, has_tools=bool(tools)))
    chat.update(_effort(fields, model, omitted))
    chat.update(_response_format(fields))
    chat = _others(fields, model, omitted) | chat
    return ChatBody(chat, names.own, omitted.names(), conversation.ends_begun())


def fit_messages(messages: msgspec.Raw, kind: UpstreamKind, *, reasons: bool, ends_begun: bool) -> msgspec.Raw:
    """Fit the translated messages to the kind of an upstream.

    Args:
        messages: those of a `ChatBody`.
        kind: decides under which name earlier thinking goes, whether it must, and how a begun answer is marked.
        reasons: whether the model reasons.
        ends_begun: whether the last message is an answer to continue.
    """
    content = bytes(messages)
    has_name = kind.thought == THOUGHT or _THOUGHT_NAME not in content
    needs_thought = kind.needs_thought and reasons and _CALLS_NAME in content
    marks = ends_begun and bool(kind.begun_mark)
    if has_name and not needs_thought and not marks:
        return messages
    fitted = objects_of(messages) or []
    for message in fitted:
        thought = message.pop(THOUGHT, None)
        if thought is None and needs_thought and "tool_calls" in message:
            thought = _BLANK_THOUGHT
        if thought is not None and kind.thought:
            message[kind.thought] = thought
    if marks:
        fitted[-1][kind.begun_mark] = _TRUE
    return raw(fitted)


def _tools(given: msgspec.Raw | None, names: ToolNames, omitted: Omitted) -> Generator[None, None, list[Object]]:
    tools: list[Object] = []
    for number, tool in enumerate((objects_of(given) if given is not None else None) or (), 1):
        if number % STEP_ITEMS == 0:
            yield
        tools.append((yield from _tool(tool, names, omitted)))
    return tools


def _tool(tool: Object, names: ToolNames, omitted: Omitted) -> Generator[None, None, Object]:
    kind = short_text(tool.get("type")) or "custom"
    if kind != "custom":
        raise no_counterpart(f"tools.{kind}", "Define it as a tool of your own, with 'name' and 'input_schema'.")
    for name, value in tool.items():
        if name not in _KNOWN_OF_TOOLS and not is_empty(value):
            omitted.add(f"tools.{name}")
    function: Object = {
        "name": names.sent(tool.get("name"), "tools"),
        "parameters": _parameters(tool.get("input_schema")),
    }
    function.update({name: tool[name] for name in ("description", "strict") if not is_null(tool.get(name))})
    examples: msgspec.Raw | None = tool.get("input_examples")
    if examples is not None and not is_empty(examples):
        described = [text for text in (function.get("description"),) if text is not None]
        text = yield from joined([_EXAMPLES, (yield from as_text(examples))])
        function["description"] = yield from joined([*described, text], rb"\n\n")
    return {"type": "function", "function": function}


def _parameters(schema: msgspec.Raw | None) -> msgspec.Raw:
    """The schema of a tool's input. OpenAI refuses an object without `properties`, even where it has none."""
    if schema is not None and _USUAL_SCHEMA.match(memoryview(schema)[:_USUAL_BYTES]):
        return schema
    if is_null(schema):
        return _NO_PARAMETERS
    if schema is None or not is_object(schema):
        raise invalid_request("invalid_parameter", "The 'input_schema' of a tool must be an object.", "tools")
    fields = decode_object(schema)
    missing: Fields = {}
    kind = fields.get("type")
    if is_null(kind) and _COMBINING.isdisjoint(fields):
        missing["type"] = kind = _OBJECT
    if short_text(kind) == "object" and is_null(fields.get("properties")) and "$ref" not in fields:
        missing["properties"] = _NOTHING
    return raw(fields | missing) if missing else schema


def _tool_choice(given: msgspec.Raw | None, names: ToolNames, *, has_tools: bool) -> Fields:
    if is_null(given):
        return {}
    choice, chosen = object_in(given), None
    match short_text(choice.get("type")):
        case "any":
            chosen = raw("required")
        case "tool":
            function = {"name": names.sent(choice.get("name"), "tool_choice")}
            chosen = raw({"type": "function", "function": function})
        case "auto" | "none" as same:
            if not has_tools:
                return {}
            chosen = raw(same)
        case _:
            raise invalid_request(
                "invalid_parameter", "The 'type' of 'tool_choice' must be auto, any, tool or none.", "tool_choice"
            )
    if not has_tools:
        raise invalid_request(
            "invalid_parameter", "'tool_choice' wants a call, and there are no 'tools'.", "tool_choice"
        )
    fields = {"tool_choice": chosen}
    if short_value(choice.get("disable_parallel_tool_use")) is True:
        fields["parallel_tool_calls"] = raw(False)
    return fields


def _effort(fields: Fields, model: Model, omitted: Omitted) -> Fields:
    """The reasoning effort in the chat format; none for a model that does not reason."""
    config = object_in(fields.get("output_config"))
    for name, value in config.items():
        if name not in ("effort", "format") and not is_empty(value):
            omitted.add(f"output_config.{name}")
    effort = short_text(config.get("effort"))
    thinking = object_in(fields.get("thinking"))
    if not model.reasoning:
        if effort:
            omitted.add("output_config.effort")
        if short_text(thinking.get("type")) not in ("", "disabled"):
            omitted.add("thinking")
        return {}
    if effort in _EFFORTS:
        return {"reasoning_effort": raw(_EFFORTS[effort])}
    if effort:
        omitted.add("output_config.effort")
    budget = short_value(thinking.get("budget_tokens"))
    if not isinstance(budget, int):
        return {}
    if budget <= _LOW_EFFORT_TOKENS:
        return {"reasoning_effort": raw("low")}
    return {"reasoning_effort": raw("medium" if budget <= _MEDIUM_EFFORT_TOKENS else "high")}


def _response_format(fields: Fields) -> Fields:
    given = object_in(fields.get("output_config")).get("format")
    wanted = object_in(fields.get("output_format") if is_null(given) else given)
    if not wanted:
        return {}
    kind = short_text(wanted.get("type"))
    if kind != "json_schema":
        raise no_counterpart("output_config.format", "Its 'type' must be json_schema.")
    schema: msgspec.Raw | None = wanted.get("schema")
    if schema is None or not is_object(schema):
        raise invalid_request("invalid_parameter", "The format of the answer needs a 'schema'.", "output_config.format")
    json_schema = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": raw({"type": "json_schema", "json_schema": json_schema})}


def _others(fields: Fields, model: Model, omitted: Omitted) -> Fields:
    """Fields that the operator allows by name. Any other that would change something is noted as left out."""
    passing: Fields = {}
    for name, value in fields.items():
        if name in _HANDLED or is_empty(value) or bytes(memoryview(value)[:32]) in _WITHOUT_EFFECT.get(name, ()):
            continue
        if name in model.allowed_parameters and folded(name) not in _NEVER_PASSING:
            passing[name] = value
        elif name not in _QUIET:
            omitted.add(name)
    return passing
