"""OpenAI's words for what the data plane says by itself: errors, and the list of models."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.errors import Category, Refusal

_TYPES: Final = {
    Category.AUTHENTICATION: "authentication_error",
    Category.PERMISSION: "permission_error",
    Category.INVALID: "invalid_request_error",
    Category.TOO_LARGE: "invalid_request_error",
    Category.NOT_FOUND: "invalid_request_error",
    Category.RATE: "rate_limit_error",
    Category.BUDGET: "insufficient_quota",
    Category.BILLING: "insufficient_quota",
    Category.UPSTREAM: "api_error",
    Category.TIMEOUT: "timeout_error",
    Category.OVERLOADED: "service_unavailable_error",
}
_MODELS_CREATED_S: Final = 1_700_000_000


def error_body(refusal: Refusal) -> bytes:
    """The error object of a refusal."""
    return msgspec.json.encode(
        {
            "error": {
                "message": refusal.message,
                "type": _TYPES[refusal.category],
                "param": refusal.param,
                "code": refusal.code,
            }
        }
    )


def error_event(refusal: Refusal) -> bytes:
    """The event that tells the SDKs of an error in mid-stream."""
    return b"data: " + error_body(refusal) + b"\n\n"


def model_object(model: Model) -> dict[str, object]:
    """A model as `GET /v1/models` shows it."""
    return {"id": model.name, "object": "model", "created": _MODELS_CREATED_S, "owned_by": "tokenbooth"}


def model_list(models: Iterable[Model]) -> bytes:
    """The body of `GET /v1/models`."""
    return msgspec.json.encode({"object": "list", "data": [model_object(model) for model in models]})
