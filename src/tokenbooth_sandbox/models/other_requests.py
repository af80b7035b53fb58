"""Requests of the other formats (completions, embeddings, responses, messages), read into what a chat request is.

The answer to the same question is the same in every format. It reads bodies and never touches a socket.
"""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from tokenbooth_sandbox.models.chat_request import ApiError, ChatMessage, ChatRequest
from tokenbooth_sandbox.models.directives import InvalidDirectiveError, parse_directives

MAX_CHOICES = 128


# One text, several, token ids, or several lists of these.
_Texts = str | list[str | int | list[int]]


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    # What a tool gave back, in the messages format.
    content: "str | list[_Part] | None" = None
    thinking: str | None = None


class _Message(msgspec.Struct):
    role: str = "user"
    content: str | list[_Part] | None = None
    output: str | list[_Part] | None = None


class _Function(msgspec.Struct):
    name: str | None = None


class _Tool(msgspec.Struct):
    name: str | None = None
    function: _Function | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Completions(msgspec.Struct):
    model: str
    prompt: _Texts
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None


class _Embeddings(msgspec.Struct):
    model: str
    input: _Texts
    encoding_format: str = "float"
    dimensions: int = 8


class _Responses(msgspec.Struct):
    model: str
    input: str | list[_Message]
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    max_output_tokens: int | None = None
    tools: list[_Tool] | None = None


class _Messages(msgspec.Struct):
    model: str
    messages: list[_Message]
    max_tokens: int
    system: str | list[_Part] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """Inputs to embed; token ids are written out as texts."""

    model: str
    inputs: tuple[str, ...]
    base64: bool
    dimensions: int


_Body = TypeVar("_Body")


def parse_completions(body: bytes) -> ChatRequest:
    """Reads the body of `POST /v1/completions`; several prompts are several choices of one question.

    Raises:
        ApiError: with status 400.
    """
    fields = _decoded(body, _Completions)
    texts = _texts(fields.prompt)
    stop = [fields.stop] if isinstance(fields.stop, str) else fields.stop or []
    options = fields.stream_options
    return _request(
        fields.model,
        [ChatMessage("user", text, 0) for text in texts],
        stream=bool(fields.stream),
        include_usage=options is not None and options.include_usage,
        ceiling=fields.max_tokens,
        choices=(fields.n or 1) * len(texts),
        stop=stop,
    )


def parse_embeddings(body: bytes) -> EmbeddingsRequest:
    """Reads the body of `POST /v1/embeddings`.

    Raises:
        ApiError: with status 400.
    """
    fields = _decoded(body, _Embeddings)
    return EmbeddingsRequest(
        fields.model, tuple(_texts(fields.input)), fields.encoding_format == "base64", fields.dimensions
    )


def parse_responses(body: bytes) -> ChatRequest:
    """Reads the body of `POST /v1/responses`; a server without state refuses to store.

    Raises:
        ApiError: with status 400.
    """
    fields = _decoded(body, _Responses)
    if fields.store is not False:
        raise ApiError(400, "This server stores nothing; set 'store' to false.", param="store")
    messages = [ChatMessage("system", fields.instructions, 0)] if fields.instructions else []
    given = [_Message(content=fields.input)] if isinstance(fields.input, str) else fields.input
    messages += [_chat_message(message) for message in given]
    return _request(
        fields.model,
        messages,
        stream=bool(fields.stream),
        ceiling=fields.max_output_tokens,
        tools=fields.tools,
    )


def parse_messages(body: bytes) -> ChatRequest:
    """Reads the body of `POST /v1/messages`.

    Raises:
        ApiError: with status 400.
    """
    fields = _decoded(body, _Messages)
    if fields.max_tokens < 1:
        raise ApiError(400, "max_tokens: must be greater than or equal to 1", param="max_tokens")
    messages = [ChatMessage("system", _text(fields.system), 0)] if fields.system else []
    messages += [_chat_message(message) for message in fields.messages]
    return _request(
        fields.model,
        messages,
        stream=bool(fields.stream),
        ceiling=fields.max_tokens,
        stop=fields.stop_sequences or [],
        tools=fields.tools,
    )


def _decoded(body: bytes, form: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as mistake:
        raise ApiError(400, f"The body is not valid: {mistake}.") from mistake


def _request(
    model: str,
    messages: list[ChatMessage],
    *,
    stream: bool,
    include_usage: bool = True,
    ceiling: int | None,
    choices: int = 1,
    stop: Sequence[str] = (),
    tools: list[_Tool] | None = None,
) -> ChatRequest:
    if not messages or choices > MAX_CHOICES or (ceiling is not None and ceiling < 1):
        raise ApiError(400, "The request has nothing to answer, or asks for too much or nothing.")
    questions = [message.text for message in messages if message.role == "user" and message.text]
    try:
        directives, question = parse_directives(questions[-1] if questions else "")
    except InvalidDirectiveError as error:
        raise ApiError(400, str(error), code="invalid_directive") from error
    named = [tool.name or (tool.function.name if tool.function is not None else None) for tool in tools or ()]
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        question=question,
        directives=directives,
        stream=stream,
        include_usage=include_usage,
        token_ceiling=ceiling,
        choices=choices,
        stop=tuple(stop),
        tool_name=next((name for name in named if name), "look_up"),
        tools_bytes=len(msgspec.json.encode(tools)) if tools else 0,
    )


def _texts(given: _Texts) -> list[str]:
    if isinstance(given, str):
        return [given]
    ids = [one for one in given if isinstance(one, int)]
    if ids:
        return [" ".join(map(str, ids))]
    return [" ".join(map(str, one)) if isinstance(one, list) else str(one) for one in given]


def _chat_message(message: _Message) -> ChatMessage:
    content = message.output if message.content is None else message.content
    media = 0 if content is None or isinstance(content, str) else sum(_is_media(part) for part in content)
    return ChatMessage(message.role, _text(content), media)


def _text(content: str | list[_Part] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return " ".join(part.text or part.thinking or _text(part.content) for part in content)


def _is_media(part: _Part) -> bool:
    return part.type in ("image", "input_image", "document")
