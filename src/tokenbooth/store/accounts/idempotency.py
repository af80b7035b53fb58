"""What was answered to a request with an `Idempotency-Key`, so that a repetition gets the same answer.

A record is claimed (`begin`), and completed in the transaction of the effect (`complete`). A claim whose holder died is
taken over after a minute. The record never holds a key in the clear: an answer that shows one keeps another answer for
its repetitions.

An account's records are bounded by refusing new ones. None gives way before its day is over: the repetition of a
request that succeeded would be carried out again, and so a top-up charged twice.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.errors import Conflict, RateLimited
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.store.accounts.bounds import wait_for_row_s
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import idempotency_records as records

RETENTION_US: Final = DAY_US
LEASE_US: Final = 60 * 1_000_000
MAX_ANSWER_BYTES: Final = 16 * 1024
"""The largest answer that is kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its HTTP status and its JSON text."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What makes two requests the same: account, route, key; and the SHA-256 of the raw body."""

    account_id: str
    route: str
    key: str
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """The right to carry out a request now.

    Attributes:
        claim: None when the client sent no `Idempotency-Key`; then nothing is recorded.
        began_at_us: when the first attempt at this request began; the same for every later one.
        leased_at_us: when this attempt began.
        seed: the same for every attempt at this request, unlike that of any other.
        is_first: whether no attempt at this request came before, whose effect might not be known.
    """

    claim: Claim | None
    began_at_us: int
    leased_at_us: int
    seed: str
    is_first: bool

    def provider_key(self, purpose: str) -> str:
        """An idempotency key for a call to a payment provider; `purpose` tells calls of a request apart."""
        return f"{self.seed}-{purpose}"

    def derived_id(self, prefix: IdPrefix) -> str:
        """An id of ours that every attempt at this request gets again."""
        return f"{prefix}_{self.began_at_us:014x}{self.seed[:12]}"


def begin(conn: Connection, claim: Claim | None, *, max_records: int, now_us: int) -> Attempt | Answer:
    """Claim a request, or get the answer that was kept for it.

    Args:
        conn: the transaction.
        claim: what makes the request the same; None for one without an `Idempotency-Key`.
        max_records: how many requests an account may have claimed within a day.
        now_us: UTC microseconds.

    Raises:
        Conflict: the key was used with another body, or the first request still runs.
        RateLimited: the key is new, and the account has as many as it may have.
    """
    if claim is None:
        seed = secrets.token_hex(32)
        return Attempt(claim=None, began_at_us=now_us, leased_at_us=now_us, seed=seed, is_first=True)
    row = conn.execute(
        select(
            records.c.body_sha256,
            records.c.status_code,
            records.c.response,
            records.c.created_at_us,
            records.c.leased_at_us,
        ).where(_is(claim))
    ).one_or_none()
    if row is not None and row.created_at_us <= now_us - RETENTION_US:
        conn.execute(delete(records).where(_is(claim)))
        row = None
    if row is None:
        _require_room(conn, claim.account_id, max_records, now_us)
        return _insert(conn, claim, now_us)
    if row.body_sha256 != claim.body_sha256:
        raise Conflict(
            "idempotency_mismatch",
            "This Idempotency-Key was used with another body. Use a new key for a new request.",
            param="Idempotency-Key",
        )
    if row.status_code is not None:
        return Answer(status=row.status_code, body=row.response)
    if row.leased_at_us is not None and now_us < row.leased_at_us + LEASE_US:
        raise _in_progress()
    conn.execute(update(records).where(_is(claim)).values(leased_at_us=now_us))
    return _attempt(claim, began_at_us=row.created_at_us, leased_at_us=now_us, is_first=False)


def complete(conn: Connection, attempt: Attempt, kept: Answer | None) -> None:
    """End an attempt in the transaction of its effect.

    Args:
        conn: the transaction.
        attempt: as `begin` gave it.
        kept: what a repetition is answered; None lets it run again.

    Raises:
        Conflict: the attempt took so long that another one took over; the caller's transaction must not
            commit.
    """
    if attempt.claim is None:
        return
    values: dict[str, int | str | None] = {"leased_at_us": None}
    if kept is not None:
        values |= {"status_code": kept.status, "response": kept.body}
    if conn.execute(update(records).where(_holds(attempt, attempt.claim)).values(**values)).rowcount == 0:
        raise _in_progress()


def release(conn: Connection, attempt: Attempt) -> None:
    """End an attempt whose effect is not known, so that a repetition runs again, with the same ids; nothing when it was
    taken over."""
    if attempt.claim is None:
        return
    conn.execute(update(records).where(_holds(attempt, attempt.claim)).values(leased_at_us=None))


def forget(conn: Connection, attempt: Attempt) -> None:
    """End an attempt that had no effect, so that nothing is left of it; nothing when it was taken over.

    Where an attempt came before, whose effect is not known, its record stays.
    """
    if attempt.claim is None:
        return
    if attempt.is_first:
        conn.execute(delete(records).where(_holds(attempt, attempt.claim)))
    else:
        release(conn, attempt)


def forget_before(conn: Connection, at_us: int) -> int:
    """Delete the records of requests that began before `at_us` (UTC microseconds); returns how many."""
    return conn.execute(delete(records).where(records.c.created_at_us < at_us)).rowcount


def _require_room(conn: Connection, account_id: str, max_records: int, now_us: int) -> None:
    mine = records.c.account_id == account_id
    if wait_s := wait_for_row_s(conn, mine, records.c.created_at_us, max_records, now_us=now_us):
        raise RateLimited(
            "too_many_idempotency_keys",
            f"In 24 hours an account may send {max_records} forms and requests with an Idempotency-Key. "
            "Try again later.",
            param="Idempotency-Key",
            retry_after_s=wait_s,
        )


def _insert(conn: Connection, claim: Claim, now_us: int) -> Attempt:
    values = {
        "account_id": claim.account_id,
        "route": claim.route,
        "key": claim.key,
        "body_sha256": claim.body_sha256,
        "created_at_us": now_us,
        "leased_at_us": now_us,
    }
    # Another transaction that claims the same request meanwhile makes this one be repeated, and it finds the row then.
    inserted = insert_unless_there(conn, records, values)
    assert inserted, "the record was not there when this transaction began"
    return _attempt(claim, began_at_us=now_us, leased_at_us=now_us, is_first=True)


def _attempt(claim: Claim, *, began_at_us: int, leased_at_us: int, is_first: bool) -> Attempt:
    parts = (claim.account_id, claim.route, claim.key, str(began_at_us))
    seed = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return Attempt(claim=claim, began_at_us=began_at_us, leased_at_us=leased_at_us, seed=seed, is_first=is_first)


def _is(claim: Claim) -> ColumnElement[bool]:
    return and_(records.c.account_id == claim.account_id, records.c.route == claim.route, records.c.key == claim.key)


def _holds(attempt: Attempt, claim: Claim) -> ColumnElement[bool]:
    """The record, unless another attempt took it over."""
    return and_(_is(claim), records.c.leased_at_us == attempt.leased_at_us, records.c.status_code.is_(None))


def _in_progress() -> Conflict:
    return Conflict(
        "idempotency_in_progress",
        "The first request with this Idempotency-Key has not ended yet. Wait for its answer.",
        param="Idempotency-Key",
    )
