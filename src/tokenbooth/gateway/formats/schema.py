"""Schemas for msgspec of what is read from requests, answers and events. It skips every other field.

Never compiled: msgspec reads annotations at run time, and the compiler does not keep them whole.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar, cast

import msgspec

from tokenbooth.gateway.formats.public_names import CHOICE_FIELDS, MESSAGE_FIELDS, OPENAI_FIELDS, RESPONSE_FIELDS

MAX_ITEMS: Final = 2_048
"""The most inputs of one request, see `few_items`."""

ABSENT: Final = msgspec.Raw()
"""The value of a name that is not there, and of one that does not leave."""


class AnsweredChoice(msgspec.Struct, omit_defaults=True):
    """A choice of an answer of OpenAI's older formats."""

    index: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    finish_reason: msgspec.Raw = ABSENT
    usage: object = msgspec.UNSET


class ChatAnswer(msgspec.Struct, omit_defaults=True):
    """An answer of OpenAI's older formats, or an event of one, or an error in the place of one.

    `errors` and `base_resp` (MiniMax) are other names of an error, `data` is what embeddings answer with.
    """

    id: object = msgspec.UNSET
    created: msgspec.Raw = ABSENT
    model: object = msgspec.UNSET
    choices: list[AnsweredChoice] | None = None
    usage: object = msgspec.UNSET
    error: msgspec.Raw = ABSENT
    errors: msgspec.Raw = ABSENT
    base_resp: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


class UsageHolder(msgspec.Struct):
    """Something in an answer that may hold its usage."""

    usage: object = None


class ChatEvent(msgspec.Struct):
    """An event of a stream of these formats; or a whole answer, for the places where a usage may stand."""

    usage: object = None
    choices: list[UsageHolder | None] | None = None
    x_groq: UsageHolder | None = None
    response: UsageHolder | None = None
    message: UsageHolder | None = None


class EndedChoice(msgspec.Struct):
    """A choice that may have a finish reason."""

    index: object = 0
    finish_reason: object = None


class EndedChoices(msgspec.Struct):
    """An event of these formats whose choices may have finish reasons."""

    choices: list[EndedChoice | None] | None = None


class MessagesAnswer(msgspec.Struct, omit_defaults=True):
    """A whole answer of the Messages format, or an error in the place of one."""

    id: object = msgspec.UNSET
    type: object = None
    role: msgspec.Raw = ABSENT
    model: object = msgspec.UNSET
    content: msgspec.Raw = ABSENT
    stop_reason: msgspec.Raw = ABSENT
    stop_sequence: msgspec.Raw = ABSENT
    usage: object = msgspec.UNSET
    error: msgspec.Raw = ABSENT


class MessagesDelta(msgspec.Struct):
    """The change that a `message_delta` makes."""

    stop_reason: object = None


class StopReason(msgspec.Struct):
    """The stop reason in a `message_delta`."""

    stop_reason: str | None = None


class MessagesEvent(msgspec.Struct):
    """An event of the Messages format."""

    type: str = ""
    message: MessagesAnswer | None = None
    delta: MessagesDelta | None = None
    usage: object = None
    error: object = None


class ResponsesAnswer(msgspec.Struct, omit_defaults=True):
    """A response: a whole answer, or what an event holds of it."""

    id: object = msgspec.UNSET
    created_at: msgspec.Raw = ABSENT
    status: object = None
    error: msgspec.Raw = ABSENT
    model: object = msgspec.UNSET
    output: msgspec.Raw = ABSENT
    previous_response_id: msgspec.Raw = ABSENT
    usage: object = msgspec.UNSET


class ResponsesEvent(msgspec.Struct):
    """An event of the responses format."""

    type: str = ""
    response: ResponsesAnswer | None = None
    error: object = None


class ChoiceEnding(msgspec.Struct):
    """Why a choice of OpenAI's older formats ended."""

    finish_reason: str | None = None


class IncompleteDetails(msgspec.Struct):
    """Why a response is incomplete."""

    reason: str | None = None


class ResponseEnding(msgspec.Struct):
    """A response, as its last event holds it."""

    incomplete_details: IncompleteDetails | None = None


class Ending(msgspec.Struct):
    """The places of the finish reason in whole answers and events of all formats."""

    type: str = ""
    choices: list[ChoiceEnding] | None = None
    stop_reason: str | None = None
    delta: StopReason | None = None
    incomplete_details: IncompleteDetails | None = None
    response: ResponseEnding | None = None


# A list as a record of so many places: the decoder stops at the first item too many, and has made nothing of the rest.
_decode_few: Final = msgspec.json.Decoder(
    msgspec.defstruct(
        "FewItems",
        [(f"item_{number}", msgspec.Raw, msgspec.Raw()) for number in range(MAX_ITEMS)],
        array_like=True,
        forbid_unknown_fields=True,
    )
).decode


def few_items(value: msgspec.Raw) -> list[msgspec.Raw]:
    """The items of a list of at most `MAX_ITEMS`.

    Raises:
        msgspec.ValidationError: there are more.
    """
    # An item that is not there is a raw value without bytes.
    return [item for item in msgspec.structs.astuple(_decode_few(value)) if item]


_Shape = TypeVar("_Shape", bound=msgspec.Struct)


def _passing(shape: type[_Shape], names: Iterable[str], **types: Any) -> type[_Shape]:
    """A shape with every name that passes, so that it can leave as it was read: the decoder skips all others.

    Args:
        shape: what is looked at; its own names come first.
        names: those that pass.
        types: of names that have another one here.
    """
    own = {field.name for field in msgspec.structs.fields(shape)}
    fields: list[tuple[str, Any, Any]] = [(name, kind, None) for name, kind in types.items()]
    fields += [(name, msgspec.Raw, ABSENT) for name in sorted(names) if name not in own]
    passing: Any = msgspec.defstruct(shape.__name__, fields, bases=(shape,), omit_defaults=True)
    return cast("type[_Shape]", passing)


_choices: Final[Any] = list[_passing(AnsweredChoice, CHOICE_FIELDS)] | None  # type: ignore[misc]
decode_chat_answer = msgspec.json.Decoder(_passing(ChatAnswer, OPENAI_FIELDS, choices=_choices)).decode
decode_chat_event = msgspec.json.Decoder(ChatEvent).decode
decode_ended_choices = msgspec.json.Decoder(EndedChoices).decode
decode_ending = msgspec.json.Decoder(Ending).decode
decode_messages_answer = msgspec.json.Decoder(_passing(MessagesAnswer, MESSAGE_FIELDS)).decode
decode_messages_event = msgspec.json.Decoder(MessagesEvent).decode
decode_responses_answer = msgspec.json.Decoder(_passing(ResponsesAnswer, RESPONSE_FIELDS)).decode
decode_responses_event = msgspec.json.Decoder(ResponsesEvent).decode
