"""The meter of a stream: passes events on as they arrive and looks only into those that carry usage or the end.

`EventMeter` is what every format shares: whole events, and a count of what left. `StreamMeter` is the meter of OpenAI's
chat completions. It holds back two things: a usage event without choices (shown with its cost, or not at all, when the
call is settled) and the end marker, before which the charge has to be on disk.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, Final

import msgspec

from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai, merged
from tokenbooth.gateway.body import UNREADABLE
from tokenbooth.gateway.ends import FINISH, ended_choices
from tokenbooth.gateway.shapes import decode_chat_event, decode_error_event
from tokenbooth.gateway.speech import Delivered
from tokenbooth.gateway.texts import ChatTexts
from tokenbooth.gateway.usage_places import reported_in

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
_RECENT_BYTES: Final = 16 * 1024
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_END: Final = b"[DONE]"
_NO_USAGE: Final = msgspec.Raw(b"{}")
_DONE_EVENT: Final = b"data: [DONE]\n\n"
# The second also ends "\r\n\r\n"; servers mix both.
_BOUNDARIES: Final = (b"\n\n", b"\n\r\n")
_LONGEST_BOUNDARY: Final = 3
# An event ends behind each empty line, so that where a stream is cut makes no difference to what its events are.
_EVENT_END: Final = re.compile(rb"\n(?=(\r?\n))")
_EMPTY_LINE: Final = re.compile(rb"\r?\n")


class BrokenStream(Exception):
    """What the upstream sends is no event stream that we can meter."""


def texts_named(*names: str) -> re.Pattern[bytes]:
    """Finds the values of these names that are texts and not empty, in JSON.

    None reaches from one line of a stream into the next.
    """
    return re.compile(rb'"(?:%s)"[ \t]*:[ \t]*"((?:[^"\\\n]|\\.)++)"' % "|".join(names).encode())


_decode_event = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


# Names beside which the same text may stand twice, or in parts. Plain searches, because a pattern that looks for them
# too would cost more than all else that is done with an event.
UNUSUAL_NAMES: Final = (
    b'"message"',
    b'"thinking',
    b'"reasoning_text"',
    b'_details"',
    b'"transcript"',
    b'"annotations"',
    b'"provider_specific_fields"',
)
_CONTENT: Final = b'"delta":{"content":"'
_OBJECT_ARGUMENTS: Final = re.compile(rb'"arguments"[ \t]*:[ \t]*[\[{]')


class EventMeter(ABC):
    """Cuts a stream into whole events, and counts the texts in what leaves.

    A subclass says what leaves of the events, where their texts are, and by what a finished answer is known. Where
    `_is_doubtful` says that `TEXT` may miss texts or find them twice, `_count_exactly` counts them.
    """

    __slots__ = ("_events", "_recent", "_recent_bytes", "_tail", "_text_bytes", "ended", "failed")

    TEXT: ClassVar[re.Pattern[bytes]]

    def __init__(self) -> None:
        self.ended = False
        self.failed = False
        self._tail = bytearray()
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
        if self._tail or not chunk.endswith(_BOUNDARIES):
            chunk = self._complete(chunk)
            if not chunk:
                return b""
        chunk = self._let_pass(chunk)
        self._remember(chunk)
        return chunk

    def _complete(self, chunk: bytes) -> bytes:
        """The events that this chunk completes; the rest waits.

        Only new bytes are searched, so that a large event in many small pieces costs no more than its length.
        """
        tail = self._tail
        unsearched = max(len(tail) - _LONGEST_BOUNDARY + 1, 0)
        tail += chunk
        cut = max(_behind(tail, boundary, unsearched) for boundary in _BOUNDARIES)
        if not cut and (empty := _EMPTY_LINE.match(tail)):
            cut = empty.end()
        if len(tail) - cut > MAX_EVENT_BYTES:
            raise BrokenStream("an event is too large")
        events = bytes(tail[:cut])
        del tail[:cut]
        return events

    @abstractmethod
    def _let_pass(self, events: bytes) -> bytes:
        """What leaves of some whole events."""

    @abstractmethod
    def finished(self) -> bool:
        """See `Meter.finished`."""

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
        self._look_for_end(events)
        texts = self.TEXT.findall(events)
        if self._is_doubtful(events, len(texts)):
            self._count_exactly(events)
        else:
            self._events += len(texts)
            self._text_bytes += sum(map(len, texts))
        self._recent.clear()
        self._recent_bytes = 0

    def _look_for_end(self, events: bytes) -> None:  # noqa: B027 (most formats say it in their last event alone)
        """Keep what these events say of the answer's end, before they are forgotten."""

    @abstractmethod
    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        """Whether the texts of these events, of which `TEXT` found so many, have to be read event by event."""

    @abstractmethod
    def _count_exactly(self, events: bytes) -> None:
        """Count the texts of events that say them in an unusual way."""


