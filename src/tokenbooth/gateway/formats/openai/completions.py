"""Reading a request of the older completions format: one prompt or several, as texts or as token ids."""

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from tokenbooth.config.catalog import Model, WireFormat
from tokenbooth.gateway.errors import Refusal, invalid_request
from tokenbooth.gateway.formats.base import output_floor
from tokenbooth.gateway.formats.json.body import Fields, is_list, is_text, size_of
from tokenbooth.gateway.formats.json.steps import STEP_ITEMS
from tokenbooth.gateway.formats.meter import texts_named
from tokenbooth.gateway.formats.openai.base import OpenAIRequest, wants_usage
from tokenbooth.gateway.formats.openai.chat_stream import UNUSUAL_NAMES, ChatMeter
from tokenbooth.gateway.formats.public_answers import COMPLETION_ID
from tokenbooth.gateway.formats.request.parameters import (
    MAX_CHOICES,
    boolean,
    ceiling_names,
    positive,
    reject_miscased_fields,
    take_ceiling,
)
from tokenbooth.gateway.formats.request.unpriced import REFUSED_FIELDS, keep_back, refuse_unpriced, unusual_names
from tokenbooth.gateway.formats.schema import MAX_ITEMS, few_items
from tokenbooth.gateway.formats.stream_as_whole import completion_answer
from tokenbooth.gateway.formats.whole_as_stream import completion_events

MAX_PROMPTS: Final = MAX_ITEMS
_OF_IDS: Final = b"0123456789-, \t\r\n"
_LISTS: Final = re.compile(rb"\[(?:\[\])+\]")
_ID_BEHIND_LIST: Final = re.compile(rb"\],[-\d]")
_BLANKS: Final = b" \t\r\n"
# A mebibyte of token ids is searched in a millisecond.
_STEP_OF_IDS_BYTES: Final = 1024 * 1024
_MONEY: Final = frozenset(("model", "stream", "stream_options", "n", "best_of", "prompt", "max_tokens"))
# A chat's messages here would be a prompt that nobody counted.
_REFUSED: Final = (REFUSED_FIELDS - {"prompt"}) | {"messages"}
_WATCHED: Final = _MONEY | _REFUSED
_KNOWN: Final = _WATCHED - {"max_tokens"}


class CompletionMeter(ChatMeter):
    """Meters one stream of completions, whose texts have another name."""

    __slots__ = ()

    TEXT: ClassVar[re.Pattern[bytes]] = texts_named("text", "reasoning", "reasoning_content")
    DOUBTS: ClassVar[tuple[bytes, ...]] = UNUSUAL_NAMES


class CompletionsRequest(OpenAIRequest):
    """A completions request that may be priced."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.completions"
    path: ClassVar[str] = "/completions"
    answer_id_prefix: ClassVar[str] = COMPLETION_ID
    meter_class: ClassVar[type[ChatMeter]] = CompletionMeter

    def as_answer(self, body: bytes) -> bytes:
        return completion_answer(body)

    def as_events(self, body: bytes) -> bytes | None:
        return completion_events(body)


def completions_request_steps(
    fields: Fields, model: Model, body_bytes: int
) -> Generator[None, None, CompletionsRequest]:
    """Read in steps what decides about the price.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.

    Raises:
        Refusal: a field is malformed or not supported.
    """
    reject_miscased_fields(fields, _WATCHED)
    refuse_unpriced(fields, model, _REFUSED)
    unusual = unusual_names(fields, _KNOWN)
    omitted = yield from keep_back(fields, model, unusual)
    stream = boolean(fields, "stream")
    answers = max(positive(fields, "n", MAX_CHOICES) or 1, positive(fields, "best_of", MAX_CHOICES) or 1)
    inputs = yield from read_inputs(fields, "prompt", MAX_PROMPTS)
    return CompletionsRequest(
        "completions",
        model,
        fields,
        stream=stream,
        text_bytes=body_bytes,
        parts_tokens=inputs.ids,
        choices=inputs.count * answers,
        asked_ceiling=take_ceiling(fields, ceiling_names(unusual)),
        floor_tokens=output_floor(model, asks_to_think=False),
        wants_usage=stream and wants_usage(fields),
        prompts=inputs.count,
        omitted=omitted,
    )


@dataclass(frozen=True, slots=True)
class Inputs:
    """The content of a field with texts or token ids.

    Attributes:
        count: the number of prompts.
        ids: the number of token ids. Each is one prompt token.
    """

    count: int
    ids: int = 0


def read_inputs(fields: Fields, name: str, most: int) -> Generator[None, None, Inputs]:
    """Read in steps a text, a list of texts, a list of token ids, or a list of such lists.

    Token ids are counted where they stand: there may be a million of them.

    Raises:
        Refusal: it is missing, or something else.
    """
    value = fields.get(name)
    if value is not None and is_text(value):
        return Inputs(1)
    if value is None or not is_list(value):
        raise _missing(name)
    commas, rest = yield from _without_ids(value, most)
    if rest == b"[]":
        if commas == 0 and bytes(value).strip(b"[] \t\r\n") == b"":
            raise _missing(name)
        return Inputs(1, commas + 1)
    if _LISTS.fullmatch(rest):
        lists = len(rest) // 2 - 1
        if lists > most:
            raise _too_many(name, most)
        if (yield from _has_id_among_lists(value)):
            raise _mixed(name)
        return Inputs(lists, commas + 1)
    return (yield from _read_items(value, name, most))


def _read_items(value: msgspec.Raw, name: str, most: int) -> Generator[None, None, Inputs]:
    """Texts, and lists of token ids among them."""
    try:
        items = few_items(value)
    except msgspec.ValidationError:
        raise _too_many(name, most) from None
    ids = 0
    for number, item in enumerate(items, 1):
        if number % STEP_ITEMS == 0:
            yield
        if is_text(item):
            continue
        commas, rest = yield from _without_ids(item, 1)
        if rest != b"[]":
            raise _mixed(name)
        ids += commas + 1
    return Inputs(len(items), ids)


def _without_ids(value: msgspec.Raw, most: int) -> Generator[None, None, tuple[int, bytes]]:
    """The number of commas, and what is left without commas, numbers and blanks; cut off where that is too long."""
    view, commas, rest = memoryview(value), 0, b""
    for start in range(0, size_of(value), _STEP_OF_IDS_BYTES):
        if start:
            yield
        part = bytes(view[start : start + _STEP_OF_IDS_BYTES])
        commas += part.count(b",")
        rest += part.translate(None, _OF_IDS)
        if len(rest) > 2 * most + 4:
            break
    return commas, rest


def _has_id_among_lists(value: msgspec.Raw) -> Generator[None, None, bool]:
    """Whether a list of lists of token ids has an id beside the lists, which some server takes for one more prompt."""
    # The first place, behind the outer bracket, is like one behind a list.
    view, behind = memoryview(value)[1:], b"],"
    for start in range(0, len(view), _STEP_OF_IDS_BYTES):
        if start:
            yield
        part = behind + bytes(view[start : start + _STEP_OF_IDS_BYTES]).translate(None, _BLANKS)
        if _ID_BEHIND_LIST.search(part):
            return True
        behind = part[-2:]
    return False


def _mixed(name: str) -> Refusal:
    return invalid_request("invalid_parameter", f"'{name}' must hold texts or token ids only.", name)


def _missing(name: str) -> Refusal:
    return invalid_request(f"missing_{name}", f"'{name}' must be a text, or a list of texts or of token ids.", name)


def _too_many(name: str, most: int) -> Refusal:
    return invalid_request("invalid_parameter", f"'{name}' has more than {most} entries. Send fewer.", name)
