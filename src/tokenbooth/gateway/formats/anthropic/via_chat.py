"""A messages request as it is spoken to an upstream that only knows OpenAI's chat format, and the answer's way back."""

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from tokenbooth.config.catalog import Route, WireFormat
from tokenbooth.domain.usage import Usage, from_openai
from tokenbooth.gateway.formats.anthropic.from_chat import (
    AnswerStream,
    whole_answer,
    whole_completion,
    with_whole_characters,
)
from tokenbooth.gateway.formats.anthropic.to_chat import ChatBody, fit_messages
from tokenbooth.gateway.formats.base import CostNano, Credential, Delivered, Meter, PricedRequest, UpstreamAnswer
from tokenbooth.gateway.formats.json.body import UNREADABLE, Fields, raw
from tokenbooth.gateway.formats.meter import StreamMeter
from tokenbooth.gateway.formats.openai.base import read_chat_answer, usage_object
from tokenbooth.gateway.formats.public_answers import MESSAGE_ID, ClientAnswer
from tokenbooth.gateway.formats.sse import BrokenStream, is_real, split_events
from tokenbooth.gateway.formats.texts import chat_text_bytes
from tokenbooth.gateway.formats.whole_as_stream import chat_events

_USAGE_WANTED: Final = msgspec.Raw(b'{"include_usage":true}')


class TranslatedMessages:
    """See `tokenbooth.gateway.formats.base.OutboundRequest`."""

    __slots__ = ("_chat", "_request", "_shows_thinking")

    wire: ClassVar[WireFormat] = "openai.chat"
    path: ClassVar[str] = "/chat/completions"
    credential: ClassVar[Credential] = "authorization"

    def __init__(self, request: PricedRequest, chat: ChatBody, *, shows_thinking: bool) -> None:
        """Args:
        request: the messages request.
        chat: the chat completion that asks the same.
        shows_thinking: whether the client asked to see the model think.
        """
        self._request = request
        self._chat = chat
        self._shows_thinking = shows_thinking

    @property
    def request(self) -> PricedRequest:
        """See `OutboundRequest.request`."""
        return self._request

    @property
    def omitted(self) -> tuple[str, ...]:
        """See `OutboundRequest.omitted`."""
        return self._request.omitted + self._chat.omitted

    def headers(self) -> Mapping[str, str]:
        """See `OutboundRequest.headers`."""
        return {}

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        """See `OutboundRequest.upstream_fields`."""
        request, fields = self._request, dict(self._chat.fields)
        fields["model"] = raw(route.model)
        fields["messages"] = fit_messages(
            fields["messages"],
            route.upstream.kind,
            reasons=request.model.reasoning,
            ends_begun=self._chat.ends_begun,
        )
        ceiling = request.sent_ceiling(route, clamped_output_tokens)
        if ceiling is not None:
            fields[request.model.ceiling_field(route, self.wire)] = raw(ceiling)
        if request.stream:
            fields["stream_options"] = _USAGE_WANTED
        return fields

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        """See `OutboundRequest.meter`."""
        return TranslatingMeter(
            AnswerStream(
                model=self._request.model.name,
                message_id=MESSAGE_ID + request_id,
                shows_thinking=self._shows_thinking,
                own_names=self._chat.own_names,
            )
        )

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        """See `OutboundRequest.read_answer`."""
        try:
            answer = read_chat_answer(body)
        except UNREADABLE:
            body = with_whole_characters(body)
            answer = read_chat_answer(body)
        return UpstreamAnswer(
            usage_object(answer, body), from_openai, lambda usage, request_id: self._message(body, usage, request_id)
        )

    def text_bytes_in(self, body: bytes) -> int:
        """See `OutboundRequest.text_bytes_in`."""
        return chat_text_bytes(body)

    def _message(self, body: bytes, usage: Usage, request_id: str) -> ClientAnswer:
        return whole_answer(
            body,
            usage,
            model=self._request.model.name,
            message_id=MESSAGE_ID + request_id,
            shows_thinking=self._shows_thinking,
            own_names=self._chat.own_names,
        )

    def as_answer(self, body: bytes) -> bytes:
        """See `OutboundRequest.as_answer`."""
        return whole_completion(body)

    def as_events(self, body: bytes) -> bytes | None:
        """See `OutboundRequest.as_events`."""
        return chat_events(body)


class TranslatingMeter(StreamMeter):
    """Meters a stream of chat completion chunks, and passes it on as the events of a message."""

    __slots__ = ("_answer", "_passed", "_spoke", "_told")

    def __init__(self, answer: AnswerStream) -> None:
        StreamMeter.__init__(self, None)
        self._answer = answer
        self._spoke = False
        # Of the events that are looked into: what is metered, and what the client gets.
        self._passed: list[bytes] = []
        self._told: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        """See `Meter.feed`; what cannot be told in the other format is a failure of the upstream."""
        StreamMeter.feed(self, chunk)
        return self._take_told()

    def end_of_body(self) -> bytes:
        """See `Meter.end_of_body`."""
        StreamMeter.end_of_body(self)
        return self._take_told()

    def _let_pass(self, events: bytes) -> bytes:
        """What is metered; event by event, so that nothing behind one that cannot be read is heard of."""
        passing = self._passed = []
        for event in split_events(events):
            passed = StreamMeter._let_pass(self, event)
            passing.append(passed)
            if not self._tell(passed):
                # Nobody pays for what could not be told.
                self.failed = True
                passing.pop()
                break
            if self.saw_end_marker and not self._answer.is_readable():
                self.failed = True
            if self.saw_end_marker or self.failed:
                break
        return b"".join(passing)

    def _has_choice(self, passing: list[bytes]) -> bool:
        return StreamMeter._has_choice(self, [*self._passed, *passing])

    def _tell(self, passed: bytes) -> bool:
        """Tell an event in the other format; returns whether it has a form there."""
        if not self._spoke:
            # A message begins with the first event that says something.
            if not is_real(passed):
                return True
            self._spoke = True
        try:
            self._told.append(self._answer.feed(passed))
        except BrokenStream:
            return False
        return True

    def _take_told(self) -> bytes:
        told = b"".join(self._told)
        self._told.clear()
        return told

    def may_end_without_marker(self) -> bool:
        """See `Meter.may_end_without_marker`."""
        return StreamMeter.may_end_without_marker(self) and self._answer.is_readable()

    def final_events(self, charged_nano: int) -> bytes:
        """See `Meter.final_events`."""
        return self._answer.end(self.usage or self._counted(), charged_nano)

    def _counted(self) -> Usage:
        """What a client is told when the upstream did not say: the output, as counted."""
        delivered: Delivered = self.delivered()
        return Usage(0, max(delivered.events, -(-delivered.text_bytes // 4)))
