"""A messages request in OpenAI's chat format, for upstreams that only speak that.

What has no counterpart and changes only details (cache marks, `top_k`, metadata) is left out; what has none and would
be missed (a PDF, a tool that is built into another maker's models) is refused by name. Earlier thinking that is signed
is left out: only the model that wrote it can read it. Thinking without a signature was a chat completion's, and goes
back to the upstream that wrote it. Texts go over as they are written, without being decoded: one of many
megabytes need not become a string of Python. It does no I/O; only the messages format imports it.
"""

from collections.abc import Generator, Sequence
from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import (
    Fields,
    Object,
    decode_object,
    encoded,
    is_empty,
    is_object,
    is_text,
    objects_of,
    opened_field,
    raw,
    short_text,
    short_value,
    size_of,
)
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter
from tokenbooth.gateway.split import Room, encoded_in_steps, objects_in_steps
from tokenbooth.gateway.steps import STEP_BYTES, STEP_ITEMS

_SAME_NAME: Final = ("temperature", "top_p", "stream")
_LOW_EFFORT_TOKENS: Final = 4_096
_MEDIUM_EFFORT_TOKENS: Final = 16_384
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

THOUGHT: Final = "reasoning_content"
"""Where an assistant's message holds what was thought, before it goes to an upstream with another name for it."""

# What of a request is translated and may be large.
TRANSLATED: Final = frozenset(("messages", "system", "tools"))
_EMPTY: Final = b'""'


def chat_fields(fields: Fields, model: Model) -> Generator[None, None, Fields]:
    """The body of a chat completion that asks the same, but for its ceiling, whose name is the upstream's; in steps.

    Args:
        fields: the messages request, as read and checked.
        model: the model that it names.

    Raises:
        Refusal: something in it has no form in the other format.
    """
    messages: list[Object] = []
    system = yield from _system_text(fields.get("system"))
    if bytes(memoryview(system)[:3]) != _EMPTY:
        messages.append({"role": "system", "content": system})
    yield
    given_messages = fields["messages"]
    for number, message in enumerate((yield from objects_in_steps(given_messages)) or (), 1):
        if number % STEP_ITEMS == 0:
            yield
        messages += yield from _messages_of(message)
    yield
    chat: Fields = {
        "model": fields["model"],
        "messages": (yield from encoded_in_steps(messages, size_of(given_messages))),
    }
    chat.update({name: fields[name] for name in _SAME_NAME if name in fields})
    if "stop_sequences" in fields:
        chat["stop"] = fields["stop_sequences"]
    given = fields.get("tools")
    tools: list[Object] = []
    for number, tool in enumerate((objects_of(given) if given is not None else None) or (), 1):
        if number % STEP_ITEMS == 0:
            yield
        tools.append(_tool(tool))
    if tools:
        yield
        chat["tools"] = encoded(tools)
        chat.update(_tool_choice(_object(fields.get("tool_choice"))))
    effort = _effort(fields, model)
    if effort is not None:
        chat["reasoning_effort"] = raw(effort)
    chat.update(_response_format(fields))
    return chat


def with_thoughts_as(messages: msgspec.Raw, name: str) -> msgspec.Raw:
    """The translated messages for an upstream that has another name for what was thought, or none.

    Args:
        messages: the messages of `chat_fields`.
        name: the field; empty where thoughts are not sent.
    """
    if name == THOUGHT or b'"%b":' % THOUGHT.encode() not in bytes(messages):
        return messages
    renamed = objects_of(messages) or []
    for message in renamed:
        thought = message.pop(THOUGHT, None)
        if thought is not None and name:
            message[name] = thought
    return encoded(renamed)


def _object(value: msgspec.Raw | None) -> Object:
    """A raw value's names; empty when it is no object."""
    return decode_object(value) if value is not None and is_object(value) else {}


