"""Carrying out a request once, however often it arrives with the same idempotency key.

An effect that is only ours goes through `run_idempotent_tx`: check, effect and record are one transaction. Work that
asks a payment provider in between goes through `run_idempotent`: it claims first, works, and completes the claim in its
last write. Both take None as the claim of a request without a key.

Kept are successes, and refusals that had an effect, such as a card that was declined. An error that had none leaves no
record: its repetition is tried anew, and a flood of them costs no room.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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
from tokenbooth.store.accounts.audit_log import NEVER_REFUSED, Entry, record_entry, require_room
from tokenbooth.store.accounts.bounds import row_limit
from tokenbooth.store.accounts.idempotency import (
    MAX_ANSWER_BYTES,
    Answer,
    Attempt,
    Claim,
    begin,
    complete,
    forget,
    release,
)

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


@dataclass(slots=True)
class IdempotentAttempt(Generic[T]):
    """One attempt at a request; its last write completes it with what came of it.

    Attributes:
        lease: the right to carry out the request now.
        render: what the request and its repetitions are answered when this came of it.
        entry: what the audit log says when it has succeeded.
        had_effect: whether something may have been done, here or at a provider, that its failure does not undo.
    """

    lease: Attempt
    render: Callable[[T], Outcome]
    entry: Entry | None = None
    had_effect: bool = field(default=False, init=False)

    def provider_key(self, purpose: str) -> str:
        """An idempotency key for a call to a payment provider; `purpose` tells calls of a request apart.

        Whoever asks for one is about to make the call, so the attempt has an effect from now on.
        """
        self.note_effect()
        return self.lease.provider_key(purpose)

    def note_effect(self) -> None:
        """Note that something was done for the request that a repetition must find: its record stays."""
        self.had_effect = True

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
        complete(conn, self.lease, _bounded(outcome.replay))
        return result


async def run_idempotent_tx(
    context: ServiceContext, claim: Claim | None, effect: Callable[[Connection], Outcome]
) -> Answer:
    """Carry out an effect of ours in one transaction with its record, then let the caches see it.

    Raises:
        Conflict: the key was used with another body, or its first request still runs.
        RateLimited: the key is new, and the account has as many as it may have.
        TokenboothError: as `effect` raises; then nothing is written.
    """
    answer = await context.store.write(_run_tx, context, claim, effect)
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
        work: uses `provider_key` and `derived_id` of the attempt for what must be the same in a later one, notes its
            effects, and completes it in its last write. An error before any effect leaves nothing. When it raises a
            429 or a 5xx after one, the claim is released and a repetition runs again; any other error is kept.
        render: what the request and its repetitions are answered; a function of the result alone.
        entry: what the audit log says when the work has succeeded.

    Raises:
        Conflict: the key was used with another body, or its first request still runs.
        RateLimited: the key is new, and the account has as many as it may have; or it did too much today.
        TokenboothError: as `work` raises.
    """
    begun = await context.store.write(_begin, context, claim, entry)
    if isinstance(begun, Answer):
        return begun
    attempt = IdempotentAttempt(begun, render, entry)
    try:
        result = await work(attempt)
    except TokenboothError as error:
        await context.store.write(_end, attempt, error)
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


def _begin(
    conn: Connection, context: ServiceContext, claim: Claim | None, entry: Entry | None = None
) -> Attempt | Answer:
    """Claim a request that may be carried out now; `entry` is what the audit log will say."""
    now_us, bounds = context.clock.now_us(), context.settings.management
    max_records = 0 if claim is None else row_limit(conn, claim.account_id, bounds.idempotency_keys)
    begun = begin(conn, claim, max_records=max_records, now_us=now_us)
    if entry is not None and entry.action not in NEVER_REFUSED and isinstance(begun, Attempt):
        require_room(conn, entry.account_id, row_limit(conn, entry.account_id, bounds.actions), now_us=now_us)
    return begun


def _run_tx(
    conn: Connection, context: ServiceContext, claim: Claim | None, effect: Callable[[Connection], Outcome]
) -> Answer:
    begun = _begin(conn, context, claim)
    if isinstance(begun, Answer):
        return begun
    outcome = effect(conn)
    complete(conn, begun, _bounded(outcome.replay))
    return outcome.answer


def _end(conn: Connection, attempt: IdempotentAttempt[T], error: TokenboothError) -> None:
    if not attempt.had_effect:
        forget(conn, attempt.lease)
    elif error.status < _SERVER_ERROR and error.status != RateLimited.status:
        complete(conn, attempt.lease, refusal(error))
    else:
        release(conn, attempt.lease)


def _bounded(answer: Answer | None) -> Answer | None:
    """What is kept of an answer: one that is too large is kept as a refusal, so that the request never runs again."""
    if answer is None or len(answer.body.encode()) <= MAX_ANSWER_BYTES:
        return answer
    return refusal(
        Conflict(
            "answer_not_kept",
            "This request succeeded before. Its answer was too large to be kept: ask for what it made or changed.",
            param="Idempotency-Key",
        )
    )
