"""The form of every answer of this plane: the success envelope, the error envelope, and their headers.

An answer never shows a stack trace, a key or a digest.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.responses import Response

from tokenbooth.api.schemas import Payload
from tokenbooth.kit.errors import Conflict, TokenboothError, Unauthenticated
from tokenbooth.services.idempotency import refusal
from tokenbooth.store.accounts.idempotency import Answer

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]
"""What an answer is made of; money and times are strings, so there are no floats."""

_Item = Payload | Mapping[str, Json]
_MEDIA_TYPE: Final = "application/json"


def success(payload: _Item | Sequence[_Item], *, status: int = 200) -> Answer:
    """The answer with this payload under `data`; the fields of an object stand at the top level, too."""
    data = _dumped(payload) if isinstance(payload, Payload | Mapping) else [_dumped(item) for item in payload]
    spread = data if isinstance(data, Mapping) else {}
    return Answer(status=status, body=_compact({"success": True, **spread, "data": data}))


def respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    """The HTTP response of an answer."""
    response = Response(answer.body.encode(), status_code=answer.status, media_type=_MEDIA_TYPE, headers=headers)
    if answer.status == Conflict.status:
        response.headers["x-should-retry"] = "false"
    if answer.status == Unauthenticated.status:
        response.headers["www-authenticate"] = "Bearer"
    return response


def respond_error(error: TokenboothError) -> Response:
    """The HTTP response of an error."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(math.ceil(error.retry_after_s), 1))
    return respond(refusal(error), headers)


def _dumped(payload: Payload | Mapping[str, Json]) -> Mapping[str, Json]:
    if isinstance(payload, Payload):
        return payload.model_dump(mode="json", exclude_unset=True)
    return payload


def _compact(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
