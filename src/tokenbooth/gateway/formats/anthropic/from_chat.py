"""A chat completion as an answer in Anthropic's messages format: whole, and event by event.

A message's stream has one open block at a time. Where a completion mixes its calls, or says text between two pieces of
a call, the first block is passed on as it comes, and what belongs to others is collected until that block is whole. It
does no I/O and meters nothing.
"""

from collections import deque
from collections.abc import Mapping
from itertools import takewhile
from types import MappingProxyType
from typing import Final, Literal
from uuid import uuid4

import msgspec

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.chat_answer import (
    NOTHING,
    CallPiece,
    Choice,
    Json,
    Said,
    UnreadableAnswer,
    decode_lenient,
    ends_in_half,
    read_completion,
    whole_characters,
    whole_texts,
)
from tokenbooth.gateway.formats.json.body import encode, encoded
from tokenbooth.gateway.formats.public_answers import ClientAnswer
from tokenbooth.gateway.formats.reported_usage import reported_elsewhere, usage_with_cost
from tokenbooth.gateway.formats.sse import (
    END_MARKER,
    MAX_EVENT_BYTES,
    BrokenStream,
    data_of,
    events_of,
    split_events,
)
from tokenbooth.gateway.formats.stream_as_whole import chat_answer, message_answer

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "tool_calls": "tool_use",
    "tool_use": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
    "safety": "refusal",
    "sensitive": "refusal",
    "refusal": "refusal",
}
NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
# Some servers begin a call's arguments with these and go on with the real ones.
_NO_ARGUMENTS: Final = ("", "{}")


def whole_answer(
    body: bytes,
    usage: Usage,
    *,
    model: str,
    message_id: str,
    shows_thinking: bool,
    own_names: Mapping[str, str] = NO_NAMES,
) -> ClientAnswer:
    """The message of a whole completion.

    Args:
        body: the completion.
        usage: what it consumed.
        model: the model as the client named it.
        message_id: ours.
        shows_thinking: whether the client asked to see the model think.
        own_names: the client's name of each tool that has another one at the upstream.

    Raises:
        UnreadableAnswer: the body is no completion, or something in it has no meaning that we know.
    """
    completion = read_completion(body)
    if completion is None:
        raise UnreadableAnswer("the answer is no object")
    choice = completion.choice or Choice()
    said = choice.message or choice.delta
    content: list[Json] = []
    if shows_thinking and said.thought:
        content.append({"type": "thinking", "thinking": whole_characters(said.thought), "signature": ""})
    if said.text:
        content.append({"type": "text", "text": whole_characters(said.text)})
    taken: set[str] = set()
    for piece in said.calls:
        call = _Call(piece, _unique_id(piece.call_id, taken))
        if not call.name:
            raise UnreadableAnswer("a call names no tool")
        call.add(piece)
        name = own_names.get(call.name, call.name)
        content.append({"type": "tool_use", "id": call.call_id, "name": name, "input": call.input()})
    counts = _usage(usage)
    return ClientAnswer(
        {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            **_stop(choice, called=bool(said.calls)),
            "usage": counts,
        },
        counts,
    )


def with_whole_characters(body: bytes) -> bytes:
    """A completion whose texts hold halves of characters as one that everybody can read.

    Raises:
        UnreadableAnswer: it is no JSON.
    """
    return encode(whole_texts(decode_lenient(body)))


def whole_completion(body: bytes) -> bytes:
    """The events of a stream that has come to its end as one completion, put together as a message would be of them.

    Raises:
        UnreadableAnswer: one of them cannot be read.
    """
    answer = AnswerStream(model="", message_id="", shows_thinking=True)
    events = list(takewhile(lambda event: data_of(event) != END_MARKER, events_of(body)))
    try:
        told = answer.feed(b"".join(events))
    except BrokenStream as mistake:
        raise UnreadableAnswer(str(mistake)) from mistake
    if not answer.is_readable():
        raise UnreadableAnswer("a call names no tool")
    message: Json = msgspec.json.decode(message_answer(told + answer.end(None, 0)))
    whole = chat_answer(body)
    completion: Json = msgspec.json.decode(whole)
    # Some servers tell it in the choice, which is written anew.
    completion["usage"] = completion.get("usage") or reported_elsewhere(whole)
    return encode({**completion, "choices": [answer.choice_of(message)]})


