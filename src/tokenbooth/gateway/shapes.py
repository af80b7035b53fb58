"""What is read of an upstream's answers and events, as shapes for msgspec, which skips everything else.

Never compiled: msgspec reads annotations at run time, and the compiler does not keep them whole.
"""

import msgspec


class ChatAnswer(msgspec.Struct):
    """A whole answer of OpenAI's older formats, or an error in the place of one."""

    error: msgspec.Raw = msgspec.Raw()
    usage: dict[str, object] | None = None
    choices: list[msgspec.Raw] = []


class ChatEvent(msgspec.Struct):
    """An event of a stream of these formats."""

    usage: dict[str, object] | None = None
    choices: list[msgspec.Raw] | None = None


class ErrorEvent(msgspec.Struct):
    """An event that may report an error."""

    error: msgspec.Raw = msgspec.Raw()


class MessagesAnswer(msgspec.Struct):
    """A whole answer of the Messages format."""

    usage: dict[str, object] | None = None


class MessagesDelta(msgspec.Struct):
    """What a `message_delta` changes."""

    stop_reason: str | None = None


class MessagesEvent(msgspec.Struct):
    """An event of the Messages format."""

    type: str = ""
    message: MessagesAnswer | None = None
    delta: MessagesDelta | None = None
    usage: dict[str, object] | None = None


class ResponsesAnswer(msgspec.Struct):
    """A response: a whole answer, or what an event holds of it."""

    usage: dict[str, object] | None = None
    status: str | None = None


class ResponsesEvent(msgspec.Struct):
    """An event of the responses format."""

    type: str = ""
    response: ResponsesAnswer | None = None


decode_chat_answer = msgspec.json.Decoder(ChatAnswer).decode
decode_chat_event = msgspec.json.Decoder(ChatEvent).decode
decode_error_event = msgspec.json.Decoder(ErrorEvent).decode
decode_messages_answer = msgspec.json.Decoder(MessagesAnswer).decode
decode_messages_event = msgspec.json.Decoder(MessagesEvent).decode
decode_responses_answer = msgspec.json.Decoder(ResponsesAnswer).decode
decode_responses_event = msgspec.json.Decoder(ResponsesEvent).decode
