"""Reading a chat completion request: what decides about its price, and what is refused because nobody priced it.

The rule of refusal: a field that would buy something beside tokens, or reach state that belongs to the operator's
account at the upstream, is refused by name unless the model's configuration allows it.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import Fields, collapse_duplicates, raw
from tokenbooth.gateway.chat_messages import read_messages
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter

ENDPOINT: Final = "chat.completions"

OUTPUT_LIMIT_FIELDS: Final = ("max_completion_tokens", "max_tokens")
MAX_CHOICES: Final = 128
_MESSAGE_OVERHEAD_TOKENS: Final = 64
_OUTPUT_FLOOR: Final = 256
_REASONING_OUTPUT_FLOOR: Final = 4_096

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
# Buys something beside tokens, or reaches state in the operator's account, or belongs to another reseller's routing.
_REFUSED_FIELDS: Final = frozenset(
    (
        "api_base",
        "api_key",
        "audio",
        "background",
        "base_url",
        "container",
        "conversation",
        "custom_llm_provider",
        "enable_search",
        "extra_body",
        "extra_headers",
        "fallbacks",
        "file_id",
        "mcp_servers",
        "models",
        "plugins",
        "preset",
        "previous_response_id",
        "prompt",
        "provider",
        "route",
        "routing",
        "search_parameters",
        "service_tier",
        "store",
        "transforms",
        "web_search",
        "web_search_options",
    )
)
# These values of a refused field are the default, which buys nothing.
_HARMLESS_VALUES: Final = {
    "service_tier": (b"null", b'"default"'),
    "store": (b"null", b"false"),
    "background": (b"null", b"false"),
}
_FREE_TOOLS: Final = frozenset(("function", "custom"))


@dataclass(slots=True)
class ChatRequest:
    """A chat request that may be priced.

    Attributes:
        fields: the top level; what is sent upstream is made from it.
        text_bytes: bytes that may become prompt tokens.
        parts_tokens: the most tokens that other parts, such as images, count for.
        output_field: the field in which the client gave a ceiling; None when it gave none.
        output_ceiling: the most output tokens of one choice.
        ceiling_lowered: whether the client asked for more than the model's limit; then the ceiling is what is sent.
        floor_tokens: the fewest output tokens of one choice that are worth starting for.
        wants_usage: whether the client asked for the usage event of a stream.
    """

    model: Model
    fields: Fields
    stream: bool
    text_bytes: int
    parts_tokens: int
    choices: int
    output_field: str | None
    output_ceiling: int
    ceiling_lowered: bool
    floor_tokens: int
    wants_usage: bool
    endpoint: str = ENDPOINT

    @property
    def extra_tokens(self) -> int:
        """The most prompt tokens that do not come from the text: other parts, and the frame of the messages."""
        return _MESSAGE_OVERHEAD_TOKENS + self.parts_tokens

    def upstream_fields(self, upstream_model: str, clamped_output_tokens: int | None) -> Fields:
        """The body for the upstream: its model name, the usage event asked for, and a lowered ceiling."""
        fields = dict(self.fields)
        fields["model"] = raw(upstream_model)
        sent = self.output_ceiling if clamped_output_tokens is None and self.ceiling_lowered else clamped_output_tokens
        if sent is not None:
            fields[self.output_field or self.model.output_limit_field] = raw(sent)
        if self.stream:
            options = _object(self.fields.get("stream_options"))
            options["include_usage"] = raw(True)
            fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
        else:
            fields.pop("stream_options", None)
        return fields


def model_name(fields: Fields) -> str:
    """The model that the request names.

    Raises:
        Refusal: there is none, or it is no string.
    """
    name = _value(fields, "model")
    if not isinstance(name, str) or not name:
        raise invalid_request(
            "missing_model", "The body names no model. Set 'model' to one of GET /v1/models.", "model"
        )
    return name


def read_chat_request(fields: Fields, model: Model, body_bytes: int) -> ChatRequest:
    """Read what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    _refuse_disguised(fields)
    _refuse_unpriced(fields, model)
    stream = _boolean(fields, "stream")
    choices = max(_positive(fields, "n", MAX_CHOICES) or 1, _positive(fields, "best_of", MAX_CHOICES) or 1)
    output_field, asked = _output_limit(fields)
    # Reasoning models need room to think before the first word.
    floor = _REASONING_OUTPUT_FLOOR if model.reasoning or "reasoning_effort" in fields else _OUTPUT_FLOOR
    parts = read_messages(fields, model)
    return ChatRequest(
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
        wants_usage=stream and _wants_usage(fields),
    )


