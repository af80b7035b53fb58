"""The meter of a stream in Anthropic's messages format.

The usage of the prompt comes first, that of the output in the event before the last, cumulative. That event is held
back, so that it can show the cost, and leaves with the one that ends the message.
"""

import re
from typing import ClassVar, Final

from tokenbooth.domain.usage import InvalidUsage, Usage, from_anthropic, merged
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.ends import is_end
from tokenbooth.gateway.formats.failed_answers import FAILED_FINISH, is_failed_event, says_something
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_object, encode, raw
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves
from tokenbooth.gateway.formats.meter import Meter, has_typed_events, texts_named
from tokenbooth.gateway.formats.public_answers import PublicAnswer
from tokenbooth.gateway.formats.reported_usage import is_counted, with_cost
from tokenbooth.gateway.formats.schema import MessagesEvent, decode_messages_event
from tokenbooth.gateway.formats.sse import MAX_EVENT_BYTES, BrokenStream, data_of, split_events
from tokenbooth.gateway.formats.texts import message_event_texts, size

_OF_INTEREST: Final = re.compile(rb'"type"\s*:\s*"(?:message_start|message_delta|message_stop|error)"')
_OF_MESSAGES: Final = re.compile(rb'"type"\s*:\s*"(?:content_block_|message_|ping")')
_USAGE_INSIDE: Final = re.compile(rb'"delta"\s*:\s*\{[^{}]*"usage"\s*:')
_STOP: Final = re.compile(rb'"type"\s*:\s*"message_stop"')
_WHOLE_INPUT: Final = re.compile(rb'"input"[ \t]*:[ \t]*\{[ \t]*"')
_TYPES: Final = ("content_block_", "message_", "ping", "error")
_STOP_EVENT: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class MessagesMeter(Meter):
    """Meters one stream of message events."""

    __slots__ = ("_held", "_held_bytes", "_reported", "_stopped")

    TEXT: ClassVar[re.Pattern[bytes]] = texts_named("text", "thinking", "partial_json")
    ANSWER: ClassVar[re.Pattern[bytes]] = re.compile(rb"content_block")

    def __init__(self, public: PublicAnswer | None = None) -> None:
        Meter.__init__(self, public)
        self._reported: dict[str, object] = {}
        self._stopped = False
        self._held: list[bytes] = []
        self._held_bytes = 0

    def saw_finish_reason(self) -> bool:
        return self.saw_end_marker or self._stopped

    def final_events(self, charged_nano: int) -> bytes:
        held = self._held
        if held and self.usage is not None:
            held = [b"event: message_delta\ndata: " + with_cost(data_of(held[0]), charged_nano) + b"\n\n", *held[1:]]
        return b"".join(held) + _STOP_EVENT

    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        # A tool's input may stand in the event that begins its block.
        return holds(events, b'"input"') and _WHOLE_INPUT.search(events) is not None

    def _count_exactly(self, events: bytes) -> None:
        for event in split_events(events):
            texts = message_event_texts(data_of(event))
            self._events += len(texts)
            self._text_bytes += sum(map(size, texts))

    def _let_pass(self, events: bytes) -> bytes:
        return self._look_closely(events) if self._held else Meter._let_pass(self, events)

    def _is_plain(self, events: bytes) -> bool:
        return _OF_INTEREST.search(events) is None and has_typed_events(events)

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in split_events(events):
            event = _usage_outside(event)
            kind = self._look_into(event)
            if self.saw_end_marker:
                self.failed = self.failed or not (is_counted(self.usage) or self._has_begun([*passing, *self._held]))
                break
            if not self.failed:
                event = self._for_client(event, data_of(event), is_pattern=not kind and not self._held)
            if self.failed:
                break
            if kind == "message_delta":
                if self._public is not None:
                    # No event that is like others may overtake it.
                    self._public.forget()
                passing += self._held
                self._held, self._held_bytes = [event], len(event)
            elif self._held:
                self._hold(event)
            else:
                passing.append(event)
        return b"".join(passing)

    def _hold(self, event: bytes) -> None:
        """Hold an event that must not overtake the one that is held back.

        Raises:
            BrokenStream: too much is held.
        """
        self._held_bytes += len(event)
        if self._held_bytes > MAX_EVENT_BYTES:
            raise BrokenStream("the message does not end")
        self._held.append(event)

    def _look_into(self, event: bytes) -> str:
        """Read usage and end from an event; returns its type, empty where the event has neither."""
        if _OF_MESSAGES.search(event) is not None and self._is_plain(event):
            return ""
        data = data_of(event)
        try:
            decoded = decode_with_halves(decode_messages_event, data)
        except UNREADABLE:
            # An end that nobody can read is none, and must not leave as one.
            self.failed = _STOP.search(event) is not None
            decoded = MessagesEvent()
        if not decoded.type.startswith(_TYPES):
            # A type alone makes no event of this format: some servers call the kind of an error so.
            self.failed = self.failed or is_failed_event(event, data)
            return ""
        self.failed = says_something(decoded.error)
        match decoded.type:
            case "message_start" if decoded.message is not None and isinstance(decoded.message.usage, dict):
                self.prompt_usage = self._read(decoded.message.usage)
            case "message_delta":
                if decoded.delta is not None and is_end(decoded.delta.stop_reason):
                    self._stopped = True
                if isinstance(decoded.usage, dict) and decoded.usage:
                    self.usage = self._read(decoded.usage)
                self.failed = self.failed or FAILED_FINISH.search(event) is not None
            case "message_stop":
                self.saw_end_marker = True
            case "error":
                self.failed = True
        return decoded.type

    def _read(self, reported: dict[str, object]) -> Usage | None:
        """The usage so far: counts are cumulative, so later ones replace earlier ones, unless they are absent."""
        self._reported = merged(self._reported, reported) if self._reported else reported
        try:
            return from_anthropic(self._reported)
        except InvalidUsage:
            self.invalid_usage = True
            return None


def _usage_outside(event: bytes) -> bytes:
    """An event, where a `message_delta` has its usage beside its `delta`; some servers write it inside.

    Source: fumito-ito/AnthropicSwiftSDK#7, where the format's documentation is cited to have it there.
    """
    if not holds(event, b'"usage"') or _USAGE_INSIDE.search(event) is None:
        return event
    try:
        fields = decode_object(data_of(event))
        delta = decode_object(fields["delta"])
    except (*UNREADABLE, KeyError):
        return event
    usage = delta.pop("usage", None)
    if usage is not None:
        fields.setdefault("usage", usage)
    fields["delta"] = raw(delta)
    return b"event: message_delta\ndata: " + encode(fields) + b"\n\n"
