"""What goes wrong in the data plane: refusals as values, which the wire formats render, and failures of upstreams."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from tokenbooth.domain.money import format_usd

_LONGEST_HELPFUL_WAIT_US: Final = 60_000_000


DELETED_KEY: Final = (
    "This API key does not exist or was deleted. Check the key, or create one with POST /api/keys/credit."
)


class Category(Enum):
    """What kind of refusal it is; each wire format has its own word for it."""

    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    NOT_FOUND = "not_found"
    RATE = "rate"
    BUDGET = "budget"
    BILLING = "billing"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"


class Refusal(Exception):
    """A request that is not served; it consumed nothing.

    Args:
        status: the HTTP status.
        category: for the wire format's `type`.
        code: stable, for programs.
        message: what happened, and what to do.
        param: the field that it is about.
        retry_after_us: when it makes sense to try again, microseconds from now.
        retry: what `x-should-retry` says; None leaves it out.
    """

    def __init__(
        self,
        status: int,
        category: Category,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_us: int | None = None,
        retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_us = retry_after_us
        self.retry = retry
        self.extra_lines = b""

    def header_lines(self) -> bytes:
        """The header lines of the refusal, with when and whether to retry."""
        lines = self.extra_lines
        if self.retry_after_us is not None:
            milliseconds = -(-self.retry_after_us // 1_000)
            seconds = -(-self.retry_after_us // 1_000_000)
            lines += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (seconds, milliseconds)
        retry = self.retry
        if retry is None and self.retry_after_us is not None and self.retry_after_us > _LONGEST_HELPFUL_WAIT_US:
            # Some SDKs sleep for as long as they are told, however long it is.
            retry = False
        if retry is not None:
            lines += b"x-should-retry: %b\r\n" % (b"true" if retry else b"false")
        return lines


def invalid_key(message: str) -> Refusal:
    """401: no key, or none that we know."""
    return Refusal(401, Category.AUTHENTICATION, "invalid_api_key", message)


def invalid_request(code: str, message: str, param: str | None = None) -> Refusal:
    """400: the body is wrong."""
    return Refusal(400, Category.INVALID, code, message, param=param)


def unsupported_parameter(name: str) -> Refusal:
    """400: a field that would buy something that this service does not price."""
    return invalid_request(
        "unsupported_parameter",
        f"The parameter '{name}' is not supported for this model here. Remove it.",
        name,
    )


def unavailable() -> Refusal:
    """503: our store is away, or too many charges wait for it."""
    return Refusal(
        503,
        Category.OVERLOADED,
        "temporarily_unavailable",
        "The service cannot check this request right now. Try again in a few seconds.",
        retry_after_us=2_000_000,
    )


def unsupported_endpoint(model: str, endpoint: str) -> Refusal:
    """400: no upstream of the model speaks the format of the endpoint."""
    return invalid_request(
        "unsupported_endpoint",
        f"The model '{model}' is not served in this format ({endpoint}) here. Use another endpoint, or another model.",
        "model",
    )


def upstreams_busy(wait_us: int) -> Refusal:
    """503: the model's upstreams have as many calls as they may, or asked to be left alone."""
    return Refusal(
        503,
        Category.OVERLOADED,
        "overloaded",
        f"The model's servers take no more calls right now. Try again in {_seconds(wait_us)}.",
        retry_after_us=wait_us,
    )


def too_many_requests(used: int, limit: int, own: int) -> Refusal:
    """503: the process serves as many requests as it may, or as many of one account as its share is."""
    return _busy(
        f"The service is busy: {used} of {limit} requests at once are open, {own} of them of this account. "
        "Try again in a second."
    )


def too_many_look_ups(limit: int) -> Refusal:
    """503: as many keys are looked up as may be at once."""
    return _busy(f"The service is busy: {limit} keys are being looked up. Try again in a second.")


def no_room_for_body() -> Refusal:
    """503: the process keeps as much of large bodies as it may."""
    return _busy("The service is busy with large requests. Try again in a second, or send a smaller one.")


def _busy(message: str) -> Refusal:
    """503: one of the bounds of the process is reached, for a moment."""
    return Refusal(503, Category.OVERLOADED, "overloaded", message, retry_after_us=1_000_000, retry=True)


def too_many_streams(used: int, limit: int) -> Refusal:
    """429: the key has as many streams as it may."""
    return Refusal(
        429,
        Category.RATE,
        "too_many_streams",
        f"This key has {used} of {limit} streams at once open. Let one end, or close it, then try again.",
        retry_after_us=1_000_000,
    )


