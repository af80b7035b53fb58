"""The bits of HTTP that every route of the sandbox shares."""

import json

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from tokenbooth.sandbox.stripe.failure import StripeFailure
from tokenbooth.sandbox.stripe.json_types import JsonObject

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
