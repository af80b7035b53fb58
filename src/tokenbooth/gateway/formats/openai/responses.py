"""Reading a request of the responses format, which is served without state: nothing is stored, nothing is recalled.

`store` is always sent as false, because the format's default is true. An item that refers to something stored (an
earlier answer, a conversation, a file) is refused by name.
"""

from collections.abc import Generator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import from_openai
from tokenbooth.gateway.errors import invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.base import CostNano, Credential, Meter, OutboundRequest, PricedRequest, UpstreamAnswer
from tokenbooth.gateway.formats.failed_answers import check_response
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    encoded,
    is_list,
    is_null,
    is_text,
    opened,
    opened_field,
    raw,
    short_text,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, items_in_steps
from tokenbooth.gateway.formats.json.steps import NAMES_PER_ITEM, STEP_BYTES, STEP_ITEMS, at_once
from tokenbooth.gateway.formats.openai.reading import Reading
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter
from tokenbooth.gateway.formats.parameters import (
    HARMLESS_VALUES,
    OUTPUT_FLOOR,
    REASONING_OUTPUT_FLOOR,
    REFUSED_FIELDS,
    TOOL_NAMES,
    boolean,
    ceiling_names,
    keep_back,
    object_of,
    refuse_disguised,
    refuse_other_case,
    refuse_unpriced,
    take_ceiling,
    unusual_names,
)
from tokenbooth.gateway.formats.public_answers import RESPONSE_ID, ResponseAnswer
from tokenbooth.gateway.formats.schema import decode_responses_answer
from tokenbooth.gateway.formats.stored_state import (
    STATE_FIELDS,
    is_empty_reasoning,
    is_item_reference,
    refuse_stored_state_of_tool,
)
from tokenbooth.gateway.formats.stream_as_whole import response_answer
from tokenbooth.gateway.formats.texts import responses_text_bytes
from tokenbooth.gateway.formats.whole_as_stream import response_events

_MONEY: Final = frozenset(
    ("model", "stream", "stream_options", "input", "instructions", "tools", "max_output_tokens", "reasoning", "n")
)
_REFUSED: Final = REFUSED_FIELDS | {
    "access_programs",
    "background_options",
    "context_management",
    "image",
    "moderation",
    "prompt_cache_options",
}
_WATCHED: Final = _MONEY | _REFUSED
# The format has one answer; a server that takes more would write what nobody held for.
_ONE_ANSWER: Final = frozenset(("n", "bestof"))
_KNOWN: Final = _WATCHED - {"n", "max_output_tokens"}
# Tools that the client runs, and those that only shape what the model writes.
_FREE_TOOLS: Final = frozenset(("function", "custom", "local_shell", "apply_patch"))
_FREE_ITEMS: Final = frozenset(
    (
        "",
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "reasoning",
    )
)
_TEXT_PARTS: Final = frozenset(("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"))
# What a shell of the client's says; it has no type.
_SHELL_OUTPUT: Final = frozenset(("stdout", "stderr", "outcome"))
_NAMES: Final = STATE_FIELDS.union(("type", "role", "content", "output", "image_url", "file_data", "file_url", "id"))
_INPUT_LEVELS: Final = 5
# Codex puts the tools of a server in a namespace; none is in another one.
_TOOL_LEVELS: Final = 1


