"""Reading a chat completion request: what decides about its price, and what is refused because nobody priced it."""

import re
from collections.abc import Generator
from typing import ClassVar, Final

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import (
    SHORT_BYTES,
    Fields,
    decode_text,
    encoded,
    is_list,
    is_null,
    is_text,
    items_of,
    opened,
    short_text,
    short_value,
)
from tokenbooth.gateway.chat_messages import NOTHING, Parts, is_flat, read_messages
from tokenbooth.gateway.fields import (
    MAX_CEILING,
    MAX_CHOICES,
    OUTPUT_FLOOR,
    REASONING_OUTPUT_FLOOR,
    REFUSED_FIELDS,
    boolean,
    positive,
    refuse_disguised,
    refuse_unpriced,
)
from tokenbooth.gateway.meter import StreamMeter
from tokenbooth.gateway.openai_request import OpenAIRequest, wants_usage
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter
from tokenbooth.gateway.steps import STEP_BYTES, STEP_ITEMS, at_once
from tokenbooth.gateway.whole_as_stream import chat_events

ENDPOINT: Final = "chat.completions"

OUTPUT_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")

_MONEY_FIELDS: Final = frozenset(
    (
        "model",
        "stream",
        "stream_options",
        "n",
        "best_of",
        "tools",
        "messages",
        "modalities",
        *OUTPUT_LIMIT_FIELDS,
    )
)
# Nothing has to be looked for in a request with no other names than these.
_ORDINARY: Final = frozenset(
    (
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        *OUTPUT_LIMIT_FIELDS,
        "temperature",
        "top_p",
        "stop",
        "seed",
        "user",
        "presence_penalty",
        "frequency_penalty",
        "response_format",
    )
)
_WATCHED: Final = _MONEY_FIELDS | REFUSED_FIELDS
_FREE_TOOLS: Final = frozenset(("function", "custom"))


class ChatRequest(OpenAIRequest):
    """A chat request that may be priced."""

    __slots__ = ()

    wire: ClassVar[str] = "openai.chat"
    path: ClassVar[str] = "/chat/completions"
    answer_text: ClassVar[re.Pattern[bytes]] = StreamMeter.TEXT

    def unnamed_output_field(self) -> str:
        """See `OpenAIRequest.unnamed_output_field`."""
        return self.model.output_limit_field

    def as_events(self, body: bytes) -> bytes | None:
        """See `Speech.as_events`."""
        return chat_events(body)


def model_name(fields: Fields) -> str:
    """The model that the request names.

    Raises:
        Refusal: there is none, or it is no string.
    """
    given = fields.get("model")
    if given is not None and is_text(given):
        view = memoryview(given)
        if view.nbytes > SHORT_BYTES:
            # No model has such a name, and its beginning is enough to say so.
            return bytes(view[1:SHORT_BYTES]).decode(errors="replace") + "…"
        name = decode_text(view)
        if name:
            return name
    raise invalid_request("missing_model", "The body names no model. Set 'model' to one of GET /v1/models.", "model")


def read_chat_request(fields: Fields, model: Model, body_bytes: int) -> ChatRequest:
    """Read what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    if body_bytes <= STEP_BYTES and fields.keys() <= _ORDINARY and is_flat(fields.get("messages")):
        return _request(fields, model, body_bytes, NOTHING)
    return at_once(chat_request_steps(fields, model, body_bytes))


def chat_request_steps(fields: Fields, model: Model, body_bytes: int) -> Generator[None, None, ChatRequest]:
    """See `read_chat_request`; in steps."""
    if not fields.keys() <= _ORDINARY:
        refuse_disguised(fields, _WATCHED)
        _refuse_unpriced(fields, model)
        yield from _refuse_hosted_tools(fields, model)
    parts = yield from read_messages(fields, model)
    return _request(fields, model, body_bytes, parts)


def _request(fields: Fields, model: Model, body_bytes: int, parts: Parts) -> ChatRequest:
    stream = boolean(fields, "stream")
    choices = max(positive(fields, "n", MAX_CHOICES) or 1, positive(fields, "best_of", MAX_CHOICES) or 1)
    output_field, asked = _output_limit(fields)
    # Reasoning models need room to think before the first word.
    floor = REASONING_OUTPUT_FLOOR if model.reasoning or "reasoning_effort" in fields else OUTPUT_FLOOR
    return ChatRequest(
        endpoint=ENDPOINT,
        model=model,
        fields=fields,
        stream=stream,
        text_bytes=max(body_bytes - parts.size_bytes, 0),
        parts_tokens=parts.tokens,
        choices=choices,
        output_field=output_field,
        output_ceiling=min(asked, model.max_output_tokens) if asked else model.max_output_tokens,
        ceiling_lowered=asked is not None and asked > model.max_output_tokens,
        floor_tokens=floor,
        wants_usage=stream and wants_usage(fields),
    )


def _refuse_unpriced(fields: Fields, model: Model) -> None:
    refuse_unpriced(fields, model)
    modalities = fields.get("modalities")
    if (
        modalities is not None
        and not is_null(modalities)
        and short_value(modalities) != ["text"]
        and "modalities" not in model.allowed_parameters
    ):
        raise unsupported_parameter("modalities")


def _refuse_hosted_tools(fields: Fields, model: Model) -> Generator[None, None, None]:
    tools = fields.get("tools")
    if tools is None or is_null(tools):
        return
    if not is_list(tools):
        raise invalid_request("invalid_parameter", "'tools' must be a list.", "tools")
    decoded = items_of(tools)
    for number in range(len(decoded)):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        tool = opened(decoded, number)
        kind = short_text(tool.get("type")) if isinstance(tool, dict) else ""
        if not kind:
            raise unsupported_parameter("tools")
        if kind not in _FREE_TOOLS and f"tools.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"tools.{kind}")
    yield
    fields["tools"] = encoded(decoded)


def _output_limit(fields: Fields) -> tuple[str | None, int | None]:
    """The field and value of the client's ceiling; with both fields only the smaller one is sent."""
    found: list[tuple[int, str]] = []
    for name in OUTPUT_LIMIT_FIELDS:
        value = positive(fields, name, MAX_CEILING)
        if value is not None:
            found.append((value, name))
    if not found:
        return None, None
    value, name = min(found)
    for _, other in found:
        if other != name:
            del fields[other]
    return name, value
