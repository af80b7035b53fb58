"""Reading a request of Anthropic's messages format: what decides about its price, and what nobody priced.

For an upstream of this format it is its own outbound; for one that only speaks OpenAI's chat format it is translated.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Final

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import from_anthropic
from tokenbooth.gateway.errors import Refusal, invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.anthropic.blocks import read_blocks, refuse_long_cache
from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.anthropic.to_chat import TRANSLATED, ChatBody, chat_body
from tokenbooth.gateway.formats.anthropic.via_chat import TranslatedMessages
from tokenbooth.gateway.formats.base import CostNano, Credential, Meter, OutboundRequest, PricedRequest, UpstreamAnswer
from tokenbooth.gateway.formats.failed_answers import check_messages_answer
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    collapse_duplicates,
    is_list,
    is_null,
    opened,
    raw,
    release_body,
    short_text,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, items_in_steps
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM, STEP_ITEMS, at_once
from tokenbooth.gateway.formats.parameters import (
    MAX_CEILING,
    OUTPUT_FLOOR,
    REASONING_OUTPUT_FLOOR,
    REFUSED_FIELDS,
    TOOL_NAMES,
    boolean,
    ceiling_names,
    keep_back,
    mapping,
    object_of,
    positive,
    refuse_disguised,
    refuse_large,
    refuse_other_case,
    refuse_unpriced,
    take_ceiling,
    type_of,
    unusual_names,
    value_of,
)
from tokenbooth.gateway.formats.public_answers import MESSAGE_ID, MessageAnswer
from tokenbooth.gateway.formats.schema import decode_messages_answer
from tokenbooth.gateway.formats.stored_state import refuse_stored_state_of_tool
from tokenbooth.gateway.formats.stream_as_whole import message_answer
from tokenbooth.gateway.formats.texts import messages_text_bytes
from tokenbooth.gateway.formats.whole_as_stream import message_events

_THINKING_ROOM: Final = 1_024
_MONEY: Final = frozenset(
    ("model", "stream", "max_tokens", "messages", "system", "tools", "thinking", "output_config", "cache_control")
)
_REFUSED: Final = (REFUSED_FIELDS - {"prompt"}) | {
    "billing_policy",
    "compaction",
    "diagnostics",
    "fallback_credit_token",
    "inference_geo",
    "speed",
    "thread",
    "user_profile_id",
    "workspace_id",
}
_WATCHED: Final = _MONEY | _REFUSED
# The format has one answer; a server that takes more would write what nobody held for.
_ONE_ANSWER: Final = frozenset(("n", "bestof"))
_KNOWN: Final = _WATCHED - {"max_tokens"}
_HARMLESS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "service_tier": (b"null", b'"auto"', b'"standard_only"'),
    "speed": (b"null", b'"standard"'),
    "store": (b"null", b"false"),
}
# The client runs these; for us they are text.
_CLIENT_TOOLS: Final = ("bash_", "text_editor_", "computer_", "memory_", "browser_")
# Betas that change neither the price of a token nor whose state is read.
_BETAS: Final = frozenset(
    (
        "claude-code-20250219",
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-management-2025-06-27",
        "effort-2025-11-24",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "model-context-window-exceeded-2025-08-26",
        "output-128k-2025-02-19",
        "pdfs-2024-09-25",
        "prompt-caching-2024-07-31",
        "structured-outputs-2025-11-13",
        "thinking-token-count-2026-05-13",
        "token-efficient-tools-2025-02-19",
    )
)
_VERSION: Final = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DEFAULT_VERSION: Final = "2023-06-01"
# How deep each is looked into.
_NESTED: Final = (("thinking", 1), ("output_config", 2), ("cache_control", 1))

RawHeaders = list[tuple[bytes, bytes]]


class MessagesRequest(PricedRequest):
    """A messages request that may be priced.

    Attributes:
        version: the version of the format that the client speaks.
        betas: what of its `anthropic-beta` may pass.
        chat: the request in OpenAI's chat format; None when no upstream of the model needs it, or it has no such form.
    """

    __slots__ = ("betas", "chat", "version")

    version: str
    betas: list[str]
    chat: ChatBody | None

    @property
    def request(self) -> PricedRequest:
        """See `OutboundRequest.request`."""
        return self

    @property
    def wire(self) -> WireFormat:
        """See `OutboundRequest.wire`."""
        return "anthropic.messages"

    @property
    def path(self) -> str:
        """See `OutboundRequest.path`."""
        return "/messages"

    @property
    def credential(self) -> Credential:
        """See `OutboundRequest.credential`."""
        return "x-api-key"

    def text_bytes_in(self, body: bytes) -> int:
        """See `OutboundRequest.text_bytes_in`."""
        return messages_text_bytes(body)

    def outbound(self, formats: frozenset[str]) -> OutboundRequest | None:
        """See `PricedRequest.outbound`."""
        if "anthropic.messages" in formats:
            return self
        if self.chat is None or "openai.chat" not in formats:
            return None
        return TranslatedMessages(self, self.chat, shows_thinking=_shows_thinking(self.fields))

    def headers(self) -> Mapping[str, str]:
        """See `OutboundRequest.headers`."""
        headers = {"anthropic-version": self.version}
        if self.betas:
            headers["anthropic-beta"] = ",".join(self.betas)
        return headers

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        """See `OutboundRequest.upstream_fields`."""
        fields = dict(self.fields)
        fields["model"] = raw(route.model)
        ceiling = self.sent_ceiling(route, clamped_output_tokens)
        if ceiling is not None:
            fields[self.model.ceiling_field(route, self.wire)] = raw(ceiling)
        return fields

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        """See `OutboundRequest.meter`."""
        return MessagesMeter(self.public_answer(request_id))

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        """See `OutboundRequest.read_answer`."""
        answer = decode_messages_answer(body)
        check_messages_answer(answer, body)
        return UpstreamAnswer(
            answer.usage,
            from_anthropic,
            lambda usage, request_id: self.public_answer(request_id).client_answer(answer),
        )

    def public_answer(self, request_id: str) -> MessageAnswer:
        """What the client sees of an answer to this request."""
        return MessageAnswer(MESSAGE_ID + request_id, self.model.name)

    def as_answer(self, body: bytes) -> bytes:
        """See `OutboundRequest.as_answer`."""
        return message_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        """See `OutboundRequest.as_events`."""
        return message_events(body)


def read_messages_request(fields: Fields, model: Model, body_bytes: int, headers: RawHeaders) -> MessagesRequest:
    """Read what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.
        headers: the client's.

    Raises:
        Refusal: a field is malformed or not supported, or no upstream of the model can be asked this.
    """
    return at_once(messages_request_steps(fields, model, body_bytes, headers))


def messages_request_steps(
    fields: Fields, model: Model, body_bytes: int, headers: RawHeaders
) -> Generator[None, None, MessagesRequest]:
    """See `read_messages_request`; in steps."""
    refuse_disguised(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED, _HARMLESS)
    terms = _terms_of(model)
    yield from _refuse_hosted_tools(fields, terms)
    for name, levels in _NESTED:
        if name in fields:
            refuse_large(fields, name)
            fields[name] = collapse_duplicates(fields[name], levels)
    refuse_long_cache({"cache_control": fields.get("cache_control")}, terms)
    unusual = unusual_names(fields, _KNOWN)
    omitted = yield from keep_back(fields, model, unusual, also=_ONE_ANSWER)
    asked = take_ceiling(fields, ceiling_names(unusual))
    if asked is None:
        raise invalid_request("missing_max_tokens", "The body has no 'max_tokens'.", "max_tokens")
    parts = yield from read_blocks(fields, terms)
    request = MessagesRequest(
        endpoint="messages",
        model=model,
        fields=fields,
        stream=boolean(fields, "stream"),
        text_bytes=max(body_bytes - parts.size_bytes, 0),
        parts_tokens=parts.tokens,
        choices=1,
        ceiling_named=True,
        output_ceiling=min(asked, model.max_output_tokens),
        floor_tokens=_floor(fields, model),
        wants_usage=True,
        omitted=omitted,
    )
    request.version = _version(headers)
    request.betas = _betas(headers, model)
    request.chat = None
    yield from _translate_if_needed(request)
    return request


def thinks(fields: Fields) -> bool:
    """Whether the client asked to see the model think."""
    return type_of(value_of(fields, "thinking")) not in ("", "disabled")


def _shows_thinking(fields: Fields) -> bool:
    """Whether the client gets to see what the model thinks."""
    return thinks(fields) and mapping(value_of(fields, "thinking")).get("display") != "omitted"


def _terms_of(model: Model) -> Model:
    """The model by whose terms the blocks are read: how long a cache lives is no matter where the mark is left out."""
    if any("anthropic.messages" in route.upstream.formats for route in model.routes):
        return model
    return replace(model, allowed_parameters=model.allowed_parameters | {"cache_control.ttl"})


def _translate_if_needed(request: MessagesRequest) -> Generator[None, None, None]:
    # What was read was encoded anew, and the translation makes the third copy of it.
    release_body(request.fields)
    formats = [route.upstream.formats for route in request.model.routes]
    native = ["anthropic.messages" in spoken for spoken in formats]
    if all(native) or not any("openai.chat" in spoken for spoken in formats):
        return
    try:
        request.chat = yield from chat_body(request.fields, request.model)
        if not any(native):
            # Nobody is asked in the client's format: what was translated is not needed any more.
            for name in TRANSLATED:
                request.fields.pop(name, None)
    except Refusal:
        # What has no form in the other format is only said to those upstreams that need no other.
        if not any(native):
            raise


def _refuse_hosted_tools(fields: Fields, model: Model) -> Generator[None, None, None]:
    given = fields.get("tools")
    if given is None or is_null(given):
        return
    if not is_list(given):
        raise invalid_request("invalid_parameter", "'tools' must be a list.", "tools")
    tools = yield from items_in_steps(given)
    for number in range(len(tools)):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        one = opened(tools, number)
        tool: Object = one if isinstance(one, dict) else {}
        refuse_other_case(tool, TOOL_NAMES, "tools")
        kind = short_text(tool.get("type")) or "custom"
        free = kind == "custom" or kind.startswith(_CLIENT_TOOLS)
        if not free and f"tools.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"tools.{kind}")
        if not free:
            refuse_stored_state_of_tool(tool, kind, model)
            if len(tool) > NAMES_PER_ITEM:
                yield
        refuse_long_cache(tool, model)
    yield
    fields["tools"] = yield from encoded_in_steps(tools, size_of(given))


def _floor(fields: Fields, model: Model) -> int:
    """Thinking comes before the first word, and its budget is part of the ceiling."""
    if type_of(value_of(fields, "thinking")) == "enabled":
        budget = positive(object_of(fields, "thinking"), "budget_tokens", MAX_CEILING)
        if budget is not None:
            return budget + _THINKING_ROOM
    return REASONING_OUTPUT_FLOOR if model.reasoning or thinks(fields) else OUTPUT_FLOOR


def _version(headers: RawHeaders) -> str:
    for name, value in headers:
        if name == b"anthropic-version" and _VERSION.fullmatch(value):
            return value.decode()
    return _DEFAULT_VERSION


def _betas(headers: RawHeaders, model: Model) -> list[str]:
    asked = [
        beta.strip().decode("latin-1")
        for name, value in headers
        if name == b"anthropic-beta"
        for beta in value.split(b",")
    ]
    return [beta for beta in asked if beta in _BETAS or f"anthropic-beta.{beta}" in model.allowed_parameters]