class ResponsesRequest(PricedRequest):
    """A responses request that may be priced; its own outbound request for an upstream of this format."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.responses"
    path: ClassVar[str] = "/responses"
    credential: ClassVar[Credential] = "authorization"

    @property
    def request(self) -> PricedRequest:
        """See `OutboundRequest.request`."""
        return self

    def outbound(self, formats: frozenset[str]) -> OutboundRequest | None:
        """See `PricedRequest.outbound`."""
        return self if "openai.responses" in formats else None

    def headers(self) -> Mapping[str, str]:
        """See `OutboundRequest.headers`."""
        return {}

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        """See `OutboundRequest.upstream_fields`."""
        fields = dict(self.fields)
        fields["model"] = raw(route.model)
        fields["store"] = raw(False)
        ceiling = self.sent_ceiling(route, clamped_output_tokens)
        if ceiling is not None:
            fields[self.model.ceiling_field(route, self.wire)] = raw(ceiling)
        if not self.stream:
            fields.pop("stream_options", None)
        return fields

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        """See `OutboundRequest.meter`."""
        return ResponsesMeter(self.public_answer(request_id))

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        """See `OutboundRequest.read_answer`."""
        answer = decode_responses_answer(body)
        check_response(answer, body)
        return UpstreamAnswer(
            answer.usage,
            from_openai,
            lambda usage, request_id: self.public_answer(request_id).client_answer(answer),
        )

    def text_bytes_in(self, body: bytes) -> int:
        """See `OutboundRequest.text_bytes_in`."""
        return responses_text_bytes(body)

    def public_answer(self, request_id: str) -> ResponseAnswer:
        """What the client sees of an answer to this request."""
        return ResponseAnswer(RESPONSE_ID + request_id, self.model.name)

    def as_answer(self, body: bytes) -> bytes:
        """See `OutboundRequest.as_answer`."""
        return response_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        """See `OutboundRequest.as_events`."""
        return response_events(body)


def read_responses_request(fields: Fields, model: Model, body_bytes: int) -> ResponsesRequest:
    """Read what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    return at_once(responses_request_steps(fields, model, body_bytes))


def responses_request_steps(fields: Fields, model: Model, body_bytes: int) -> Generator[None, None, ResponsesRequest]:
    """See `read_responses_request`; in steps."""
    refuse_disguised(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED, HARMLESS_VALUES)
    yield from _refuse_hosted_tools(fields, model)
    object_of(fields, "stream_options")
    unusual = unusual_names(fields, _KNOWN)
    omitted = yield from keep_back(fields, model, unusual, also=_ONE_ANSWER)
    asked = take_ceiling(fields, ceiling_names(unusual))
    reasoning = object_of(fields, "reasoning")
    if reasoning:
        fields["reasoning"] = encoded(reasoning)
    thinks = model.reasoning or bool(reasoning)
    parts_bytes, parts_tokens = yield from _read_input(fields, model)
    return ResponsesRequest(
        endpoint="responses",
        model=model,
        fields=fields,
        stream=boolean(fields, "stream"),
        text_bytes=max(body_bytes - parts_bytes, 0),
        parts_tokens=parts_tokens,
        choices=1,
        ceiling_named=asked is not None,
        output_ceiling=model.max_output_tokens if asked is None else min(asked, model.max_output_tokens),
        floor_tokens=REASONING_OUTPUT_FLOOR if thinks else OUTPUT_FLOOR,
        wants_usage=True,
        omitted=omitted,
    )


def _refuse_hosted_tools(fields: Fields, model: Model) -> Generator[None, None, None]:
    given = fields.get("tools")
    if given is None or is_null(given):
        return
    if not is_list(given):
        raise invalid_request("invalid_parameter", "'tools' must be a list.", "tools")
    tools = yield from _read_tools(given, model, _TOOL_LEVELS)
    yield
    fields["tools"] = yield from encoded_in_steps(tools, size_of(given))


def _read_tools(given: msgspec.Raw, model: Model, levels: int) -> Generator[None, None, list[Any]]:
    """The tools of a list, each looked at; a namespace is a list of tools with a name.

    Raises:
        Refusal: one of them is hosted, or they go on below `levels` levels.
    """
    tools = yield from items_in_steps(given)
    for number in range(len(tools)):
        if number % STEP_ITEMS == STEP_ITEMS - 1:
            yield
        one = opened(tools, number)
        tool: Object = one if isinstance(one, dict) else {}
        refuse_other_case(tool, TOOL_NAMES, "tools")
        kind = short_text(tool.get("type"))
        if kind == "namespace":
            inner = tool.get("tools")
            if levels == 0 or inner is None or not is_list(inner):
                raise invalid_request("invalid_parameter", "A namespace must hold a list of tools.", "tools")
            tool["tools"] = yield from _read_tools(inner, model, levels - 1)
            continue
        # A search that the client runs.
        if kind in _FREE_TOOLS or (kind == "tool_search" and short_text(tool.get("execution")) == "client"):
            continue
        if kind == "shell" and _runs_at_client(tool):
            continue
        if f"tools.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"tools.{kind}" if kind else "tools")
        refuse_stored_state_of_tool(tool, kind, model)
        if len(tool) > NAMES_PER_ITEM:
            yield
    return tools


