"""What every route of the sandbox shares: JSON documents, bodies and answers."""

import json
from typing import TypeAlias

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from tokenbooth_sandbox.stripe.failure import StripeFailure

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
JsonObject: TypeAlias = dict[str, JsonValue]

_MAX_BODY = 256 * 1024


async def read_body(http: HttpRequest) -> bytes:
    """The request's body. Raises `StripeFailure` above 256 KiB."""
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise StripeFailure("Request body is too large.", status=413)
    return bytes(body)


def json_answer(body: JsonObject, status: int = 200) -> Response:
    """A JSON document."""
    return Response(json.dumps(body), status, media_type="application/json")
