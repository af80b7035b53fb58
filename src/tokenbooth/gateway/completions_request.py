"""Reading a request of the older completions format: one prompt or several, as texts or as token ids."""

import re
from dataclasses import dataclass
from typing import ClassVar, Final

from tokenbooth.catalog import Model, WireFormat
from tokenbooth.gateway.body import Fields
from tokenbooth.gateway.fields import (
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
    value_of,
)
from tokenbooth.gateway.meter import StreamMeter, texts_named
from tokenbooth.gateway.openai_request import OpenAIRequest, wants_usage
from tokenbooth.gateway.refusals import invalid_request
from tokenbooth.gateway.whole_as_stream import completion_events

MAX_PROMPTS: Final = 2_048
_MONEY: Final = frozenset(("model", "stream", "stream_options", "n", "best_of", "prompt", "max_tokens"))
# A chat's messages here would be a prompt that nobody counted.
_REFUSED: Final = (REFUSED_FIELDS - {"prompt"}) | {"messages"}
_WATCHED: Final = _MONEY | _REFUSED
_KNOWN: Final = _WATCHED - {"max_tokens"}


class CompletionMeter(StreamMeter):
    """Meters one stream of completions, whose texts stand under another name."""

    __slots__ = ()

    TEXT: ClassVar[re.Pattern[bytes]] = texts_named("text", "reasoning", "reasoning_content")


class CompletionsRequest(OpenAIRequest):
    """A completions request that may be priced."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.completions"
    path: ClassVar[str] = "/completions"
    answer_text: ClassVar[re.Pattern[bytes]] = CompletionMeter.TEXT
    meter_class: ClassVar[type[StreamMeter]] = CompletionMeter

    def as_events(self, body: bytes) -> bytes | None:
        """See `Speech.as_events`."""
        return completion_events(body)


def read_completions_request(fields: Fields, model: Model, body_bytes: int) -> CompletionsRequest:
    """Read what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    refuse_disguised(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED)
    unusual = unusual_names(fields, _KNOWN)
    omitted = keep_back(fields, model, unusual)
    stream = boolean(fields, "stream")
    answers = max(positive(fields, "n", MAX_CHOICES) or 1, positive(fields, "best_of", MAX_CHOICES) or 1)
    inputs = read_inputs(fields, "prompt", MAX_PROMPTS)
    asked = take_ceiling(fields, ceiling_names(unusual))
    return CompletionsRequest(
        endpoint="completions",
        model=model,
        fields=fields,
        stream=stream,
        text_bytes=body_bytes,
        parts_tokens=inputs.ids,
        choices=inputs.count * answers,
        ceiling_named=asked is not None,
        output_ceiling=model.max_output_tokens if asked is None else min(asked, model.max_output_tokens),
        floor_tokens=REASONING_OUTPUT_FLOOR if model.reasoning else OUTPUT_FLOOR,
        wants_usage=stream and wants_usage(fields),
        prompts=inputs.count,
        omitted=omitted,
    )


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a field with texts or token ids holds.

    Attributes:
        count: how many prompts there are.
        ids: how many token ids; they are tokens for sure, whatever was learned of the bytes of texts.
    """

    count: int
    ids: int = 0


def read_inputs(fields: Fields, name: str, most: int) -> Inputs:
    """Read a text, a list of texts, a list of token ids, or a list of such lists.

    Raises:
        Refusal: it is missing, or something else.
    """
    value = value_of(fields, name)
    if isinstance(value, str):
        return Inputs(1)
    if not isinstance(value, list) or not value:
        raise invalid_request(f"missing_{name}", f"'{name}' must be a text, or a list of texts or of token ids.", name)
    if _are_ids(value):
        return Inputs(1, len(value))
    if len(value) > most:
        raise invalid_request("invalid_parameter", f"'{name}' has more than {most} entries. Send fewer.", name)
    lists = [one for one in value if isinstance(one, list)]
    if not all(isinstance(one, str) or _are_ids(one) for one in value):
        raise invalid_request("invalid_parameter", f"'{name}' must hold texts or token ids only.", name)
    return Inputs(len(value), sum(map(len, lists)))


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