def _refuse_disguised(fields: Fields) -> None:
    """A money-bearing name in other letters would be priced by us in one way and read by an upstream in another."""
    for name in fields:
        if (
            name not in _MONEY_FIELDS
            and name.casefold() in _MONEY_FIELDS | _REFUSED_FIELDS
            and name not in _REFUSED_FIELDS
        ):
            raise invalid_request("invalid_parameter", f"Unknown parameter '{name}'. Names are in lower case.", name)


def _refuse_unpriced(fields: Fields, model: Model) -> None:
    for name in _REFUSED_FIELDS.intersection(fields):
        harmless = _HARMLESS_VALUES.get(name, (b"null",))
        if bytes(fields[name]).strip() not in harmless and name not in model.allowed_parameters:
            raise unsupported_parameter(name)
    _refuse_hosted_tools(fields, model)
    modalities = _value(fields, "modalities")
    if modalities is not None and modalities != ["text"] and "modalities" not in model.allowed_parameters:
        raise unsupported_parameter("modalities")


def _refuse_hosted_tools(fields: Fields, model: Model) -> None:
    tools = fields.get("tools")
    if tools is None:
        return
    fields["tools"] = collapse_duplicates(tools, levels=2)
    decoded = _value(fields, "tools")
    if decoded is None:
        return
    if not isinstance(decoded, list):
        raise invalid_request("invalid_parameter", "'tools' must be a list.", "tools")
    for tool in decoded:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str):
            raise unsupported_parameter("tools")
        if kind not in _FREE_TOOLS and f"tools.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"tools.{kind}")


def _output_limit(fields: Fields) -> tuple[str | None, int | None]:
    """The field and value of the client's ceiling; with both fields only the smaller one is sent."""
    found: list[tuple[int, str]] = []
    for name in OUTPUT_LIMIT_FIELDS:
        value = _positive(fields, name, 2**31 - 1)
        if value is not None:
            found.append((value, name))
    if not found:
        return None, None
    value, name = min(found)
    for _, other in found:
        if other != name:
            del fields[other]
    return name, value


def _wants_usage(fields: Fields) -> bool:
    return _object(fields.get("stream_options")).get("include_usage") == msgspec.Raw(b"true")


def _object(value: msgspec.Raw | None) -> Fields:
    if value is None or bytes(value).strip() == b"null":
        return {}
    try:
        return msgspec.json.decode(value, type=Fields)
    except msgspec.DecodeError:
        raise invalid_request("invalid_parameter", "'stream_options' must be an object.", "stream_options") from None


def _value(fields: Fields, name: str) -> object:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=object)
    except (msgspec.DecodeError, RecursionError):
        raise invalid_request("invalid_json", f"'{name}' is not valid JSON.", name) from None


def _boolean(fields: Fields, name: str) -> bool:
    value = _value(fields, name)
    if value is not None and not isinstance(value, bool):
        raise invalid_request("invalid_parameter", f"'{name}' must be true or false.", name)
    return bool(value)


def _positive(fields: Fields, name: str, most: int) -> int | None:
    value = _value(fields, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise invalid_request("invalid_parameter", f"'{name}' must be an integer from 1 to {most}.", name)
    return value