class _Words:
    """A block of text or of thinking; what of it has not left yet."""

    __slots__ = ("_half", "_unsent", "is_open", "kind")

    def __init__(self, kind: Literal["text", "thinking"]) -> None:
        self.kind = kind
        self.is_open = False
        self._unsent: list[str] = []
        self._half = ""

    def add(self, text: str) -> None:
        """Take some more of it; the first half of a character waits for the second."""
        text, self._half = self._half + text, ""
        if ends_in_half(text):
            text, self._half = text[:-1], text[-1]
        if text:
            self._unsent.append(whole_characters(text))

    def is_whole(self) -> bool:
        """Whether it may be closed: what comes later can stand in a block of its own."""
        return True

    def start(self) -> Json:
        """The block as it begins."""
        if self.kind == "text":
            return {"type": "text", "text": ""}
        return {"type": "thinking", "thinking": "", "signature": ""}

    def delta(self, *, is_last: bool) -> Json | None:
        """What may leave now."""
        if is_last and self._half:
            self._half = ""
            self._unsent.append("\ufffd")
        text = "".join(self._unsent)
        self._unsent.clear()
        if not text:
            return None
        return {"type": f"{self.kind}_delta", self.kind: text}


class _Call:
    """A call of a tool; what of it has not left yet."""

    __slots__ = ("_arguments", "_half", "_is_custom", "_sent", "call_id", "id_told", "index", "is_open", "name")

    def __init__(self, piece: CallPiece, call_id: str) -> None:
        self.index = piece.index
        self.call_id = call_id
        self.id_told = piece.call_id
        self.name = piece.name
        self.is_open = False
        self._is_custom = piece.is_custom
        self._arguments: list[str] = []
        self._half = ""
        self._sent = 0

    def add(self, piece: CallPiece) -> None:
        """Take the arguments of a piece."""
        text, self._half = self._half + piece.arguments, ""
        if not text:
            return
        if ends_in_half(text):
            text, self._half = text[:-1], text[-1]
        if self._arguments == ["{}"] and not self._sent and text.lstrip()[:1] == "{":
            self._arguments.clear()
        self._arguments.append(whole_characters(text))

    def has_arguments(self) -> bool:
        """Whether any were told."""
        return bool(self._arguments)

    def is_whole(self) -> bool:
        """Whether the arguments are a whole object."""
        last = self._arguments[-1].rstrip() if self._arguments else ""
        if not self.name or self._is_custom or not last.endswith("}"):
            return False
        try:
            return isinstance(decode_lenient("".join(self._arguments)), dict)
        except UnreadableAnswer:
            return False

    def start(self) -> Json:
        """The block as it begins."""
        return {"type": "tool_use", "id": self.call_id, "name": self.name, "input": {}}

    def may_start(self) -> bool:
        """Whether its name is known for good, and its arguments can leave as they come."""
        first = "".join(self._arguments[:2])
        return bool(self.name) and not self._is_custom and first not in _NO_ARGUMENTS and first.lstrip()[:1] == "{"

    def delta(self, *, is_last: bool) -> Json | None:
        """What may leave now."""
        if is_last and self._arguments and not self._sent:
            self._sent = len(self._arguments)
            return {"type": "input_json_delta", "partial_json": self._written_input()}
        text = "".join(self._arguments[self._sent :])
        self._sent = len(self._arguments)
        return {"type": "input_json_delta", "partial_json": text} if text else None

    def input(self) -> object:
        """The arguments; models write JSON as a rule, and an object as a rule."""
        arguments = "".join(self._arguments) + ("\ufffd" if self._half else "")
        if self._is_custom:
            return {"input": arguments}
        try:
            decoded = decode_lenient(arguments or "{}")
            if isinstance(decoded, str):
                # Some servers write the JSON of the JSON.
                decoded = decode_lenient(decoded or "{}")
        except UnreadableAnswer:
            return {"arguments": arguments}
        if decoded is None:
            return {}
        return whole_texts(decoded) if isinstance(decoded, dict) else {"arguments": arguments}

    def told(self) -> Json:
        """The call as a completion has it, with what was written and not what a message makes of it."""
        kind, name = ("custom", "input") if self._is_custom else ("function", "arguments")
        written = "".join(self._arguments) + ("\ufffd" if self._half else "")
        return {"id": self.call_id, "type": kind, kind: {"name": self.name, name: written}}

    def _written_input(self) -> str:
        """The arguments as an object's JSON; a beginning of one stays what it is, for the answer was cut."""
        written = "".join(self._arguments)
        if not self._is_custom and written.lstrip()[:1] == "{":
            return written
        return encode(self.input()).decode()


