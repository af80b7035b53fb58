"""What every route of the sandbox shares: JSON documents, bodies, answers, and refusals in Stripe's form.

Refusals are raised anywhere below the dispatcher and rendered by it alone.
"""

import json
from typing import Literal, TypeAlias

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
JsonObject: TypeAlias = dict[str, JsonValue]
FailureType = Literal["invalid_request_error", "idempotency_error", "card_error"]

_MAX_BODY = 256 * 1024


class StripeFailure(Exception):
    """An answer that is an error object."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: FailureType = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        decline_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind: FailureType = kind
        self.code = code
        self.param = param
        self.decline_code = decline_code

    def body(self, about: JsonObject | None = None) -> JsonObject:
        """The error document; absent fields are left out, as Stripe does. `about` is added to the error."""
        error: JsonObject = {"message": self.message, "type": self.kind, **(about or {})}
        optional = {"code": self.code, "param": self.param, "decline_code": self.decline_code}
        error.update({name: value for name, value in optional.items() if value is not None})
        return {"error": error}


def no_such(what: str, object_id: str, param: str = "id") -> StripeFailure:
    """The refusal for an id that does not exist, with status 404 where it is the path's own id."""
    return StripeFailure(
        f"No such {what}: '{object_id}'",
        status=404 if param == "id" else 400,
        code="resource_missing",
        param=param,
    )


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
