"""The events of a stream put together to a whole answer, for a client that did not ask for a stream.

Who calls has seen that the stream came to its end without an error.
"""

from typing import Final

import msgspec

from tokenbooth.gateway.body import UNREADABLE
from tokenbooth.gateway.event_stream import END_MARKER, EventFramer, data_of, split_events

_Json = dict[str, object]
# Pieces of one text; other fields of a delta are whole each time.
_TEXTS: Final = frozenset(("content", "reasoning_content", "reasoning", "refusal", "text", "arguments", "input"))
_LAST_TYPES: Final = ("message_stop", "response.completed", "response.incomplete")
_decode = msgspec.json.Decoder(_Json).decode


def chat_answer(body: bytes) -> bytes:
    """A chat completion from its chunks."""
    answer, choices = _merged(body)
    for choice in choices:
        message: _Json = {"role": "assistant", "content": None}
        delta = choice.pop("delta", None)
        if isinstance(delta, dict):
            message.update(delta)
        choice["message"] = message
    return msgspec.json.encode({**answer, "object": "chat.completion", "choices": choices})


def completion_answer(body: bytes) -> bytes:
    """A completion from its chunks, whose choices have the same form in both."""
    answer, choices = _merged(body)
    return msgspec.json.encode({**answer, "choices": choices})


def response_answer(body: bytes) -> bytes:
    """A response, which its last event holds; items that are missing there are those of the events before.

    Raises:
        msgspec.DecodeError: no event holds it.
    """
    response: _Json | None = None
    items: list[object] = []
    for event in _events(body):
        if event.get("type") == "response.output_item.done" and "item" in event:
            items.append(event["item"])
        told = event.get("response")
        if isinstance(told, dict):
            response = told
    if response is None:
        raise msgspec.DecodeError("no response")
    if not response.get("output"):
        response["output"] = items
    return msgspec.json.encode(response)


def message_answer(body: bytes) -> bytes:
    """A message from its events.

    Raises:
        msgspec.DecodeError: it does not begin.
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
    return msgspec.json.encode({**message, "content": list(blocks.values())})


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
        message.update(delta)
    if isinstance(usage, dict):
        told = {name: count for name, count in usage.items() if count is not None}
        message["usage"] = {**(known if isinstance(known, dict) else {}), **told}


def _key(index: object) -> object:
    """A number of a block or a choice; a list or an object numbers nothing."""
    return None if isinstance(index, dict | list) else index


def _input_of(written: str) -> object:
    try:
        return msgspec.json.decode(written or "{}")
    except UNREADABLE:
        return {"input": written}


def _merged(body: bytes) -> tuple[_Json, list[_Json]]:
    """The fields of all chunks, the later ones over the earlier, and the choices by their index."""
    answer: _Json = {}
    choices: dict[object, _Json] = {}
    for event in _events(body):
        told = event.pop("choices", None)
        answer.update({name: value for name, value in event.items() if value is not None or name not in answer})
        for position, choice in enumerate(told if isinstance(told, list) else ()):
            if isinstance(choice, dict):
                index = _key(choice.get("index"))
                number = position if index is None else index
                _merge(choices.setdefault(number, {"index": number}), choice)
    return answer, [choices[index] for index in sorted(choices, key=str)]


def _merge(known: _Json, piece: _Json) -> None:
    for name, value in piece.items():
        before = known.get(name)
        if name in _TEXTS and isinstance(before, str) and isinstance(value, str):
            known[name] = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            _merge(before, value)
        elif name == "tool_calls" and isinstance(value, list):
            known[name] = _merged_calls(before if isinstance(before, list) else [], value)
        elif isinstance(before, list) and isinstance(value, list):
            known[name] = [*before, *value]
        elif value is not None and value != "":
            # A null or an empty text behind a value takes nothing away.
            known[name] = value if not isinstance(value, dict) else dict(value)
            if name == "delta" and isinstance(value, dict):
                fresh: _Json = {}
                _merge(fresh, value)
                known[name] = fresh
        else:
            known.setdefault(name, value)


def _merged_calls(known: list[object], pieces: list[object]) -> list[object]:
    calls = list(known)
    for piece in pieces:
        if not isinstance(piece, dict):
            continue
        index, call_id = piece.pop("index", None), piece.get("id")
        opened = [call for call in calls if isinstance(call, dict)]
        found = next((call for call in opened if call_id and call.get("id") == call_id), None)
        if found is None and not call_id and opened:
            at = index if isinstance(index, int) and 0 <= index < len(opened) else len(opened) - 1
            found = opened[at]
        if found is None:
            calls.append(dict(piece))
        else:
            piece.pop("id", None)
            _merge(found, piece)
    return calls


def _events(body: bytes) -> list[_Json]:
    """The events up to the one that ends the stream: what stands behind it is no part of the answer."""
    framer = EventFramer()
    told: list[_Json] = []
    if not _take_events(told, framer.feed(body)):
        _take_events(told, framer.end())
    return told


def _take_events(told: list[_Json], events: bytes) -> bool:
    """Take some events; returns whether one of them ends the stream."""
    for event in split_events(events):
        data = data_of(event)
        if data == END_MARKER:
            return True
        try:
            told.append(_decode(data))
        except UNREADABLE:
            # A comment.
            continue
        if told[-1].get("type") in _LAST_TYPES:
            return True
    return False
