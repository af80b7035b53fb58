"""Reading a request of the responses format, which is served without state: nothing is stored, nothing is recalled.

`store` is always sent as false, because the format's default is true. An item that refers to something stored (an
earlier answer, a conversation, a file) is refused by name.
"""

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from tokenbooth.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import Usage, from_openai
from tokenbooth.gateway.body import Fields, collapse_duplicates, raw
from tokenbooth.gateway.fields import (
    HARMLESS_VALUES,
    OUTPUT_FLOOR,
    REASONING_OUTPUT_FLOOR,
    REFUSED_FIELDS,
    TOOL_NAMES,
    boolean,
    ceiling_names,
    keep_back,
    list_of,
    mapping,
    object_of,
    refuse_disguised,
    refuse_other_case,
    refuse_unpriced,
    take_ceiling,
    type_of,
    unusual_names,
    value_of,
)
from tokenbooth.gateway.meter import texts_named
from tokenbooth.gateway.refusals import invalid_request, unsupported_parameter
from tokenbooth.gateway.responses_meter import ResponsesMeter
from tokenbooth.gateway.shapes import decode_responses_answer
from tokenbooth.gateway.speech import CostNano, Credential, Meter, PricedRequest, Speech
from tokenbooth.gateway.upstreams import UpstreamFailure

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
        "reasoning",
    )
)
_TEXT_PARTS: Final = frozenset(("input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"))
_NAMES: Final = frozenset(("type", "role", "content", "output", "image_url", "file_id", "file_data", "file_url", "id"))
_INPUT_LEVELS: Final = 5


class ResponsesRequest(PricedRequest):
    """A responses request that may be priced; its own speech for an upstream of this format."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.responses"
    path: ClassVar[str] = "/responses"
    credential: ClassVar[Credential] = "authorization"
    answer_text: ClassVar[re.Pattern[bytes]] = texts_named("text", "arguments", "refusal", "input")

    @property
    def request(self) -> PricedRequest:
        """See `Speech.request`."""
        return self

    def speech(self, formats: frozenset[str]) -> Speech | None:
        """See `PricedRequest.speech`."""
        return self if "openai.responses" in formats else None

    def headers(self) -> Mapping[str, str]:
        """See `Speech.headers`."""
        return {}

    def upstream_fields(self, route: Route, clamped_output_tokens: int | None) -> Fields:
        """See `Speech.upstream_fields`."""
        fields = dict(self.fields)
        fields["model"] = raw(route.model)
        fields["store"] = raw(False)
        ceiling = self.sent_ceiling(route, clamped_output_tokens)
        if ceiling is not None:
            fields[self.model.ceiling_field(route, self.wire)] = raw(ceiling)
        if not self.stream:
            fields.pop("stream_options", None)
        return fields

    def meter(self, cost_nano: CostNano) -> Meter:
        """See `Speech.meter`."""
        return ResponsesMeter()

    def reported_usage(self, body: bytes) -> Usage | None:
        """See `Speech.reported_usage`.

        Raises:
            UpstreamFailure: the answer says that it failed, so there is nothing to pay for.
        """
        answer = decode_responses_answer(body)
        if answer.status == "failed":
            raise UpstreamFailure("the response failed")
        return None if answer.usage is None else from_openai(answer.usage)

    def client_answer(self, body: bytes, usage: Usage) -> bytes:
        """See `Speech.client_answer`: as it came."""
        return body


def read_responses_request(fields: Fields, model: Model, body_bytes: int) -> ResponsesRequest:
    """Read what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    refuse_disguised(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED, HARMLESS_VALUES)
    _refuse_hosted_tools(fields, model)
    object_of(fields, "stream_options")
    unusual = unusual_names(fields, _KNOWN)
    omitted = keep_back(fields, model, unusual, also=_ONE_ANSWER)
    asked = take_ceiling(fields, ceiling_names(unusual))
    if "reasoning" in fields:
        fields["reasoning"] = collapse_duplicates(fields["reasoning"], levels=1)
    thinks = model.reasoning or bool(object_of(fields, "reasoning"))
    parts_bytes, parts_tokens = _read_input(fields, model)
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


def _refuse_hosted_tools(fields: Fields, model: Model) -> None:
    if fields.get("tools") is None:
        return
    fields["tools"] = collapse_duplicates(fields["tools"], levels=2)
    for tool in list_of(fields, "tools"):
        refuse_other_case(mapping(tool), TOOL_NAMES, "tools")
        kind = type_of(tool)
        if kind not in _FREE_TOOLS and f"tools.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"tools.{kind}" if kind else "tools")


def _read_input(fields: Fields, model: Model) -> tuple[int, int]:
    """Bytes of the input that are no text, and the most tokens that they count for."""
    if fields.get("input") is None:
        raise invalid_request("missing_input", "The body has no 'input'.", "input")
    fields["input"] = collapse_duplicates(fields["input"], levels=_INPUT_LEVELS)
    given = value_of(fields, "input")
    if isinstance(given, str):
        return 0, 0
    if not isinstance(given, list):
        raise invalid_request("invalid_parameter", "'input' must be a text or a list of items.", "input")
    not_text_bytes = tokens = 0
    for item in given:
        refuse_other_case(mapping(item), _NAMES, "input")
        kind = type_of(item)
        if kind not in _FREE_ITEMS and f"input.{kind}" not in model.allowed_parameters:
            raise unsupported_parameter(f"input.{kind}")
        for field in ("content", "output"):
            parts = mapping(item).get(field)
            for part in parts if isinstance(parts, list) else ():
                size, count = _read_part(part, model)
                not_text_bytes += size
                tokens += count
    return not_text_bytes, tokens


def _read_part(part: object, model: Model) -> tuple[int, int]:
    refuse_other_case(mapping(part), _NAMES, "input")
    kind = type_of(part)
    if mapping(part).get("file_id") is not None:
        raise unsupported_parameter("file_id")
    if kind in _TEXT_PARTS:
        return 0, 0
    if kind == "input_image":
        url = mapping(part).get("image_url")
        return len(url) if isinstance(url, str) else 0, model.image_tokens_max
    if f"content.{kind}" not in model.allowed_parameters:
        raise unsupported_parameter(f"content.{kind}" if kind else "input")
    # What we don't know may fill the whole context.
    return 0, model.context_tokens
