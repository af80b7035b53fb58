"""Rewriting an upstream's answers for the client: only listed names pass, with our id, model name and cost.

Everything else at the top of an answer, of an event, in its usage and beside a choice's message stays here. What the
model wrote (messages, deltas, content, items) passes unchanged, with the ids in it, because clients send them back.
"""

import re
from abc import ABC, abstractmethod
from typing import Final

import msgspec

from tokenbooth.config.upstream_fields import USAGE_EXTENSIONS
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.gateway.formats.json.body import Fields, decode_json, decode_object, encode, raw
from tokenbooth.gateway.formats.public_names import MESSAGE_EVENT_FIELDS, RESPONSE_EVENT_FIELDS
from tokenbooth.gateway.formats.schema import (
    ABSENT,
    ChatAnswer,
    MessagesAnswer,
    ResponsesAnswer,
    decode_chat_answer,
    decode_messages_answer,
    decode_responses_answer,
)

_LF: Final = ord("\n")
_CR: Final = ord("\r")
CHAT_ID: Final = "chatcmpl-"
COMPLETION_ID: Final = "cmpl-"
EMBEDDINGS_ID: Final = "embd-"
MESSAGE_ID: Final = "msg_"
RESPONSE_ID: Final = "resp_"

# Of a usage object: numbers under names that end so, what divides them, and a few words.
_COUNTS: Final = ("_tokens", "_requests")
# Of almost every usage; a name in a set is found at a fifth of the cost of its end.
_USUAL_COUNTS: Final = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
)
_DETAILS: Final = ("_tokens_details", "cache_creation", "server_tool_use")
_NULLABLE: Final = (*_COUNTS, *_DETAILS)
_WORDS: Final = frozenset(("search_context_size", "service_tier"))
_WORD: Final = re.compile(r"[a-z_]{1,16}")
_UNSET: Final = msgspec.UNSET
_NULL: Final = msgspec.Raw(b"null")
_LINE_ENDS: Final = re.compile(rb"[\r\n]+")


class ClientAnswer:
    """A whole answer as the client gets it, without its cost."""

    __slots__ = ("_answer", "_usage")

    def __init__(self, answer: object, usage: dict[str, object] | None) -> None:
        """Keep an answer; `usage` is the usage object in it, None for none."""
        self._answer = answer
        self._usage = usage

    def encode(self, charged_nano: int) -> bytes:
        """The body, with the charge (nano-USD) as `usage.cost` in USD, if there is a usage."""
        if self._usage is not None:
            self._usage["cost"] = msgspec.Raw(usd_number(charged_nano))
        return encode(self._answer)


def usd_number(amount_nano: int) -> bytes:
    """Nano-USD as an exact JSON number of USD."""
    # With a one before the fraction, so that its zeros stay.
    fraction = str(NANO_PER_USD + amount_nano % NANO_PER_USD)[1:]
    return f"{amount_nano // NANO_PER_USD}.{fraction}".encode()


class PublicAnswer(ABC):
    """Rewrites answers of one format to what the client may see."""

    __slots__ = ("_id", "_model")

    def __init__(self, answer_id: str, model: str) -> None:
        """Rewrite to our `answer_id`, and to the client's name of the model."""
        self._id = answer_id
        self._model = model

    @abstractmethod
    def public_event(self, data: bytes) -> bytes:
        """The data of an event, reduced to what passes, with our id and model name.

        Raises:
            UNREADABLE: it is no object of the format.
        """

    def event_data(self, data: bytes) -> bytes:
        """The data of an event for the client, in one line.

        Raises:
            UNREADABLE: it is no object of the format.
        """
        public = self.public_event(data)
        # Line ends between values would end the event's line.
        return _LINE_ENDS.sub(b" ", public) if _LF in public or _CR in public else public

    def _make_own(self, answer: ChatAnswer | MessagesAnswer | ResponsesAnswer) -> dict[str, object] | None:
        """Set our id and model name, and reduce the usage; returns the usage that leaves, None for none."""
        if answer.id is not _UNSET:
            answer.id = self._id
        if answer.model is not _UNSET:
            answer.model = self._model
        usage = answer.usage
        if usage is _UNSET:
            return None
        answer.usage = counts = public_usage(usage)
        return counts


