"""A streamed chat completion as the events of a message, event by event.

A message's stream has one open block at a time. Where a completion mixes its calls, or has text between two pieces of a
call, the first block is passed on as it comes, and what belongs to others is collected until that block is whole. It
does no I/O and meters nothing.
"""

from collections import deque
from collections.abc import Mapping
from typing import Literal

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.anthropic.message import (
    NO_NAMES,
    TextBlock,
    ToolUseBlock,
    stop_fields,
    stop_reason,
    usage_fields,
)
from tokenbooth.gateway.formats.chat_answer import (
    NO_CONTENT,
    Choice,
    Json,
    MessageContent,
    UnreadableAnswer,
    read_completion,
    whole_characters,
)
from tokenbooth.gateway.formats.json.body import raw
from tokenbooth.gateway.formats.reported_usage import usage_with_cost
from tokenbooth.gateway.formats.sse import MAX_EVENT_BYTES, BrokenStream, data_of, named_event, split_events
from tokenbooth.gateway.formats.tool_calls import call_of


class AnswerStream:
    """Translates the events of one streamed completion to those of a message."""

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
        "_shows_thinking",
        "_started",
        "_texts",
        "_thoughts",
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
        self._blocks: deque[TextBlock | ToolUseBlock] = deque()
        self._calls: list[ToolUseBlock] = []
        self._ids: set[str] = set()
        self._collected = 0
        self._texts: list[str] = []
        self._thoughts: list[str] = []
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
        """Whether the message is complete: each call has its name, unless the answer was cut before it."""
        cut = stop_reason(self._last) == "max_tokens"
        return cut or all(call.name or not call.written for call in self._calls)

    def end(self, usage: Usage | None, charged_nano: int) -> bytes:
        """The events that end the message, with what it consumed and cost (nano-USD)."""
        events = self._start()
        while self._blocks:
            events += self._close(self._blocks.popleft())
        counts = usage_with_cost(raw(usage_fields(usage or Usage(0, 0))), charged_nano)
        called = any(call.name for call in self._calls)
        delta: Json = {"type": "message_delta", "delta": stop_fields(self._last, called=called), "usage": counts}
        return b"".join((*events, named_event(delta), named_event({"type": "message_stop"})))

    def choice(self) -> Json:
        """The whole answer, as the choice of a completion."""
        message: Json = {
            "role": "assistant",
            "content": whole_characters("".join(self._texts)),
            "reasoning_content": whole_characters("".join(self._thoughts)),
        }
        calls = [call.in_completion() for call in self._calls if call.name]
        if calls:
            message["tool_calls"] = calls
        last = self._last
        choice: Json = {"index": 0, "message": message, "finish_reason": last.finish_reason or None}
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
            # It is not known yet; the event before the last has all of it.
            "usage": usage_fields(Usage(0, 0)),
        }
        return [named_event({"type": "message_start", "message": message})]

    def _take(self, choice: Choice) -> None:
        if self._choice_index is None:
            self._choice_index = choice.index
        if choice.index != self._choice_index:
            return
        content = choice.delta or self._new_in(choice.message)
        if content.thought and self._shows_thinking:
            self._thoughts.append(content.thought)
            self._words("thinking").add(content.thought)
        if content.text:
            self._texts.append(content.text)
            self._words("text").add(content.text)
        in_event: list[ToolUseBlock] = []
        for piece in content.calls:
            call = call_of(piece, self._calls, in_event)
            if call is None:
                call = ToolUseBlock(piece, self._ids)
                self._calls.append(call)
                self._blocks.append(call)
            else:
                call.take_name(piece)
                if call.is_open and call not in self._blocks:
                    if piece.arguments.strip():
                        raise BrokenStream("a call goes on after its end")
                    continue
            in_event.append(call)
            call.add(piece)
        if choice.finish_reason:
            self._last = choice
        if len(self._blocks) > 1:
            self._collected += len(content.text) + sum(len(piece.arguments) for piece in content.calls)
            if self._collected > MAX_EVENT_BYTES:
                raise BrokenStream("too much of the answer is mixed")

    def _new_in(self, message: MessageContent) -> MessageContent:
        """The part of a message that is new. Some servers end their stream with a message that repeats everything."""
        if not message:
            return NO_CONTENT
        known = "".join(self._texts)
        text = message.text[len(known) :] if message.text.startswith(known) else ""
        is_new = not known and not self._calls
        return MessageContent(message.thought if is_new else "", text, [] if self._calls else message.calls)

    def _words(self, kind: Literal["text", "thinking"]) -> TextBlock:
        last = self._blocks[-1] if self._blocks else None
        if isinstance(last, TextBlock) and last.kind == kind:
            return last
        words = TextBlock(kind)
        self._blocks.append(words)
        return words

    def _drain(self) -> list[bytes]:
        """The events of collected blocks that may leave now."""
        events: list[bytes] = []
        while self._blocks:
            block = self._blocks[0]
            if len(self._blocks) > 1 and block.is_whole():
                events += self._close(self._blocks.popleft())
                continue
            is_last = bool(self._last.finish_reason) and bool(isinstance(block, ToolUseBlock) and block.name)
            if block.is_open or isinstance(block, TextBlock) or is_last or block.may_start():
                events += self._pass(block, is_last=is_last)
            break
        return events

    def _pass(self, block: TextBlock | ToolUseBlock, *, is_last: bool) -> list[bytes]:
        delta = block.delta(is_last=is_last)
        events: list[bytes] = []
        if not block.is_open and (delta is not None or isinstance(block, ToolUseBlock)):
            block.is_open = True
            self._block += 1
            started = block.start()
            if isinstance(block, ToolUseBlock):
                started["name"] = self._own_names.get(block.name, block.name)
            events.append(named_event({"type": "content_block_start", "index": self._block, "content_block": started}))
        if delta is not None:
            events.append(named_event({"type": "content_block_delta", "index": self._block, "delta": delta}))
        return events

    def _close(self, block: TextBlock | ToolUseBlock) -> list[bytes]:
        if isinstance(block, ToolUseBlock) and not block.name:
            # It only has a number, or the answer was cut before its name.
            return []
        events = self._pass(block, is_last=True)
        if block.is_open:
            events.append(named_event({"type": "content_block_stop", "index": self._block}))
        return events
