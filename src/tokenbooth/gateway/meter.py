"""The meter of a stream: passes events on as they arrive and looks only into those that carry usage or the end.

`EventMeter` is what every format shares: whole events, and a count of what left. `StreamMeter` is the meter of OpenAI's
chat completions. It holds back two things: a usage event without choices (shown with its cost, or not at all, when the
call is settled) and the end marker, before which the charge has to be on disk.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec

from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai
from tokenbooth.gateway.body import UNREADABLE, decode_object
from tokenbooth.gateway.event_stream import (
    END_MARKER,
    EventFramer,
    data_of,
    is_in_form,
    split_events,
    stray_of,
)
from tokenbooth.gateway.failed_answers import FAILED_FINISH, is_failed_event
from tokenbooth.gateway.private_fields import PublicAnswer, PublicStream, usd_number
from tokenbooth.gateway.shapes import decode_chat_event
from tokenbooth.gateway.speech import Delivered

_RECENT_BYTES: Final = 16 * 1024
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_TYPED: Final = re.compile(rb'(?m)^data:[^\n]*?"type"[ \t]*:[ \t]*"')
_CHOICE: Final = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\{')
# An event with one of these may tell a failure, although it has a choice.
_SUSPECT: Final = re.compile(rb'error"|"errors"|"base_resp"|(?m:^event:)')
_LF: Final = ord("\n")
_D: Final = ord("d")
_NO_USAGE: Final = msgspec.Raw(b"{}")
_DONE_EVENT: Final = b"data: [DONE]\n\n"


def texts_named(*names: str) -> re.Pattern[bytes]:
    """Finds the values of these names that are texts, in JSON; none reaches from one line of a stream into the next."""
    return re.compile(rb'"(?:%s)"[ \t]*:[ \t]*"((?:[^"\\\n]|\\.)*+)"' % "|".join(names).encode())


class EventMeter(ABC):
    """Cuts a stream into whole events, and counts the texts in what leaves.

    A subclass says what leaves of the events, where their texts are, and by what a finished answer is known.
    """

    __slots__ = ("_events", "_finish_seen", "_framer", "_recent", "_recent_bytes", "_text_bytes", "ended", "failed")

    TEXT: ClassVar[re.Pattern[bytes]]
    FINISH: ClassVar[re.Pattern[bytes]]
    usage: Usage | None

    def __init__(self) -> None:
        self.ended = False
        self.failed = False
        self._finish_seen = False
        self._framer = EventFramer()
        self._recent: list[bytes] = []
        self._recent_bytes = 0
        self._events = 0
        self._text_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take what arrived; returns what may leave now.

        Sets `ended` at the end marker and `failed` at an error of the upstream; neither leaves, nor what follows.

        Raises:
            BrokenStream: an event is larger than any model writes.
        """
        framer = self._framer
        # What almost every chunk is, one event with one line, is seen at the least cost: a lone line that begins with
        # this letter is none of those that have to be taken apart.
        is_one = chunk.find(b"\n") == len(chunk) - 2 and chunk[-1] == _LF and chunk[0] == _D
        if framer.holds or b"\r" in chunk or not (is_one or is_in_form(chunk)):
            return self._pass(framer.feed(chunk))
        chunk = self._let_pass(chunk)
        self._remember(chunk)
        return chunk

    def end_of_body(self) -> bytes:
        """Nothing more comes; returns what leaves of an event that was left open.

        Raises:
            BrokenStream: the body ended inside of it.
        """
        if self.ended or self.failed:
            return b""
        return self._pass(self._framer.end())

    @property
    def whole(self) -> bytearray | None:
        """The body, when it is no stream but one JSON text; None for a stream."""
        return self._framer.whole

    def has_answer(self) -> bool:
        """Whether what is held back is an answer by itself."""
        return self.usage is not None

    def _pass(self, events: bytes) -> bytes:
        if not events:
            return b""
        if self._framer.has_strays:
            return self._without_strays(events)
        passing = self._let_pass(events)
        self._remember(passing)
        return passing

    def _without_strays(self, events: bytes) -> bytes:
        """What leaves of events among which some are in no field: an error is heard, and none of them leaves."""
        passing: list[bytes] = []
        for event in split_events(events):
            stray = stray_of(event)
            if stray is None:
                passing.append(self._let_pass(event))
                self._remember(passing[-1])
            elif is_failed_event(b"", stray):
                self.failed = True
            if self.ended or self.failed:
                break
        return b"".join(passing)

    @abstractmethod
    def _let_pass(self, events: bytes) -> bytes:
        """What leaves of some whole events."""

    def finished(self) -> bool:
        """Whether the model has said why it stopped, so that only the usage can still come."""
        return self.ended or self._finish_seen or any(map(self.FINISH.search, self._recent))

    def delivered(self) -> Delivered:
        """How much was streamed, counted from what left."""
        self._count()
        return Delivered(events=self._events, text_bytes=self._text_bytes)

    def _remember(self, chunk: bytes) -> None:
        # Counting is put off: a stream with usage, which is almost every one, never needs it.
        self._recent.append(chunk)
        self._recent_bytes += len(chunk)
        if self._recent_bytes > _RECENT_BYTES:
            self._count()

    def _count(self) -> None:
        # No text and no name reaches from one event into the next.
        events = b"".join(self._recent)
        texts = [text for text in self.TEXT.findall(events) if text]
        self._events += len(texts)
        self._text_bytes += sum(map(len, texts))
        self._finish_seen = self._finish_seen or self.FINISH.search(events) is not None
        self._recent.clear()
        self._recent_bytes = 0


