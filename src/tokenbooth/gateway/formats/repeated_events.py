"""Rewriting the events of a stream for the client, without decoding events that are like one before.

Most events of a stream differ from the one before by a text only. Such a pattern is learned from an event that was
decoded, and the next events are compared with it byte by byte. Their texts are counted on the way, because a search for
them afterwards would cost more than everything else that is done with an event.
"""

import re
from collections.abc import Callable
from typing import Final

from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_json, decode_object, decode_text
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves, marked_halves, restored_halves
from tokenbooth.gateway.formats.public_answers import PublicAnswer
from tokenbooth.gateway.formats.sse import data_of

_CR: Final = ord("\r")
# An event with a longer text is rare, and decoding it costs little beside its length.
_LONGEST_PATTERN_BYTES: Final = 4_096
# So many events are tried as patterns, and one more for each so many that were like one.
_PATTERNS: Final = 8
_REPEATS_PER_PATTERN: Final = 16
# Of a text, of what was thought, and of the arguments of a call.
_MOST_AT_ONCE: Final = 3
_BACKSLASH: Final = ord("\\")
_CHANGING: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|thinking|partial_json|arguments|delta|obfuscation)":\s?"'
    rb'((?:[^"\\\r\n]|\\.)+)"|"sequence_number":\s?([0-9]+)'
)
# Nobody writes these; where an upstream does, its event is no pattern.
_TEXT_MARK: Final = "text-%d-that-changes-5b1f"
_NUMBER_MARK: Final = 730_519_226_840_000
_EVENT_TYPE: Final = re.compile(r"[a-z][a-z_.]{0,63}")


FindTexts = Callable[[bytes], list[bytes] | None]


class _Changing:
    """A text or number that changes from event to event, and the bytes after it."""

    __slots__ = ("after", "after_bytes", "is_number", "is_text", "own_after")

    def __init__(self, is_number: bool, is_text: bool, after: bytes, own_after: bytes) -> None:
        self.is_number = is_number
        # Whether it is a text that counts as delivered.
        self.is_text = is_text
        self.after = after
        self.after_bytes = len(after)
        self.own_after = own_after

    def end_in(self, events: bytes, at: int) -> int:
        """The end of the value that begins at `at`, if the expected bytes follow; else -1."""
        if self.is_number:
            end = events.find(self.after, at)
            return end if end > at and events[at:end].isdigit() else -1
        end = events.find(b'"', at)
        while end > at and events[end - 1] == _BACKSLASH and _is_escaped(events, end, at):
            end = events.find(b'"', end + 1)
        return end if end >= at and events.startswith(self.after, end) else -1


def _is_escaped(events: bytes, quote: int, start: int) -> bool:
    """Whether a quote in a text is part of it: there is an odd number of backslashes before it."""
    at = quote
    while at > start and events[at - 1] == _BACKSLASH:
        at -= 1
    return (quote - at) % 2 == 1


