"""The meter of a stream of the responses format: the event that completes it carries its usage and ends it."""

import re
from typing import ClassVar, Final

from tokenbooth.domain.usage import InvalidUsage, from_openai
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.failed_answers import (
    is_failed_event,
    is_failed_response,
    is_meaningful,
    says_something,
)
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_object, encode, raw
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves, without_halves
from tokenbooth.gateway.formats.meter import Delivered, Meter, has_typed_events, texts_named
from tokenbooth.gateway.formats.public_answers import PublicAnswer
from tokenbooth.gateway.formats.reported_usage import is_counted, usage_with_cost
from tokenbooth.gateway.formats.schema import ResponsesEvent, decode_responses_event
from tokenbooth.gateway.formats.sse import data_of, split_events
from tokenbooth.gateway.formats.texts import responses_text_bytes

_OF_INTEREST: Final = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled|error)|error)"')
_OF_RESPONSES: Final = re.compile(rb'"type"\s*:\s*"response\.')
_AUDIO: Final = re.compile(rb'"type"\s*:\s*"response\.(?:output_)?audio\.delta"')
_ENDINGS: Final = frozenset(("response.completed", "response.incomplete"))
_FAILURES: Final = frozenset(("response.failed", "response.cancelled", "response.error", "error"))
_TEXT: Final = texts_named("delta")


class ResponsesMeter(Meter):
    """Meters one stream of response events."""

    __slots__ = ("_has_output", "_last_event", "_last_type")

    TEXT: ClassVar[re.Pattern[bytes]] = _TEXT
    ANSWER: ClassVar[re.Pattern[bytes]] = _TEXT

    def __init__(self, public: PublicAnswer | None = None) -> None:
        Meter.__init__(self, public)
        self._has_output = False
        self._last_type = ""
        self._last_event = b""

    def delivered(self) -> Delivered:
        # The last event may hold text that no delta had.
        counted = Meter.delivered(self)
        if self.usage is not None or not self._last_event:
            return counted
        text_bytes = responses_text_bytes(self._last_event)
        if text_bytes <= counted.text_bytes:
            return counted
        return Delivered(events=max(counted.events, 1), text_bytes=text_bytes)

    def has_answer(self) -> bool:
        # The last event holds all of it.
        return self.saw_end_marker

    def final_events(self, charged_nano: int) -> bytes:
        data = self._last_event if self._public is None else self._public.data(self._last_event)
        if self.usage is not None:
            data = _with_cost(data, charged_nano)
        return b"event: " + self._last_type.encode() + b"\ndata: " + data + b"\n\n"

    def _is_plain(self, events: bytes) -> bool:
        return _OF_INTEREST.search(events) is None and has_typed_events(events)

    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        # Pieces of audio are no text; its text comes as a transcript.
        return holds(events, b'audio.delta"')

    def _count_exactly(self, events: bytes) -> None:
        for event in split_events(events):
            if _AUDIO.search(event) is None:
                texts = _TEXT.findall(event)
                self._events += len(texts)
                self._text_bytes += sum(map(len, texts))

    def _look_closely(self, events: bytes) -> bytes:
        passing: list[bytes] = []
        for event in split_events(events):
            self._look_into(event)
            if self.saw_end_marker:
                self.failed = self.failed or not (
                    self._has_output or is_counted(self.usage) or self._has_begun(passing)
                )
                break
            if not self.failed:
                event = self._for_client(event, data_of(event), is_pattern=_OF_INTEREST.search(event) is None)
            if self.failed:
                break
            passing.append(event)
        return b"".join(passing)

    def _look_into(self, event: bytes) -> None:
        if _OF_RESPONSES.search(event) is not None and self._is_plain(event):
            return
        data = data_of(event)
        try:
            decoded = decode_with_halves(decode_responses_event, data)
        except UNREADABLE:
            # An end that nobody can read is none, and must not leave as one.
            self.failed = _OF_INTEREST.search(event) is not None
            decoded = ResponsesEvent()
        if not decoded.type.startswith("response.") and decoded.type not in _FAILURES:
            # A type alone makes no event of this format: some servers name the kind of an error with it.
            self.failed = self.failed or is_failed_event(event, data)
            return
        response = decoded.response
        self.failed = (
            decoded.type in _FAILURES
            or says_something(decoded.error)
            or (response is not None and is_failed_response(response))
        )
        if decoded.type not in _ENDINGS:
            return
        self.saw_end_marker = True
        self._last_type, self._last_event = decoded.type, without_halves(data)
        if response is None:
            return
        self._has_output = is_meaningful(response.output)
        if isinstance(response.usage, dict) and response.usage:
            try:
                self.usage = from_openai(response.usage)
            except InvalidUsage:
                self.invalid_usage = True


def _with_cost(event: bytes, cost_nano: int) -> bytes:
    try:
        fields = decode_object(event)
        response = decode_object(fields["response"])
    except (*UNREADABLE, KeyError):
        # What was read of it is readable; what was skipped need not be.
        return event
    response["usage"] = usage_with_cost(response["usage"], cost_nano)
    fields["response"] = raw(response)
    return encode(fields)
