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

from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai, merged
from tokenbooth.gateway.formats.base import Delivered
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.ends import FINISH, ended_choices
from tokenbooth.gateway.formats.failed_answers import FAILED_FINISH, is_failed_event
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_object
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves
from tokenbooth.gateway.formats.public_answers import PublicAnswer, usd_number
from tokenbooth.gateway.formats.repeated_events import PublicStream
from tokenbooth.gateway.formats.schema import decode_chat_event
from tokenbooth.gateway.formats.sse import (
    END_MARKER,
    EventFramer,
    data_of,
    is_in_form,
    split_events,
    stray_of,
)
from tokenbooth.gateway.formats.texts import ChatTexts
from tokenbooth.gateway.formats.usage_places import reported_in

_CR: Final = ord("\r")
_RECENT_BYTES: Final = 16 * 1024
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_TYPED: Final = re.compile(rb'(?m)^data:[^\n]*?"type"[ \t]*:[ \t]*"')
_CHOICE: Final = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\{')
# An event with one of these may tell a failure, although it has a choice.
_SUSPECT: Final = re.compile(rb'error"|"errors"|"base_resp"|(?m:^event:)')
# An error that may say something; an answer has it as null.
_ERROR: Final = re.compile(rb'"error"[ \t]*:[ \t]*(?!null)')
_LF: Final = ord("\n")
_D: Final = ord("d")
_NO_USAGE: Final = msgspec.Raw(b"{}")
_NO_CHOICES: Final = msgspec.Raw(b"[]")
_DONE_EVENT: Final = b"data: [DONE]\n\n"


def texts_named(*names: str) -> re.Pattern[bytes]:
    """Finds the values of these names that are texts and not empty, in JSON.

    None reaches from one line of a stream into the next.
    """
    return re.compile(rb'"(?:%s)"[ \t]*:[ \t]*"((?:[^"\\\n]|\\.)++)"' % "|".join(names).encode())


# Names beside which the same text may stand twice, or in parts. Plain searches, because a pattern that looks for them
# too would cost more than all else that is done with an event.
UNUSUAL_NAMES: Final = (
    b'"message',
    b'"thinking',
    b'"thought',
    b'"reasoning_text"',
    b'_summary"',
    b'"tool_plan"',
    b'_details"',
    b'"transcript"',
    b'"annotations"',
    b'"provider_specific_fields"',
)
_CONTENT: Final = b'"delta":{"content":"'
# An object or a list where a text is due; a list of tokens is of `logprobs`.
_NO_TEXT: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments|input)"[ \t]*:[ \t]*(?:\{|\[(?![ \t]*(?:\]|\{[ \t]*"token")))'
    rb'|"delta"[ \t]*:[ \t]*"'
)


class EventMeter(ABC):
    """Cuts a stream into whole events, and counts the texts in what leaves.

    A subclass says what leaves of the events, where their texts are, and by what a finished answer is known. Where
    `_is_doubtful` says that `TEXT` may miss texts or find them twice, `_count_exactly` counts them.
    """

    __slots__ = ("_events", "_framer", "_public", "_recent", "_recent_bytes", "_text_bytes", "failed", "saw_end_marker")

    TEXT: ClassVar[re.Pattern[bytes]]
    usage: Usage | None

    def __init__(self, public: PublicAnswer | None) -> None:
        """Args:
        public: what a client sees of the answer; None where events leave as they came.
        """
        self.saw_end_marker = False
        self.failed = False
        self._public = None if public is None else PublicStream(public)
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
        """Nothing more comes; returns what leaves of an event that was left open.

        Raises:
            BrokenStream: the body ended inside of it.
        """
        if self.saw_end_marker or self.failed:
            return b""
        return self._pass(self._framer.end())

    @property
    def whole(self) -> bytearray | None:
        """The body, when it is no stream but one JSON text; None for a stream."""
        return self._framer.whole

    def has_answer(self) -> bool:
        """Whether what is held back is an answer by itself."""
        return is_counted(self.usage)

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
        """What leaves of events among which some are in no field: an error is heard, and none of them leaves."""
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
        """What leaves of some whole events."""
        return events if self._public is None and self._is_plain(events) else self._look_closely(events)

    @abstractmethod
    def _is_plain(self, events: bytes) -> bool:
        """Whether some whole events say nothing of use, end and failure."""

    @abstractmethod
    def _look_closely(self, events: bytes) -> bytes:
        """What leaves of some whole events, each of which is looked into."""

    @abstractmethod
    def saw_finish_reason(self) -> bool:
        """See `Meter.saw_finish_reason`."""

    def delivered(self) -> Delivered:
        """How much was streamed, counted from what left."""
        self._count()
        return Delivered(events=self._events, text_bytes=self._text_bytes)

    def plain_texts(self, events: bytes) -> list[bytes] | None:
        """See `TextFinder.plain_texts`."""
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

    def _note(self, events: bytes) -> None:  # noqa: B027 (most formats say it in their last event alone)
        """Keep what these events say of the answer, before they are forgotten."""

    @abstractmethod
    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        """Whether the texts of these events, of which `TEXT` found so many, have to be read event by event."""

    @abstractmethod
    def _count_exactly(self, events: bytes) -> None:
        """Count the texts of events that say them in an unusual way."""


