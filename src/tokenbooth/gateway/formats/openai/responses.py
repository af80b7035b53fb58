"""Reading a request of the responses format. It is served without state: nothing is stored, nothing is recalled.

`store` is always sent as false, because the format's default is true. An item that refers to something stored (an
earlier answer, a conversation, a file) is refused by name.
"""

from collections.abc import Generator
from typing import ClassVar, Final

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import from_openai
from tokenbooth.gateway.errors import invalid_request, unsupported_parameter
from tokenbooth.gateway.formats.base import CostNano, PricedRequest, UpstreamAnswer, output_floor
from tokenbooth.gateway.formats.failed_answers import check_response
from tokenbooth.gateway.formats.json.body import (
    Fields,
    Object,
    is_list,
    is_text,
    opened,
    opened_field,
    raw,
    short_text,
    size_of,
)
from tokenbooth.gateway.formats.json.split import encoded_in_steps, items_in_steps
from tokenbooth.gateway.formats.json.steps import STEP_BYTES
from tokenbooth.gateway.formats.meter import Meter
from tokenbooth.gateway.formats.openai.responses_stream import ResponsesMeter
from tokenbooth.gateway.formats.public_answers import RESPONSE_ID, ResponseAnswer
from tokenbooth.gateway.formats.request.content import TEXT_ONLY, ContentReader, NonTextContent
from tokenbooth.gateway.formats.request.parameters import (
    boolean,
    ceiling_names,
    object_of,
    reject_miscased_fields,
    take_ceiling,
)
from tokenbooth.gateway.formats.request.stored_state import STATE_FIELDS, is_empty_reasoning, is_item_reference
from tokenbooth.gateway.formats.request.tools import TOOL_NAMES, read_tool_list, read_tools, refuse_hosted_tool
from tokenbooth.gateway.formats.request.unpriced import (
    HARMLESS_VALUES,
    REFUSED_FIELDS,
    keep_back,
    refuse_unpriced,
    unusual_names,
)
from tokenbooth.gateway.formats.schema import decode_responses_answer
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
# The output of a shell that the client runs; it has no type.
_SHELL_OUTPUT: Final = frozenset(("stdout", "stderr", "outcome"))
_NAMES: Final = STATE_FIELDS.union(("type", "role", "content", "output", "image_url", "file_data", "file_url", "id"))
_FALSE: Final = raw(False)
# Codex puts the tools of a server in a namespace; none is in another one.
_TOOL_LEVELS: Final = 1


class ResponsesRequest(PricedRequest):
    """A responses request that may be priced."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.responses"
    path: ClassVar[str] = "/responses"

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        fields = self.addressed({**self.fields, "store": _FALSE}, route, clamped_output_tokens, self.wire)
        if not self.stream:
            fields.pop("stream_options", None)
        return fields

    def meter(self, cost_nano: CostNano, request_id: str = "") -> Meter:
        return ResponsesMeter(self.public_answer(request_id))

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        answer = decode_responses_answer(body)
        check_response(answer, body)
        return UpstreamAnswer(
            answer.usage,
            from_openai,
            lambda usage, request_id: self.public_answer(request_id).client_answer(answer),
        )

    def text_bytes_in(self, body: bytes) -> int:
        return responses_text_bytes(body)

    def public_answer(self, request_id: str) -> ResponseAnswer:
        """Rewrites answers to this request for the client."""
        return ResponseAnswer(RESPONSE_ID + request_id, self.model.name)

    def as_answer(self, body: bytes) -> bytes:
        return response_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        return response_events(body)


def responses_request_steps(fields: Fields, model: Model, body_bytes: int) -> Generator[None, None, ResponsesRequest]:
    """Read in steps what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    reject_miscased_fields(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED, HARMLESS_VALUES)
    yield from read_tools(fields, model, _check_tool, _TOOL_LEVELS)
    object_of(fields, "stream_options")
    unusual = unusual_names(fields, _KNOWN)
    omitted = yield from keep_back(fields, model, unusual, also=_ONE_ANSWER)
    asked_ceiling = take_ceiling(fields, ceiling_names(unusual))
    reasoning = object_of(fields, "reasoning")
    if reasoning:
        fields["reasoning"] = raw(reasoning)
    content = yield from _read_input(fields, model)
    return ResponsesRequest(
        "responses",
        model,
        fields,
        stream=boolean(fields, "stream"),
        text_bytes=max(body_bytes - content.size_bytes, 0),
        parts_tokens=content.tokens,
        asked_ceiling=asked_ceiling,
        floor_tokens=output_floor(model, asks_to_think=bool(reasoning)),
        wants_usage=True,
        omitted=omitted,
    )


