"""The framing of event streams (HTML standard, 9.2, "Server-sent events"), and what servers make of it.

Events leave in one form, however their bytes arrive: lines that end with LF, the data in one line, an empty line at the
end. Also read are line ends of CR and CRLF, a byte order mark, empty events, data in several lines, and an event that
the end of the body leaves open.
"""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_json, decode_object, encode, raw

_CR: Final = ord("\r")
MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
MAX_WHOLE_BYTES: Final = 64 * 1024 * 1024
END_MARKER: Final = b"[DONE]"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FIRST_FIELDS: Final = (b"data:", b"event:")
_FIELDS: Final = (b"data:", b"event:", b"id:", b"retry:", b":")
# llama.cpp writes a failure under a field of its own, Gemini as bare JSON after the last event, a proxy as a page.
_STRAYS: Final = (b"error:", b"{", b"[", b"<", b" ", b"\t")
_JSON: Final = (b"{", b"[")
_UNFRAMED: Final = (b"{", b"[", b"<")
_STRAY_FIELD: Final = b"error:"
# Two lines of data in one event.
_LINES_OF_DATA: Final = re.compile(rb"(?m)^data:.*\n(?:.+\n)*?data:")
_LONGEST_FIELD: Final = 6


class BrokenStream(Exception):
    """The upstream sends no event stream that can be metered."""


class EventFramer:
    """Cuts a body into whole events.

    Attributes:
        holds: whether the next chunk has to be fed here, whatever it is.
        whole: the body so far, when it is no stream but one JSON text; None for a stream.
        has_strays: whether the last events that left hold lines that are in no field of the standard.
    """

    __slots__ = ("_after_cr", "_begun", "_tail", "has_strays", "holds", "whole")

    def __init__(self) -> None:
        self._begun = False
        # The first bytes say what it is.
        self.holds = True
        self.whole: bytearray | None = None
        self.has_strays = False
        self._after_cr = False
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """The events that this chunk completes, in their one form. The rest waits for the next chunk.

        Only new bytes are searched, so that a large event in many small pieces costs no more than its length.

        Raises:
            BrokenStream: an event, or the answer, is larger than any model writes.
        """
        self.has_strays = False
        if self.whole is None and not self._begun:
            chunk = self._begin(chunk)
        if self.whole is not None:
            self.whole += chunk
            if len(self.whole) > MAX_WHOLE_BYTES:
                raise BrokenStream("the answer is too large")
            return b""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if _CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        tail = self._tail
        unsearched = max(len(tail) - 1, 0)
        tail += chunk
        at = tail.rfind(b"\n\n", unsearched)
        cut = 0 if at < 0 else at + 2
        # Empty lines between two events.
        while tail.startswith(b"\n", cut):
            cut += 1
        # The first line end of the two that end an event may be there.
        if len(tail) - cut > MAX_EVENT_BYTES + 1:
            raise BrokenStream("an event is too large")
        events = bytes(tail[:cut])
        del tail[:cut]
        self.holds = bool(tail) or self._after_cr or not self._begun
        return self._in_form(events)

    def end(self) -> bytes:
        """The event that the end of the body leaves open, in the form of a whole one; empty for none.

        Raises:
            BrokenStream: the body ends inside it.
        """
        self.has_strays = False
        rest = bytes(self._tail)
        self._tail.clear()
        self.holds = False
        events = self._in_form(rest)
        for event in split_events(events):
            data = data_of(event)
            if data and data != END_MARKER and not _is_json(data):
                raise BrokenStream("the stream ended inside of an event")
        return events

    def _begin(self, chunk: bytes) -> bytes:
        """Find out from the first bytes whether the body is a stream; returns what can be read of them."""
        start = bytes(self._tail) + chunk
        self._tail.clear()
        if len(start) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(start):
            self._tail += start
            return b""
        start = start.removeprefix(_BYTE_ORDER_MARK).lstrip()
        if not start:
            return b""
        self._begun = True
        if start.startswith(_JSON):
            self.whole = bytearray()
            self.holds = True
        return start

    def _in_form(self, events: bytes) -> bytes:
        """Events in the form that leaves, without empty ones."""
        parts = [part.strip(b"\n") for part in events.split(b"\n\n")]
        formed: list[bytes] = []
        for part in parts:
            if len(part) > MAX_EVENT_BYTES:
                raise BrokenStream("an event is too large")
            if part.count(b"\ndata:") + part.startswith(b"data:") > 1:
                part = _with_one_line(part)
            if part.startswith(_STRAYS) or _may_have_strays(part):
                formed += self._apart(part)
            elif part:
                formed.append(part)
        return b"".join([part + b"\n\n" for part in formed])

    def _apart(self, part: bytes) -> list[bytes]:
        """An event, and after it what is in its lines without being a field. It may have many lines."""
        lines: list[bytes] = []
        strays: list[bytes] = []
        in_stray = False
        for line in part.split(b"\n"):
            if line.startswith(_STRAY_FIELD):
                in_stray = False
                strays.append(_named_error(line[_LONGEST_FIELD:].strip()))
            elif in_stray and not line.startswith(_FIELDS):
                strays[-1] += line.strip()
            elif line.lstrip().startswith(_UNFRAMED):
                in_stray = True
                strays.append(line.strip())
            else:
                in_stray = False
                lines.append(line)
        if strays:
            self.has_strays = True
        formed = [b"\n".join(lines)] if lines else []
        return formed + [_STRAY_FIELD + b" " + stray for stray in strays]


