"""Counting the tokens of a messages request without running it. The count is free, and an estimate of ours.

No model is asked: clients need an answer within a few percent, and it must not cost anything.
"""

from collections.abc import Generator

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.formats.anthropic.messages import messages_request_steps
from tokenbooth.gateway.formats.base import estimated_tokens
from tokenbooth.gateway.formats.json.body import Fields, encode, raw
from tokenbooth.http.exchange import RawHeaders


def count_tokens_steps(
    fields: Fields, model: Model, body_bytes: int, headers: RawHeaders
) -> Generator[None, None, bytes]:
    """The body of the answer, read in steps.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.
        headers: the client's.

    Raises:
        Refusal: a request for an answer would be refused, too.
    """
    # The ceiling is required where an answer is written; here it is not even known.
    request = yield from messages_request_steps({**fields, "max_tokens": raw(1)}, model, body_bytes, headers)
    prompt = estimated_tokens(request.text_bytes) + request.parts_tokens
    return encode({"input_tokens": min(prompt, model.context_tokens)})
