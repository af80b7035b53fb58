"""The common part of OpenAI's three older formats: chat completions, completions, embeddings."""

from typing import ClassVar

import msgspec

from tokenbooth.config.catalog import Route
from tokenbooth.domain.usage import Usage, from_openai
from tokenbooth.gateway.formats.base import CostNano, PricedRequest, UpstreamAnswer
from tokenbooth.gateway.formats.failed_answers import check_chat_answer
from tokenbooth.gateway.formats.json.body import Fields, raw
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.openai.chat_stream import ChatMeter
from tokenbooth.gateway.formats.public_answers import OpenAIAnswer
from tokenbooth.gateway.formats.reported_usage import reported_elsewhere
from tokenbooth.gateway.formats.request.parameters import object_of, positive
from tokenbooth.gateway.formats.schema import ChatAnswer, decode_chat_answer
from tokenbooth.gateway.formats.texts import chat_text_bytes


class OpenAIRequest(PricedRequest):
    """A request of one of the older formats."""

    __slots__ = ()

    meter_class: ClassVar[type[ChatMeter]] = ChatMeter
    answer_id_prefix: ClassVar[str]

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        fields = PricedRequest.upstream_fields(self, route, clamped_output_tokens)
        if self.stream:
            options = object_of(self.fields, "stream_options")
            options["include_usage"] = raw(True)
            fields["stream_options"] = raw(options)
        else:
            fields.pop("stream_options", None)
        return fields

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        # The cost is shown to a client that asked for usage.
        choices = 1 if self.choices == 1 else self._streamed_choices()
        return self.meter_class(cost_nano if self.wants_usage else None, self.public_answer(request_id), choices)

    def text_bytes_in(self, body: bytes) -> int:
        return chat_text_bytes(body)

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        return self.answer_of(read_chat_answer(body), body)

    def answer_of(self, answer: ChatAnswer, body: bytes) -> UpstreamAnswer:
        """A whole answer that was read from a body."""
        return UpstreamAnswer(
            usage_object(answer, body),
            self.usage_of,
            lambda usage, request_id: self.public_answer(request_id).client_answer(answer),
        )

    def usage_of(self, reported: dict[str, object]) -> Usage:
        """Read the usage object of a whole answer.

        Raises:
            InvalidUsage: the counts are impossible.
        """
        return from_openai(reported)

    def public_answer(self, request_id: str) -> OpenAIAnswer:
        """Rewrites answers to this request for the client."""
        return OpenAIAnswer(self.answer_id_prefix + request_id, self.model.name)

    def _streamed_choices(self) -> int:
        """How many answers a stream holds: with `best_of`, only the best are sent."""
        answers = max(positive(self.fields, "n", self.choices) or 1, 1)
        best_of = max(positive(self.fields, "best_of", self.choices) or 1, answers)
        return self.choices * answers // best_of


def wants_usage(fields: Fields) -> bool:
    """Whether the client of a stream asked for the usage event.

    Raises:
        Refusal: `stream_options` is no object.
    """
    return object_of(fields, "stream_options").get("include_usage") == msgspec.Raw(b"true")


def read_chat_answer(body: bytes, *, embeds: bool = False) -> ChatAnswer:
    """Read a whole answer.

    Args:
        body: the answer.
        embeds: whether embeddings were asked for.

    Raises:
        UNREADABLE: the answer is not JSON of the expected form.
        FailedAnswer: it is a failure in the place of one.
    """
    answer = decode_chat_answer(body)
    check_chat_answer(answer, body, embeds=embeds)
    return answer


def usage_object(answer: ChatAnswer, body: bytes) -> dict[str, object] | None:
    """The usage object of a whole answer; None when it has none."""
    usage = answer.usage
    return usage if isinstance(usage, dict) and usage else reported_elsewhere(body)