class StreamMeter(EventMeter):
    """Meters one stream of chat completion chunks."""

    __slots__ = (
        "_choice_seen",
        "_choices",
        "_cost_nano",
        "_ended_choices",
        "_finish_seen",
        "_gave_up",
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

    def __init__(
        self, cost_nano: Callable[[Usage], int] | None, public: PublicAnswer | None = None, choices: int = 1
    ) -> None:
        """Args:
        cost_nano: what a usage costs, to show it to a client that asked for usage; None for one that did not.
        public: what a client sees of the answer; None where what leaves is written anew.
        choices: how many answers were asked for; the stream ends when all of them have.
        """
        EventMeter.__init__(self, public)
        self._cost_nano = cost_nano
        # The server ended a choice because it failed; what the answer consumed may still come.
        self._gave_up = False
        self._choices = choices
        self._ended_choices: frozenset[int] = frozenset()
        self._finish_seen = False
        self._reported: dict[str, object] | None = None
        self._texts: ChatTexts | None = None
        self._choice_seen = False
        self.usage: Usage | None = None
        self.prompt_usage: Usage | None = None
        self.invalid_usage = False
        self.usage_event: bytes | None = None

    def saw_finish_reason(self) -> bool:
        """See `Meter.saw_finish_reason`."""
        if not self.saw_end_marker:
            for events in self._recent:
                self._note(events)
        return self.saw_end_marker or self._finish_seen

    def delivered(self) -> Delivered:
        """See `Meter.delivered`."""
        self._count()
        if self._texts is None:
            return Delivered(events=self._events, text_bytes=self._text_bytes)
        return Delivered(self._events + self._texts.events, self._texts.text_bytes(self._text_bytes))

    def has_final_usage(self) -> bool:
        """See `Meter.has_final_usage`: it has an event of its own behind the finish, or the end has come."""
        return self.usage is not None and (
            self.saw_end_marker or (self.usage_event is not None and self.saw_finish_reason())
        )

    def may_end_without_marker(self) -> bool:
        """See `Meter.may_end_without_marker`: some servers leave the end marker out."""
        return self.saw_finish_reason() and not self._gave_up

    def final_events(self, charged_nano: int) -> bytes:
        """See `Meter.final_events`: the usage event for a client that asked for it, and the end marker."""
        if not self.usage_event or self._cost_nano is None:
            return _DONE_EVENT
        return b"data: " + with_cost(self.usage_event, charged_nano) + b"\n\n" + _DONE_EVENT

    def _is_plain(self, events: bytes) -> bool:
        if (
            holds(events, b'"usage"')
            or holds(events, END_MARKER)
            or holds(events, b'error"')
            or FINISH.search(events) is not None
            or holds(events, b'"base_resp"')
        ):
            return False
        # Of two lines as a rule: its data, and the end.
        return events.count(b'"choices":[{') * 2 == events.count(b"\n") or _has_choices(events)

    def _note(self, events: bytes) -> None:
        self._choice_seen = self._choice_seen or _CHOICE.search(events) is not None
        if self._finish_seen or FINISH.search(events) is None:
            return
        # The same name may stand inside of what is said, too.
        for event in split_events(events):
            if FINISH.search(event) is not None:
                self._ended_choices |= ended_choices(data_of(event))
        self._finish_seen = len(self._ended_choices) >= self._choices

    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        # The most usual: each event has one text, which is its content.
        is_plain = events.count(_CONTENT) == texts == events.count(b"data:")
        if is_plain and not holds(events, b"easoning") and not holds(events, b'"message"'):
            return False
        for name in self.DOUBTS:
            if holds(events, name):
                return True
        if holds(events, b'"reasoning"') and holds(events, b'"reasoning_content"'):
            return True
        return _NO_TEXT.search(events) is not None

    def _count_exactly(self, events: bytes) -> None:
        if self._texts is None:
            self._texts = ChatTexts()
        for event in split_events(events):
            self._texts.add(data_of(event))

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in split_events(events):
            data = data_of(event)
            if data == END_MARKER:
                self.saw_end_marker = True
                self.failed = self._gave_up or not (is_counted(self.usage) or self._has_choice(passing))
                break
            has_choice = _CHOICE.search(event) is not None
            if not (has_choice and _SUSPECT.search(event) is None) and is_failed_event(event, data):
                # In the upstream's words, with the operator's secrets: the client is told in ours.
                self.failed = True
                break
            gave_up = has_choice and FAILED_FINISH.search(event) is not None
            own = self._take_usage(data, event) if _USAGE.search(event) else self._own(event, data)
            if self._public is not None and self._public.has_torn:
                self.failed = True
                break
            if gave_up:
                self._gave_up = True
            else:
                passing.append(own)
        return b"".join(passing)

    def _own(self, event: bytes, data: bytes, *, looked_into: bool = False) -> bytes:
        """What the client gets of an event; only one that said nothing of use and end may be the pattern of others."""
        if self._public is None:
            return event
        is_like_others = not looked_into and FINISH.search(event) is None
        return self._public.rewrite(event, data, self if is_like_others else None)

    def _own_data(self, data: bytes) -> bytes:
        return data if self._public is None else self._public.data(data)

    def _has_choice(self, passing: list[bytes]) -> bool:
        """Whether anything of an answer came, in what has left or leaves now."""
        return self._choice_seen or any(map(_CHOICE.search, (*self._recent, *passing)))

    def _take_usage(self, data: bytes, event: bytes) -> bytes:
        """Read the usage of an event; returns what leaves of it: nothing when it has nothing else."""
        try:
            decoded = decode_with_halves(decode_chat_event, data)
        except UNREADABLE:
            return self._own(event, data, looked_into=True)
        reported = decoded.usage if isinstance(decoded.usage, dict) else None
        is_elsewhere = not reported
        if is_elsewhere:
            reported = reported_in(decoded)
        if not reported:
            return self._own(event, data)
        try:
            self._take(reported)
        except InvalidUsage:
            self.invalid_usage = True
            return self._own(event, data, looked_into=True) if decoded.choices else b""
        if is_elsewhere and not (decoded.choices and self._cost_nano is None):
            data = with_usage(data, reported)
        if not decoded.choices:
            self.usage_event = self._own_data(data)
            return b""
        if self._cost_nano is None or self.usage is None:
            return self._own(event, data, looked_into=True)
        told = self._own_data(data)
        if told and not (self.usage.prompt_tokens and self.usage.completion_tokens and not self.usage.untold_tokens):
            # What is charged is more than these parts, and known at the end: it is told there again, with the cost.
            self.usage_event = without_choices(told)
            return b"data: " + told + b"\n\n"
        self.usage_event = None
        return b"data: " + with_cost(told, self._cost_nano(self.usage)) + b"\n\n" if told else b""

    def _take(self, reported: dict[str, object]) -> None:
        """Take a report: of each count the last that says something stands.

        Raises:
            InvalidUsage: with all that came before it is none.
        """
        self._reported = reported if self._reported is None else merged(self._reported, reported)
        self.usage = from_openai(self._reported)


def is_counted(usage: Usage | None) -> bool:
    """Whether a usage says anything: no answer consumes nothing."""
    return usage is not None and (usage.prompt_tokens > 0 or usage.completion_tokens > 0)


def has_typed_events(events: bytes) -> bool:
    """Whether each event says of which type it is, in formats in which each one does, and none may tell an error."""
    # Of three lines as a rule: its name, its data, and the end.
    if events and events.count(b'data: {"type":"') * 3 == events.count(b"\n"):
        return _ERROR.search(events) is None
    return len(_TYPED.findall(events)) == events.count(b"\n\n") and not holds(events, b"error")


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


def with_usage(data: bytes, usage: dict[str, object]) -> bytes:
    """An event's data with the usage where clients look for it."""
    try:
        fields = decode_object(data)
    except UNREADABLE:
        return data
    fields["usage"] = msgspec.Raw(msgspec.json.encode(usage))
    return msgspec.json.encode(fields)


def without_choices(data: bytes) -> bytes:
    """The data of an event that says the same without any choice."""
    return msgspec.json.encode({**decode_object(data), "choices": _NO_CHOICES})


def usage_with_cost(usage: msgspec.Raw, cost_nano: int) -> msgspec.Raw:
    """A usage object with the exact cost in USD as its `cost`."""
    fields = decode_object(usage)
    fields["cost"] = msgspec.Raw(usd_number(cost_nano))
    return msgspec.Raw(msgspec.json.encode(fields))
