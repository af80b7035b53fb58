"""Carrying out a request once, however often it arrives with the same idempotency key.

An effect that is only ours goes through `run_idempotent_tx`: check, effect and record are one transaction. Work that
asks a payment provider in between goes through `run_idempotent`: it claims first, works, and completes the claim in its
last write. Both take None as the claim of a request without a key.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sqlalchemy import Connection

from tokenbooth.kit.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    RateLimited,
    TokenboothError,
    Unprocessable,
)
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.audit_log import Entry, record_entry
from tokenbooth.store.accounts.idempotency import Answer, Attempt, Claim, begin, complete, release

T = TypeVar("T")

_FIRST_REFUSAL: Final = 400
_SERVER_ERROR: Final = 500
_ERROR_FIELDS: Final = ("message", "type", "code", "param")
_KEPT_REFUSALS: Final = (InvalidRequest, PaymentRequired, Forbidden, NotFound, Conflict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request is answered, and what its repetition is answered; `replay` None lets it run again."""

    answer: Answer
    replay: Answer | None


def replayed(answer: Answer) -> Outcome:
    """The outcome that every repetition is answered, too."""
    return Outcome(answer=answer, replay=answer)


@dataclass(frozen=True, slots=True)
class IdempotentAttempt(Generic[T]):
    """One attempt at a request; its last write completes it with what came of it.

    Attributes:
        lease: the right to carry out the request now.
        render: what the request and its repetitions are answered when this came of it.
        entry: what the audit log says when it has succeeded.
    """

    lease: Attempt
    render: Callable[[T], Outcome]
    entry: Entry | None = None

    def provider_key(self, purpose: str) -> str:
        """An idempotency key for a call to a payment provider; `purpose` tells calls of a request apart."""
        return self.lease.provider_key(purpose)

    def derived_id(self, prefix: IdPrefix) -> str:
        """An id of ours that every attempt at this request gets again."""
        return self.lease.derived_id(prefix)

    def complete(self, conn: Connection, result: T) -> T:
        """End the attempt in the transaction of its effect.

        Raises:
            Conflict: the attempt took so long that another one took over; the transaction must not commit.
        """
        outcome = self.render(result)
        # A repetition may be refused because the answer shows a key, which is not kept: the first one counts.
        if self.entry is not None and outcome.replay is not None and outcome.answer.status < _FIRST_REFUSAL:
            record_entry(conn, self.entry)
        complete(conn, self.lease, outcome.replay)
        return result


async def run_idempotent_tx(
    context: ServiceContext, claim: Claim | None, effect: Callable[[Connection], Outcome]
) -> Answer:
    """Carry out an effect of ours in one transaction with its record, then let the caches see it.

    An error that `effect` raises undoes what it wrote; unless it is a 429 or a 5xx, repetitions get it again.

    Raises:
        Conflict: the key was used with another body, or its first request still runs.
        TokenboothError: as `effect` raises, when there is nothing to keep.
    """
    answer = await context.store.write(_run_tx, claim, effect, now_us=context.clock.now_us())
    await context.live.refresh()
    return answer


async def run_idempotent(
    context: ServiceContext,
    claim: Claim | None,
    work: Callable[[IdempotentAttempt[T]], Awaitable[T]],
    render: Callable[[T], Outcome],
    *,
    entry: Entry | None = None,
) -> Answer:
    """Carry out work that leaves the process, at most once at a time for a claim.

    A claim whose process died is taken over after a minute.

    Args:
        context: the dependencies.
        claim: what the request claims.
        work: uses `provider_key` and `derived_id` of the attempt for what must be the same in a later one, and
            completes it in its last write. When it raises a 429 or a 5xx, the claim is released and a repetition runs
            again; any other error is kept for repetitions.
        render: what the request and its repetitions are answered; a function of the result alone.
        entry: what the audit log says when the work has succeeded.

    Raises:
        Conflict: the key was used with another body, or its first request still runs.
        TokenboothError: as `work` raises.
    """
    begun = await context.store.write(begin, claim, now_us=context.clock.now_us())
    if isinstance(begun, Answer):
        return begun
    try:
        result = await work(IdempotentAttempt(begun, render, entry))
    except TokenboothError as error:
        await context.store.write(_end, begun, error)
        raise
    except Exception:
        await context.store.write(release, begun)
        raise
    await context.live.refresh()
    return render(result).answer


def refusal(error: TokenboothError) -> Answer:
    """The answer that tells an error, and that is kept for repetitions."""
    described = {
        "message": error.message,
        "type": error.type,
        "code": error.code,
        "param": error.param,
        **error.details,
    }
    body = json.dumps({"success": False, "error": described}, ensure_ascii=False, separators=(",", ":"))
    return Answer(status=error.status, body=body)


def raise_if_refused(answer: Answer) -> None:
    """Raise the error that a kept answer tells.

    Raises:
        TokenboothError: the answer is a refusal.
    """
    if answer.status < _FIRST_REFUSAL:
        return
    error = json.loads(answer.body)["error"]
    kind = next((kind for kind in _KEPT_REFUSALS if kind.status == answer.status), Unprocessable)
    details = {name: value for name, value in error.items() if name not in _ERROR_FIELDS}
    raise kind(error["code"], error["message"], param=error["param"], details=details)


def _run_tx(conn: Connection, claim: Claim | None, effect: Callable[[Connection], Outcome], *, now_us: int) -> Answer:
    begun = begin(conn, claim, now_us=now_us)
    if isinstance(begun, Answer):
        return begun
    if claim is None:
        return effect(conn).answer
    try:
        with conn.begin_nested():
            outcome = effect(conn)
    except TokenboothError as error:
        if not _is_kept(error):
            raise
        outcome = replayed(refusal(error))
    complete(conn, begun, outcome.replay)
    return outcome.answer


def _end(conn: Connection, lease: Attempt, error: TokenboothError) -> None:
    if _is_kept(error):
        complete(conn, lease, refusal(error))
    else:
        release(conn, lease)


def _is_kept(error: TokenboothError) -> bool:
    """Whether a repetition with the same key gets this error again; else it is tried anew."""
    return error.status < _SERVER_ERROR and error.status != RateLimited.status
