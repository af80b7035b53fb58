"""A messages request for an upstream that only speaks OpenAI's chat format, and the way back of the answer."""

from typing import ClassVar, Final

import msgspec

from tokenbooth.config.catalog import Route, WireFormat
from tokenbooth.domain.usage import Usage, from_openai
from tokenbooth.gateway.formats.anthropic.from_chat import whole_answer, whole_completion, with_whole_characters
from tokenbooth.gateway.formats.anthropic.stream_from_chat import AnswerStream
from tokenbooth.gateway.formats.anthropic.to_chat import ChatBody, fit_messages
from tokenbooth.gateway.formats.base import CostNano, OutboundRequest, PricedRequest, UpstreamAnswer, estimated_tokens
from tokenbooth.gateway.formats.json.body import UNREADABLE, Fields
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.openai.base import read_chat_answer, usage_object
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.public_answers import MESSAGE_ID, ClientAnswer
from tokenbooth.gateway.formats.sse import BrokenStream, is_real, split_events
from tokenbooth.gateway.formats.texts import chat_text_bytes
from tokenbooth.gateway.formats.whole_as_stream import chat_events

_USAGE_WANTED: Final = msgspec.Raw(b'{"include_usage":true}')


class TranslatedMessages(OutboundRequest):
    """A messages request as a chat completion."""

    __slots__ = ("_chat", "_request", "_shows_thinking")

    wire: ClassVar[WireFormat] = "openai.chat"
    path: ClassVar[str] = "/chat/completions"

    def __init__(self, request: PricedRequest, chat: ChatBody, *, shows_thinking: bool) -> None:
        """Bind a request to its translation.

        Args:
            request: the messages request.
            chat: the chat completion that asks the same.
            shows_thinking: whether the client asked to see the model think.
        """
        self._request = request
        self._chat = chat
        self._shows_thinking = shows_thinking
        self.omitted = request.omitted + chat.omitted

    @property
    def request(self) -> PricedRequest:
        return self._request

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        request = self._request
        fields = request.addressed(self._chat.fields, route, clamped_output_tokens, self.wire)
        fields["messages"] = fit_messages(
            fields["messages"],
            route.upstream.kind,
            reasons=request.model.reasoning,
            ends_begun=self._chat.ends_begun,
        )
        if request.stream:
            fields["stream_options"] = _USAGE_WANTED
        return fields

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        return TranslatingMeter(
            AnswerStream(
                model=self._request.model.name,
                message_id=MESSAGE_ID + request_id,
                shows_thinking=self._shows_thinking,
                own_names=self._chat.own_names,
            )
        )

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        try:
            answer = read_chat_answer(body)
        except UNREADABLE:
            body = with_whole_characters(body)
            answer = read_chat_answer(body)
        return UpstreamAnswer(
            usage_object(answer, body), from_openai, lambda usage, request_id: self._message(body, usage, request_id)
        )

    def text_bytes_in(self, body: bytes) -> int:
        return chat_text_bytes(body)

    def as_answer(self, body: bytes) -> bytes:
        return whole_completion(body)

    def as_events(self, body: bytes) -> bytes | None:
        return chat_events(body)

    def _message(self, body: bytes, usage: Usage, request_id: str) -> ClientAnswer:
        return whole_answer(
            body,
            usage,
            model=self._request.model.name,
            message_id=MESSAGE_ID + request_id,
            shows_thinking=self._shows_thinking,
            own_names=self._chat.own_names,
        )


class TranslatingMeter(ChatMeter):
    """Meters a stream of chat completion chunks, and passes it on as the events of a message.

    What has no form in the other format is a failure of the upstream.
    """

    __slots__ = ("_answer", "_began_message", "_passed", "_translated")

    def __init__(self, answer: AnswerStream) -> None:
        ChatMeter.__init__(self, None)
        self._answer = answer
        self._began_message = False
        # Of the events that are looked into: what is metered, and what the client gets.
        self._passed: list[bytes] = []
        self._translated: list[bytes] = []

    def feed(self, chunk: bytes) -> bytes:
        ChatMeter.feed(self, chunk)
        return self._take_translated()

    def end_of_body(self) -> bytes:
        ChatMeter.end_of_body(self)
        return self._take_translated()

    def _let_pass(self, events: bytes) -> bytes:
        """Meter event by event, so that nothing after an unreadable event counts."""
        passing = self._passed = []
        for event in split_events(events):
            passed = ChatMeter._let_pass(self, event)
            passing.append(passed)
            if not self._translate(passed):
                # Nobody pays for what could not be translated.
                self.failed = True
                passing.pop()
                break
            if self.saw_end_marker and not self._answer.is_readable():
                self.failed = True
            if self.saw_end_marker or self.failed:
                break
        return b"".join(passing)

    def _has_begun(self, passing: list[bytes]) -> bool:
        return ChatMeter._has_begun(self, [*self._passed, *passing])

    def _translate(self, passed: bytes) -> bool:
        """Translate an event; returns False when it has no form in the other format."""
        if not self._began_message:
            # A message begins with the first event that is part of an answer.
            if not is_real(passed):
                return True
            self._began_message = True
        try:
            self._translated.append(self._answer.feed(passed))
        except BrokenStream:
            return False
        return True

    def _take_translated(self) -> bytes:
        translated = b"".join(self._translated)
        self._translated.clear()
        return translated

    def may_end_without_marker(self) -> bool:
        return ChatMeter.may_end_without_marker(self) and self._answer.is_readable()

    def final_events(self, charged_nano: int) -> bytes:
        return self._answer.end(self.usage or self._counted(), charged_nano)

    def _counted(self) -> Usage:
        """The usage that the client gets where the upstream reported none: the output, as counted."""
        delivered = self.delivered()
        return Usage(0, max(delivered.events, estimated_tokens(delivered.text_bytes)))