class _Rewritten:
    """The rewritten events so far, and the texts in them."""

    __slots__ = ("is_counted", "parts", "text_bytes", "texts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.texts = 0
        self.text_bytes = 0
        self.is_counted = True


class _Pattern:
    """Events that only differ in some texts and numbers."""

    __slots__ = ("_before", "_before_bytes", "_changing", "_is_counted", "_line_ends", "_own_before")

    def __init__(self, before: bytes, own_before: bytes, changing: list[_Changing], is_counted: bool) -> None:
        self._before = before
        self._before_bytes = len(before)
        self._own_before = own_before
        self._changing = changing
        self._is_counted = is_counted
        self._line_ends = before.count(b"\n") + sum(one.after.count(b"\n") for one in changing)

    def rewrite(self, events: bytes, start: int, into: _Rewritten) -> int:
        """Rewrite the event that begins at `start`; returns its end, or -1 when it does not fit."""
        if not events.startswith(self._before, start):
            return -1
        at = start + self._before_bytes
        parts = [self._own_before]
        texts = text_bytes = 0
        for one in self._changing:
            end = one.end_in(events, at)
            if end < 0:
                return -1
            parts.append(events[at:end])
            parts.append(one.own_after)
            if one.is_text and end > at:
                texts += 1
                text_bytes += end - at
            at = end + one.after_bytes
        # A line end within a text would end the event there.
        if events.count(b"\n", start, at) != self._line_ends:
            return -1
        into.parts += parts
        into.texts += texts
        into.text_bytes += text_bytes
        into.is_counted = into.is_counted and self._is_counted
        return at


class PublicStream:
    """Rewrites the events of one stream.

    Attributes:
        has_torn: whether the data of an event was no JSON, so that something is missing in what leaves.
        is_counted: whether `texts` counts the last repeated events; if not, what left has to be looked into.
        texts: the number of texts in them.
        text_bytes: the bytes of these texts.
    """

    __slots__ = (
        "_answer",
        "_learned",
        "_pattern",
        "_patterns",
        "_repeats",
        "has_torn",
        "is_counted",
        "text_bytes",
        "texts",
    )

    def __init__(self, answer: PublicAnswer) -> None:
        self._answer = answer
        # The one that the last event was of, and all.
        self._pattern: _Pattern | None = None
        self._patterns: list[_Pattern] = []
        self._learned = 0
        self._repeats = 0
        self.has_torn = False
        self.is_counted = False
        self.texts = 0
        self.text_bytes = 0

    def repeated(self, events: bytes) -> bytes | None:
        """Whole events as the client gets them, if all of them fit a learned pattern; else None."""
        pattern = self._pattern
        if pattern is None or _CR in events:
            return None
        rewritten = _Rewritten()
        at, size = 0, len(events)
        while at < size:
            end = pattern.rewrite(events, at, rewritten)
            if end < 0:
                for other in self._patterns:
                    end = other.rewrite(events, at, rewritten)
                    if end >= 0:
                        self._pattern = pattern = other
                        break
                else:
                    return None
            at = end
        self._repeats += 1
        self.is_counted = rewritten.is_counted
        self.texts, self.text_bytes = rewritten.texts, rewritten.text_bytes
        return b"".join(rewritten.parts)

    def forget(self) -> None:
        """Drop all patterns."""
        self._pattern = None
        self._patterns.clear()

    def data(self, data: bytes) -> bytes:
        """The data of one event as the client gets it; empty when it is no object."""
        try:
            return self._answer.event_data(data)
        except UNREADABLE:
            return self._mended(data)

    def _mended(self, data: bytes) -> bytes:
        """The data of an event with halves of characters. Sets `has_torn` when it is no JSON."""
        marked = marked_halves(data)
        try:
            decoded = decode_json(marked)
        except UNREADABLE:
            self.has_torn = True
            return b""
        try:
            return restored_halves(self._answer.event_data(marked)) if isinstance(decoded, dict) else b""
        except UNREADABLE:
            return b""

    def rewrite(self, event: bytes, data: bytes, find_texts: FindTexts | None) -> bytes:
        """One event as the client gets it: without comments and ids of the stream; empty when nothing is left.

        Args:
            event: the whole event.
            data: its data.
            find_texts: finds the texts of events, None where they have to be counted in another way; itself None when
                events like this one have to be looked into.
        """
        rewritten = self._rewritten_event(event, data)
        if (
            find_texts is not None
            and rewritten
            and len(event) <= _LONGEST_PATTERN_BYTES
            and self._learned < _PATTERNS + self._repeats // _REPEATS_PER_PATTERN
        ):
            self._learned += 1
            self._learn(event, find_texts)
        return rewritten

    def _rewritten_event(self, event: bytes, data: bytes) -> bytes:
        rewritten = self.data(data) if data else b""
        if not rewritten or rewritten == b"{}":
            # A ping, or an event that only named the server.
            return b""
        kind = _kind_of(event, data)
        return b"event: %b\ndata: %b\n\n" % (kind, rewritten) if kind else b"data: %b\n\n" % rewritten

    def _learn(self, event: bytes, find_texts: FindTexts) -> None:
        """Keep the event as a pattern, if it is proven to be one.

        With marks in place of what changes, the event has to be JSON in which each mark is a value of its own, and it
        has to leave with the same marks in the same order.
        """
        found = list(_CHANGING.finditer(event))
        if not found:
            return
        marks: list[bytes] = []
        numbers: list[bool] = []
        before: list[bytes] = []
        start = 0
        for index, match in enumerate(found):
            is_number = match.group(1) is None
            numbers.append(is_number)
            group = 2 if is_number else 1
            before.append(event[start : match.start(group)])
            start = match.end(group)
            marks.append(b"%d" % (_NUMBER_MARK + index) if is_number else (_TEXT_MARK % index).encode())
        before.append(event[start:])
        marked = b"".join(part + mark for part, mark in zip(before, marks, strict=False)) + before[-1]
        data = data_of(marked)
        try:
            values = _values(decode_json(data))
        except UNREADABLE:
            return
        rewritten = self._rewritten_event(marked, data)
        own_before: list[bytes] = []
        rest = rewritten
        for index, mark in enumerate(marks):
            value: object = _NUMBER_MARK + index if numbers[index] else _TEXT_MARK % index
            part, seen, rest = rest.partition(mark)
            if values.count(value) != 1 or not seen or mark in rest:
                return
            own_before.append(part)
        own_before.append(rest)
        texts = find_texts(rewritten)
        plain = frozenset(texts or ())
        changing = [
            _Changing(is_number, mark in plain, after, own)
            for is_number, mark, after, own in zip(numbers, marks, before[1:], own_before[1:], strict=True)
        ]
        # A text that is always the same would be counted in another way, and one that is not found may be seen beside
        # other events.
        is_counted = bool(texts) and len(texts or ()) == sum(one.is_text for one in changing)
        self._pattern = _Pattern(before[0], own_before[0], changing, is_counted)
        self._patterns = [self._pattern, *self._patterns[: _MOST_AT_ONCE - 1]]


def _kind_of(event: bytes, data: bytes) -> bytes:
    """The name of an event, if it has one: the type in its data."""
    if not any(line.startswith(b"event:") for line in event.splitlines()):
        return b""
    try:
        kind = decode_text(decode_with_halves(decode_object, data).get("type", b'""'))
    except UNREADABLE:
        return b""
    return kind.encode() if _EVENT_TYPE.fullmatch(kind) else b""


def _values(tree: object) -> list[object]:
    """All texts and numbers in a decoded value."""
    values: list[object] = []
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif one is not None:
            values.append(one)
    return values
