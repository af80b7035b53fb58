"""Counting the tokens of a messages request without running it: free, and estimated by us.

No model is asked: an answer within a few percent is what this is used for, and it must not cost anybody anything.
"""

from typing import Final

import msgspec

from tokenbooth.catalog import Model
from tokenbooth.gateway.body import Fields, raw
from tokenbooth.gateway.messages_request import RawHeaders, read_messages_request

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
    # The ceiling is required where an answer is written; here it is not even known.
    request = read_messages_request({**fields, "max_tokens": raw(1)}, model, body_bytes, headers)
    prompt = -(-request.text_bytes // _BYTES_PER_TOKEN) + request.parts_tokens
    return msgspec.json.encode({"input_tokens": min(prompt, model.context_tokens)})
