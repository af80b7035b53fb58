"""What of an upstream's answer is the customer's: names that pass, an id and a model's name of ours, and our cost.

Everything else at the top of an answer, of an event, in its usage and beside a choice's message stays here. What was
said (messages, deltas, content, items) passes as it came, with the ids in it, because they come back.
"""

import re
from abc import ABC, abstractmethod
from typing import Final

import msgspec

from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.gateway.body import UNREADABLE, Fields, decode_object, decode_objects, encode, encoded, raw
from tokenbooth.gateway.public_names import (
    CHOICE_FIELDS,
    MESSAGE_EVENT_FIELDS,
    MESSAGE_FIELDS,
    OPENAI_FIELDS,
    RESPONSE_EVENT_FIELDS,
    RESPONSE_FIELDS,
)
from tokenbooth.upstream_kinds import USAGE_EXTENSIONS

CHAT_ID: Final = "chatcmpl-"
COMPLETION_ID: Final = "cmpl-"
EMBEDDINGS_ID: Final = "embd-"
MESSAGE_ID: Final = "msg_"
RESPONSE_ID: Final = "resp_"

# Of a usage object: numbers under names that end so, what divides them, and a few words.
_COUNTS: Final = ("_tokens", "_requests")
_DETAILS: Final = ("_tokens_details", "cache_creation", "server_tool_use")
_WORDS: Final = frozenset(("search_context_size", "service_tier"))
_WORD: Final = re.compile(rb'"[a-z_]{1,16}"|null')
_LINE_ENDS: Final = re.compile(rb"[\r\n]+")


class ClientAnswer:
    """A whole answer as its client gets it, but for what it cost."""

    __slots__ = ("_fields", "_usage")

    def __init__(self, fields: dict[str, object], usage: dict[str, object] | None) -> None:
        """Args:
        fields: the answer's top level.
        usage: its usage object; None when it has none.
        """
        self._fields = fields
        self._usage = usage

    def encode(self, charged_nano: int) -> bytes:
        """The body, with the charge (nano-USD) as `usage.cost` in USD, if there is a usage."""
        if self._usage is not None:
            self._fields["usage"] = {**self._usage, "cost": msgspec.Raw(usd_number(charged_nano))}
        return encode(self._fields)


def usd_number(amount_nano: int) -> bytes:
    """Nano-USD as an exact JSON number of USD."""
    whole, fraction = divmod(amount_nano, NANO_PER_USD)
    return b"%d.%09d" % (whole, fraction)


class PublicAnswer(ABC):
    """What a client gets to see of an answer in one format."""

    __slots__ = ("_id", "_model")

    def __init__(self, answer_id: str, model: str) -> None:
        """Args:
        answer_id: ours.
        model: the model as the client named it.
        """
        self._id = raw(answer_id)
        self._model = raw(model)

    @abstractmethod
    def public(self, fields: Fields) -> Fields:
        """The fields of a whole answer that pass, with ours in place of the upstream's."""

    @abstractmethod
    def public_event(self, fields: Fields) -> Fields:
        """The fields of an event that pass, with ours in place of the upstream's."""

    def whole(self, body: bytes) -> ClientAnswer:
        """A whole answer for the client.

        Raises:
            UNREADABLE: the body is no answer.
        """
        came = decode_object(body)
        usage = came.pop("usage", None)
        fields: dict[str, object] = {**self.public(came)}
        if usage is None:
            return ClientAnswer(fields, None)
        if bytes(usage) == b"null":
            fields["usage"] = usage
            return ClientAnswer(fields, None)
        counts: dict[str, object] = {**_counts(decode_object(usage), 1)}
        return ClientAnswer(fields, counts)

    def event_data(self, data: bytes) -> bytes:
        """The data of an event for the client, in one line.

        Raises:
            UNREADABLE: it is no object.
        """
        told = encode(self.public_event(decode_object(data)))
        # Line ends between values would end the event's line.
        return _LINE_ENDS.sub(b" ", told) if b"\n" in told or b"\r" in told else told

    def _own(self, fields: Fields, passing: frozenset[str]) -> Fields:
        public: Fields = {}
        for name, value in fields.items():
            if name in passing:
                public[name] = value
            elif name == "id":
                public[name] = self._id
            elif name == "model":
                public[name] = self._model
            elif name == "usage":
                public[name] = public_usage(value)
        return public


class OpenAIAnswer(PublicAnswer):
    """An answer of one of OpenAI's older formats: chat completions, completions, embeddings."""

    __slots__ = ()

    def public(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public`."""
        public = self._own(fields, OPENAI_FIELDS)
        choices = fields.get("choices")
        if choices is not None:
            public["choices"] = _public_choices(choices)
        return public

    def public_event(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public_event`: a chunk has the form of the answer."""
        return self.public(fields)


class MessageAnswer(PublicAnswer):
    """An answer in Anthropic's messages format."""

    __slots__ = ()

    def public(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public`."""
        return self._own(fields, MESSAGE_FIELDS)

    def public_event(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public_event`: the one that starts a message holds it."""
        public = self._own(fields, MESSAGE_EVENT_FIELDS)
        public.pop("id", None)
        public.pop("model", None)
        message = fields.get("message")
        if message is not None:
            public["message"] = encoded(self.public(decode_object(message)))
        return public


class ResponseAnswer(PublicAnswer):
    """An answer in OpenAI's responses format."""

    __slots__ = ()

    def public(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public`; what clients of the format may look for and never is here stays as nothing."""
        public = self._own(fields, RESPONSE_FIELDS)
        for name in ("error", "previous_response_id"):
            if name in fields:
                public[name] = encoded(None)
        return public

    def public_event(self, fields: Fields) -> Fields:
        """See `PublicAnswer.public_event`: those that tell how the response stands hold it."""
        public = self._own(fields, RESPONSE_EVENT_FIELDS)
        for name in ("id", "model", "usage"):
            public.pop(name, None)
        response = fields.get("response")
        if response is not None:
            public["response"] = encoded(self.public(decode_object(response)))
        return public


def public_usage(usage: msgspec.Raw) -> msgspec.Raw:
    """What of a usage object is a count; neither prices nor whose they are."""
    if bytes(usage) == b"null":
        return usage
    try:
        return encoded(_counts(decode_object(usage), 1))
    except UNREADABLE:
        return encoded(None)


def _counts(fields: Fields, depth: int) -> Fields:
    counts: Fields = {}
    for name, value in fields.items():
        if name.endswith(_DETAILS):
            if depth and bytes(value)[:1] == b"{":
                counts[name] = encoded(_counts(decode_object(value), depth - 1))
            elif bytes(value) == b"null":
                counts[name] = value
        elif name.endswith(_COUNTS) or name in USAGE_EXTENSIONS:
            number = bytes(value)
            if number.isdigit() or number == b"null":
                counts[name] = value
        elif name in _WORDS and _WORD.fullmatch(value) is not None:
            counts[name] = value
    return counts


def _public_choices(choices: msgspec.Raw) -> msgspec.Raw:
    if bytes(choices) in (b"null", b"[]"):
        return choices
    try:
        decoded = decode_objects(choices)
    except UNREADABLE:
        # Nothing that anybody could read as an answer.
        return encoded([])
    for choice in decoded:
        if not choice.keys() <= CHOICE_FIELDS:
            break
    else:
        return choices
    return encoded([_public_choice(choice) for choice in decoded])


def _public_choice(choice: Fields) -> Fields:
    public = {name: value for name, value in choice.items() if name in CHOICE_FIELDS}
    if "usage" in choice:
        public["usage"] = public_usage(choice["usage"])
    return public
