"""Putting the events of a stream together to a whole answer, for a client that did not ask for a stream.

The stream is known to have come to its end without an error.
"""

from typing import Final

import msgspec

from tokenbooth.domain.usage import merged
from tokenbooth.gateway.formats.chat_answer import CallPiece, decode_lenient, read_call, whole_texts
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_json, encode
from tokenbooth.gateway.formats.reported_usage import take_reported
from tokenbooth.gateway.formats.sse import END_MARKER, data_of, events_of
from tokenbooth.gateway.formats.tool_calls import ToolCall, call_of

_Json = dict[str, object]
# Pieces of one text; other fields of a delta are whole each time.
_TEXTS: Final = frozenset(
    ("content", "reasoning_content", "reasoning", "thinking", "refusal", "text", "arguments", "input")
)
_LAST_TYPES: Final = ("message_stop", "response.completed", "response.incomplete")


def chat_answer(body: bytes) -> bytes:
    """A chat completion from its chunks."""
    answer, choices = _merged(body)
    for choice in choices:
        message: _Json = {"role": "assistant", "content": None}
        delta = choice.pop("delta", None)
        if isinstance(delta, dict):
            message.update(delta)
        choice["message"] = message
    return _encoded({**answer, "object": "chat.completion", "choices": choices})


def completion_answer(body: bytes) -> bytes:
    """A completion from its chunks, whose choices have the same form in both."""
    answer, choices = _merged(body)
    return _encoded({**answer, "choices": choices})


def response_answer(body: bytes) -> bytes:
    """A response, which its last event holds. Where it has no output, the events before supply it.

    Raises:
        msgspec.DecodeError: no event holds it.
    """
    events = _events(body)
    responses = [held for event in events if isinstance(held := event.get("response"), dict)]
    if not responses:
        raise msgspec.DecodeError("no response")
    response = responses[-1]
    if not response.get("output"):
        response["output"] = _items_of(events)
    return _encoded(response)


def _items_of(events: list[_Json]) -> list[_Json]:
    """The items of a response from its events: as the event that ends an item has it, else from their pieces."""
    items: dict[object, _Json] = {}
    done: set[object] = set()
    for event in events:
        at = _place_of(event, len(items))
        match event:
            case {"type": "response.output_item.added", "item": dict(item)}:
                items[at] = item
            case {"type": "response.output_item.done", "item": dict(item)}:
                items[at] = item
                done.add(at)
            case {"type": str(kind), "delta": str(piece)} if at not in done:
                _add_to_item(items, at, kind, piece)
            case _:
                pass
    return list(items.values())


def _place_of(event: _Json, new: int) -> object:
    """The key of an event's item: its index, else its id, else `new`."""
    index, item = event.get("output_index"), event.get("item")
    item_id = item.get("id") if isinstance(item, dict) else event.get("item_id")
    return (new if item_id is None else item_id) if index is None else index


def _add_to_item(items: dict[object, _Json], at: object, kind: str, piece: str) -> None:
    match kind:
        case "response.output_text.delta":
            _add_to_part(items, at, "text", {"type": "output_text", "annotations": []}, piece)
        case "response.refusal.delta":
            _add_to_part(items, at, "refusal", {"type": "refusal"}, piece)
        case "response.function_call_arguments.delta" if at in items:
            items[at]["arguments"] = f"{items[at].get('arguments') or ''}{piece}"
        case "response.custom_tool_call_input.delta" if at in items:
            items[at]["input"] = f"{items[at].get('input') or ''}{piece}"


def _add_to_part(items: dict[object, _Json], at: object, name: str, part: _Json, piece: str) -> None:
    """Add to the last part of a message, or begin another part if the last one is of another type."""
    item = items.setdefault(at, {"type": "message", "role": "assistant", "status": "completed"})
    parts = item.get("content")
    if not isinstance(parts, list):
        parts = item["content"] = []
    if not parts or not isinstance(parts[-1], dict) or name not in parts[-1]:
        parts.append({**part, name: ""})
    parts[-1][name] = f"{parts[-1][name]}{piece}"


def message_answer(body: bytes) -> bytes:
    """A message from its events.

    Raises:
        msgspec.DecodeError: there is no `message_start`.
    """
    message: _Json | None = None
    blocks: dict[object, _Json] = {}
    inputs: dict[object, str] = {}
    for event in _events(body):
        match event:
            case {"type": "message_start", "message": dict(started)}:
                message = started
            case {"type": "content_block_start", "index": index, "content_block": dict(block)}:
                blocks[_key(index)] = block
            case {"type": "content_block_delta", "index": index, "delta": dict(delta)}:
                block = blocks.setdefault(_key(index), {"type": "text", "text": ""})
                _add_piece(block, delta, inputs, _key(index))
            case {"type": "message_delta"} if message is not None:
                _merge_end(message, event)
            case _:
                pass
    if message is None:
        raise msgspec.DecodeError("no message")
    for index, written in inputs.items():
        blocks[index]["input"] = _input_of(written)
    return _encoded({**message, "content": list(blocks.values())})


def _add_piece(block: _Json, delta: _Json, inputs: dict[object, str], index: object) -> None:
    match delta:
        case {"type": "input_json_delta", "partial_json": str(piece)}:
            inputs[index] = inputs.get(index, "") + piece
        case {"type": "citations_delta", "citation": citation}:
            known = block.get("citations")
            block["citations"] = [*(known if isinstance(known, list) else ()), citation]
        case _:
            for name in ("text", "thinking", "signature"):
                added = delta.get(name)
                if isinstance(added, str):
                    block[name] = f"{block.get(name) or ''}{added}"


