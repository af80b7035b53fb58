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

from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai
from tokenbooth.gateway.body import UNREADABLE
from tokenbooth.gateway.event_stream import (
    END_MARKER,
    EventFramer,
    data_of,
    is_in_form,
    is_one_event,
    split_events,
    stray_of,
)
from tokenbooth.gateway.shapes import decode_chat_event, decode_error_event
from tokenbooth.gateway.speech import Delivered

_RECENT_BYTES: Final = 16 * 1024
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_NO_USAGE: Final = msgspec.Raw(b"{}")
_DONE_EVENT: Final = b"data: [DONE]\n\n"


def texts_named(*names: str) -> re.Pattern[bytes]:
    """Finds the values of these names that are texts, in JSON; none reaches from one line of a stream into the next."""
    return re.compile(rb'"(?:%s)"[ \t]*:[ \t]*"((?:[^"\\\n]|\\.)*+)"' % "|".join(names).encode())


_decode_event = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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
        if framer.holds or not (is_one_event(chunk) or is_in_form(chunk)):
            return self._pass(framer.feed(chunk))
        framer.begun = True
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
        passing = self._without_strays(events) if self._framer.has_strays else self._let_pass(events)
        self._remember(passing)
        return passing

    def _without_strays(self, events: bytes) -> bytes:
        """What leaves of events among which some are in no field: an error is heard, and none of them leaves."""
        passing: list[bytes] = []
        for event in split_events(events):
            stray = stray_of(event)
            if stray is None:
                passing.append(self._let_pass(event))
            elif is_error(stray):
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

    __slots__ = ("_cost_nano", "invalid_usage", "prompt_usage", "usage", "usage_event")

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

    def __init__(self, cost_nano: Callable[[Usage], int] | None) -> None:
        """Args:
        cost_nano: what a usage costs, to show it to a client that asked for usage; None for one that did not.
        """
        EventMeter.__init__(self)
        self._cost_nano = cost_nano
        self.usage: Usage | None = None
        self.prompt_usage: Usage | None = None
        self.invalid_usage = False
        self.usage_event: bytes | None = None

    def has_final_usage(self) -> bool:
        """See `Meter.has_final_usage`: it has an event of its own behind the finish, or the end has come."""
        return self.usage is not None and (self.ended or (self.usage_event is not None and self.finished()))

    def complete(self) -> bool:
        """See `Meter.complete`: some servers leave the end marker out."""
        return self.finished() or self.usage is not None

    def tail(self, charged_nano: int) -> bytes:
        """See `Meter.tail`: the usage event for a client that asked for it, and the end marker."""
        if self.usage_event is None or self._cost_nano is None:
            return _DONE_EVENT
        return b"data: " + with_cost(self.usage_event, charged_nano) + b"\n\n" + _DONE_EVENT

    def _let_pass(self, events: bytes) -> bytes:
        if b'"usage"' in events or END_MARKER in events or b'"error"' in events:
            return self._look_closely(events)
        return events

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in split_events(events):
            data = data_of(event)
            if data == END_MARKER:
                self.ended = True
                break
            if b'"error"' in event and is_error(data):
                # In the upstream's words, with the operator's secrets: the client is told in ours.
                self.failed = True
                break
            if _USAGE.search(event):
                event = self._take_usage(data, event)
            passing.append(event)
        return b"".join(passing)

    def _take_usage(self, data: bytes, event: bytes) -> bytes:
        """Read the usage of an event; returns what leaves of it: nothing when it has nothing else."""
        try:
            decoded = decode_chat_event(data)
        except UNREADABLE:
            return event
        if decoded.usage is None:
            return event
        try:
            self.usage = from_openai(decoded.usage)
        except InvalidUsage:
            self.invalid_usage = True
            return event if decoded.choices else b""
        if not decoded.choices:
            self.usage_event = data
            return b""
        if self._cost_nano is None:
            return event
        return b"data: " + with_cost(data, self._cost_nano(self.usage)) + b"\n\n"


def is_error(data: bytes) -> bool:
    """Whether an event's data reports an error."""
    try:
        return bytes(decode_error_event(data).error) not in (b"", b"null")
    except UNREADABLE:
        return False


def with_cost(usage_event: bytes, cost_nano: int) -> bytes:
    """A usage event's data with the exact cost in USD as `usage.cost`."""
    try:
        fields = _decode_event(usage_event)
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
    fields = _decode_event(usage)
    fields["cost"] = msgspec.Raw(usd_number(cost_nano))
    return msgspec.Raw(msgspec.json.encode(fields))


def usd_number(amount_nano: int) -> bytes:
    """Nano-USD as an exact JSON number of USD."""
    whole, fraction = divmod(amount_nano, NANO_PER_USD)
    return b"%d.%09d" % (whole, fraction)