def rate_limited(what: str, scope: str, used: int, limit: int, wait_us: int | None) -> Refusal:
    """429: too many requests or tokens in the last minute; `wait_us` None: this request alone is above the limit."""
    if wait_us is None:
        return Refusal(
            429,
            Category.RATE,
            "rate_limit_exceeded",
            f"This request alone counts for more {what} than the limit of this {scope}: {limit} {what} per minute. "
            "Send a shorter prompt or a smaller output limit.",
            retry=False,
        )
    return Refusal(
        429,
        Category.RATE,
        "rate_limit_exceeded",
        f"Rate limit reached for this {scope}: {used} of {limit} {what} per minute are used. "
        f"Try again in {_seconds(wait_us)}.",
        retry_after_us=wait_us,
    )


@dataclass(frozen=True, slots=True)
class Funds:
    """What a money refusal tells: where, spent, held and limit, in nano-USD."""

    scope: str
    spent_nano: int
    held_nano: int
    limit_nano: int


def budget_reserved(funds: Funds) -> Refusal:
    """429: the money is there, but held for calls in flight."""
    return Refusal(
        429,
        Category.BUDGET,
        "budget_reserved",
        f"The rest of this {funds.scope} is reserved by calls in flight: ${format_usd(funds.spent_nano)} spent and "
        f"${format_usd(funds.held_nano)} reserved of ${format_usd(funds.limit_nano)}. Try again in a second.",
        retry_after_us=1_000_000,
        retry=True,
    )


def budget_exceeded(funds: Funds, window: str, resets_at: str, wait_us: int) -> Refusal:
    """429: the window's budget is spent."""
    return Refusal(
        429,
        Category.BUDGET,
        "budget_exceeded",
        f"Budget has been exceeded: this subscription has spent ${format_usd(funds.spent_nano)} of its "
        f"${format_usd(funds.limit_nano)} per {window}, and what is left does not pay this request. "
        f"The budget resets at {resets_at}.",
        retry_after_us=wait_us,
        retry=False,
    )


def key_budget_exceeded(funds: Funds) -> Refusal:
    """402: the key's lifetime cap is spent."""
    return Refusal(
        402,
        Category.BILLING,
        "key_budget_exceeded",
        f"This key has spent ${format_usd(funds.spent_nano)} of its maxBudget of ${format_usd(funds.limit_nano)}, "
        "and what is left does not pay this request. Create a key with a larger maxBudget.",
        retry=False,
    )


def insufficient_credits(funds: Funds, needed_nano: int) -> Refusal:
    """402: the account's credit does not pay the request."""
    left_nano = max(funds.limit_nano - funds.spent_nano, 0)
    return Refusal(
        402,
        Category.BILLING,
        "insufficient_credits",
        f"The account's credit of ${format_usd(left_nano)} does not pay this request, which may cost "
        f"${format_usd(needed_nano)}. Top up with POST /api/billing/topup.",
        retry=False,
    )


def bounded_without_money(spent: Refusal, most_bytes: int, most_calls: int) -> Refusal:
    """The refusal `spent`, before the body is read: it is too large for a call without money, or one call too many."""
    return Refusal(
        spent.status,
        spent.category,
        spent.code,
        f"There is no money for this call. Without credit, or with a spent budget, a body may have {most_bytes} bytes "
        f"at most, and {most_calls} calls may be open at once. Top up with POST /api/billing/topup.",
        retry_after_us=spent.retry_after_us,
        retry=False,
    )


def _seconds(wait_us: int) -> str:
    return f"{-(-wait_us // 1_000) / 1_000:g}s"


class UpstreamFailure(Exception):
    """The upstream did not do its part."""


class UpstreamUnreachable(UpstreamFailure):
    """No connection: the request was not sent, so another upstream may be tried."""


class UpstreamTimedOut(UpstreamFailure):
    """No answer, or silence in the middle; it may have run (and billed) the request.

    Before the answer has begun the connection is still there, and `UpstreamCall.wait_on` goes on waiting.
    """


class UpstreamBroke(UpstreamFailure):
    """The connection ended before the answer did, or the answer is out of bounds."""


class FailedAnswer(UpstreamFailure):
    """An answer with status 200 that is a failure: nothing was written, so another upstream may be asked.

    Attributes:
        body: what came in the place of the answer.
    """

    def __init__(self, words: str, body: bytes = b"") -> None:
        UpstreamFailure.__init__(self, words)
        self.body = body


class UpstreamReportedError(UpstreamFailure):
    """An event of a stream tells a failure of the upstream.

    Attributes:
        body: what came with the event.
    """

    def __init__(self, words: str, body: bytes = b"") -> None:
        UpstreamFailure.__init__(self, words)
        self.body = body


class ClientHungUp(Exception):
    """A wait for an upstream ended by `interrupt`, because nobody waits for the answer any more."""
