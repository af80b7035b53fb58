"""Reading a chat completion request: what decides about its price, and what is refused because nobody priced it."""

from collections.abc import Generator
from typing import ClassVar, Final

import msgspec

from tokenbooth.config.catalog import Model, WireFormat
from tokenbooth.gateway.errors import invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.base import output_floor
from tokenbooth.gateway.formats.json.body import (
    SHORT_BYTES,
    Fields,
    Object,
    decode_text,
    is_null,
    is_text,
    short_text,
    short_value,
    size_of,
)
from tokenbooth.gateway.formats.json.steps import STEP_BYTES, at_once
from tokenbooth.gateway.formats.openai.base import OpenAIRequest, wants_usage
from tokenbooth.gateway.formats.openai.chat_messages import is_flat, read_messages
from tokenbooth.gateway.formats.public_answers import CHAT_ID
from tokenbooth.gateway.formats.request.content import TEXT_ONLY, NonTextContent
from tokenbooth.gateway.formats.request.parameters import (
    MAX_CHOICES,
    boolean,
    ceiling_names,
    positive,
    reject_miscased_fields,
    take_ceiling,
)
from tokenbooth.gateway.formats.request.tools import read_tools, refuse_hosted_tool
from tokenbooth.gateway.formats.request.unpriced import REFUSED_FIELDS, keep_back, refuse_unpriced, unusual_names
from tokenbooth.gateway.formats.stream_as_whole import chat_answer
from tokenbooth.gateway.formats.whole_as_stream import chat_events

ENDPOINT: Final = "chat.completions"

_ORDINARY_CEILINGS: Final = ("max_completion_tokens", "max_tokens")

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
        *_ORDINARY_CEILINGS,
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
        *_ORDINARY_CEILINGS,
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
_KNOWN: Final = _WATCHED | _ORDINARY
_FREE_TOOLS: Final = frozenset(("function", "custom"))


class ChatRequest(OpenAIRequest):
    """A chat request that may be priced."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.chat"
    path: ClassVar[str] = "/chat/completions"
    answer_id_prefix: ClassVar[str] = CHAT_ID

    def as_answer(self, body: bytes) -> bytes:
        return chat_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        return chat_events(body)


def model_name(fields: Fields) -> str:
    """The model that the request names.

    Raises:
        Refusal: there is none, or it is no string.
    """
    given = fields.get("model")
    if given is not None and size_of(given) <= SHORT_BYTES:
        try:
            name = decode_text(given)
        except msgspec.DecodeError:
            name = ""
        if name:
            return name
    elif given is not None and is_text(given):
        # No model has such a name, and its beginning is enough to say so.
        return bytes(memoryview(given)[1:SHORT_BYTES]).decode(errors="replace") + "…"
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
        return _request(fields, model, body_bytes, TEXT_ONLY)
    return at_once(chat_request_steps(fields, model, body_bytes))


def chat_request_steps(fields: Fields, model: Model, body_bytes: int) -> Generator[None, None, ChatRequest]:
    """Read in steps what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    unusual: list[str] = []
    omitted: tuple[str, ...] = ()
    if not fields.keys() <= _ORDINARY:
        reject_miscased_fields(fields, _WATCHED)
        _refuse_unpriced(fields, model)
        yield from read_tools(fields, model, _check_tool)
        unusual = unusual_names(fields, _KNOWN)
        omitted = yield from keep_back(fields, model, unusual)
    content = yield from read_messages(fields, model)
    ceilings = (*_ORDINARY_CEILINGS, *ceiling_names(unusual)) if unusual else _ORDINARY_CEILINGS
    return _request(fields, model, body_bytes, content, ceilings, omitted)


def _request(
    fields: Fields,
    model: Model,
    body_bytes: int,
    content: NonTextContent,
    ceilings: tuple[str, ...] = _ORDINARY_CEILINGS,
    omitted: tuple[str, ...] = (),
) -> ChatRequest:
    asked_ceiling = take_ceiling(fields, ceilings)
    stream = boolean(fields, "stream")
    return ChatRequest(
        ENDPOINT,
        model,
        fields,
        stream=stream,
        text_bytes=max(body_bytes - content.size_bytes, 0),
        parts_tokens=content.tokens,
        choices=max(positive(fields, "n", MAX_CHOICES) or 1, positive(fields, "best_of", MAX_CHOICES) or 1),
        asked_ceiling=asked_ceiling,
        floor_tokens=output_floor(model, asks_to_think="reasoning_effort" in fields),
        wants_usage=stream and wants_usage(fields),
        omitted=omitted,
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


def _check_tool(tool: Object, model: Model) -> str:
    kind = short_text(tool.get("type"))
    if kind not in _FREE_TOOLS:
        refuse_hosted_tool(tool, kind, model)
    return kind