class StreamMeter(EventMeter):
    """Meters one stream of chat completion chunks."""

    __slots__ = (
        "_choices",
        "_cost_nano",
        "_ended_choices",
        "_finish_seen",
        "_reported",
        "_texts",
        "invalid_usage",
        "prompt_usage",
        "usage",
        "usage_event",
    )

    # `arguments` are of functions, `input` is of custom tools.
    TEXT: ClassVar[re.Pattern[bytes]] = texts_named(
        "content", "reasoning_content", "reasoning", "refusal", "arguments", "input"
    )
    # Parts of a content have one of these.
    DOUBTS: ClassVar[tuple[bytes, ...]] = (*UNUSUAL_NAMES, b'"text"')

    def __init__(self, cost_nano: Callable[[Usage], int] | None, choices: int = 1) -> None:
        """Args:
        cost_nano: what a usage costs, to show it to a client that asked for usage; None for one that did not.
        choices: how many answers were asked for; the stream ends when all of them have.
        """
        EventMeter.__init__(self)
        self._cost_nano = cost_nano
        self._choices = choices
        self._ended_choices: frozenset[int] = frozenset()
        self._finish_seen = False
        self._reported: dict[str, object] | None = None
        self._texts: ChatTexts | None = None
        self.usage: Usage | None = None
        self.prompt_usage: Usage | None = None
        self.invalid_usage = False
        self.usage_event: bytes | None = None

    def finished(self) -> bool:
        """See `Meter.finished`."""
        if not self.ended:
            for events in self._recent:
                self._look_for_end(events)
        return self.ended or self._finish_seen

    def delivered(self) -> Delivered:
        """See `Meter.delivered`."""
        self._count()
        if self._texts is None:
            return Delivered(events=self._events, text_bytes=self._text_bytes)
        return Delivered(self._events + self._texts.events, self._texts.text_bytes(self._text_bytes))

    def has_final_usage(self) -> bool:
        """See `Meter.has_final_usage`: it has an event of its own behind the finish, or the end has come."""
        return self.usage is not None and (self.ended or (self.usage_event is not None and self.finished()))

    def complete(self) -> bool:
        """See `Meter.complete`: some servers leave the end marker out."""
        return self.finished()

    def tail(self, charged_nano: int) -> bytes:
        """See `Meter.tail`: the usage event for a client that asked for it, and the end marker."""
        if self.usage_event is None or self._cost_nano is None:
            return _DONE_EVENT
        return b"data: " + with_cost(self.usage_event, charged_nano) + b"\n\n" + _DONE_EVENT

    def _let_pass(self, events: bytes) -> bytes:
        if b'"usage"' in events or _END in events or b'"error"' in events:
            return self._look_closely(events)
        return events

    def _look_for_end(self, events: bytes) -> None:
        if self._finish_seen or FINISH.search(events) is None:
            return
        if self._choices > 1:
            for event in split_events(events):
                if FINISH.search(event) is not None:
                    self._ended_choices |= ended_choices(data_of(event))
        self._finish_seen = self._choices == 1 or len(self._ended_choices) >= self._choices

    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        # The most usual: each event has one text, which is its content.
        is_plain = events.count(_CONTENT) == texts == events.count(b"data:")
        if is_plain and b"easoning" not in events and b'"message"' not in events:
            return False
        for name in self.DOUBTS:
            if name in events:
                return True
        if b'"reasoning"' in events and b'"reasoning_content"' in events:
            return True
        return b'"arguments"' in events and _OBJECT_ARGUMENTS.search(events) is not None

    def _count_exactly(self, events: bytes) -> None:
        if self._texts is None:
            self._texts = ChatTexts()
        for event in split_events(events):
            self._texts.add(data_of(event))

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in split_events(events):
            data = data_of(event)
            if data == _END:
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
        reported = decoded.usage if isinstance(decoded.usage, dict) else None
        is_elsewhere = not reported
        if is_elsewhere:
            reported = reported_in(decoded)
        if not reported:
            return event
        try:
            self._take(reported)
        except InvalidUsage:
            self.invalid_usage = True
            return event if decoded.choices else b""
        if is_elsewhere and not (decoded.choices and self._cost_nano is None):
            data = with_usage(data, reported)
        if not decoded.choices:
            self.usage_event = data
            return b""
        if self._cost_nano is None or self.usage is None:
            return event
        return b"data: " + with_cost(data, self._cost_nano(self.usage)) + b"\n\n"

    def _take(self, reported: dict[str, object]) -> None:
        """Take a report: of each count the last that says something stands.

        Raises:
            InvalidUsage: with all that came before it is none.
        """
        self._reported = reported if self._reported is None else merged(self._reported, reported)
        self.usage = from_openai(self._reported)


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


def with_usage(data: bytes, usage: dict[str, object]) -> bytes:
    """An event's data with the usage where clients look for it."""
    try:
        fields = _decode_event(data)
    except UNREADABLE:
        return data
    fields["usage"] = msgspec.Raw(msgspec.json.encode(usage))
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


def split_events(events: bytes) -> list[bytes]:
    """Whole events, each with its end."""
    ends = [match.end(1) for match in _EVENT_END.finditer(events)]
    if empty := _EMPTY_LINE.match(events):
        ends.insert(0, empty.end())
    return [events[start:end] for start, end in pairwise([0, *ends])]


def _behind(tail: bytearray, boundary: bytes, unsearched: int) -> int:
    at = tail.rfind(boundary, unsearched)
    return 0 if at < 0 else at + len(boundary)


def data_of(event: bytes) -> bytes:
    """The data of one event."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
