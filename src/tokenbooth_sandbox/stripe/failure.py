"""Refusals in Stripe's form. Raised anywhere below the dispatcher, rendered by it alone."""

from typing import Literal

from tokenbooth_sandbox.stripe.http import JsonObject

FailureType = Literal["invalid_request_error", "idempotency_error", "card_error"]


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
