"""The meter of a stream of OpenAI's chat completions.

It holds back two things: a usage event without choices (shown with its cost, or not at all, when the call is settled),
and the end marker, before which the charge has to be on disk.
"""

import re
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec

from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai, merged
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.ends import FINISH, ended_choices
from tokenbooth.gateway.formats.failed_answers import FAILED_FINISH, is_failed_event
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_object, encode, raw
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves
from tokenbooth.gateway.formats.meter import Delivered, Meter, texts_named
from tokenbooth.gateway.formats.public_answers import PublicAnswer
from tokenbooth.gateway.formats.reported_usage import is_counted, reported_in, with_cost
from tokenbooth.gateway.formats.schema import decode_chat_event
from tokenbooth.gateway.formats.sse import END_MARKER, data_of, split_events
from tokenbooth.gateway.formats.texts import ChatTexts

_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_CHOICE: Final = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\{')
# An event with one of these may report a failure, although it has a choice.
_SUSPECT: Final = re.compile(rb'error"|"errors"|"base_resp"|(?m:^event:)')
_NO_CHOICES: Final = msgspec.Raw(b"[]")
_DONE_EVENT: Final = b"data: [DONE]\n\n"
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


class ChatMeter(Meter):
    """Meters one stream of chat completion chunks."""

    __slots__ = (
        "_choices",
        "_cost_nano",
        "_ended_choices",
        "_finish_seen",
        "_gave_up",
        "_reported",
        "_texts",
        "usage_event",
    )

    # `arguments` are of functions, `input` is of custom tools.
    TEXT: ClassVar[re.Pattern[bytes]] = texts_named(
        "content", "reasoning_content", "reasoning", "refusal", "arguments", "input"
    )
    ANSWER: ClassVar[re.Pattern[bytes]] = _CHOICE
    # Parts of a content have one of these.
    DOUBTS: ClassVar[tuple[bytes, ...]] = (*UNUSUAL_NAMES, b'"text"')

    def __init__(
        self, cost_nano: Callable[[Usage], int] | None, public: PublicAnswer | None = None, choices: int = 1
    ) -> None:
        """Start a stream.

        Args:
            cost_nano: the cost of a usage in nano-USD, for a client that asked for usage; None for one that did not.
            public: what the client sees of the answer; None to pass events on unchanged.
            choices: the number of answers that were asked for; the stream ends when all of them have ended.
        """
        Meter.__init__(self, public)
        self._cost_nano = cost_nano
        # The server ended a choice because it failed; the usage of the answer may still come.
        self._gave_up = False
        self._choices = choices
        self._ended_choices: frozenset[int] = frozenset()
        self._finish_seen = False
        self._reported: dict[str, object] | None = None
        self._texts: ChatTexts | None = None
        self.usage_event: bytes | None = None

    def saw_finish_reason(self) -> bool:
        if not self.saw_end_marker:
            for events in self._recent:
                self._note(events)
        return self.saw_end_marker or self._finish_seen

    def delivered(self) -> Delivered:
        counted = Meter.delivered(self)
        if self._texts is None:
            return counted
        return Delivered(counted.events + self._texts.events, self._texts.text_bytes(counted.text_bytes))

    def has_final_usage(self) -> bool:
        # It has an event of its own after the finish reason, or the end has come.
        return self.usage is not None and (
            self.saw_end_marker or (self.usage_event is not None and self.saw_finish_reason())
        )

    def may_end_without_marker(self) -> bool:
        # Some servers leave the end marker out.
        return self.saw_finish_reason() and not self._gave_up

    def final_events(self, charged_nano: int) -> bytes:
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
        return events.count(b'"choices":[{') * 2 == events.count(b"\n") or _have_choices(events)

    def _note(self, events: bytes) -> None:
        Meter._note(self, events)
        if self._finish_seen or FINISH.search(events) is None:
            return
        # The same name may stand inside a text, too.
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
                self.failed = self._gave_up or not (is_counted(self.usage) or self._has_begun(passing))
                break
            has_choice = _CHOICE.search(event) is not None
            if not (has_choice and _SUSPECT.search(event) is None) and is_failed_event(event, data):
                # In the upstream's words, with the operator's secrets: the client gets it in ours.
                self.failed = True
                break
            gave_up = has_choice and FAILED_FINISH.search(event) is not None
            own = self._take_usage(data, event) if _USAGE.search(event) else self._own(event, data)
            if self.failed:
                break
            if gave_up:
                self._gave_up = True
            else:
                passing.append(own)
        return b"".join(passing)

    def _own(self, event: bytes, data: bytes) -> bytes:
        """An event without usage as the client gets it. One with a finish reason is no pattern for others."""
        return self._for_client(event, data, is_pattern=FINISH.search(event) is None)

    def _own_data(self, data: bytes) -> bytes:
        public = self._public
        if public is None:
            return data
        data = public.data(data)
        self.failed = self.failed or public.has_torn
        return data

    def _take_usage(self, data: bytes, event: bytes) -> bytes:
        """Read the usage of an event; returns what leaves of it: nothing when it has nothing else."""
        try:
            decoded = decode_with_halves(decode_chat_event, data)
        except UNREADABLE:
            return self._for_client(event, data, is_pattern=False)
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
            return self._for_client(event, data, is_pattern=False) if decoded.choices else b""
        if is_elsewhere and not (decoded.choices and self._cost_nano is None):
            data = _with_usage(data, reported)
        if not decoded.choices:
            self.usage_event = self._own_data(data)
            return b""
        if self._cost_nano is None or self.usage is None:
            return self._for_client(event, data, is_pattern=False)
        own = self._own_data(data)
        if own and not (self.usage.prompt_tokens and self.usage.completion_tokens and not self.usage.untold_tokens):
            # What is charged is more than these parts, and known at the end: it is reported there, with the cost.
            self.usage_event = encode({**decode_object(own), "choices": _NO_CHOICES})
            return b"data: " + own + b"\n\n"
        self.usage_event = None
        return b"data: " + with_cost(own, self._cost_nano(self.usage)) + b"\n\n" if own else b""

    def _take(self, reported: dict[str, object]) -> None:
        """Take a report: of each count the last that is not zero stands.

        Raises:
            InvalidUsage: the counts of all reports together are impossible.
        """
        self._reported = reported if self._reported is None else merged(self._reported, reported)
        self.usage = from_openai(self._reported)


def _have_choices(events: bytes) -> bool:
    """Whether each event has a choice, so that none is a failure in the place of one."""
    return len(_CHOICE.findall(events)) == events.count(b"\n\n")


def _with_usage(data: bytes, usage: dict[str, object]) -> bytes:
    """The data of an event, with the usage where clients look for it."""
    try:
        fields = decode_object(data)
    except UNREADABLE:
        return data
    fields["usage"] = raw(usage)
    return encode(fields)
