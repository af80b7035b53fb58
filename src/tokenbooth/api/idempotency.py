"""`Idempotency-Key` for the routes of this plane.

A route whose effect is only ours uses `once`: check, effect and record are one transaction. A route that talks to a
payment provider in between uses `guarded`: it claims first, works, and completes the claim in its last write. Both take
None for a request without the header.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request

from tokenbooth.api.responses import is_kept, refusal
from tokenbooth.kit.errors import InvalidRequest, TokenboothError
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.audit_log import Entry
from tokenbooth.store.accounts.idempotency import Answer, Attempt, Claim, begin, complete, release

HEADER: Final = "Idempotency-Key"
_MAX_LENGTH: Final = 255


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an effect is answered, and what its repetition is answered; `kept` None lets it run again."""

    answer: Answer
    kept: Answer | None


def same(answer: Answer) -> Outcome:
    """The outcome that every repetition gets, too."""
    return Outcome(answer=answer, kept=answer)


def read_claim(request: Request, account_id: str, raw: bytes) -> Claim | None:
    """What the request's `Idempotency-Key` claims; None without the header.

    Args:
        request: for its method, path and headers.
        account_id: whose request it is.
        raw: the body as it arrived.

    Raises:
        InvalidRequest: the header is there twice, or is not 1 to 255 printable ASCII characters.
    """
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    key = keys[0].strip()
    if len(keys) > 1 or not (1 <= len(key) <= _MAX_LENGTH and key.isascii() and key.isprintable()):
        raise InvalidRequest(
            "invalid_idempotency_key",
            f"`{HEADER}` must be one header of 1 to {_MAX_LENGTH} printable ASCII characters.",
            param=HEADER,
        )
    route = f"{request.method} {request.url.path}"
    return Claim(account_id=account_id, route=route, key=key, body_sha256=hashlib.sha256(raw).digest())


async def once(context: ServiceContext, claim: Claim | None, effect: Callable[[Connection], Outcome]) -> Answer:
    """Carry out an effect of ours in one transaction with its record, then let the caches see it.

    An error that `effect` raises undoes what it wrote; unless it is a 429 or a 5xx, repetitions get it again.

    Raises:
        Conflict: the key was used with another body, or its first request still runs.
        TokenboothError: as `effect` raises, when there is nothing to keep.
    """
    answer = await context.store.write(_once, claim, effect, now_us=context.clock.now_us())
    await context.live.refresh()
    return answer


async def guarded(
    context: ServiceContext,
    claim: Claim | None,
    work: Callable[[Attempt], Awaitable[Answer]],
    *,
    entry: Entry | None = None,
) -> Answer:
    """Carry out work that leaves the process, at most once at a time for a claim.

    `work` uses `attempt.provider_key()` and `attempt.derived_id()` for what must be the same in a later
    attempt, and calls `store.idempotency.complete(conn, attempt, answer)` in its last write. When it raises a
    429 or a 5xx, the claim is released and a repetition runs again; any other error is kept for repetitions.
    `entry` is what the audit log says when the work has succeeded.
    A claim whose process died is taken over after a minute.

    Raises:
        Conflict: the key was used with another body, or its first request still runs.
        TokenboothError: as `work` raises.
    """
    begun = await context.store.write(begin, claim, now_us=context.clock.now_us())
    if isinstance(begun, Answer):
        return begun
    begun = replace(begun, entry=entry)
    try:
        answer = await work(begun)
    except TokenboothError as error:
        await context.store.write(_end, begun, error)
        raise
    except Exception:
        await context.store.write(release, begun)
        raise
    await context.live.refresh()
    return answer


def _once(conn: Connection, claim: Claim | None, effect: Callable[[Connection], Outcome], *, now_us: int) -> Answer:
    begun = begin(conn, claim, now_us=now_us)
    if isinstance(begun, Answer):
        return begun
    if claim is None:
        return effect(conn).answer
    try:
        with conn.begin_nested():
            outcome = effect(conn)
    except TokenboothError as error:
        if not is_kept(error):
            raise
        outcome = same(refusal(error))
    complete(conn, begun, outcome.kept)
    return outcome.answer


def _end(conn: Connection, attempt: Attempt, error: TokenboothError) -> None:
    if is_kept(error):
        complete(conn, attempt, refusal(error))
    else:
        release(conn, attempt)