def events_of(body: bytes) -> Iterator[bytes]:
    """The events of a whole body, each with its end.

    One that the end of the body leaves open comes last, and is only checked when the caller reads up to it.

    Raises:
        BrokenStream: an event is too large, or the body ends inside one.
    """
    framer = EventFramer()
    yield from split_events(framer.feed(body))
    yield from split_events(framer.end())


def is_in_form(chunk: bytes) -> bool:
    """Whether a chunk without CR is whole events in the form that leaves, none with lines to be taken apart."""
    if not (chunk.endswith(b"\n\n") and chunk.startswith(_FIRST_FIELDS)):
        return False
    # Mostly it is one event with a name; its lines are found faster than what must not be in them.
    at = chunk.find(b"\n") + 1
    if chunk.startswith(b"data:", at) and chunk.find(b"\n", at) == len(chunk) - 2:
        return not chunk.startswith(b"data:")
    return (
        not holds(chunk, b"\n\n\n")
        and not _may_have_strays(chunk)
        and (chunk.count(b"\ndata:") == chunk.count(b"\n\ndata:") or _LINES_OF_DATA.search(chunk) is None)
        and len(chunk) <= MAX_EVENT_BYTES
    )


def _may_have_strays(events: bytes) -> bool:
    """Whether a line after the first one may be in no field of the standard."""
    return (
        holds(events, b"\n{")
        or holds(events, b"\nerror:")
        or holds(events, b"\n[")
        or holds(events, b"\n<")
        or holds(events, b"\n ")
        or holds(events, b"\n\t")
    )


def is_event_stream(body: bytes) -> bool:
    """Whether a whole body is the events of a stream, judged by its first bytes."""
    return body.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_FIELDS)


def without_mark(body: bytes) -> bytes:
    """A body without its byte order mark."""
    return body.removeprefix(_BYTE_ORDER_MARK)


def named_event(data: dict[str, object]) -> bytes:
    """An event in the formats whose events have a name, which is the type in their data."""
    return b"event: " + str(data["type"]).encode() + b"\ndata: " + encode(data) + b"\n\n"


def split_events(events: bytes) -> list[bytes]:
    """Whole events in their one form, each with its end."""
    return [event + b"\n\n" for event in events.split(b"\n\n") if event]


def data_of(event: bytes) -> bytes:
    """The data of one event."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def stray_of(event: bytes) -> bytes | None:
    """The content of an event that is in no field of the standard; None for a proper event."""
    return event[_LONGEST_FIELD:].strip() if event.startswith(_STRAY_FIELD) else None


def is_real(events: bytes) -> bool:
    """Whether any event is part of an answer: no comment, no ping, no chunk without choices and usage."""
    return any(_is_real(data_of(event)) for event in split_events(events))


def _is_real(data: bytes) -> bool:
    if not data or data == END_MARKER:
        return False
    try:
        fields = decode_object(data)
    except UNREADABLE:
        # Half a character, for instance, which a translation may still read.
        return True
    if not fields or bytes(fields.get("type", b"")) == b'"ping"':
        return False
    if "choices" not in fields:
        return True
    return any(
        bytes(fields.get(name, b"null")).translate(None, b" \t") not in (b"null", b"[]", b"{}")
        for name in ("choices", "usage")
    )


def _with_one_line(part: bytes) -> bytes:
    """An event with all of its data in one line: JSON means the same with blanks in place of the line ends."""
    lines = part.split(b"\n")
    data = b" ".join([line[5:].strip() for line in lines if line.startswith(b"data:")])
    first = next(at for at, line in enumerate(lines) if line.startswith(b"data:"))
    lines[first] = b"data: " + data
    return b"\n".join([line for at, line in enumerate(lines) if at <= first or not line.startswith(b"data:")])


def _is_json(data: bytes) -> bool:
    try:
        decode_json(data)
    except UNREADABLE:
        return False
    return True


def _named_error(value: bytes) -> bytes:
    """The value of a field `error:` as a JSON object with that name."""
    error = msgspec.Raw(value) if _is_json(value) else raw(value.decode(errors="replace"))
    return encode({"error": error})
