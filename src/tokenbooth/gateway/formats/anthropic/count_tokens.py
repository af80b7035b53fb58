"""Counting the tokens of a messages request without running it: free, and estimated by us.

No model is asked: an answer within a few percent is what this is used for, and it must not cost anybody anything.
"""

from collections.abc import Generator
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.formats.anthropic.messages import RawHeaders, messages_request_steps
from tokenbooth.gateway.formats.json.body import Fields, raw
from tokenbooth.gateway.formats.json.steps import at_once

_BYTES_PER_TOKEN: Final = 4


def count_tokens(fields: Fields, model: Model, body_bytes: int, headers: RawHeaders) -> bytes:
    """The body of the answer.

    Args:
        fields: the decoded top level.
        model: the model that it names.
        body_bytes: the size of the body.
        headers: the client's.

    Raises:
        Refusal: what could not be asked either.
    """
    return at_once(count_tokens_steps(fields, model, body_bytes, headers))


def count_tokens_steps(
    fields: Fields, model: Model, body_bytes: int, headers: RawHeaders
) -> Generator[None, None, bytes]:
    """See `count_tokens`; in steps."""
    # The ceiling is required where an answer is written; here it is not even known.
    request = yield from messages_request_steps({**fields, "max_tokens": raw(1)}, model, body_bytes, headers)
    prompt = -(-request.text_bytes // _BYTES_PER_TOKEN) + request.parts_tokens
    return msgspec.json.encode({"input_tokens": min(prompt, model.context_tokens)})
