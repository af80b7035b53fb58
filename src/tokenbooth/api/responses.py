"""The form of every answer of this plane: the success envelope, the error envelope, and their headers.

An answer never shows a stack trace, a key or a digest.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from starlette.responses import Response

from tokenbooth.api.schemas import Payload, list_json
from tokenbooth.kit.errors import Conflict, TokenboothError, Unauthenticated
from tokenbooth.services.idempotency import refusal
from tokenbooth.store.accounts.idempotency import Answer

_MEDIA_TYPE: Final = "application/json"
_WORTH_WAITING_S: Final = 60


def success(payload: Payload | Sequence[Payload], *, status: int = 200) -> Answer:
    """The answer with this payload under `data`; the fields of an object stand at the top level, too."""
    if isinstance(payload, Payload):
        data = payload.to_json()
        return Answer(status=status, body=f'{{"success":true,{data[1:-1]},"data":{data}}}')
    return Answer(status=status, body=f'{{"success":true,"data":[{list_json(payload)}]}}')


async def long_success(make: Callable[[], Payload | Sequence[Payload]]) -> Answer:
    """As `success`, for what may have thousands of rows: made and written off the event loop."""
    return await asyncio.to_thread(lambda: success(make()))


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
        if error.retry_after_s > _WORTH_WAITING_S:
            # Clients that repeat a 429 by themselves would sleep for hours.
            headers["x-should-retry"] = "false"
    return respond(refusal(error), headers)