def _check_tool(tool: Object, model: Model) -> str:
    reject_miscased_fields(tool, TOOL_NAMES, "tools")
    kind = short_text(tool.get("type"))
    runs_at_client = (
        kind in _FREE_TOOLS
        or kind == "namespace"
        or (kind == "tool_search" and short_text(tool.get("execution")) == "client")
        or (kind == "shell" and _runs_at_client(tool))
    )
    if not runs_at_client:
        refuse_hosted_tool(tool, kind, model)
    return kind


def _runs_at_client(shell: Object) -> bool:
    """Whether the client runs a shell itself; any other runs in a container that costs."""
    environment = opened_field(shell, "environment")
    return environment is not None and short_text(environment.get("type")) == "local"


def _read_input(fields: Fields, model: Model) -> Generator[None, None, NonTextContent]:
    """Read the input in steps; names that come twice in what is looked at come once afterwards."""
    given = fields.get("input")
    if given is None:
        raise invalid_request("missing_input", "The body has no 'input'.", "input")
    if is_text(given):
        return TEXT_ONLY
    if not is_list(given):
        raise invalid_request("invalid_parameter", "'input' must be a text or a list of items.", "input")
    yield
    items = yield from items_in_steps(given)
    reader, kept = _InputReader(model), []
    for number in range(len(items)):
        if reader.is_step_done():
            yield
        one = opened(items, number)
        item: Object = one if isinstance(one, dict) else {}
        kind = short_text(item.get("type"))
        if is_empty_reasoning(item, kind):
            continue
        kept.append(one)
        reader.read_item(item, kind)
        found = item.get("tools") if kind == "tool_search_output" else None
        if found is not None and is_list(found):
            item["tools"] = yield from read_tool_list(found, model, _check_tool, _TOOL_LEVELS)
        for field in ("content", "output"):
            yield from reader.read_parts(item, field)
    yield
    fields["input"] = yield from encoded_in_steps(kept, size_of(given))
    return reader.found()


class _InputReader(ContentReader):
    """Reads input items."""

    __slots__ = ()

    def read_item(self, item: Object, kind: str) -> None:
        """Check the fields of an item itself.

        Raises:
            Refusal: it is malformed, or not priced, or refers to something stored.
        """
        reject_miscased_fields(item, _NAMES, "input")
        if is_item_reference(item, kind) and not self.allows("input.item_reference"):
            raise unsupported_parameter("input.item_reference")
        if kind not in _FREE_ITEMS and not self.allows(f"input.{kind}"):
            raise unsupported_parameter(f"input.{kind}")
        self.look_at(item)

    def read_parts(self, item: Object, field: str) -> Generator[None, None, None]:
        """Read in steps the parts in a field of an item: a list of them, or a single one.

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
        reject_miscased_fields(part, _NAMES, "input")
        kind = short_text(part.get("type"))
        self.look_at(part)
        if kind in _TEXT_PARTS or (not kind and part and part.keys() <= _SHELL_OUTPUT):
            return
        if kind == "input_image":
            self.count_data(part.get("image_url"), self.model.image_tokens_max)
        elif self.allows(f"content.{kind}"):
            self.count_unknown()
        else:
            raise unsupported_parameter(f"content.{kind}" if kind else "input")