def _joined(texts: Sequence[msgspec.Raw | None], between: bytes = b"") -> Generator[None, None, msgspec.Raw]:
    """Texts in one, as they are written.

    Raises:
        Refusal: one of them is something else.
    """
    parts: list[bytes | memoryview] = [b'"']
    for number, text in enumerate(texts):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        if text is not None and not is_text(text):
            raise invalid_request("invalid_parameter", "The 'text' of a block must be a string.", "messages")
        if number:
            parts.append(between)
        if text is not None:
            parts.append(memoryview(text)[1:-1])
    if len(texts) == 1 and texts[0] is not None:
        return texts[0]
    parts.append(b'"')
    return msgspec.Raw(b"".join(parts))


def _system_text(system: msgspec.Raw | None) -> Generator[None, None, msgspec.Raw]:
    if system is not None and is_text(system):
        return system
    if system is not None and size_of(system) > STEP_BYTES:
        yield
    blocks = (yield from objects_in_steps(system)) if system is not None else None
    return (yield from _joined([block.get("text") for block in blocks or ()], rb"\n\n"))


def _messages_of(message: Object) -> Generator[None, None, list[Object]]:
    """One message there can be several here: each result of a tool is a message of its own."""
    role, content = short_text(message.get("role")), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise invalid_request("invalid_parameter", "A message's 'role' must be user or assistant.", "messages")
    if content is not None and is_text(content):
        return [{"role": role, "content": content}]
    if content is not None and size_of(content) > STEP_BYTES:
        yield
    blocks = ((yield from objects_in_steps(content)) if content is not None else None) or []
    if role == "assistant":
        return [(yield from _assistant_message(blocks))]
    if role == "system":
        text = yield from _joined([block.get("text") for block in blocks], rb"\n\n")
        return [{"role": "system", "content": text}]
    return (yield from _user_messages(blocks))


def _assistant_message(blocks: list[Object]) -> Generator[None, None, Object]:
    texts: list[msgspec.Raw | None] = []
    thoughts: list[msgspec.Raw | None] = []
    calls: list[Object] = []
    for number, block in enumerate(blocks, 1):
        if number % STEP_ITEMS == 0:
            yield
        match short_text(block.get("type")):
            case "text":
                texts.append(block.get("text"))
            case "tool_use":
                calls.append((yield from _tool_call(block)))
            case "thinking" if is_empty(block.get("signature")):
                thoughts.append(block.get("thinking"))
            case "thinking" | "redacted_thinking":
                pass
            case kind:
                raise unsupported_parameter(f"content.{kind}")
    text = yield from _joined(texts)
    message: Object = {"role": "assistant", "content": text if size_of(text) > len(_EMPTY) or not calls else None}
    if calls:
        message["tool_calls"] = calls
    if thoughts:
        thought = yield from _joined(thoughts)
        if size_of(thought) > len(_EMPTY):
            message[THOUGHT] = thought
    return message


def _tool_call(block: Object) -> Generator[None, None, Object]:
    arguments = yield from _as_text(block.get("input"))
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _as_text(value: msgspec.Raw | None) -> Generator[None, None, msgspec.Raw]:
    """The JSON of a value as a string of JSON; what is escaped is escaped once more."""
    if value is None:
        return msgspec.Raw(b'"{}"')
    view, size_bytes = memoryview(value), size_of(value)
    if size_bytes <= STEP_BYTES:
        return msgspec.Raw(b'"%b"' % _escaped(bytes(view)))
    text = Room(size_bytes)
    text.add(b'"')
    for start in range(0, size_bytes, STEP_BYTES):
        yield
        text.add(_escaped(bytes(view[start : start + STEP_BYTES])))
    text.add(b'"')
    return text.written()


def _escaped(part: bytes) -> bytes:
    """JSON as it stands in a string of JSON."""
    part = part.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    # Between values JSON may have white space, which a string may not.
    return part.replace(b"\n", b"\\n").replace(b"\r", b"\\r").replace(b"\t", b"\\t")


