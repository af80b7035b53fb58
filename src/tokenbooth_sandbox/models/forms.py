"""The formats in which the model server answers, each as a few functions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tokenbooth_sandbox.models import other_replies, other_requests, reply
from tokenbooth_sandbox.models.chat_request import ChatRequest, parse_chat_request
from tokenbooth_sandbox.models.reply import Event, Reply


@dataclass(frozen=True, slots=True)
class Form:
    """One format.

    Attributes:
        parse: reads a body; raises ApiError.
        body: the whole answer.
        events: the events of a stream.
        done: what follows them.
        error_event: an error in mid-stream, from its message.
    """

    parse: Callable[[bytes], ChatRequest]
    body: Callable[[Reply], bytes]
    events: Callable[[Reply], Iterator[Event]]
    done: bytes
    error_event: Callable[[str], bytes]


CHAT = Form(parse_chat_request, reply.encode_completion, reply.stream_events, reply.DONE, reply.encode_error_event)
COMPLETIONS = Form(
    other_requests.parse_completions,
    other_replies.completion_body,
    other_replies.completion_events,
    reply.DONE,
    reply.encode_error_event,
)
RESPONSES = Form(
    other_requests.parse_responses,
    other_replies.response_body,
    other_replies.response_events,
    b"",
    other_replies.response_error_event,
)
MESSAGES = Form(
    other_requests.parse_messages,
    other_replies.message_body,
    other_replies.message_events,
    b"",
    other_replies.message_error_event,
)
