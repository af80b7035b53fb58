"""The base of all meters: they pass on the events of a stream, and read usage and the end of the answer.

A meter decodes only events that may carry usage, the end or a failure. It counts the texts of the others as they leave,
for a charge when no usage comes. It holds back what may only leave once the charge is on disk.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.failed_answers import is_failed_event
from tokenbooth.gateway.formats.public_answers import PublicAnswer
from tokenbooth.gateway.formats.repeated_events import PublicStream
from tokenbooth.gateway.formats.reported_usage import is_counted
from tokenbooth.gateway.formats.sse import EventFramer, is_in_form, split_events, stray_of

_CR: Final = ord("\r")
_LF: Final = ord("\n")
_D: Final = ord("d")
_RECENT_BYTES: Final = 16 * 1024
_TYPED: Final = re.compile(rb'(?m)^data:[^\n]*?"type"[ \t]*:[ \t]*"')
# An error that may say something; an answer has it as null.
_ERROR: Final = re.compile(rb'"error"[ \t]*:[ \t]*(?!null)')


def texts_named(*names: str) -> re.Pattern[bytes]:
    """A pattern for the string values of these JSON keys, but for empty ones. A match never spans a newline."""
    return re.compile(rb'"(?:%s)"[ \t]*:[ \t]*"((?:[^"\\\n]|\\.)++)"' % "|".join(names).encode())


def has_typed_events(events: bytes) -> bool:
    """Whether each event names its type, in formats in which each one does, and none may report an error."""
    # Of three lines as a rule: its name, its data, and the end.
    if events and events.count(b'data: {"type":"') * 3 == events.count(b"\n"):
        return _ERROR.search(events) is None
    return len(_TYPED.findall(events)) == events.count(b"\n\n") and not holds(events, b"error")


@dataclass(frozen=True, slots=True)
class Delivered:
    """The amount that was streamed so far, for a count without usage.

    Attributes:
        events: the number of texts.
        text_bytes: the bytes of all texts.
    """

    events: int
    text_bytes: int


class Meter(ABC):
    """Meters one stream: cuts it into whole events, passes them on, and counts the texts in them.

    A subclass says which events leave, where their texts are, and how a finished answer is recognised. Where
    `_is_doubtful` says that `TEXT` may miss texts or find them twice, `_count_exactly` counts them.

    Attributes:
        usage: the usage that the upstream reported so far for the whole answer; None for none.
        prompt_usage: the usage that it reported before the answer, in a format that reports the prompt first.
        invalid_usage: whether it reported impossible counts.
        saw_end_marker: whether the event that ends the answer came. It is one of the `final_events`.
        failed: whether the upstream reported an error. The error does not leave, nor does what follows.
    """

    __slots__ = (
        "_began",
        "_events",
        "_framer",
        "_public",
        "_recent",
        "_recent_bytes",
        "_text_bytes",
        "failed",
        "invalid_usage",
        "prompt_usage",
        "saw_end_marker",
        "usage",
    )

    TEXT: ClassVar[re.Pattern[bytes]]
    """Finds the texts of events."""
    ANSWER: ClassVar[re.Pattern[bytes]]
    """Finds an event that is part of an answer."""

    def __init__(self, public: PublicAnswer | None = None) -> None:
        """Start a stream; `public` is what the client sees of the answer, None to pass events on unchanged."""
        self.usage: Usage | None = None
        self.prompt_usage: Usage | None = None
        self.invalid_usage = False
        self.saw_end_marker = False
        self.failed = False
        self._public = None if public is None else PublicStream(public)
        self._framer = EventFramer()
        # What left and is not counted yet.
        self._recent: list[bytes] = []
        self._recent_bytes = 0
        self._events = 0
        self._text_bytes = 0
        # Whether an event that was counted was part of an answer.
        self._began = False

    def feed(self, chunk: bytes) -> bytes:
        """Take what arrived; returns what may leave now.

        Raises:
            BrokenStream: this is no event stream, or an event is larger than any model writes.
        """
        framer, public = self._framer, self._public
        if not framer.holds and public is not None:
            repeated = public.repeated(chunk)
            if repeated is not None:
                return self._repeated(repeated)
        # What almost every chunk is, one event with one line, is seen at the least cost: a lone line that begins with
        # this letter is none of those that have to be taken apart.
        is_one = chunk.find(b"\n") == len(chunk) - 2 and chunk[-1] == _LF and chunk[0] == _D
        if framer.holds or _CR in chunk or not (is_one or is_in_form(chunk)):
            return self._pass(framer.feed(chunk))
        return self._meter_whole(chunk)

    def end_of_body(self) -> bytes:
        """Take the end of the body; returns what leaves of an event that was left open.

        Raises:
            BrokenStream: the body ended inside an event.
        """
        if self.saw_end_marker or self.failed:
            return b""
        return self._pass(self._framer.end())

    @property
    def whole(self) -> bytearray | None:
        """The body, when it is no stream but one JSON text; None for a stream."""
        return self._framer.whole

    def has_answer(self) -> bool:
        """Whether what is held back is an answer by itself, although nothing has left."""
        return is_counted(self.usage)

    def saw_finish_reason(self) -> bool:
        """Whether all choices of the answer have their finish reason, so that only the usage can still come."""
        return self.saw_end_marker

    def may_end_without_marker(self) -> bool:
        """Whether the answer may end here, although its end marker did not come."""
        return self.saw_finish_reason()

    def has_final_usage(self) -> bool:
        """Whether the usage that came is that of the whole answer; an earlier one is a lower bound."""
        return self.usage is not None and self.saw_finish_reason()

    def delivered(self) -> Delivered:
        """The amount that was streamed, counted from what left."""
        self._count()
        return Delivered(self._events, self._text_bytes)

    @abstractmethod
    def final_events(self, charged_nano: int) -> bytes:
        """The rest of the answer, to be sent once the charge (nano-USD) is on disk."""

    @abstractmethod
    def _is_plain(self, events: bytes) -> bool:
        """Whether no event has anything to do with usage, end and failure."""

    @abstractmethod
    def _look_closely(self, events: bytes) -> bytes:
        """Look into each of some whole events; returns what leaves of them."""

    @abstractmethod
    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        """Whether these events, in which `TEXT` found so many texts, have to be counted by `_count_exactly`."""

    @abstractmethod
    def _count_exactly(self, events: bytes) -> None:
        """Count the texts of events that hold them in an unusual way."""

    def _pass(self, events: bytes) -> bytes:
        if not events:
            return b""
        if self._framer.has_strays:
            return self._without_strays(events)
        return self._meter_whole(events)

    def _meter_whole(self, events: bytes) -> bytes:
        public = self._public
        if public is not None:
            repeated = public.repeated(events)
            if repeated is not None:
                return self._repeated(repeated)
        passing = self._let_pass(events)
        self._remember(passing)
        return passing

    def _repeated(self, events: bytes) -> bytes:
        """Count what leaves of events that are like others, of which everything else was kept."""
        public = self._public
        if public is not None and public.is_counted:
            self._events += public.texts
            self._text_bytes += public.text_bytes
        else:
            self._remember(events)
        return events

    def _without_strays(self, events: bytes) -> bytes:
        """Read events with lines in no field of the standard, which may report an error; returns what leaves."""
        passing: list[bytes] = []
        for event in split_events(events):
            stray = stray_of(event)
            if stray is None:
                passing.append(self._meter_whole(event))
            elif is_failed_event(b"", stray):
                self.failed = True
            if self.saw_end_marker or self.failed:
                break
        return b"".join(passing)

    def _let_pass(self, events: bytes) -> bytes:
        """Read whole events; returns what leaves of them."""
        return events if self._public is None and self._is_plain(events) else self._look_closely(events)

    def _for_client(self, event: bytes, data: bytes, *, is_pattern: bool) -> bytes:
        """An event as the client gets it; the stream fails at one that is torn.

        Args:
            event: the whole event.
            data: its data.
            is_pattern: whether events like it need not be looked into.
        """
        public = self._public
        if public is None:
            return event
        event = public.rewrite(event, data, self.plain_texts if is_pattern else None)
        self.failed = self.failed or public.has_torn
        return event

    def _has_begun(self, passing: list[bytes]) -> bool:
        """Whether any part of an answer is in what has left, or in what leaves now."""
        return self._began or any(map(self.ANSWER.search, (*self._recent, *passing)))

    def plain_texts(self, events: bytes) -> list[bytes] | None:
        """The texts of events; None when they have to be counted event by event."""
        texts: list[bytes] = self.TEXT.findall(events)
        return None if self._is_doubtful(events, len(texts)) else texts

    def _remember(self, chunk: bytes) -> None:
        # Counting is put off: a stream with usage, which is almost every one, never needs it.
        self._recent.append(chunk)
        self._recent_bytes += len(chunk)
        if self._recent_bytes > _RECENT_BYTES:
            self._count()

    def _count(self) -> None:
        # No text and no name reaches from one event into the next.
        events = b"".join(self._recent)
        self._note(events)
        texts = self.plain_texts(events)
        if texts is None:
            self._count_exactly(events)
        else:
            self._events += len(texts)
            self._text_bytes += sum(map(len, texts))
        self._recent.clear()
        self._recent_bytes = 0

    def _note(self, events: bytes) -> None:
        """Keep what these events say of the answer, before they are counted and dropped."""
        self._began = self._began or self.ANSWER.search(events) is not None
