"""The same answer in the other formats: completions, embeddings, responses, messages; whole and as events.

Pure functions over an answer, no I/O.
"""

import base64
import hashlib
import struct
from collections.abc import Iterator

import msgspec

from tokenbooth_sandbox.models.answer import Answer, Token
from tokenbooth_sandbox.models.other_requests import EmbeddingsRequest
from tokenbooth_sandbox.models.reply import Event, Reply
from tokenbooth_sandbox.models.tokens import BYTES_PER_TOKEN

_Json = dict[str, object]
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def completion_body(reply: Reply) -> bytes:
    """The whole answer of `POST /v1/completions`."""
    body: _Json = {**_completion_head(reply), "choices": [_text_choice(reply, i) for i in range(reply.request.choices)]}
    if not reply.request.directives.no_usage:
        body["usage"] = reply.usage_object()
    return msgspec.json.encode(body)


def completion_events(reply: Reply) -> Iterator[Event]:
    """The events of a streamed completion, without the closing `[DONE]`."""
    head = _completion_head(reply)
    for index in range(reply.request.choices):
        for token in reply.answer.tokens:
            choice = {"index": index, "text": token.text, "logprobs": None, "finish_reason": None}
            yield Event(_data({**head, "choices": [choice]}), 1)
        last = {"index": index, "text": "", "logprobs": None, "finish_reason": reply.answer.finish_reason}
        yield Event(_data({**head, "choices": [last]}), 0)
    if reply.request.include_usage and not reply.request.directives.no_usage:
        yield Event(_data({**head, "choices": [], "usage": reply.usage_object()}), 0)


def embeddings_body(request: EmbeddingsRequest) -> bytes:
    """The answer of `POST /v1/embeddings`: numbers that only depend on the input."""
    tokens = sum(-(-len(text.encode()) // BYTES_PER_TOKEN) for text in request.inputs)
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, request)}
        for index, text in enumerate(request.inputs)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "model": request.model, "data": data, "usage": usage})


def response_body(reply: Reply) -> bytes:
    """The whole answer of `POST /v1/responses`."""
    return msgspec.json.encode(_response(reply, _output(reply), "completed"))


def response_events(reply: Reply) -> Iterator[Event]:
    """The events of a streamed response, the last one with its usage."""
    events = _Numbered()
    yield events.make("response.created", response=_response(reply, [], "in_progress"))
    for position, (item, tokens) in enumerate(_items(reply)):
        yield events.make("response.output_item.added", output_index=position, item={**item, "status": "in_progress"})
        kind = "response.function_call_arguments" if item["type"] == "function_call" else "response.output_text"
        place: _Json = {"item_id": item["id"], "output_index": position}
        if item["type"] == "message":
            place["content_index"] = 0
            part = {"type": "output_text", "text": "", "annotations": []}
            yield events.make("response.content_part.added", place, part=part)
        for token in tokens:
            yield events.make(f"{kind}.delta", place, delta=token.text, tokens=1)
        yield events.make("response.output_item.done", output_index=position, item=item)
    kind = "response.completed" if reply.answer.finish_reason != "length" else "response.incomplete"
    yield events.make(kind, response=_response(reply, _output(reply), kind.removeprefix("response.")))


def message_body(reply: Reply) -> bytes:
    """The whole answer of `POST /v1/messages`."""
    message: _Json = {
        **_message_head(reply),
        "content": [block for block, _ in _blocks(reply)],
        "stop_reason": _STOP_REASONS[reply.answer.finish_reason],
    }
    if not reply.request.directives.no_usage:
        message["usage"] = _message_usage(reply)
    return msgspec.json.encode(message)


def message_events(reply: Reply) -> Iterator[Event]:
    """The events of a streamed message, up to and with the one that ends it."""
    usage = _message_usage(reply)
    begun = {**usage, "output_tokens": 1}
    counted = not reply.request.directives.no_usage
    head = {**_message_head(reply), "content": [], "stop_reason": None, **({"usage": begun} if counted else {})}
    yield _named({"type": "message_start", "message": head})
    for index, (block, tokens) in enumerate(_blocks(reply)):
        empty: _Json = dict(block)
        empty.update({name: "" for name in ("text", "thinking") if name in block})
        if block["type"] == "tool_use":
            empty["input"] = {}
        yield _named({"type": "content_block_start", "index": index, "content_block": empty})
        for token in tokens:
            yield _named({"type": "content_block_delta", "index": index, "delta": _block_delta(token)}, tokens=1)
        yield _named({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": _STOP_REASONS[reply.answer.finish_reason], "stop_sequence": None}
    yield _named({"type": "message_delta", "delta": delta, **({"usage": usage} if counted else {})})
    yield _named({"type": "message_stop"})


def message_error(status: int, message: str) -> bytes:
    """An error as the messages format has it."""
    kind = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    error = {"type": kind.get(status, "api_error"), "message": message}
    return msgspec.json.encode({"type": "error", "error": error})


def message_error_event(message: str) -> bytes:
    """An error in mid-stream, in the messages format."""
    return b"event: error\ndata: " + message_error(500, message) + b"\n\n"


def response_error_event(message: str) -> bytes:
    """An error in mid-stream, in the responses format."""
    event = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 0}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


class _Numbered:
    """Counts the events of a response, which carry their number."""

    def __init__(self) -> None:
        self._next = 0

    def make(self, kind: str, place: _Json | None = None, *, tokens: int = 0, **fields: object) -> Event:
        event = _named({"type": kind, "sequence_number": self._next, **(place or {}), **fields}, tokens=tokens)
        self._next += 1
        return event


def _completion_head(reply: Reply) -> _Json:
    return {
        "id": reply.id.replace("chatcmpl-", "cmpl-"),
        "object": "text_completion",
        "created": reply.created_s,
        "model": reply.request.model,
    }


def _text_choice(reply: Reply, index: int) -> _Json:
    text = "".join(token.text for token in reply.answer.tokens)
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reply.answer.finish_reason}


