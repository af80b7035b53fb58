"""Reading a chat completion request: what decides about its price, and what is refused because nobody priced it."""

from collections.abc import Generator
from typing import ClassVar, Final

import msgspec

from tokenbooth.config.catalog import Model, WireFormat
from tokenbooth.gateway.errors import invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.json.body import (
    SHORT_BYTES,
    Fields,
    decode_text,
    is_list,
    is_null,
    is_text,
    opened,
    short_text,
    short_value,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, items_in_steps
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM, STEP_BYTES, STEP_ITEMS, at_once
from tokenbooth.gateway.formats.openai.base import OpenAIRequest, wants_usage
from tokenbooth.gateway.formats.openai.chat_messages import NOTHING, Parts, is_flat, read_messages
from tokenbooth.gateway.formats.parameters import (
    MAX_CHOICES,
    OUTPUT_FLOOR,
    REASONING_OUTPUT_FLOOR,
    REFUSED_FIELDS,
    boolean,
    ceiling_names,
    keep_back,
    positive,
    refuse_disguised,
    refuse_unpriced,
    take_ceiling,
    unusual_names,
)
from tokenbooth.gateway.formats.public_answers import CHAT_ID
from tokenbooth.gateway.formats.stored_state import refuse_stored_state_of_tool
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
        """See `OutboundRequest.as_answer`."""
        return chat_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        """See `OutboundRequest.as_events`."""
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
        return _request(fields, model, body_bytes, NOTHING)
    return at_once(chat_request_steps(fields, model, body_bytes))


def chat_request_steps(fields: Fields, model: Model, body_bytes: int) -> Generator[None, None, ChatRequest]:
    """See `read_chat_request`; in steps."""
    unusual: list[str] = []
    omitted: tuple[str, ...] = ()
    if not fields.keys() <= _ORDINARY:
        refuse_disguised(fields, _WATCHED)
        _refuse_unpriced(fields, model)
        yield from _refuse_hosted_tools(fields, model)
        unusual = unusual_names(fields, _KNOWN)
        omitted = yield from keep_back(fields, model, unusual)
    parts = yield from read_messages(fields, model)
    ceilings = (*_ORDINARY_CEILINGS, *ceiling_names(unusual)) if unusual else _ORDINARY_CEILINGS
    return _request(fields, model, body_bytes, parts, ceilings, omitted)


def _request(
    fields: Fields,
    model: Model,
    body_bytes: int,
    parts: Parts,
    ceilings: tuple[str, ...] = _ORDINARY_CEILINGS,
    omitted: tuple[str, ...] = (),
) -> ChatRequest:
    asked = take_ceiling(fields, ceilings)
    stream = boolean(fields, "stream")
    choices = max(positive(fields, "n", MAX_CHOICES) or 1, positive(fields, "best_of", MAX_CHOICES) or 1)
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
        ceiling_named=asked is not None,
        output_ceiling=model.max_output_tokens if asked is None else min(asked, model.max_output_tokens),
        floor_tokens=floor,
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


def _refuse_hosted_tools(fields: Fields, model: Model) -> Generator[None, None, None]:
    tools = fields.get("tools")
    if tools is None or is_null(tools):
        return
    if not is_list(tools):
        raise invalid_request("invalid_parameter", "'tools' must be a list.", "tools")
    decoded = yield from items_in_steps(tools)
    for number in range(len(decoded)):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        tool = opened(decoded, number)
        kind = short_text(tool.get("type")) if isinstance(tool, dict) else ""
        if not kind:
            raise unsupported_parameter("tools")
        if kind in _FREE_TOOLS:
            continue
        if f"tools.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"tools.{kind}")
        if isinstance(tool, dict):
            refuse_stored_state_of_tool(tool, kind, model)
            if len(tool) > NAMES_PER_ITEM:
                yield
    yield
    fields["tools"] = yield from encoded_in_steps(decoded, size_of(tools))
