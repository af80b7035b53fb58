"""Reading a request of Anthropic's messages format: what decides about its price, and what nobody priced.

An upstream of this format gets it as it is. For one that only speaks OpenAI's chat format it is translated.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import ClassVar, Final

from tokenbooth.config.catalog import Model, WireFormat
from tokenbooth.domain.usage import from_anthropic
from tokenbooth.gateway.errors import Refusal, invalid_request
from tokenbooth.gateway.formats.anthropic.blocks import read_blocks, refuse_long_cache
from tokenbooth.gateway.formats.anthropic.stream import MessagesMeter
from tokenbooth.gateway.formats.anthropic.to_chat import TRANSLATED, ChatBody, chat_body
from tokenbooth.gateway.formats.anthropic.via_chat import TranslatedMessages
from tokenbooth.gateway.formats.base import (
    CostNano,
    Credential,
    OutboundRequest,
    PricedRequest,
    UpstreamAnswer,
    output_floor,
)
from tokenbooth.gateway.formats.failed_answers import check_messages_answer
from tokenbooth.gateway.formats.json.body import Fields, Object, collapse_duplicates, release_body, short_text
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.public_answers import MESSAGE_ID, MessageAnswer
from tokenbooth.gateway.formats.request.parameters import (
    MAX_CEILING,
    boolean,
    ceiling_names,
    object_of,
    positive,
    refuse_large,
    reject_miscased_fields,
    take_ceiling,
    value_of,
)
from tokenbooth.gateway.formats.request.tools import TOOL_NAMES, read_tools, refuse_hosted_tool
from tokenbooth.gateway.formats.request.unpriced import REFUSED_FIELDS, keep_back, refuse_unpriced, unusual_names
from tokenbooth.gateway.formats.schema import decode_messages_answer
from tokenbooth.gateway.formats.stream_as_whole import message_answer
from tokenbooth.gateway.formats.texts import messages_text_bytes
from tokenbooth.gateway.formats.whole_as_stream import message_events
from tokenbooth.http.exchange import RawHeaders

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


class MessagesRequest(PricedRequest):
    """A messages request that may be priced.

    Attributes:
        version: the version of the format that the client speaks.
        betas: what of its `anthropic-beta` may pass.
        chat: the request in OpenAI's chat format; None when no upstream needs it, or it cannot be expressed there.
    """

    __slots__ = ("betas", "chat", "version")

    wire: ClassVar[WireFormat] = "anthropic.messages"
    path: ClassVar[str] = "/messages"
    credential: ClassVar[Credential] = "x-api-key"
    version: str
    betas: list[str]
    chat: ChatBody | None

    def outbound(self, formats: frozenset[str]) -> OutboundRequest | None:
        if self.wire in formats:
            return self
        if self.chat is None or "openai.chat" not in formats:
            return None
        return TranslatedMessages(self, self.chat, shows_thinking=_shows_thinking(self.fields))

    def headers(self) -> Mapping[str, str]:
        headers = {"anthropic-version": self.version}
        if self.betas:
            headers["anthropic-beta"] = ",".join(self.betas)
        return headers

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        return MessagesMeter(self.public_answer(request_id))

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        answer = decode_messages_answer(body)
        check_messages_answer(answer, body)
        return UpstreamAnswer(
            answer.usage,
            from_anthropic,
            lambda usage, request_id: self.public_answer(request_id).client_answer(answer),
        )

    def text_bytes_in(self, body: bytes) -> int:
        return messages_text_bytes(body)

    def public_answer(self, request_id: str) -> MessageAnswer:
        """Rewrites answers to this request for the client."""
        return MessageAnswer(MESSAGE_ID + request_id, self.model.name)

    def as_answer(self, body: bytes) -> bytes:
        return message_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        return message_events(body)


def messages_request_steps(
    fields: Fields, model: Model, body_bytes: int, headers: RawHeaders
) -> Generator[None, None, MessagesRequest]:
    """Read in steps what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.
        headers: the client's.

    Raises:
        Refusal: a field is malformed or not supported, or no upstream of the model can be asked this.
    """
    reject_miscased_fields(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED, _HARMLESS)
    terms = _terms_of(model)
    yield from read_tools(fields, terms, _check_tool)
    for name, levels in _NESTED:
        if name in fields:
            refuse_large(fields, name)
            fields[name] = collapse_duplicates(fields[name], levels)
    refuse_long_cache({"cache_control": fields.get("cache_control")}, terms)
    unusual = unusual_names(fields, _KNOWN)
    omitted = yield from keep_back(fields, model, unusual, also=_ONE_ANSWER)
    asked_ceiling = take_ceiling(fields, ceiling_names(unusual))
    if asked_ceiling is None:
        raise invalid_request("missing_max_tokens", "The body has no 'max_tokens'.", "max_tokens")
    content = yield from read_blocks(fields, terms)
    request = MessagesRequest(
        "messages",
        model,
        fields,
        stream=boolean(fields, "stream"),
        text_bytes=max(body_bytes - content.size_bytes, 0),
        parts_tokens=content.tokens,
        asked_ceiling=asked_ceiling,
        floor_tokens=_floor(fields, model),
        wants_usage=True,
        omitted=omitted,
    )
    request.version = _version(headers)
    request.betas = _betas(headers, model)
    request.chat = None
    yield from _translate_if_needed(request)
    return request


def _thinking(fields: Fields) -> dict[str, object]:
    """The thinking settings of a request; empty for none."""
    value = value_of(fields, "thinking")
    return value if isinstance(value, dict) else {}


def _asks_to_think(fields: Fields) -> bool:
    kind = _thinking(fields).get("type")
    return isinstance(kind, str) and kind not in ("", "disabled")


def _shows_thinking(fields: Fields) -> bool:
    """Whether the client gets to see what the model thinks."""
    return _asks_to_think(fields) and _thinking(fields).get("display") != "omitted"


def _terms_of(model: Model) -> Model:
    """The model by whose terms the blocks are read. Any cache life is fine where cache marks are left out."""
    if any("anthropic.messages" in route.upstream.formats for route in model.routes):
        return model
    return replace(model, allowed_parameters=model.allowed_parameters | {"cache_control.ttl"})


def _translate_if_needed(request: MessagesRequest) -> Generator[None, None, None]:
    # What was read was encoded anew, and the translation makes the third copy of it.
    release_body(request.fields)
    formats = [route.upstream.formats for route in request.model.routes]
    native = ["anthropic.messages" in wires for wires in formats]
    if all(native) or not any("openai.chat" in wires for wires in formats):
        return
    try:
        request.chat = yield from chat_body(request.fields, request.model)
        if not any(native):
            # Nobody is asked in the client's format: what was translated is not needed any more.
            for name in TRANSLATED:
                request.fields.pop(name, None)
    except Refusal:
        # What cannot be translated still goes to the upstreams that need no translation.
        if not any(native):
            raise


def _check_tool(tool: Object, model: Model) -> str:
    reject_miscased_fields(tool, TOOL_NAMES, "tools")
    kind = short_text(tool.get("type")) or "custom"
    if kind != "custom" and not kind.startswith(_CLIENT_TOOLS):
        refuse_hosted_tool(tool, kind, model)
    refuse_long_cache(tool, model)
    return kind


def _floor(fields: Fields, model: Model) -> int:
    """The fewest output tokens worth starting for: the budget for thinking is part of the ceiling."""
    if _thinking(fields).get("type") == "enabled":
        budget = positive(object_of(fields, "thinking"), "budget_tokens", MAX_CEILING)
        if budget is not None:
            return budget + _THINKING_ROOM
    return output_floor(model, asks_to_think=_asks_to_think(fields))


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