def _runs_at_client(shell: Object) -> bool:
    """Whether a shell is the client's own; the environment of every other is a container that costs."""
    environment = opened_field(shell, "environment")
    return environment is not None and short_text(environment.get("type")) == "local"


def _read_input(fields: Fields, model: Model) -> Generator[None, None, tuple[int, int]]:
    """Bytes of the input that are no text, and the most tokens that they count for."""
    given = fields.get("input")
    if given is None:
        raise invalid_request("missing_input", "The body has no 'input'.", "input")
    if is_text(given):
        return 0, 0
    if not is_list(given):
        raise invalid_request("invalid_parameter", "'input' must be a text or a list of items.", "input")
    yield
    items = yield from items_in_steps(given)
    reading, said = _Reading(model), []
    for number in range(len(items)):
        if reading.is_step_done():
            yield
        one = opened(items, number)
        item: Object = one if isinstance(one, dict) else {}
        kind = short_text(item.get("type"))
        if is_empty_reasoning(item, kind):
            continue
        said.append(one)
        reading.read_item(item, kind)
        found = item.get("tools") if kind == "tool_search_output" else None
        if found is not None and is_list(found):
            item["tools"] = yield from _read_tools(found, model, _TOOL_LEVELS)
        for field in ("content", "output"):
            yield from reading.read_parts(item, field)
    yield
    fields["input"] = yield from encoded_in_steps(said, size_of(given))
    return reading.size_bytes, reading.tokens


class _Reading(Reading):
    """What was found in the input so far."""

    __slots__ = ()

    def read_item(self, item: Object, kind: str) -> None:
        """Read what an item says of itself.

        Raises:
            Refusal: it is malformed, or not priced, or stands for something stored.
        """
        allowed = self.model.allowed_parameters
        refuse_other_case(item, _NAMES, "input")
        if is_item_reference(item, kind) and "input.item_reference" not in allowed:
            raise unsupported_parameter("input.item_reference")
        if kind not in _FREE_ITEMS and f"input.{kind}" not in allowed:
            raise unsupported_parameter(f"input.{kind}")
        self.look_at(item)

    def read_parts(self, item: Object, field: str) -> Generator[None, None, None]:
        """Read in steps what an item holds, a list of parts or a single one, and put what was read in its place.

        Raises:
            Refusal: a part is malformed, or not priced.
        """
        content = item.get(field)
        if content is None:
            return
        if isinstance(content, dict):
            self._read_part(content)
            return
        if not is_list(content):
            return
        if size_of(content) > STEP_BYTES:
            yield
        parts = item[field] = yield from items_in_steps(content)
        for number in range(len(parts)):
            if self.is_step_done():
                yield
            part = opened(parts, number)
            self._read_part(part if isinstance(part, dict) else {})

    def _read_part(self, part: Object) -> None:
        refuse_other_case(part, _NAMES, "input")
        kind = short_text(part.get("type"))
        self.look_at(part)
        if kind in _TEXT_PARTS or (not kind and part and part.keys() <= _SHELL_OUTPUT):
            return
        if kind == "input_image":
            url = part.get("image_url")
            if isinstance(url, msgspec.Raw) and is_text(url):
                self.size_bytes += size_of(url) - len(b'""')
            self.tokens += self.model.image_tokens_max
            return
        if f"content.{kind}" not in self.model.allowed_parameters:
            raise unsupported_parameter(f"content.{kind}" if kind else "input")
        # What we don't know may fill the whole context.
        self.tokens += self.model.context_tokens
