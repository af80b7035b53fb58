"""A messages request in OpenAI's chat format, for upstreams that only speak that.

What has no counterpart and changes only details (cache marks, `top_k`, metadata) is left out; what has none and would
be missed (a PDF, a tool that is built into another maker's models) is refused by name. Earlier thinking is left out:
it is signed for the model that wrote it. It does no I/O; only the messages format imports it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import Fields, raw
from tokenbooth.gateway.fields import list_of, mapping, type_of, value_of
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter

_SAME_NAME: Final = ("temperature", "top_p", "stream")
_LOW_EFFORT_TOKENS: Final = 4_096
_MEDIUM_EFFORT_TOKENS: Final = 16_384
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

_Json = dict[str, object]


def chat_fields(fields: Fields, model: Model) -> Fields:
    """The body of a chat completion that asks the same, but for its ceiling, whose name is the upstream's.

    Args:
        fields: the messages request, as read and checked.
        model: the model that it names.

    Raises:
        Refusal: something in it has no form in the other format.
    """
    messages: list[_Json] = []
    system = _system_text(value_of(fields, "system"))
    if system:
        messages.append({"role": "system", "content": system})
    for message in list_of(fields, "messages"):
        messages += _messages_of(mapping(message))
    chat: Fields = {"model": fields["model"], "messages": _encoded(messages)}
    chat.update({name: fields[name] for name in _SAME_NAME if name in fields})
    if "stop_sequences" in fields:
        chat["stop"] = fields["stop_sequences"]
    tools = [_tool(mapping(tool)) for tool in list_of(fields, "tools")]
    if tools:
        chat["tools"] = _encoded(tools)
        chat.update(_tool_choice(mapping(value_of(fields, "tool_choice"))))
    effort = _effort(fields, model)
    if effort is not None:
        chat["reasoning_effort"] = raw(effort)
    chat.update(_response_format(fields))
    return chat


def _system_text(system: object) -> str:
    if isinstance(system, str):
        return system
    blocks = system if isinstance(system, list) else []
    return "\n\n".join(str(mapping(block).get("text", "")) for block in blocks)


def _messages_of(message: Mapping[str, object]) -> list[_Json]:
    """One message there can be several here: each result of a tool is a message of its own."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise invalid_request("invalid_parameter", "A message's 'role' must be user or assistant.", "messages")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks = [mapping(block) for block in blocks] if isinstance(blocks, list) else []
    if role == "assistant":
        return [_assistant_message(blocks)]
    if role == "system":
        return [{"role": "system", "content": _system_text(blocks)}]
    return _user_messages(blocks)


def _assistant_message(blocks: list[Mapping[str, object]]) -> _Json:
    text = "".join(str(block.get("text", "")) for block in blocks if type_of(block) == "text")
    calls = [_tool_call(block) for block in blocks if type_of(block) == "tool_use"]
    for block in blocks:
        if type_of(block) not in ("text", "tool_use", "thinking", "redacted_thinking"):
            raise unsupported_parameter(f"content.{type_of(block)}")
    message: _Json = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_call(block: Mapping[str, object]) -> _Json:
    arguments = msgspec.json.encode(block.get("input", {})).decode()
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _user_messages(blocks: list[Mapping[str, object]]) -> list[_Json]:
    results: list[_Json] = []
    parts: list[_Json] = []
    for block in blocks:
        if type_of(block) != "tool_result":
            parts.append(_part(block))
            continue
        text, images = _result(block)
        results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
        # The result of a tool is text there; its images follow in the user's words.
        parts = images + parts
    if not parts:
        return results
    if len(parts) == 1 and parts[0]["type"] == "text":
        return [*results, {"role": "user", "content": parts[0]["text"]}]
    return [*results, {"role": "user", "content": parts}]


def _result(block: Mapping[str, object]) -> tuple[str, list[_Json]]:
    content = block.get("content")
    if isinstance(content, str) or content is None:
        texts, images = [content or ""], []
    else:
        parts = [_part(mapping(inner)) for inner in content] if isinstance(content, list) else []
        texts = [str(part["text"]) for part in parts if part["type"] == "text"]
        images = [part for part in parts if part["type"] != "text"]
    text = "\n".join(texts)
    return (f"Error: {text}" if block.get("is_error") is True else text), images


def _part(block: Mapping[str, object]) -> _Json:
    source = mapping(block.get("source"))
    match type_of(block), type_of(source):
        case "text", _:
            return {"type": "text", "text": block.get("text", "")}
        case "image", "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "image_url", "image_url": {"url": url}}
        case "image", "url":
            return {"type": "image_url", "image_url": {"url": source.get("url")}}
        case "document", "text":
            return {"type": "text", "text": source.get("data", "")}
        case "search_result", _:
            return {"type": "text", "text": f"{block.get('title', '')}\n{_system_text(block.get('content'))}"}
        case kind, _:
            raise unsupported_parameter(f"content.{kind}")


def _tool(tool: Mapping[str, object]) -> _Json:
    kind = type_of(tool) or "custom"
    if kind != "custom":
        raise unsupported_parameter(f"tools.{kind}")
    function: _Json = {"name": tool.get("name"), "parameters": tool.get("input_schema", {"type": "object"})}
    function.update({name: tool[name] for name in ("description", "strict") if name in tool})
    return {"type": "function", "function": function}


def _tool_choice(choice: Mapping[str, object]) -> Fields:
    chosen: object
    match type_of(choice):
        case "any":
            chosen = "required"
        case "tool":
            chosen = {"type": "function", "function": {"name": choice.get("name")}}
        case "auto" | "none" as same:
            chosen = same
        case _:
            return {}
    fields = {"tool_choice": _encoded(chosen)}
    if choice.get("disable_parallel_tool_use") is True:
        fields["parallel_tool_calls"] = raw(False)
    return fields


def _effort(fields: Fields, model: Model) -> str | None:
    """How much to think, in the other format's words; a model that does not think is not asked to."""
    if not model.reasoning:
        return None
    effort = mapping(value_of(fields, "output_config")).get("effort")
    if isinstance(effort, str) and effort in _EFFORTS:
        return _EFFORTS[effort]
    budget = mapping(value_of(fields, "thinking")).get("budget_tokens")
    if not isinstance(budget, int):
        return None
    if budget <= _LOW_EFFORT_TOKENS:
        return "low"
    return "medium" if budget <= _MEDIUM_EFFORT_TOKENS else "high"


def _response_format(fields: Fields) -> Fields:
    wanted = mapping(mapping(value_of(fields, "output_config")).get("format") or value_of(fields, "output_format"))
    if type_of(wanted) != "json_schema":
        return {}
    schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
    return {"response_format": _encoded({"type": "json_schema", "json_schema": schema})}


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
