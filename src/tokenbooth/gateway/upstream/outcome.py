"""What an answer with an error, or the lack of an answer, says of the upstream that was asked. Pure."""

from dataclasses import dataclass
from typing import Final

from tokenbooth.gateway.errors import (
    FailedAnswer,
    UpstreamFailure,
    UpstreamReportedError,
    UpstreamTimedOut,
    UpstreamUnreachable,
)
from tokenbooth.gateway.upstream.base import AnswerHead
from tokenbooth.gateway.upstream.call_size import CallSize, is_too_large
from tokenbooth.gateway.upstream.retry_after import retry_after_us

MAY_BE_TOO_LARGE: Final = frozenset((402, 429, 503, 529))
"""Statuses with which upstreams refuse a single call for its size, and with which they refuse all of them."""
_REFUSES_US: Final = frozenset((401, 402, 403))
# A credential is the same for every model and customer. A 402 or 403 may be about one model, or one call's words.
_REFUSES_CREDENTIAL: Final = 401
_CUSTOMERS: Final = frozenset((400, 413, 422))
_ASKS_FOR_REST: Final = frozenset((429, 503, 529))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call says of the upstream that it asked.

    Attributes:
        error: what happened, in a few words; None for nothing that the operator should see.
        works: whether the upstream works, and the call was wrong.
        counts: whether it is a failure that leads to a rest when there are several.
        asked_us: for how long the upstream wants to be left alone, by its own word, in microseconds.
        rejects_us: whether it refuses the operator's credential, account or rights.
        is_whole: whether it concerns the upstream with all its models, and no customer can bring it about.
    """

    error: str | None = None
    works: bool = False
    counts: bool = False
    asked_us: int = 0
    rejects_us: bool = False
    is_whole: bool = False


def outcome_of_status(response: AnswerHead, body: bytes | None, size: CallSize, now_us: int) -> Outcome:
    """What an answer with another status than 200 says.

    Args:
        response: its head.
        body: what it says with a status of `MAY_BE_TOO_LARGE`; None where that was not read.
        size: the call's.
        now_us: the time, UTC microseconds.
    """
    status = response.status
    if 400 <= status < 500 and status not in _REFUSES_US and status != 429:
        # It works; what it was asked is wrong, by the customer or by us.
        return Outcome(None if status in _CUSTOMERS else f"HTTP {status}", works=True)
    if status in MAY_BE_TOO_LARGE and is_too_large(size, body or b"", response):
        return Outcome(f"HTTP {status} for a call that is too large")
    wait_us = retry_after_us(response, now_us) if status in _ASKS_FOR_REST else None
    return Outcome(
        f"HTTP {status}",
        counts=True,
        asked_us=wait_us or 0,
        rejects_us=status in _REFUSES_US,
        is_whole=status == _REFUSES_CREDENTIAL,
    )


def outcome_of_failure(failure: UpstreamFailure, size: CallSize) -> Outcome:
    """What it says that no answer came, or not to its first byte; `size` is the call's."""
    match failure:
        case UpstreamUnreachable():
            return Outcome("no connection", counts=True, is_whole=True)
        case UpstreamTimedOut():
            return Outcome("no answer in time", counts=True)
        case FailedAnswer() | UpstreamReportedError():
            if is_too_large(size, failure.body):
                return Outcome("an error for a call that is too large")
    return Outcome("a broken answer", counts=True)
