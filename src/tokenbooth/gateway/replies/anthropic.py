"""Anthropic's wire format: its envelope of errors, its list of models, its headers of limits."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tokenbooth.config.catalog import Model
from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.gateway.errors import Category, Refusal
from tokenbooth.gateway.replies.limit_headers import limit_lines
from tokenbooth.kit.clock import iso_ms

OVERLOADED_STATUS: Final = 529
_OVERLOADED: Final = "overloaded"
_TYPES: Final = {
    Category.AUTHENTICATION: "authentication_error",
    Category.PERMISSION: "permission_error",
    Category.INVALID: "invalid_request_error",
    Category.TOO_LARGE: "request_too_large",
    Category.NOT_FOUND: "not_found_error",
    Category.RATE: "rate_limit_error",
    Category.BUDGET: "rate_limit_error",
    Category.BILLING: "billing_error",
    Category.UPSTREAM: "api_error",
    Category.TIMEOUT: "timeout_error",
    Category.OVERLOADED: "api_error",
}
_MODELS_CREATED_AT: Final = "2023-11-14T22:13:20Z"


def error_status(refusal: Refusal) -> int:
    """The HTTP status of a refusal: an overloaded upstream has a status of its own in this format."""
    return OVERLOADED_STATUS if _is_overloaded(refusal) else refusal.status


def error_body(refusal: Refusal, request_id: str | None = None) -> bytes:
    """The envelope of a refusal; our stable `code` stands beside the format's `type`."""
    kind = "overloaded_error" if _is_overloaded(refusal) else _TYPES[refusal.category]
    envelope: dict[str, object] = {
        "type": "error",
        "error": {"type": kind, "message": refusal.message, "code": refusal.code, "param": refusal.param},
    }
    if request_id is not None:
        envelope["request_id"] = request_id
    return msgspec.json.encode(envelope)


def _is_overloaded(refusal: Refusal) -> bool:
    """Whether the upstream is; the words of an upstream's own refusal are not taken for ours."""
    return refusal.category is Category.OVERLOADED and refusal.code == _OVERLOADED


def error_event(refusal: Refusal) -> bytes:
    """The event that tells the SDKs of an error in mid-stream."""
    return b"event: error\ndata: " + error_body(refusal) + b"\n\n"


def model_object(model: Model) -> dict[str, object]:
    """A model as `GET /anthropic/v1/models` shows it."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _MODELS_CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
    }


def model_list(models: Iterable[Model]) -> bytes:
    """The body of `GET /anthropic/v1/models`: one page with all of them."""
    shown = [model_object(model) for model in models]
    ids = [model["id"] for model in shown] or [None]
    return msgspec.json.encode({"data": shown, "has_more": False, "first_id": ids[0], "last_id": ids[-1]})


def all_limit_lines(key: KeyState, pool: Pool | None, monotonic_us: int, now_us: int) -> bytes:
    """The header lines of both formats; here resets are instants.

    Args:
        key: who asks.
        pool: what pays, if that was looked up.
        monotonic_us: the time that rates go by, microseconds.
        now_us: UTC microseconds.
    """
    lines = limit_lines(key, pool, monotonic_us)
    requests, tokens, _ = key.rates()
    for rate, unit in ((requests, b"requests"), (tokens, b"tokens")):
        if rate is None:
            continue
        left = max(rate.limit - rate.used(monotonic_us), 0)
        reset = iso_ms(now_us + rate.reset_us(monotonic_us)).encode()
        for name, value in ((b"limit", b"%d" % rate.limit), (b"remaining", b"%d" % left), (b"reset", reset)):
            lines += b"anthropic-ratelimit-%b-%b: %b\r\n" % (unit, name, value)
    return lines
