"""Reading an embeddings request: inputs only, nothing is written and nothing is streamed."""

from collections.abc import Generator
from typing import ClassVar, Final

from tokenbooth.config.catalog import Model, Route, WireFormat
from tokenbooth.domain.usage import Usage, from_openai
from tokenbooth.gateway.errors import invalid_request
from tokenbooth.gateway.formats.base import UpstreamAnswer
from tokenbooth.gateway.formats.json.body import Fields
from tokenbooth.gateway.formats.openai.base import OpenAIRequest, read_chat_answer
from tokenbooth.gateway.formats.openai.completions import read_inputs
from tokenbooth.gateway.formats.public_answers import EMBEDDINGS_ID
from tokenbooth.gateway.formats.request.parameters import boolean, reject_miscased_fields
from tokenbooth.gateway.formats.request.unpriced import REFUSED_FIELDS, keep_back, refuse_unpriced, unusual_names
from tokenbooth.gateway.formats.schema import MAX_ITEMS

MAX_INPUTS: Final = MAX_ITEMS
_MONEY: Final = frozenset(("model", "input", "stream"))
# Inputs under other names would be read by some servers and counted by nobody.
_REFUSED: Final = REFUSED_FIELDS | {"messages", "images"}
_WATCHED: Final = _MONEY | _REFUSED


class EmbeddingsRequest(OpenAIRequest):
    """An embeddings request that may be priced."""

    __slots__ = ()

    wire: ClassVar[WireFormat] = "openai.embeddings"
    path: ClassVar[str] = "/embeddings"
    answer_id_prefix: ClassVar[str] = EMBEDDINGS_ID

    def read_answer(self, body: bytes) -> UpstreamAnswer:
        return self.answer_of(read_chat_answer(body, embeds=True), body)

    def usage_of(self, reported: dict[str, object]) -> Usage:
        # An embedding has a prompt alone; some servers report only a total.
        usage = from_openai(reported)
        if not (usage.completion_tokens or usage.untold_tokens):
            return usage
        if usage.prompt_tokens:
            return Usage(usage.prompt_tokens, 0, usage.cached_tokens, usage.cache_write_tokens)
        return Usage(0, 0, untold_tokens=usage.completion_tokens + usage.untold_tokens)

    def text_bytes_in(self, body: bytes) -> int:
        # Nothing is written.
        return 0

    def sent_ceiling(self, route: Route, clamped_output_tokens: int | None) -> int | None:
        # Nothing is written, so nothing has a ceiling.
        return None


def embeddings_request_steps(fields: Fields, model: Model, body_bytes: int) -> Generator[None, None, EmbeddingsRequest]:
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
    omitted = yield from keep_back(fields, model, unusual_names(fields, _WATCHED))
    if boolean(fields, "stream"):
        raise invalid_request("invalid_parameter", "Embeddings cannot be streamed. Remove 'stream'.", "stream")
    inputs = yield from read_inputs(fields, "input", MAX_INPUTS)
    return EmbeddingsRequest(
        "embeddings",
        model,
        fields,
        stream=False,
        text_bytes=body_bytes,
        parts_tokens=inputs.ids,
        asked_ceiling=0,
        floor_tokens=0,
        prompts=inputs.count,
        omitted=omitted,
    )