class AnswerStream:
    """Turns the events of one streamed completion into those of a message."""

    __slots__ = (
        "_block",
        "_blocks",
        "_calls",
        "_choice_index",
        "_collected",
        "_ids",
        "_last",
        "_message_id",
        "_model",
        "_own_names",
        "_said_text",
        "_shows_thinking",
        "_started",
    )

    def __init__(
        self, *, model: str, message_id: str, shows_thinking: bool, own_names: Mapping[str, str] = NO_NAMES
    ) -> None:
        self._model = model
        self._own_names = own_names
        self._message_id = message_id
        self._shows_thinking = shows_thinking
        self._started = False
        self._block = -1
        # What is not closed yet: the first may be open, the others are collected.
        self._blocks: deque[_Words | _Call] = deque()
        self._calls: list[_Call] = []
        self._ids: set[str] = set()
        self._collected = 0
        self._said_text: list[str] = []
        self._last = Choice()
        # A messages request asks for one answer; some servers number from 1.
        self._choice_index: int | None = None

    def feed(self, events: bytes) -> bytes:
        """The events for some whole events of the completion.

        Raises:
            BrokenStream: one of them cannot be read.
        """
        passing: list[bytes] = []
        for event in split_events(events):
            data = data_of(event)
            if not data:
                # A comment.
                continue
            try:
                completion = read_completion(data)
            except UnreadableAnswer as mistake:
                raise BrokenStream(f"an event cannot be read: {mistake}") from mistake
            if completion is None:
                continue
            passing += self._start()
            if completion.choice is not None:
                self._take(completion.choice)
                passing += self._drain()
        return b"".join(passing)

    def is_readable(self) -> bool:
        """Whether all that was said can be told: each call has its name, if the answer was not cut before it."""
        cut = _reason(self._last) == "max_tokens"
        return cut or all(call.name or not call.has_arguments() for call in self._calls)

    def end(self, usage: Usage | None, charged_nano: int) -> bytes:
        """The events that end the message, with what it consumed and cost (nano-USD)."""
        events = self._start()
        while self._blocks:
            events += self._close(self._blocks.popleft())
        counts = usage_with_cost(encoded(_usage(usage or Usage(0, 0))), charged_nano)
        called = any(call.name for call in self._calls)
        delta: Json = {"type": "message_delta", "delta": _stop(self._last, called=called), "usage": counts}
        return b"".join((*events, _event(delta), _event({"type": "message_stop"})))

    def choice_of(self, message: Json) -> Json:
        """The choice of a whole completion that says what a message does, which was put together of these events."""
        said: dict[str, str] = {"thinking": "", "text": ""}
        calls: list[Json] = []
        for block in msgspec.convert(message["content"], list[Json]):
            kind = str(block["type"])
            if kind in said:
                said[kind] += str(block[kind])
                continue
            calls += [call.told() for call in self._calls if call.call_id == block["id"]]
        told: Json = {"role": "assistant", "content": said["text"], "reasoning_content": said["thinking"]}
        if calls:
            told["tool_calls"] = calls
        last = self._last
        choice: Json = {"index": 0, "message": told, "finish_reason": last.finish_reason or None}
        return choice | {"stop_reason": last.stop_sequence} if last.stop_sequence else choice

    def _start(self) -> list[bytes]:
        if self._started:
            return []
        self._started = True
        message: Json = {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            # What it consumed is not known yet; the event before the last tells all of it.
            "usage": _usage(Usage(0, 0)),
        }
        return [_event({"type": "message_start", "message": message})]

    def _take(self, choice: Choice) -> None:
        if self._choice_index is None:
            self._choice_index = choice.index
        if choice.index != self._choice_index:
            return
        said = choice.delta or self._new_in(choice.message)
        if said.thought and self._shows_thinking:
            self._words("thinking").add(said.thought)
        if said.text:
            self._said_text.append(said.text)
            self._words("text").add(said.text)
        begun: list[_Call] = []
        for piece in said.calls:
            call = self._call_of(piece, begun)
            if call is None:
                call = _Call(piece, _unique_id(piece.call_id, self._ids))
                self._calls.append(call)
                self._blocks.append(call)
            elif call.is_open and call not in self._blocks:
                if piece.arguments.strip():
                    raise BrokenStream("a call goes on behind its end")
                continue
            begun.append(call)
            call.add(piece)
        if choice.finish_reason:
            self._last = choice
        if len(self._blocks) > 1:
            self._collected += len(said.text) + sum(len(piece.arguments) for piece in said.calls)
            if self._collected > MAX_EVENT_BYTES:
                raise BrokenStream("too much of the answer is mixed")

    def _new_in(self, message: Said) -> Said:
        """What a message that tells all again has that was not said; some servers end their stream with one."""
        if not message:
            return NOTHING
        known = "".join(self._said_text)
        text = message.text[len(known) :] if message.text.startswith(known) else ""
        is_new = not known and not self._calls
        return Said(message.thought if is_new else "", text, [] if self._calls else message.calls)

    def _words(self, kind: Literal["text", "thinking"]) -> _Words:
        last = self._blocks[-1] if self._blocks else None
        if isinstance(last, _Words) and last.kind == kind:
            return last
        words = _Words(kind)
        self._blocks.append(words)
        return words

    def _call_of(self, piece: CallPiece, begun: list[_Call]) -> _Call | None:
        """The call that a piece belongs to, told it what is new of its name and id; None when it begins one.

        Servers number calls, or give them ids, or neither, or number all of them alike, or give each piece a new id.
        """
        call = next((call for call in reversed(self._calls) if piece.index in (None, call.index)), None)
        if piece.call_id:
            same = (one for one in reversed(self._calls) if one.id_told == piece.call_id)
            known = next((one for one in same if piece.index in (None, one.index)), None)
            if known is not None and not (piece.name and known in begun):
                return self._named(known, piece)
            if call is not None and (call in begun and piece.name):
                return None
            if call is not None and call.id_told and not call.name and not call.has_arguments():
                # Calls are begun one by one before any of them is named.
                return None
            if call is None or (call.name and (piece.name or call.is_whole())):
                # With an id of its own it is a call of its own, but for a piece without a name.
                is_late = call is not None and not call.id_told and _is_late(call, piece)
                return self._named(call, piece) if call is not None and is_late else None
            return self._named(call, piece)
        if call is None or not piece.name or not call.name:
            return None if call is None else self._named(call, piece)
        is_another = call in begun or call.is_whole() or (piece.name != call.name and piece.begins)
        return None if is_another else self._named(call, piece)

    def _named(self, call: _Call, piece: CallPiece) -> _Call:
        """The call, with what a piece adds to its name: some servers repeat it, some write it in pieces."""
        if piece.call_id and not call.id_told:
            call.id_told = piece.call_id
            if not call.is_open:
                # The one of our own, which the client has not seen, is not needed.
                call.call_id = _unique_id(piece.call_id, self._ids)
        if not piece.name or piece.name == call.name:
            return call
        if call.is_open:
            raise BrokenStream("a call changes its name")
        call.name = piece.name if piece.name.startswith(call.name) else call.name + piece.name
        return call

    def _drain(self) -> list[bytes]:
        """What of the collected may leave now."""
        events: list[bytes] = []
        while self._blocks:
            block = self._blocks[0]
            if len(self._blocks) > 1 and block.is_whole():
                events += self._close(self._blocks.popleft())
                continue
            is_last = bool(self._last.finish_reason) and bool(isinstance(block, _Call) and block.name)
            if block.is_open or isinstance(block, _Words) or is_last or block.may_start():
                events += self._pass(block, is_last=is_last)
            break
        return events

    def _pass(self, block: _Words | _Call, *, is_last: bool) -> list[bytes]:
        delta = block.delta(is_last=is_last)
        events: list[bytes] = []
        if not block.is_open and (delta is not None or isinstance(block, _Call)):
            block.is_open = True
            self._block += 1
            started = block.start()
            if isinstance(block, _Call):
                started["name"] = self._own_names.get(block.name, block.name)
            events.append(_event({"type": "content_block_start", "index": self._block, "content_block": started}))
        if delta is not None:
            events.append(_event({"type": "content_block_delta", "index": self._block, "delta": delta}))
        return events

    def _close(self, block: _Words | _Call) -> list[bytes]:
        if isinstance(block, _Call) and not block.name:
            # Nothing but a number was said of it, or the answer was cut before its name.
            return []
        events = self._pass(block, is_last=True)
        if block.is_open:
            events.append(_event({"type": "content_block_stop", "index": self._block}))
        return events


def _is_late(call: _Call, piece: CallPiece) -> bool:
    """Whether a piece tells the id of a call that had none: under its name, before its arguments."""
    return piece.name == call.name and not call.has_arguments()


def _unique_id(call_id: str, taken: set[str]) -> str:
    """A call's id as the server gave it, or one of our own when it gave none, or one that another call has."""
    if not call_id or call_id in taken:
        call_id = f"toolu_{uuid4().hex[:24]}"
    taken.add(call_id)
    return call_id


def _reason(choice: Choice) -> str:
    return _STOP_REASONS.get((choice.finish_reason or "stop").lower(), "end_turn")


def _stop(choice: Choice, *, called: bool) -> Json:
    if choice.stop_sequence and choice.finish_reason == "stop":
        # Some servers tell which stop sequence it was.
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_sequence}
    reason = _reason(choice)
    return {"stop_reason": "tool_use" if called and reason == "end_turn" else reason, "stop_sequence": None}


def _usage(usage: Usage) -> Json:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _event(data: Json) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + encode(data) + b"\n\n"
