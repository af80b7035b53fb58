"""Writing a whole answer as the events of a stream, for a client that asked for one where the upstream sent none."""

from typing import Final

import msgspec

from tokenbooth.gateway.formats.json.body import decode_dict, decode_object, decode_objects, encode, is_object, raw
from tokenbooth.gateway.formats.sse import named_event

_Json = dict[str, object]
_CHUNK: Final = msgspec.Raw(b'"chat.completion.chunk"')


def chat_events(body: bytes) -> bytes:
    """The events of a chat completion: the message in one, then its usage if it has any, then the end.

    Raises:
        UNREADABLE: the body is no chat completion.
    """
    fields = decode_object(body)
    choices = decode_objects(fields["choices"]) if "choices" in fields else []
    for choice in choices:
        if "message" in choice:
            choice["delta"] = _delta(choice.pop("message"))
    return _events({**fields, "object": _CHUNK}, choices)


def completion_events(body: bytes) -> bytes:
    """The events of a completion, whose choices have the same form in both.

    Raises:
        UNREADABLE: the body is no completion.
    """
    fields = decode_object(body)
    return _events(fields, decode_objects(fields["choices"]) if "choices" in fields else [])


def message_events(body: bytes) -> bytes:
    """The events of a message: each of its blocks as one piece.

    Raises:
        UNREADABLE: the body is no message.
    """
    message = decode_dict(body)
    blocks = message.get("content")
    if isinstance(blocks, str):
        blocks = [{"type": "text", "text": blocks}] if blocks else []
    end = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    usage = message.get("usage")
    prompt_usage = {**usage, "output_tokens": 0} if isinstance(usage, dict) else usage
    start = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": prompt_usage}
    events: list[_Json] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(blocks if isinstance(blocks, list) else ()):
        if not isinstance(block, dict):
            raise msgspec.DecodeError("a block is no object")
        opened, deltas = _in_pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    if isinstance(usage, dict):
        events.append({"type": "message_delta", "delta": end, "usage": usage})
    else:
        events.append({"type": "message_delta", "delta": end})
    events.append({"type": "message_stop"})
    return b"".join([named_event(event) for event in events])


def response_events(body: bytes) -> bytes:
    """The events of a response: each of its items as one piece.

    Raises:
        UNREADABLE: the body is no response.
    """
    response = decode_dict(body)
    items = response.get("output")
    status = response.get("status")
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[_Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, dict):
            raise msgspec.DecodeError("an item is no object")
        events += _item_events(index, item)
    ending = "response.incomplete" if status == "incomplete" else "response.completed"
    events.append({"type": ending, "response": response})
    return b"".join(named_event({**event, "sequence_number": number}) for number, event in enumerate(events))


def _in_pieces(block: _Json) -> tuple[_Json, list[_Json]]:
    """A block as it begins, and its deltas; a kind without deltas begins whole."""
    match block:
        case {"type": "text", "text": str(text)}:
            citations = block.get("citations")
            citation_deltas: list[_Json] = [
                {"type": "citations_delta", "citation": citation}
                for citation in (citations if isinstance(citations, list) else ())
            ]
            begun = {**block, "text": ""}
            if citations:
                begun["citations"] = []
            return begun, [{"type": "text_delta", "text": text}, *citation_deltas]
        case {"type": "thinking", "thinking": str(thinking)}:
            deltas: list[_Json] = [{"type": "thinking_delta", "thinking": thinking}]
            if block.get("signature"):
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {**block, "thinking": "", "signature": ""}, deltas
        case {"type": "tool_use" | "server_tool_use", "input": dict(given)}:
            written = encode(given).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": written}]
        case _:
            return block, []


def _item_events(index: int, item: _Json) -> list[_Json]:
    at: _Json = {"output_index": index, "item_id": item.get("id")}
    begun, inside = dict(item), list[_Json]()
    match item:
        case {"type": "message", "content": list(parts)}:
            begun |= {"content": [], "status": "in_progress"}
            for number, part in enumerate(parts):
                inside += _part_events({**at, "content_index": number}, part)
        case {"type": "function_call", "arguments": str(arguments)}:
            begun |= {"arguments": "", "status": "in_progress"}
            kind = "response.function_call_arguments"
            inside = [
                {"type": f"{kind}.delta", **at, "delta": arguments},
                {"type": f"{kind}.done", **at, "arguments": arguments},
            ]
        case {"type": "custom_tool_call", "input": str(given)}:
            begun |= {"input": ""}
            kind = "response.custom_tool_call_input"
            inside = [{"type": f"{kind}.delta", **at, "delta": given}, {"type": f"{kind}.done", **at, "input": given}]
        case {"type": "reasoning", "summary": list(parts)}:
            begun |= {"summary": []}
            for number, part in enumerate(parts):
                inside += _summary_events({**at, "summary_index": number}, part)
        case _:
            pass
    return [
        {"type": "response.output_item.added", "output_index": index, "item": begun},
        *inside,
        {"type": "response.output_item.done", "output_index": index, "item": item},
    ]


def _part_events(at: _Json, part: object) -> list[_Json]:
    if not isinstance(part, dict):
        raise msgspec.DecodeError("a part is no object")
    name = "refusal" if part.get("type") == "refusal" else "text"
    text = part.get(name)
    if not isinstance(text, str):
        return [{"type": f"response.content_part.{when}", **at, "part": part} for when in ("added", "done")]
    kind = "response.refusal" if name == "refusal" else "response.output_text"
    return [
        {"type": "response.content_part.added", **at, "part": {**part, name: ""}},
        {"type": f"{kind}.delta", **at, "delta": text},
        {"type": f"{kind}.done", **at, name: text},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _summary_events(at: _Json, part: object) -> list[_Json]:
    if not isinstance(part, dict):
        raise msgspec.DecodeError("a summary is no object")
    kind = "response.reasoning_summary"
    return [
        {"type": f"{kind}_part.added", **at, "part": {**part, "text": ""}},
        {"type": f"{kind}_text.delta", **at, "delta": part.get("text", "")},
        {"type": f"{kind}_text.done", **at, "text": part.get("text", "")},
        {"type": f"{kind}_part.done", **at, "part": part},
    ]


def _delta(message: msgspec.Raw) -> msgspec.Raw:
    fields = decode_object(message)
    if bytes(fields.get("tool_calls", b"null")) != b"null":
        given = fields["tool_calls"]
        # Some servers write the only call without its list.
        calls = [decode_object(given)] if is_object(given) else decode_objects(given)
        numbered = [{"index": msgspec.Raw(b"%d" % position), **call} for position, call in enumerate(calls)]
        fields["tool_calls"] = raw(numbered)
    return raw(fields)


def _events(fields: dict[str, msgspec.Raw], choices: list[dict[str, msgspec.Raw]]) -> bytes:
    usage = fields.pop("usage", msgspec.Raw(b"null"))
    events: list[dict[str, object]] = [{**fields, "choices": choices}]
    if bytes(usage) != b"null":
        events.append({**fields, "choices": [], "usage": usage})
    return b"".join(b"data: " + encode(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
