"""A chat completion as an answer in Anthropic's messages format: whole, and event by event.

It does no I/O and meters nothing; only the messages format imports it.
"""

from typing import Final

import msgspec

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.body import UNREADABLE
from tokenbooth.gateway.event_stream import data_of, split_events
from tokenbooth.gateway.meter import usage_with_cost

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_Json = dict[str, object]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | list[dict[str, object]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    def text(self) -> str:
        """What is said; some servers write it in parts."""
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content if part.get("type") == "text")
        return self.content or self.refusal or ""

    def thought(self) -> str:
        """What was thought, under either of its names."""
        return self.reasoning_content or self.reasoning or ""


class _Choice(msgspec.Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None


class _Completion(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] | None = None


_decode = msgspec.json.Decoder(_Completion).decode


def whole_answer(body: bytes, usage: Usage, *, model: str, shows_thinking: bool) -> bytes:
    """The message of a whole completion.

    Args:
        body: the completion.
        usage: what it consumed.
        model: the model as the client named it.
        shows_thinking: whether the client asked to see the model think.

    Raises:
        UNREADABLE: the body is no completion.
    """
    completion = _decode(body)
    choice = (completion.choices or [_Choice()])[0]
    message = choice.message or _Message()
    content: list[_Json] = []
    if shows_thinking and (thinking := message.thought()):
        content.append({"type": "thinking", "thinking": thinking, "signature": ""})
    if text := message.text():
        content.append({"type": "text", "text": text})
    content += [{**_tool_use(call), "input": _input(call)} for call in message.tool_calls or ()]
    return msgspec.json.encode(
        {
            "id": _message_id(completion.id),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            **_stop(choice, called=bool(message.tool_calls)),
            "usage": _usage(usage),
        }
    )


class AnswerStream:
    """Turns the events of one streamed completion into those of a message."""

    __slots__ = ("_block", "_called", "_last", "_model", "_open", "_shows_thinking", "_started")

    def __init__(self, *, model: str, shows_thinking: bool) -> None:
        self._model = model
        self._shows_thinking = shows_thinking
        self._started = False
        self._block = -1
        # What the open block holds: "text", "thinking", or the name of a tool call; empty when none is open.
        self._open = ""
        self._called = False
        self._last = _Choice()

    def feed(self, events: bytes) -> bytes:
        """The events for some whole events of the completion."""
        passing: list[bytes] = []
        for event in split_events(events):
            try:
                completion = _decode(data_of(event))
            except UNREADABLE:
                # Comments, and events that are none of a completion.
                continue
            passing += self._start(completion.id)
            for choice in completion.choices or ():
                passing += self._delta(choice.delta or _Message())
                if choice.finish_reason is not None:
                    self._last = choice
        return b"".join(passing)

    def end(self, usage: Usage | None, charged_nano: int) -> bytes:
        """The events that end the message, with what it consumed and cost (nano-USD)."""
        counts = usage_with_cost(msgspec.Raw(msgspec.json.encode(_usage(usage or Usage(0, 0)))), charged_nano)
        delta: _Json = {"type": "message_delta", "delta": _stop(self._last, called=self._called), "usage": counts}
        return b"".join(
            (*self._start(None), *self._close(), _event(delta), _event({"type": "message_stop"})),
        )

    def _start(self, completion_id: str | None) -> list[bytes]:
        if self._started:
            return []
        self._started = True
        message: _Json = {
            "id": _message_id(completion_id),
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

    def _delta(self, delta: _Message) -> list[bytes]:
        events: list[bytes] = []
        if self._shows_thinking and (thinking := delta.thought()):
            events += self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            events.append(self._piece({"type": "thinking_delta", "thinking": thinking}))
        if text := delta.text():
            events += self._switch("text", {"type": "text", "text": ""})
            events.append(self._piece({"type": "text_delta", "text": text}))
        for call in delta.tool_calls or ():
            events += self._call(call)
        return events

    def _call(self, call: _ToolCall) -> list[bytes]:
        self._called = True
        events = self._switch(self._name_of(call), {**_tool_use(call), "input": {}})
        arguments = None if call.function is None else call.function.arguments
        if arguments:
            events.append(self._piece({"type": "input_json_delta", "partial_json": arguments}))
        return events

    def _name_of(self, call: _ToolCall) -> str:
        """Which block a piece of a call belongs to; some servers number every call 0 and only their ids differ."""
        prefix = f"{call.index}-"
        if call.id and call.function is not None and call.function.name:
            return prefix + call.id
        return self._open if self._open.startswith(prefix) else prefix

    def _switch(self, kind: str, block: _Json) -> list[bytes]:
        """Have a block of this kind open."""
        if self._open == kind:
            return []
        closing = self._close()
        self._open = kind
        self._block += 1
        return [*closing, _event({"type": "content_block_start", "index": self._block, "content_block": block})]

    def _piece(self, delta: _Json) -> bytes:
        return _event({"type": "content_block_delta", "index": self._block, "delta": delta})

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        self._open = ""
        return [_event({"type": "content_block_stop", "index": self._block})]


def _tool_use(call: _ToolCall) -> _Json:
    name = None if call.function is None else call.function.name
    return {"type": "tool_use", "id": call.id or f"toolu_{call.index}", "name": name or ""}


def _input(call: _ToolCall) -> object:
    """The arguments of a call; models write JSON as a rule, and an object as a rule."""
    arguments = (None if call.function is None else call.function.arguments) or "{}"
    try:
        decoded: object = msgspec.json.decode(arguments)
    except UNREADABLE:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"arguments": arguments}


def _stop(choice: _Choice, *, called: bool) -> _Json:
    if isinstance(choice.stop_reason, str) and choice.finish_reason == "stop":
        # Some servers tell which stop sequence it was.
        return {"stop_reason": "stop_sequence", "stop_sequence": choice.stop_reason}
    reason = _STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")
    return {"stop_reason": "tool_use" if called and reason == "end_turn" else reason, "stop_sequence": None}


def _usage(usage: Usage) -> _Json:
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _message_id(completion_id: str | None) -> str:
    return "msg_" + (completion_id or "").removeprefix("chatcmpl-")


def _event(data: _Json) -> bytes:
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