def _vector(text: str, request: EmbeddingsRequest) -> object:
    digest = hashlib.blake2b(text.encode(), digest_size=32).digest()
    numbers = [(digest[i % len(digest)] - 128) / 128 for i in range(request.dimensions)]
    if not request.base64:
        return numbers
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _tokens_of(answer: Answer, *kinds: str) -> list[Token]:
    return [token for token in answer.tokens if token.kind in kinds]


def _items(reply: Reply) -> list[tuple[_Json, list[Token]]]:
    """The items of a response, each with the tokens that it is streamed in."""
    suffix = reply.id.removeprefix("chatcmpl-")[:20]
    items: list[tuple[_Json, list[Token]]] = []
    answer = reply.answer
    if answer.count("tool_name"):
        item: _Json = {
            "id": f"fc_{suffix}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{suffix}",
            "name": answer.text("tool_name"),
            "arguments": answer.text("tool_arguments"),
        }
        items.append((item, _tokens_of(answer, "tool_arguments")))
    else:
        content = [{"type": "output_text", "text": answer.text("content"), "annotations": []}]
        message: _Json = {
            "id": f"msg_{suffix}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": content,
        }
        items.append((message, _tokens_of(answer, "content")))
    return items


def _output(reply: Reply) -> list[_Json]:
    return [item for item, _ in _items(reply)]


def _response(reply: Reply, output: list[_Json], status: str) -> _Json:
    cut = status == "incomplete" or (status == "completed" and reply.answer.finish_reason == "length")
    response: _Json = {
        "id": reply.id.replace("chatcmpl-", "resp_"),
        "object": "response",
        "created_at": reply.created_s,
        "status": "incomplete" if cut else status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": reply.request.model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        "usage": None,
    }
    if status != "in_progress" and not reply.request.directives.no_usage:
        response["usage"] = _response_usage(reply)
    return response


def _response_usage(reply: Reply) -> _Json:
    wire = reply.usage_object()
    return {
        "input_tokens": wire.prompt_tokens,
        "input_tokens_details": {"cached_tokens": wire.prompt_tokens_details.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": wire.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": wire.completion_tokens_details.reasoning_tokens},
        "total_tokens": wire.total_tokens,
    }


def _message_head(reply: Reply) -> _Json:
    return {
        "id": reply.id.replace("chatcmpl-", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": reply.request.model,
        "stop_sequence": None,
    }


def _message_usage(reply: Reply) -> _Json:
    """The messages format leaves cached tokens out of the input."""
    wire = reply.usage_object()
    cached = wire.prompt_tokens_details.cached_tokens
    return {
        "input_tokens": wire.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": wire.completion_tokens,
    }


def _blocks(reply: Reply) -> list[tuple[_Json, list[Token]]]:
    """The content blocks of a message, each with the tokens that it is streamed in."""
    answer = reply.answer
    blocks: list[tuple[_Json, list[Token]]] = []
    if answer.count("reasoning"):
        thinking: _Json = {"type": "thinking", "thinking": answer.text("reasoning"), "signature": "c2lnbmVk"}
        blocks.append((thinking, _tokens_of(answer, "reasoning")))
    if answer.count("content"):
        blocks.append(({"type": "text", "text": answer.text("content")}, _tokens_of(answer, "content")))
    if answer.count("tool_name"):
        # Cut short by the ceiling, the arguments are no JSON any more.
        given: object = {} if answer.finish_reason == "length" else msgspec.json.decode(answer.text("tool_arguments"))
        tool: _Json = {
            "type": "tool_use",
            "id": f"toolu_{reply.id.removeprefix('chatcmpl-')[:20]}",
            "name": answer.text("tool_name"),
            "input": given,
        }
        blocks.append((tool, _tokens_of(answer, "tool_arguments")))
    return blocks


def _block_delta(token: Token) -> _Json:
    match token.kind:
        case "reasoning":
            return {"type": "thinking_delta", "thinking": token.text}
        case "tool_arguments" | "tool_name":
            return {"type": "input_json_delta", "partial_json": token.text}
        case "content":
            return {"type": "text_delta", "text": token.text}


def _named(event: _Json, *, tokens: int = 0) -> Event:
    return Event(b"event: " + str(event["type"]).encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n", tokens)


def _data(event: _Json) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
