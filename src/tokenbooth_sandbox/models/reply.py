"""The JSON of OpenAI's chat API: a completion as one body, or as the events of a stream.

Pure functions over an answer, no I/O.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tokenbooth_sandbox.models.answer import Answer, FinishReason, Token
from tokenbooth_sandbox.models.chat_request import ChatRequest
from tokenbooth_sandbox.models.tokens import Usage, UsageObject

DONE = b"data: [DONE]\n\n"

_JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to be sent. `created_s` is in seconds since 1970, UTC; the ids are ours."""

    id: str
    created_s: int
    request: ChatRequest
    answer: Answer
    prompt_tokens: int
    cached_tokens: int

    def usage(self) -> Usage:
        """The true usage of all choices together."""
        choices = self.request.choices
        return Usage(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=choices * len(self.answer.tokens),
            reasoning_tokens=choices * self.answer.count("reasoning"),
        )

    def usage_object(self) -> UsageObject:
        """The usage that is reported, which a directive may have changed."""
        return self.usage().wire(self.request.directives.reported)


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, encoded; `tokens` is how many tokens of the answer it carries, 0 or 1."""

    data: bytes
    tokens: int


def encode_completion(reply: Reply) -> bytes:
    """The whole answer as one JSON body."""
    completion: _JsonObject = {
        "id": reply.id,
        "object": "chat.completion",
        "created": reply.created_s,
        "model": reply.request.model,
        "choices": [
            {
                "index": index,
                "message": _message(reply, index),
                "logprobs": None,
                "finish_reason": reply.answer.finish_reason,
            }
            for index in range(reply.request.choices)
        ],
    }
    if not reply.request.directives.no_usage:
        completion["usage"] = reply.usage_object()
    return msgspec.json.encode(completion)


def encode_error_event(message: str) -> bytes:
    """An error in mid-stream, in the form that OpenAI's SDK raises."""
    error = {"message": message, "type": "server_error", "param": None, "code": None}
    return _event({"error": error})


def stream_events(reply: Reply) -> Iterator[Event]:
    """The events of a stream in their order, without the closing `[DONE]`.

    The choices take turns: each writes its first token, then each its second, and so on.
    """
    directives = reply.request.directives
    chunks = _Chunks(reply)
    for index in range(reply.request.choices):
        yield Event(chunks.encode(index, {"role": "assistant", "content": ""}, None), 0)
    for position, token in enumerate(reply.answer.tokens):
        for index in range(reply.request.choices):
            chunks.count(token)
            yield Event(chunks.encode(index, _delta(reply, index, position, token), None), 1)
    for index in range(reply.request.choices):
        is_last = index == reply.request.choices - 1
        yield Event(chunks.encode(index, {}, reply.answer.finish_reason, is_last=is_last), 0)
    wants_event = reply.request.include_usage or directives.cumulative_usage
    if wants_event and not directives.no_usage and not directives.usage_in_last_choice:
        for _ in range(2 if directives.usage_twice else 1):
            yield Event(chunks.encode_usage(), 0)


class _Chunks:
    """Encodes the chunks of one stream and keeps the usage so far."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._head: _JsonObject = {
            "id": reply.id,
            "object": "chat.completion.chunk",
            "created": reply.created_s,
            "model": reply.request.model,
        }

    def count(self, token: Token) -> None:
        self._completion_tokens += 1
        self._reasoning_tokens += token.kind == "reasoning"

    def encode(
        self, index: int, delta: _JsonObject, finish_reason: FinishReason | None, *, is_last: bool = False
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event({**self._head, "choices": [choice], **self._usage_field(is_last=is_last)})

    def encode_usage(self) -> bytes:
        return _event({**self._head, "choices": [], "usage": self._reply.usage_object()})

    def _usage_field(self, *, is_last: bool) -> _JsonObject:
        directives = self._reply.request.directives
        if not directives.no_usage:
            if directives.usage_in_last_choice and is_last:
                return {"usage": self._reply.usage_object()}
            if directives.cumulative_usage:
                so_far = Usage(
                    self._reply.prompt_tokens,
                    self._reply.cached_tokens,
                    self._completion_tokens,
                    self._reasoning_tokens,
                )
                return {"usage": so_far.wire(directives.reported)}
        return {"usage": None} if self._reply.request.include_usage else {}


def _message(reply: Reply, index: int) -> _JsonObject:
    answer = reply.answer
    message: _JsonObject = {"role": "assistant", "content": answer.text("content"), "refusal": None}
    if answer.count("reasoning"):
        message["reasoning_content"] = answer.text("reasoning")
    if answer.count("tool_name"):
        function = {"name": answer.text("tool_name"), "arguments": answer.text("tool_arguments")}
        message["content"] = None
        message["tool_calls"] = [{"id": _call_id(reply, index), "type": "function", "function": function}]
    return message


def _delta(reply: Reply, index: int, position: int, token: Token) -> _JsonObject:
    match token.kind:
        case "content":
            return {"content": token.text}
        case "reasoning":
            return {"reasoning_content": token.text}
        case "tool_name":
            function = {"name": token.text, "arguments": ""}
            call = {"index": 0, "id": _call_id(reply, index), "type": "function", "function": function}
            return {"tool_calls": [call]}
        case "tool_arguments":
            return {"tool_calls": [{"index": 0, "function": {"arguments": token.text}}]}


def _call_id(reply: Reply, index: int) -> str:
    return f"call_{reply.id.removeprefix('chatcmpl-')[:20]}{index}"


def _event(chunk: _JsonObject) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"