def _merge_end(message: _Json, event: _Json) -> None:
    delta, usage, known = event.get("delta"), event.get("usage"), message.get("usage")
    if isinstance(delta, dict):
        # Some servers have the usage inside.
        inside = delta.pop("usage", None)
        usage = usage or inside
        message.update(delta)
    if isinstance(usage, dict):
        message["usage"] = _usage_together(known, usage)


def _key(index: object) -> object:
    """The index of a block or a choice; None for a list or an object, which is none."""
    return None if isinstance(index, dict | list) else index


def _input_of(written: str) -> object:
    try:
        return decode_json(written or "{}")
    except UNREADABLE:
        return {"input": written}


def _merged(body: bytes) -> tuple[_Json, list[_Json]]:
    """The fields of all chunks, later ones replacing earlier ones, and the choices in the order of their indexes.

    The usage is at the top, wherever the chunks have it.
    """
    answer: _Json = {}
    choices: dict[object, _Json] = {}
    for event in _events(body):
        reported = take_reported(event)
        if reported:
            answer["usage"] = _usage_together(answer.get("usage"), reported)
        pieces = event.pop("choices", None)
        answer.update({name: value for name, value in event.items() if value is not None or name not in answer})
        for position, choice in enumerate(pieces if isinstance(pieces, list) else ()):
            if isinstance(choice, dict):
                index = _key(choice.get("index"))
                number = position if index is None else index
                _merge(choices.setdefault(number, {"index": number}), choice)
    for choice in choices.values():
        delta = choice.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("tool_calls"), list):
            delta["tool_calls"] = _whole_calls(delta["tool_calls"])
    return answer, [choices[index] for index in sorted(choices, key=str)]


def _usage_together(known: object, reported: _Json) -> _Json:
    """Two usage objects of one answer as one: of each count the last that is not absent, of all else the last."""
    if not isinstance(known, dict) or not known:
        return reported
    both = {**known, **reported}
    counts = merged(both, {})
    return {**{name: value for name, value in both.items() if name not in counts}, **merged(known, reported)}


def _merge(known: _Json, piece: _Json) -> None:
    """Add a piece to what is known: texts go on, lists and objects grow, other values are replaced."""
    for name, value in piece.items():
        before = known.get(name)
        if name in _TEXTS and isinstance(before, str) and isinstance(value, str):
            known[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            _merge(before, value)
        elif name == "tool_calls" and isinstance(value, list):
            # Put together at the end: which call a piece belongs to depends on the pieces beside it.
            events = before if isinstance(before, list) else []
            events.append(value)
            known[name] = events
        elif name == "content" and isinstance(before, str | list) and isinstance(value, str | list):
            # A text once, a list of parts the next time.
            known[name] = _joined_parts(_as_parts(before), _as_parts(value))
        elif isinstance(before, list) and isinstance(value, list):
            known[name] = [*before, *value]
        elif isinstance(value, dict):
            known[name] = copied = dict[str, object]()
            _merge(copied, value)
        elif value is None or value == "":
            # It takes nothing away from an earlier value.
            known.setdefault(name, value)
        else:
            known[name] = value


def _as_parts(content: str | list[object]) -> list[object]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _joined_parts(before: list[object], more: list[object]) -> list[object]:
    """The parts of both; two texts that follow each other are one."""
    match before, more:
        case [*others, {"type": "text", "text": str(begun), **rest}], [{"type": "text", "text": str(goes_on)}, *after]:
            if not rest:
                return [*others, {"type": "text", "text": begun + goes_on}, *after]
    return [*before, *more]


class _WholeCall(ToolCall):
    """A call of a tool with all fields of its pieces."""

    __slots__ = ("fields",)

    def __init__(self, piece: CallPiece) -> None:
        ToolCall.__init__(self, piece)
        self.fields: _Json = {}

    def in_completion(self) -> _Json:
        """The call, as a whole answer has it."""
        holders = [self.fields.get(name) for name in ("custom", "function")]
        held = next((one for one in holders if isinstance(one, dict) and one), self.fields)
        if self.name:
            held["name"] = self.name
        arguments = "input" if self.fields.get("custom") else "arguments"
        if isinstance(held.get(arguments), str):
            held[arguments] = self.arguments()
        return self.fields


def _whole_calls(events: list[object]) -> list[_Json]:
    """Whole calls from their pieces, which come in one list for each event."""
    calls: list[_WholeCall] = []
    for pieces in events:
        in_event: list[_WholeCall] = []
        for given in pieces if isinstance(pieces, list) else ():
            if not isinstance(given, dict):
                continue
            piece = read_call(given)
            call = call_of(piece, calls, in_event)
            if call is None:
                call = _WholeCall(piece)
                calls.append(call)
            in_event.append(call)
            call.take_name(piece)
            call.add(piece)
            # Only events number calls, and the first id stands.
            given.pop("index", None)
            if call.fields.get("id"):
                given.pop("id", None)
            _merge(call.fields, given)
    return [call.in_completion() for call in calls]


def _encoded(answer: _Json) -> bytes:
    """An answer as JSON, with halves of a character from two events put together."""
    try:
        return encode(answer)
    except UnicodeEncodeError:
        return encode(whole_texts(answer))


def _events(body: bytes) -> list[_Json]:
    """The events up to the one that ends the stream; what follows it is no part of the answer."""
    events: list[_Json] = []
    for event in events_of(body):
        data = data_of(event)
        if data == END_MARKER:
            break
        try:
            decoded = decode_lenient(data)
        except UNREADABLE:
            # A comment.
            continue
        if isinstance(decoded, dict):
            events.append(decoded)
            if decoded.get("type") in _LAST_TYPES:
                break
    return events
