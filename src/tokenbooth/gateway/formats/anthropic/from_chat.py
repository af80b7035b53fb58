"""A whole chat completion as a message of Anthropic's format."""

from collections.abc import Mapping
from itertools import takewhile

from tokenbooth.domain.usage import Usage
from tokenbooth.gateway.formats.anthropic.message import NO_NAMES, ToolUseBlock, stop_fields, usage_fields
from tokenbooth.gateway.formats.anthropic.stream_from_chat import AnswerStream
from tokenbooth.gateway.formats.chat_answer import (
    Choice,
    Json,
    UnreadableAnswer,
    decode_lenient,
    read_completion,
    whole_characters,
    whole_texts,
)
from tokenbooth.gateway.formats.json.body import decode_dict, encode
from tokenbooth.gateway.formats.public_answers import ClientAnswer
from tokenbooth.gateway.formats.reported_usage import reported_elsewhere
from tokenbooth.gateway.formats.sse import END_MARKER, BrokenStream, data_of, events_of
from tokenbooth.gateway.formats.stream_as_whole import chat_answer


def whole_answer(
    body: bytes,
    usage: Usage,
    *,
    model: str,
    message_id: str,
    shows_thinking: bool,
    own_names: Mapping[str, str] = NO_NAMES,
) -> ClientAnswer:
    """The message of a whole completion.

    Args:
        body: the completion.
        usage: what it consumed.
        model: the model as the client named it.
        message_id: our id of the message.
        shows_thinking: whether the client asked to see the model think.
        own_names: the client's name of each tool that has another one at the upstream.

    Raises:
        UnreadableAnswer: the body is no completion, or something in it has no meaning that we know.
    """
    completion = read_completion(body)
    if completion is None:
        raise UnreadableAnswer("the answer is no object")
    choice = completion.choice or Choice()
    answer = choice.message or choice.delta
    content: list[Json] = []
    if shows_thinking and answer.thought:
        content.append({"type": "thinking", "thinking": whole_characters(answer.thought), "signature": ""})
    if answer.text:
        content.append({"type": "text", "text": whole_characters(answer.text)})
    taken_ids: set[str] = set()
    for piece in answer.calls:
        call = ToolUseBlock(piece, taken_ids)
        if not call.name:
            raise UnreadableAnswer("a call names no tool")
        call.add(piece)
        content.append({**call.start(), "name": own_names.get(call.name, call.name), "input": call.input()})
    counts = usage_fields(usage)
    return ClientAnswer(
        {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            **stop_fields(choice, called=bool(answer.calls)),
            "usage": counts,
        },
        counts,
    )


def with_whole_characters(body: bytes) -> bytes:
    """A completion whose texts hold halves of characters as one that everybody can read.

    Raises:
        UnreadableAnswer: it is no JSON.
    """
    return encode(whole_texts(decode_lenient(body)))


def whole_completion(body: bytes) -> bytes:
    """Put the events of a stream that came to its end together to one completion, which holds what a message would.

    Raises:
        UnreadableAnswer: one of them cannot be read.
    """
    answer = AnswerStream(model="", message_id="", shows_thinking=True)
    events = list(takewhile(lambda event: data_of(event) != END_MARKER, events_of(body)))
    try:
        answer.feed(b"".join(events))
    except BrokenStream as mistake:
        raise UnreadableAnswer(str(mistake)) from mistake
    if not answer.is_readable():
        raise UnreadableAnswer("a call names no tool")
    whole = chat_answer(body)
    completion = decode_dict(whole)
    # Some servers report it in the choice, which is written anew.
    completion["usage"] = completion.get("usage") or reported_elsewhere(whole)
    return encode({**completion, "choices": [answer.choice()]})
