"""What a client reads of an answer, by the documentation of its format alone. Only tests import this."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.support.gateway.corpus.rows import ToolCall
from tests.support.gateway.formats import events_in

Json = dict[str, Any]


@dataclass(slots=True)
class Told:
    """What a client was told.

    Attributes:
        text: what was said, refusals included; of several choices one after the other.
        thinking: what the model was seen to think.
        calls: the tools that it calls.
        reason: why it stopped; None where that was not told.
        ended: the answer came to its end.
        pieces: how many pieces had text of any kind.
    """

    text: str = ""
    thinking: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    reason: str | None = None
    ended: bool = False
    pieces: int = 0


def message_told(left: bytes, *, streamed: bool) -> Told:
    """Of a client of the messages format."""
    told = Told()
    if not streamed:
        whole = msgspec.json.decode(left)
        for block in whole["content"]:
            _add_block(told, block)
        told.reason, told.ended = whole["stop_reason"], True
        return told
    blocks: dict[int, Json] = {}
    pieces: dict[int, str] = {}
    for event in _events(left):
        index = event.get("index")
        match event["type"]:
            case "content_block_start":
                assert isinstance(index, int)
                blocks[index], pieces[index] = dict(event["content_block"]), ""
            case "content_block_delta":
                assert isinstance(index, int)
                said = [event["delta"].get(name, "") for name in ("text", "thinking", "partial_json")]
                pieces[index] += "".join(said)
                told.pieces += any(said)
            case "message_delta":
                told.reason = event["delta"]["stop_reason"]
            case "message_stop":
                told.ended = True
    for index, block in blocks.items():
        kind = block["type"]
        if kind == "tool_use":
            arguments = pieces[index] or msgspec.json.encode(block["input"]).decode()
            told.calls.append(ToolCall(block["name"], arguments, block["id"]))
        else:
            _add_block(told, {**block, kind: block.get(kind, "") + pieces[index]})
    return told


def _add_block(told: Told, block: Mapping[str, Any]) -> None:
    match block["type"]:
        case "text":
            told.text += block["text"]
        case "thinking":
            told.thinking += block["thinking"]
        case "tool_use":
            arguments = msgspec.json.encode(block["input"]).decode()
            told.calls.append(ToolCall(block["name"], arguments, block["id"]))


def response_told(left: bytes, *, streamed: bool) -> Told:
    """Of a client of the responses format."""
    told = Told(ended=not streamed)
    if not streamed:
        _add_items(told, msgspec.json.decode(left)["output"])
        return told
    items: list[Json] = []
    for event in _events(left):
        match event["type"]:
            case "response.output_text.delta" | "response.refusal.delta":
                told.text += event["delta"]
                told.pieces += 1
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                told.thinking += event["delta"]
                told.pieces += 1
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                told.pieces += 1
            case "response.output_item.done":
                items.append(event["item"])
            case "response.completed" | "response.incomplete":
                told.ended = True
                items = items or event["response"].get("output") or []
    in_items = Told()
    _add_items(in_items, items)
    told.calls = in_items.calls
    return told


def _add_items(told: Told, items: Iterable[Json]) -> None:
    for item in items:
        match item["type"]:
            case "message":
                told.text += "".join(part.get("text", part.get("refusal", "")) for part in item["content"])
            case "reasoning":
                told.thinking += "".join(part["text"] for part in item.get("summary", ()))
                told.thinking += "".join(part["text"] for part in item.get("content") or ())
            case "function_call":
                told.calls.append(ToolCall(item["name"], item["arguments"], item["call_id"]))
            case "custom_tool_call":
                told.calls.append(ToolCall(item["name"], item["input"], item["call_id"]))


def chat_told(left: bytes, *, streamed: bool) -> Told:
    """Of a client of chat completions or completions."""
    events = _events(left) if streamed else [msgspec.json.decode(left)]
    choices: dict[int, _Choice] = {}
    for event in events:
        for choice in event.get("choices") or ():
            choices.setdefault(choice.get("index") or 0, _Choice()).add(choice)
    told = Told(ended=not streamed or left.endswith(b"data: [DONE]\n\n"))
    for _, one in sorted(choices.items()):
        told.text += one.text
        told.thinking += one.thinking
        told.calls += [ToolCall(call["name"], call["arguments"], call["id"]) for call in one.calls]
        told.reason = told.reason or one.reason
        told.pieces += one.pieces
    return told


class _Choice:
    """What one choice says, of which some servers repeat in the end what they said before."""

    def __init__(self) -> None:
        self.text = ""
        self.thinking = ""
        self.reason: str | None = None
        self.pieces = 0
        self.calls: list[dict[str, str]] = []
        self._places: dict[object, int] = {}

    def add(self, choice: Json) -> None:
        self.reason = self.reason or choice.get("finish_reason")
        self.text += choice.get("text") or ""
        self.pieces += bool(choice.get("text"))
        if "delta" in choice:
            self._add_piece(choice["delta"] or {}, repeats=False)
        if "message" in choice:
            self._add_piece(choice["message"] or {}, repeats="delta" in choice or self.pieces > 0)

    def _add_piece(self, piece: Json, *, repeats: bool) -> None:
        thought, said = _thought_of(piece), _said_of(piece)
        if repeats:
            thought, said = _rest(thought, self.thinking), _rest(said, self.text)
        self.thinking += thought
        self.text += said
        self.pieces += bool(thought) + bool(said)
        calls = piece.get("tool_calls") or ()
        for call in [calls] if isinstance(calls, dict) else calls:
            if not (repeats and call.get("id") in [known["id"] for known in self.calls]):
                self._add_call(call)
        if piece.get("function_call"):
            self._add_call({"index": 0, "function": piece["function_call"]})

    def _add_call(self, call: Json) -> None:
        function = call.get("function") or call.get("custom") or {}
        written = function.get("arguments", function.get("input")) or ""
        if not isinstance(written, str):
            written = msgspec.json.encode(written).decode()
        self.pieces += bool(written)
        call_id, name, index = str(call.get("id") or ""), function.get("name") or "", call.get("index")
        at = self._place(call_id, index, name)
        known = self.calls[at]
        known["arguments"] += written
        known["id"] = known["id"] or call_id
        known["name"] = known["name"] or name

    def _place(self, call_id: str, index: object, name: str) -> int:
        """The call that a piece belongs to: by its id, else by its index; a new name begins another one."""
        for at, known in enumerate(self.calls):
            if call_id and known["id"] == call_id:
                return at
        at = self._places.get(index, len(self.calls) - 1 if index is None else -1)
        if at >= 0 and not (name and self.calls[at]["name"]):
            return at
        self.calls.append({"name": "", "arguments": "", "id": ""})
        self._places[index] = len(self.calls) - 1
        return len(self.calls) - 1


def _said_of(piece: Json) -> str:
    content = piece.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type") != "thinking")
    audio = piece.get("audio") or {}
    return (content or "") + (piece.get("refusal") or "") + (audio.get("transcript") or "")


def _thought_of(piece: Json) -> str:
    for name in ("reasoning_content", "reasoning", "reasoning_text"):
        if piece.get(name):
            return str(piece[name])
    for part in piece.get("reasoning_details") or ():
        if part.get("text") or part.get("summary"):
            return str(part.get("text") or part["summary"])
    content = piece.get("content")
    if not isinstance(content, list):
        return ""
    inner = [part["thinking"] for part in content if part.get("type") == "thinking"]
    return "".join(text["text"] for one in inner for text in one)


def _rest(again: str, before: str) -> str:
    if before.endswith(again):
        return ""
    return again.removeprefix(before)


def same_calls(told: list[ToolCall], meant: tuple[ToolCall, ...]) -> bool:
    """Names, arguments as JSON says them, and ids where the server gave one."""

    def arguments(call: ToolCall) -> object:
        try:
            return msgspec.json.decode(call.arguments or "{}")
        except msgspec.DecodeError:
            # What a custom tool takes is any text, and a message has objects only.
            return {"input": call.arguments}

    return len(told) == len(meant) and all(
        (one.name, arguments(one)) == (other.name, arguments(other))
        and (not other.call_id or one.call_id == other.call_id)
        for one, other in zip(told, meant, strict=True)
    )


def _events(left: bytes) -> list[Json]:
    return [dict(event) for event in events_in(left.replace(b"data:{", b"data: {"))]
