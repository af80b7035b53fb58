"""What is read of requests, and of an upstream's answers and events, as shapes for msgspec, which skips the rest.

Never compiled: msgspec reads annotations at run time, and the compiler does not keep them whole.
"""

from typing import Final

import msgspec

MAX_ITEMS: Final = 2_048
"""The most inputs of one request, see `few_items`."""


class AnsweredChoice(msgspec.Struct):
    """A choice of a whole answer of OpenAI's older formats."""

    finish_reason: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()


class ChatAnswer(msgspec.Struct):
    """A whole answer of OpenAI's older formats, or an error in the place of one.

    `errors` and `base_resp` (MiniMax) are other names of an error, `data` is what embeddings answer with.
    """

    error: msgspec.Raw = msgspec.Raw()
    errors: msgspec.Raw = msgspec.Raw()
    base_resp: msgspec.Raw = msgspec.Raw()
    usage: object = None
    choices: list[AnsweredChoice] | None = None
    data: msgspec.Raw = msgspec.Raw()


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
    """A choice that may tell its end."""

    index: object = 0
    finish_reason: object = None


class EndedChoices(msgspec.Struct):
    """An event of these formats that may tell the ends of choices."""

    choices: list[EndedChoice] | None = None


class MessagesAnswer(msgspec.Struct):
    """A whole answer of the Messages format, or an error in the place of one."""

    type: object = None
    error: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    stop_reason: msgspec.Raw = msgspec.Raw()
    usage: object = None


class MessagesDelta(msgspec.Struct):
    """What a `message_delta` changes."""

    stop_reason: object = None


class StopReason(msgspec.Struct):
    """Why a message ended, as a `message_delta` tells it."""

    stop_reason: str | None = None


class MessagesEvent(msgspec.Struct):
    """An event of the Messages format."""

    type: str = ""
    message: MessagesAnswer | None = None
    delta: MessagesDelta | None = None
    usage: object = None


class ResponsesAnswer(msgspec.Struct):
    """A response: a whole answer, or what an event holds of it."""

    error: msgspec.Raw = msgspec.Raw()
    output: msgspec.Raw = msgspec.Raw()
    usage: object = None
    status: object = None


class ResponsesEvent(msgspec.Struct):
    """An event of the responses format."""

    type: str = ""
    response: ResponsesAnswer | None = None


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
    """Where each format says, in a whole answer or in an event, why the answer ended."""

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


decode_chat_answer = msgspec.json.Decoder(ChatAnswer).decode
decode_chat_event = msgspec.json.Decoder(ChatEvent).decode
decode_ended_choices = msgspec.json.Decoder(EndedChoices).decode
decode_ending = msgspec.json.Decoder(Ending).decode
decode_messages_answer = msgspec.json.Decoder(MessagesAnswer).decode
decode_messages_event = msgspec.json.Decoder(MessagesEvent).decode
decode_responses_answer = msgspec.json.Decoder(ResponsesAnswer).decode
decode_responses_event = msgspec.json.Decoder(ResponsesEvent).decode