class OpenAIAnswer(PublicAnswer):
    """An answer of one of OpenAI's older formats: chat completions, completions, embeddings."""

    __slots__ = ()

    def client_answer(self, answer: ChatAnswer) -> ClientAnswer:
        """A whole answer for the client. It changes what was read."""
        usage = self._make_own(answer)
        choices = answer.choices
        if choices is not None:
            for choice in choices:
                in_choice = choice.usage
                if in_choice is not _UNSET:
                    choice.usage = public_usage(in_choice)
        return ClientAnswer(answer, usage)

    def public_event(self, data: bytes) -> bytes:
        # A chunk has the form of the answer.
        answer = decode_chat_answer(data)
        answer.error = answer.errors = answer.base_resp = ABSENT
        self.client_answer(answer)
        return encode(answer)


class MessageAnswer(PublicAnswer):
    """An answer in Anthropic's messages format."""

    __slots__ = ()

    def client_answer(self, answer: MessagesAnswer) -> ClientAnswer:
        """A whole answer for the client. It changes what was read."""
        usage = self._make_own(answer)
        answer.error = ABSENT
        return ClientAnswer(answer, usage)

    def public_event(self, data: bytes) -> bytes:
        fields = decode_object(data)
        public = _passing(fields, MESSAGE_EVENT_FIELDS)
        if "usage" in fields:
            public["usage"] = raw(public_usage(decode_json(fields["usage"])))
        if "message" in fields:
            message = decode_messages_answer(fields["message"])
            self.client_answer(message)
            public["message"] = raw(message)
        return encode(public)


class ResponseAnswer(PublicAnswer):
    """An answer in OpenAI's responses format."""

    __slots__ = ()

    def client_answer(self, answer: ResponsesAnswer) -> ClientAnswer:
        """A whole answer for the client. It changes what was read."""
        usage = self._make_own(answer)
        # Clients look for these names, even where there is nothing under them.
        if answer.error:
            answer.error = _NULL
        if answer.previous_response_id:
            answer.previous_response_id = _NULL
        return ClientAnswer(answer, usage)

    def public_event(self, data: bytes) -> bytes:
        fields = decode_object(data)
        public = _passing(fields, RESPONSE_EVENT_FIELDS)
        if "response" in fields:
            response = decode_responses_answer(fields["response"])
            self.client_answer(response)
            public["response"] = raw(response)
        return encode(public)


def _passing(fields: Fields, names: frozenset[str]) -> Fields:
    return {name: value for name, value in fields.items() if name in names}


def public_usage(usage: object) -> dict[str, object] | None:
    """The counts of a decoded usage object, without prices and owners; None for what is no usage object."""
    return _counts(usage, 1) if isinstance(usage, dict) else None


def _counts(usage: dict[str, object], depth: int) -> dict[str, object]:
    counts: dict[str, object] = {}
    # The compiler takes a variable of a loop for what it is compared with first.
    value: object
    for name, value in usage.items():
        # Not isinstance, for which true is an integer.
        if type(value) is int:
            if value >= 0 and (name in _USUAL_COUNTS or name.endswith(_COUNTS) or name in USAGE_EXTENSIONS):
                counts[name] = value
        elif value is None:
            if name.endswith(_NULLABLE) or name in USAGE_EXTENSIONS or name in _WORDS:
                counts[name] = value
        elif isinstance(value, dict):
            if depth and name.endswith(_DETAILS):
                counts[name] = _counts(value, depth - 1)
        elif isinstance(value, str) and name in _WORDS and _WORD.fullmatch(value) is not None:
            counts[name] = value
    return counts
