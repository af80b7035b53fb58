"""The meter of a stream: passes events on as they arrive and looks only into those that carry usage or the end.

It holds back two things: a usage event without choices (shown with its cost, or not at all, when the call is settled)
and the end marker, before which the charge has to be on disk.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
_RECENT_BYTES: Final = 16 * 1024
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_FINISH: Final = re.compile(rb'"finish_reason"\s*:\s*"')
TEXT: Final = re.compile(
    rb'"(?:content|reasoning_content|reasoning|arguments|refusal)"\s*:\s*"((?:[^"\\]|\\.)*+)"', re.DOTALL
)
_END: Final = b"[DONE]"
# The second also ends "\r\n\r\n"; servers mix both.
_BOUNDARIES: Final = (b"\n\n", b"\n\r\n")
_EVENT_END: Final = re.compile(rb"\n\r?\n")


class BrokenStream(Exception):
    """What the upstream sends is no event stream that we can meter."""


class _UsageEvent(msgspec.Struct):
    usage: dict[str, object] | None = None
    choices: list[msgspec.Raw] | None = None


class _ErrorEvent(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


_decode_error_event = msgspec.json.Decoder(_ErrorEvent).decode
_decode_usage_event = msgspec.json.Decoder(_UsageEvent).decode
_decode_event = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was streamed so far, for a count when no usage came."""

    events: int
    text_bytes: int


class StreamMeter:
    """Meters one stream of chat completion chunks."""

    __slots__ = (
        "_cost_nano",
        "_events",
        "_finish_seen",
        "_recent",
        "_recent_bytes",
        "_tail",
        "_text_bytes",
        "ended",
        "failed",
        "invalid_usage",
        "usage",
        "usage_event",
    )

    def __init__(self, cost_nano: Callable[[Usage], int] | None) -> None:
        """Args:
        cost_nano: what a usage costs, to show it in a usage event that also has choices; None to leave it as it is.
        """
        self._cost_nano = cost_nano
        self._finish_seen = False
        self.usage: Usage | None = None
        self.invalid_usage = False
        self.usage_event: bytes | None = None
        self.ended = False
        self.failed = False
        self._tail = b""
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
        if self._tail:
            chunk = self._tail + chunk
            self._tail = b""
        if not chunk.endswith(_BOUNDARIES):
            cut = max(_behind(chunk, boundary) for boundary in _BOUNDARIES)
            self._tail = chunk[cut:]
            chunk = chunk[:cut]
            if len(self._tail) > MAX_EVENT_BYTES:
                raise BrokenStream("an event is too large")
            if not chunk:
                return b""
        if b'"usage"' in chunk or _END in chunk or b'"error"' in chunk:
            chunk = self._look_closely(chunk)
        self._remember(chunk)
        return chunk

    def finished(self) -> bool:
        """Whether the model has said why it stopped, so that only the usage can still come."""
        return self.ended or self._finish_seen or any(map(_FINISH.search, self._recent))

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
        for chunk in self._recent:
            texts = [text for text in TEXT.findall(chunk) if text]
            self._events += len(texts)
            self._text_bytes += sum(map(len, texts))
            self._finish_seen = self._finish_seen or _FINISH.search(chunk) is not None
        self._recent.clear()
        self._recent_bytes = 0

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in _split(events):
            data = _data_of(event)
            if data == _END:
                self.ended = True
                break
            if b'"error"' in event and _is_error(data):
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
            decoded = _decode_usage_event(data)
        except msgspec.DecodeError:
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


def _is_error(data: bytes) -> bool:
    try:
        return bytes(_decode_error_event(data).error) not in (b"", b"null")
    except msgspec.DecodeError:
        return False


def with_cost(usage_event: bytes, cost_nano: int) -> bytes:
    """A usage event's data with the exact cost in USD as `usage.cost`."""
    fields = _decode_event(usage_event)
    usage = msgspec.json.decode(fields["usage"], type=dict[str, msgspec.Raw])
    usage["cost"] = msgspec.Raw(usd_number(cost_nano))
    fields["usage"] = msgspec.Raw(msgspec.json.encode(usage))
    return msgspec.json.encode(fields)


def usd_number(amount_nano: int) -> bytes:
    """Nano-USD as an exact JSON number of USD."""
    whole, fraction = divmod(amount_nano, NANO_PER_USD)
    return b"%d.%09d" % (whole, fraction)


def _split(events: bytes) -> list[bytes]:
    ends = [match.end() for match in _EVENT_END.finditer(events)]
    return [events[start:end] for start, end in pairwise([0, *ends])]


def _behind(chunk: bytes, boundary: bytes) -> int:
    at = chunk.rfind(boundary)
    return 0 if at < 0 else at + len(boundary)


def _data_of(event: bytes) -> bytes:
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
