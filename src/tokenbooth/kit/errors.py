"""Errors that a caller is told, with a stable `code`. Raised where the rule is; API, dashboard and gateway render them.

A message says what happened and what to do now. It never holds a key, a digest, or anything of a prompt.
"""

from collections.abc import Mapping
from typing import ClassVar


class TokenboothError(Exception):
    """The base of every error that has an answer.

    Args:
        code: stable, for programs.
        message: for people.
        param: the field of the request that it is about.
        retry_after_s: how long to wait before trying again makes sense, in seconds.
        details: further fields of the error, as programs read them.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.details = details or {}


class InvalidRequest(TokenboothError):
    """The request itself is wrong."""

    status = 400
    type = "invalid_request_error"


class Unauthenticated(TokenboothError):
    """No credential, or not a valid one."""

    status = 401
    type = "authentication_error"


class PaymentRequired(TokenboothError):
    """Money is missing."""

    status = 402
    type = "payment_required_error"


class Forbidden(TokenboothError):
    """The credential is valid but may not do this."""

    status = 403
    type = "permission_error"


class NotFound(TokenboothError):
    """There is no such thing, or it is another account's."""

    status = 404
    type = "not_found_error"


class MethodNotAllowed(TokenboothError):
    """The path exists, the method does not."""

    status = 405
    type = "invalid_request_error"


class Conflict(TokenboothError):
    """The state does not allow it; repeating it does not help."""

    status = 409
    type = "conflict_error"


class TooLarge(TokenboothError):
    """The body is above the limit."""

    status = 413
    type = "request_too_large"


class UnsupportedMedia(TokenboothError):
    """The body's type or encoding is not accepted."""

    status = 415
    type = "invalid_request_error"


class Unprocessable(TokenboothError):
    """Well formed, but it cannot be done."""

    status = 422
    type = "invalid_request_error"


class RateLimited(TokenboothError):
    """Too many requests."""

    status = 429
    type = "rate_limit_error"


class ProviderFailed(TokenboothError):
    """Stripe, the chain's node or an upstream failed."""

    status = 502
    type = "api_error"


class Unavailable(TokenboothError):
    """Something of ours is away or not configured."""

    status = 503
    type = "api_error"


class ProviderTimeout(TokenboothError):
    """Stripe, the chain's node or an upstream did not answer in time."""

    status = 504
    type = "timeout_error"


class StoreUnavailable(Unavailable):
    """The store does not answer; the work was not done, or (at a lost commit) is not known to be done."""

    def __init__(self, message: str = "The service's database is not available. Try again in a few seconds.") -> None:
        super().__init__("temporarily_unavailable", message, retry_after_s=2)
