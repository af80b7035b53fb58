"""The meter of a stream of the responses format: the event that completes it carries its usage and ends it."""

import re
from typing import ClassVar, Final

import msgspec

from tokenbooth.domain.usage import InvalidUsage, Usage, from_openai
from tokenbooth.gateway.formats.base import Delivered
from tokenbooth.gateway.formats.byte_search import holds
from tokenbooth.gateway.formats.failed_answers import (
    is_failed_event,
    is_failed_response,
    is_meaningful,
    says_something,
)
from tokenbooth.gateway.formats.json.body import UNREADABLE, decode_object
from tokenbooth.gateway.formats.json.half_characters import decode_with_halves, without_halves
from tokenbooth.gateway.formats.meter import EventMeter, has_typed_events, is_counted, texts_named, usage_with_cost
from tokenbooth.gateway.formats.public_answers import PublicAnswer
from tokenbooth.gateway.formats.schema import ResponsesEvent, decode_responses_event
from tokenbooth.gateway.formats.sse import data_of, split_events
from tokenbooth.gateway.formats.texts import responses_text_bytes

_OF_INTEREST: Final = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed|cancelled|error)|error)"')
_OF_RESPONSES: Final = re.compile(rb'"type"\s*:\s*"response\.')
_AUDIO: Final = re.compile(rb'"type"\s*:\s*"response\.(?:output_)?audio\.delta"')
_ENDINGS: Final = frozenset(("response.completed", "response.incomplete"))
_FAILURES: Final = frozenset(("response.failed", "response.cancelled", "response.error", "error"))


class ResponsesMeter(EventMeter):
    """Meters one stream of response events."""

    __slots__ = ("_has_output", "_last_event", "_last_type", "invalid_usage", "prompt_usage", "usage")

    TEXT: ClassVar[re.Pattern[bytes]] = texts_named("delta")

    def __init__(self, public: PublicAnswer | None = None) -> None:
        """Args:
        public: what a client sees of the answer; None to pass its events as they come.
        """
        EventMeter.__init__(self, public)
        self.usage: Usage | None = None
        self.prompt_usage: Usage | None = None
        self.invalid_usage = False
        self._has_output = False
        self._last_type = ""
        self._last_event = b""

    def saw_finish_reason(self) -> bool:
        """See `Meter.saw_finish_reason`: nothing before the last event says that the model has finished."""
        return self.saw_end_marker

    def has_final_usage(self) -> bool:
        """See `Meter.has_final_usage`: the last event alone has it."""
        return self.usage is not None

    def delivered(self) -> Delivered:
        """See `Meter.delivered`: the last event holds what no piece told."""
        counted = EventMeter.delivered(self)
        if self.usage is not None or not self._last_event:
            return counted
        text_bytes = responses_text_bytes(self._last_event)
        if text_bytes <= counted.text_bytes:
            return counted
        return Delivered(events=max(counted.events, 1), text_bytes=text_bytes)

    def may_end_without_marker(self) -> bool:
        """See `Meter.may_end_without_marker`."""
        return self.saw_end_marker

    def has_answer(self) -> bool:
        """See `Meter.has_answer`: the last event holds all of it."""
        return self.saw_end_marker

    def final_events(self, charged_nano: int) -> bytes:
        """See `Meter.final_events`: the last event, with the cost in its usage."""
        data = self._last_event if self._public is None else self._public.data(self._last_event)
        if self.usage is not None:
            data = _with_cost(data, charged_nano)
        return b"event: " + self._last_type.encode() + b"\ndata: " + data + b"\n\n"

    def _is_doubtful(self, events: bytes, texts: int) -> bool:
        # The pieces of audio are no text; what it says comes as a transcript.
        return holds(events, b'audio.delta"')

    def _count_exactly(self, events: bytes) -> None:
        for event in split_events(events):
            if _AUDIO.search(event) is None:
                texts = self.TEXT.findall(event)
                self._events += len(texts)
                self._text_bytes += sum(map(len, texts))

    def _is_plain(self, events: bytes) -> bool:
        return _OF_INTEREST.search(events) is None and has_typed_events(events)

    def _look_closely(self, events: bytes) -> bytes:
        public = self._public
        passing: list[bytes] = []
        for event in split_events(events):
            self._look_into(event)
            if self.saw_end_marker and not (self._has_output or is_counted(self.usage) or self._has_text(passing)):
                self.failed = True
            if self.saw_end_marker or self.failed:
                break
            if public is not None:
                event = public.rewrite(event, data_of(event), None if _OF_INTEREST.search(event) else self)
                if public.has_torn:
                    self.failed = True
                    break
            passing.append(event)
        return b"".join(passing)

    def _has_text(self, passing: list[bytes]) -> bool:
        """Whether anything of an answer came, in what has left or leaves now."""
        return self._events > 0 or any(map(self.TEXT.search, (*self._recent, *passing)))

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
            # A type alone makes no event of this format: some servers call the kind of an error so.
            self.failed = self.failed or is_failed_event(event, data)
            return
        if decoded.type in _FAILURES or says_something(decoded.error):
            self.failed = True
        if decoded.response is not None and is_failed_response(decoded.response):
            self.failed = True
        if decoded.type not in _ENDINGS:
            return
        if decoded.response is not None:
            self._has_output = is_meaningful(decoded.response.output)
        self.saw_end_marker = True
        self._last_type, self._last_event = decoded.type, without_halves(data)
        reported = None if decoded.response is None else decoded.response.usage
        if not isinstance(reported, dict) or not reported:
            return
        try:
            self.usage = from_openai(reported)
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
    fields["response"] = msgspec.Raw(msgspec.json.encode(response))
    return msgspec.json.encode(fields)