class StreamMeter(EventMeter):
    """Meters one stream of chat completion chunks."""

    __slots__ = ("_cost_nano", "_gave_up", "_public", "invalid_usage", "prompt_usage", "usage", "usage_event")

    TEXT: ClassVar[re.Pattern[bytes]] = texts_named(
        "content",
        "reasoning_content",
        "reasoning",
        "refusal",
        # Of functions and of custom tools.
        "arguments",
        "input",
    )
    FINISH: ClassVar[re.Pattern[bytes]] = re.compile(rb'"finish_reason"[ \t]*:[ \t]*"')

    def __init__(self, cost_nano: Callable[[Usage], int] | None, public: PublicAnswer | None = None) -> None:
        """Args:
        cost_nano: what a usage costs, to show it to a client that asked for usage; None for one that did not.
        public: what a client sees of the answer; None where what leaves is written anew.
        """
        EventMeter.__init__(self)
        self._public = None if public is None else PublicStream(public)
        self._cost_nano = cost_nano
        # The server ended a choice because it failed; what the answer consumed may still come.
        self._gave_up = False
        self.usage: Usage | None = None
        self.prompt_usage: Usage | None = None
        self.invalid_usage = False
        self.usage_event: bytes | None = None

    def has_final_usage(self) -> bool:
        """See `Meter.has_final_usage`: it has an event of its own behind the finish, or the end has come."""
        return self.usage is not None and (self.ended or (self.usage_event is not None and self.finished()))

    def complete(self) -> bool:
        """See `Meter.complete`: some servers leave the end marker out."""
        return (self.finished() or is_counted(self.usage)) and not self._gave_up

    def tail(self, charged_nano: int) -> bytes:
        """See `Meter.tail`: the usage event for a client that asked for it, and the end marker."""
        if not self.usage_event or self._cost_nano is None:
            return _DONE_EVENT
        return b"data: " + with_cost(self.usage_event, charged_nano) + b"\n\n" + _DONE_EVENT

    def _let_pass(self, events: bytes) -> bytes:
        public = self._public
        if public is not None:
            repeated = public.repeated(events)
            return self._look_closely(events) if repeated is None else repeated
        if (
            b'"usage"' in events
            or END_MARKER in events
            or b'error"' in events
            or b'"finish_reason":"' in events
            or b'"base_resp"' in events
            # Of two lines as a rule: its data, and the end.
            or (events.count(b'"choices":[{') * 2 != events.count(b"\n") and not _has_choices(events))
        ):
            return self._look_closely(events)
        return events

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in split_events(events):
            data = data_of(event)
            if data == END_MARKER:
                self.ended = True
                self.failed = self._gave_up or not (is_counted(self.usage) or self._has_choice(passing))
                break
            has_choice = _CHOICE.search(event) is not None
            if not (has_choice and _SUSPECT.search(event) is None) and is_failed_event(event, data):
                # In the upstream's words, with the operator's secrets: the client is told in ours.
                self.failed = True
                break
            gave_up = has_choice and FAILED_FINISH.search(event) is not None
            own = self._take_usage(data, event) if _USAGE.search(event) else self._own(event, data)
            if gave_up:
                self._gave_up = True
            else:
                passing.append(own)
        return b"".join(passing)

    def _own(self, event: bytes, data: bytes, *, looked_into: bool = False) -> bytes:
        """What the client gets of an event; only one that said nothing of use and end may be the pattern of others."""
        if self._public is None:
            return event
        return self._public.rewrite(event, data, learn=not looked_into and self.FINISH.search(event) is None)

    def _own_data(self, data: bytes) -> bytes:
        return data if self._public is None else self._public.data(data)

    def _has_choice(self, passing: list[bytes]) -> bool:
        """Whether anything of an answer came, in what has left or leaves now."""
        return self._events > 0 or self._finish_seen or any(map(_CHOICE.search, (*self._recent, *passing)))

    def _take_usage(self, data: bytes, event: bytes) -> bytes:
        """Read the usage of an event; returns what leaves of it: nothing when it has nothing else."""
        try:
            decoded = decode_chat_event(data)
        except UNREADABLE:
            return self._own(event, data, looked_into=True)
        if decoded.usage is None:
            return self._own(event, data)
        try:
            self.usage = from_openai(decoded.usage)
        except InvalidUsage:
            self.invalid_usage = True
            return self._own(event, data, looked_into=True) if decoded.choices else b""
        if not decoded.choices:
            self.usage_event = self._own_data(data)
            return b""
        if self._cost_nano is None:
            return self._own(event, data, looked_into=True)
        told = self._own_data(data)
        return b"data: " + with_cost(told, self._cost_nano(self.usage)) + b"\n\n" if told else b""


