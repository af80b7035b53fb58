"""Rewrites the events of a stream to what its client gets of them; events like one before are not decoded.

Most events of a stream differ from the one before by a text only. Such a pattern is learned from an event that was
decoded, and the next ones are compared with it byte by byte.
"""

import re
from typing import Final

import msgspec

from tokenbooth.gateway.body import UNREADABLE, decode_object
from tokenbooth.gateway.event_stream import data_of
from tokenbooth.gateway.public_answers import PublicAnswer

# An event with a longer text is rare, and decoding it costs little beside its length.
_LONGEST_PATTERN_BYTES: Final = 4_096
# So many events are tried as patterns, and one more for each so many that were like one.
_PATTERNS: Final = 8
_REPEATS_PER_PATTERN: Final = 16
_CHANGING: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|text|thinking|partial_json|arguments|delta|obfuscation)":\s?"'
    rb'((?:[^"\\\r\n]|\\.)+)"|"sequence_number":\s?([0-9]+)'
)
# Nobody writes these; where an upstream does, its event is no pattern.
_TEXT_MARK: Final = "text-%d-that-changes-5b1f"
_NUMBER_MARK: Final = 730_519_226_840_000
_EVENT_TYPE: Final = re.compile(r"[a-z][a-z_.]{0,63}")
_decode: Final = msgspec.json.Decoder().decode
_decode_type: Final = msgspec.json.Decoder(str).decode


class _Changing:
    """A text or number that changes from event to event, and what stands behind it."""

    __slots__ = ("behind", "behind_bytes", "end", "is_number", "own_behind")

    def __init__(self, is_number: bool, behind: bytes, own_behind: bytes) -> None:
        self.is_number = is_number
        self.end = behind[:1]
        self.behind = behind
        self.behind_bytes = len(behind)
        self.own_behind = own_behind


class _Pattern:
    """Events that are the same but for some texts and numbers."""

    __slots__ = ("_before", "_before_bytes", "_changing", "_own_before")

    def __init__(self, before: bytes, own_before: bytes, changing: list[_Changing]) -> None:
        self._before = before
        self._before_bytes = len(before)
        self._own_before = own_before
        self._changing = changing

    def rewritten(self, events: bytes) -> bytes | None:
        """The events as the client gets them; None when one of them is not of this pattern."""
        parts: list[bytes] = []
        at, size = 0, len(events)
        while at < size:
            if not events.startswith(self._before, at):
                return None
            at += self._before_bytes
            parts.append(self._own_before)
            for one in self._changing:
                # A quote within a text is not looked for: such an event is decoded.
                end = events.find(one.end, at)
                if end < at or not events.startswith(one.behind, end):
                    return None
                value = events[at:end]
                if (not value.isdigit()) if one.is_number else (b"\n" in value or b"\r" in value):
                    return None
                parts.append(value)
                parts.append(one.own_behind)
                at = end + one.behind_bytes
        return b"".join(parts)


class PublicStream:
    """Rewrites the events of one stream."""

    __slots__ = ("_answer", "_learned", "_pattern", "_repeats")

    def __init__(self, answer: PublicAnswer) -> None:
        self._answer = answer
        self._pattern: _Pattern | None = None
        self._learned = 0
        self._repeats = 0

    def repeated(self, events: bytes) -> bytes | None:
        """Whole events as the client gets them, if they are like one that was learned; else None."""
        pattern = self._pattern
        if pattern is None:
            return None
        rewritten = pattern.rewritten(events)
        if rewritten is not None:
            self._repeats += 1
        return rewritten

    def data(self, data: bytes) -> bytes:
        """The data of one event as the client gets it; empty when it is no object, which no client can read."""
        try:
            return self._answer.event_data(data)
        except UNREADABLE:
            return b""

    def rewrite(self, event: bytes, data: bytes, *, learn: bool) -> bytes:
        """One event as the client gets it: without comments and ids of the stream; empty when nothing is left.

        Args:
            event: the whole event.
            data: its data.
            learn: whether events like it have nothing that has to be looked into.
        """
        told = self._told(event, data)
        if (
            learn
            and told
            and len(event) <= _LONGEST_PATTERN_BYTES
            and self._learned < _PATTERNS + self._repeats // _REPEATS_PER_PATTERN
        ):
            self._learned += 1
            self._learn(event)
        return told

    def _told(self, event: bytes, data: bytes) -> bytes:
        told = self.data(data) if data else b""
        if not told or told == b"{}":
            # A ping, or what only said whose server it was.
            return b""
        kind = _kind_of(event, data)
        return b"event: %b\ndata: %b\n\n" % (kind, told) if kind else b"data: %b\n\n" % told

    def _learn(self, event: bytes) -> None:
        """Have the event as a pattern, if it is proven to be one.

        With marks in place of what changes, the event has to be JSON in which each mark is a value of its own, and to
        leave with the same marks in the same order.
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
            values = _values(_decode(data))
        except UNREADABLE:
            return
        told = self._told(marked, data)
        own_before: list[bytes] = []
        rest = told
        for index, mark in enumerate(marks):
            value: object = _NUMBER_MARK + index if numbers[index] else _TEXT_MARK % index
            part, seen, rest = rest.partition(mark)
            if values.count(value) != 1 or not seen or mark in rest:
                return
            own_before.append(part)
        own_before.append(rest)
        self._pattern = _Pattern(
            before[0],
            own_before[0],
            [
                _Changing(is_number, behind, own)
                for is_number, behind, own in zip(numbers, before[1:], own_before[1:], strict=True)
            ],
        )


def _kind_of(event: bytes, data: bytes) -> bytes:
    """The type that an event is sent under, if it has one and its data says the same."""
    if not any(line.startswith(b"event:") for line in event.splitlines()):
        return b""
    try:
        kind = _decode_type(decode_object(data).get("type", b'""'))
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