def _user_messages(blocks: list[Object]) -> Generator[None, None, list[Object]]:
    results: list[Object] = []
    images: list[Object] = []
    parts: list[Object] = []
    for number, block in enumerate(blocks, 1):
        if number % STEP_ITEMS == 0:
            yield
        if short_text(block.get("type")) != "tool_result":
            parts.append((yield from _part(block)))
            continue
        text, pictures = yield from _result(block)
        results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
        # The result of a tool is text there; its images come before the user's words.
        images = pictures + images
    parts = images + parts
    if not parts:
        return results
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*results, {"role": "user", "content": parts[0]["text"]}]
    return [*results, {"role": "user", "content": parts}]


def _result(block: Object) -> Generator[None, None, tuple[msgspec.Raw, list[Object]]]:
    content: msgspec.Raw | None = block.get("content")
    texts: list[msgspec.Raw | None] = []
    images: list[Object] = []
    if content is not None and is_text(content):
        texts.append(content)
    else:
        if content is not None and size_of(content) > STEP_BYTES:
            yield
        inners = (yield from objects_in_steps(content)) if content is not None else None
        for number, inner in enumerate(inners or (), 1):
            if number % STEP_ITEMS == 0:
                yield
            part = yield from _part(inner)
            if part["type"] == "text":
                texts.append(part["text"])
            else:
                images.append(part)
    text = yield from _joined(texts, rb"\n")
    is_error = bytes(block.get("is_error", msgspec.Raw())) == b"true"
    if is_error:
        text = yield from _joined([raw("Error: "), text])
    return text, images


def _part(block: Object) -> Generator[None, None, Object]:
    source = opened_field(block, "source") or {}
    match short_text(block.get("type")), short_text(source.get("type")):
        case "text", _:
            return {"type": "text", "text": (yield from _joined([block.get("text")]))}
        case "image", "base64":
            data = yield from _joined([raw("data:"), source.get("media_type"), raw(";base64,"), source.get("data")])
            return {"type": "image_url", "image_url": {"url": data}}
        case "image", "url":
            return {"type": "image_url", "image_url": {"url": source.get("url")}}
        case "document", "text":
            return {"type": "text", "text": (yield from _joined([source.get("data")]))}
        case "search_result", _:
            found = yield from _system_text(block.get("content"))
            return {"type": "text", "text": (yield from _joined([block.get("title"), found], rb"\n"))}
        case kind, _:
            raise unsupported_parameter(f"content.{kind}")


def _tool(tool: Object) -> Object:
    kind = short_text(tool.get("type")) or "custom"
    if kind != "custom":
        raise unsupported_parameter(f"tools.{kind}")
    function: Object = {"name": tool.get("name"), "parameters": tool.get("input_schema", {"type": "object"})}
    function.update({name: tool[name] for name in ("description", "strict") if name in tool})
    return {"type": "function", "function": function}


def _tool_choice(choice: Object) -> Fields:
    chosen: object
    match short_text(choice.get("type")):
        case "any":
            chosen = "required"
        case "tool":
            chosen = {"type": "function", "function": {"name": choice.get("name")}}
        case "auto" | "none" as same:
            chosen = same
        case _:
            return {}
    fields = {"tool_choice": encoded(chosen)}
    if short_value(choice.get("disable_parallel_tool_use")) is True:
        fields["parallel_tool_calls"] = raw(False)
    return fields


def _effort(fields: Fields, model: Model) -> str | None:
    """How much to think, in the other format's words; a model that does not think is not asked to."""
    if not model.reasoning:
        return None
    effort = short_text(_object(fields.get("output_config")).get("effort"))
    if effort in _EFFORTS:
        return _EFFORTS[effort]
    budget = short_value(_object(fields.get("thinking")).get("budget_tokens"))
    if not isinstance(budget, int):
        return None
    if budget <= _LOW_EFFORT_TOKENS:
        return "low"
    return "medium" if budget <= _MEDIUM_EFFORT_TOKENS else "high"


def _response_format(fields: Fields) -> Fields:
    wanted = _object(_object(fields.get("output_config")).get("format") or fields.get("output_format"))
    if short_text(wanted.get("type")) != "json_schema":
        return {}
    schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
    return {"response_format": encoded({"type": "json_schema", "json_schema": schema})}