def is_counted(usage: Usage | None) -> bool:
    """Whether a usage says anything: no answer consumes nothing."""
    return usage is not None and (usage.prompt_tokens > 0 or usage.completion_tokens > 0)


def has_typed_events(events: bytes) -> bool:
    """Whether each event says of which type it is, in formats in which each one does, and none is named an error."""
    # Of three lines as a rule: its name, its data, and the end.
    if events and events.count(b'data: {"type":"') * 3 == events.count(b"\n"):
        return True
    return len(_TYPED.findall(events)) == events.count(b"\n\n") and b"error" not in events


def _has_choices(events: bytes) -> bool:
    """Whether each event has a choice, so that none is a failure in the place of one."""
    return len(_CHOICE.findall(events)) == events.count(b"\n\n")


def with_cost(usage_event: bytes, cost_nano: int) -> bytes:
    """A usage event's data with the exact cost in USD as `usage.cost`."""
    try:
        fields = decode_object(usage_event)
    except UNREADABLE:
        # What was read of it is readable; what was skipped need not be.
        return usage_event
    usage = fields.get("usage")
    # A format may have told the usage in an event before this one.
    known = _NO_USAGE if usage is None or bytes(usage) == b"null" else usage
    fields["usage"] = usage_with_cost(known, cost_nano)
    return msgspec.json.encode(fields)


def usage_with_cost(usage: msgspec.Raw, cost_nano: int) -> msgspec.Raw:
    """A usage object with the exact cost in USD as its `cost`."""
    fields = decode_object(usage)
    fields["cost"] = msgspec.Raw(usd_number(cost_nano))
    return msgspec.Raw(msgspec.json.encode(fields))
