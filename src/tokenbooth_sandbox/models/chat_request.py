"""A chat request as the model server understands it, and the errors that OpenAI's API answers to a bad one.

It reads a body into values and never touches a socket.
"""

import re

import msgspec

from tokenbooth_sandbox.models.directives import Directives, InvalidDirectiveError, parse_directives

MAX_CHOICES = 128


class ApiError(Exception):
    """An answer other than success.

    Args:
        status: the HTTP status.
        message: a sentence for the caller.
        param: the field that is wrong, if one is.
        code: OpenAI's name of the case.
        error_type: OpenAI's class of errors.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        error_type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.error_type = error_type

    def body(self) -> bytes:
        """The error object, encoded."""
        detail = {"message": self.message, "type": self.error_type, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": detail})


class _ContentPart(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_ContentPart] | None = None

    def texts(self) -> list[str]:
        match self.content:
            case None:
                return []
            case str() as text:
                return [text]
            case parts:
                return [part.text for part in parts if part.text is not None]

    def media_parts(self) -> int:
        if self.content is None or isinstance(self.content, str):
            return 0
        return sum(part.text is None for part in self.content)


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Function(msgspec.Struct):
    name: str


class _Tool(msgspec.Struct):
    function: _Function | None = None


class _Body(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    # Left as it is, because its length counts; empty if the request has none.
    tools: msgspec.Raw = msgspec.Raw()


class ChatMessage(msgspec.Struct, frozen=True):
    """One message, reduced to what is counted and quoted."""

    role: str
    text: str
    media_parts: int


class ChatRequest(msgspec.Struct, frozen=True):
    """A valid request. `token_ceiling` is per choice and None if the request has none."""

    model: str
    messages: tuple[ChatMessage, ...]
    question: str
    directives: Directives
    stream: bool
    include_usage: bool
    token_ceiling: int | None
    choices: int
    stop: tuple[str, ...]
    tool_name: str
    tools_bytes: int


_BODY = msgspec.json.Decoder(_Body)
_TOOLS = msgspec.json.Decoder(list[_Tool] | None)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Reads the body of `POST /v1/chat/completions`.

    Raises:
        ApiError: with status 400; the body is not JSON, or a field is missing or wrong.
    """
    try:
        fields = _BODY.decode(body)
        tools = _TOOLS.decode(fields.tools) if fields.tools else None
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "We could not parse the JSON body of your request.") from error
    except RecursionError as error:
        raise ApiError(400, "The JSON body of your request is nested too deeply.") from error
    _check(fields)
    questions = [" ".join(message.texts()) for message in fields.messages if message.role == "user"]
    try:
        directives, question = parse_directives(questions[-1] if questions else "")
    except InvalidDirectiveError as error:
        raise ApiError(400, str(error), param="messages", code="invalid_directive") from error
    functions = [tool.function.name for tool in tools or () if tool.function is not None]
    return ChatRequest(
        model=fields.model,
        messages=tuple(ChatMessage(m.role, " ".join(m.texts()), m.media_parts()) for m in fields.messages),
        question=question,
        directives=directives,
        stream=bool(fields.stream),
        include_usage=fields.stream_options is not None and fields.stream_options.include_usage,
        token_ceiling=_ceiling(fields),
        choices=fields.n or 1,
        stop=(fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop or ()),
        tool_name=functions[0] if functions else "look_up",
        tools_bytes=len(memoryview(fields.tools)) if tools else 0,
    )


def _ceiling(fields: _Body) -> int | None:
    return fields.max_tokens if fields.max_completion_tokens is None else fields.max_completion_tokens


def _check(fields: _Body) -> None:
    if not fields.messages:
        raise ApiError(400, "[] is too short - 'messages'", param="messages", code="empty_array")
    if fields.max_tokens is not None and fields.max_completion_tokens is not None:
        raise ApiError(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            param="max_tokens",
            code="invalid_parameter_combination",
        )
    ceiling = _ceiling(fields)
    if ceiling is not None and ceiling < 1:
        param = "max_tokens" if fields.max_tokens is not None else "max_completion_tokens"
        raise _below_minimum(param, ceiling)
    if fields.n is not None and fields.n < 1:
        raise _below_minimum("n", fields.n)
    if fields.n is not None and fields.n > MAX_CHOICES:
        message = f"Invalid 'n': expected a value <= {MAX_CHOICES}, but got {fields.n} instead."
        raise ApiError(400, message, param="n", code="integer_above_max_value")
    if fields.stream_options is not None and not fields.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiError(400, message, param="stream_options")
    if isinstance(fields.stop, list) and len(fields.stop) > 4:
        raise ApiError(400, "Invalid 'stop': at most 4 sequences.", param="stop", code="array_above_max_length")


def _below_minimum(param: str, value: int) -> ApiError:
    message = f"Invalid '{param}': expected a value >= 1, but got {value} instead."
    return ApiError(400, message, param=param, code="integer_below_min_value")


def _invalid(reason: str) -> ApiError:
    """Turns msgspec's sentence about a field into the error that OpenAI's API gives for it."""
    missing = re.search(r"missing required field `([^`]+)`", reason)
    path = re.search(r"at `\$\.?([^`]*)`", reason)
    where = path.group(1) if path is not None else ""
    if missing is not None:
        param = f"{where}.{missing.group(1)}" if where else missing.group(1)
        message = f"Missing required parameter: '{param}'."
        return ApiError(400, message, param=param, code="missing_required_parameter")
    what = reason.partition(" - at ")[0]
    message = f"Invalid type for '{where}': {what}." if where else f"{what}."
    return ApiError(400, message, param=where or None, code="invalid_type")
