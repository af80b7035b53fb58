"""Idempotency records in the store."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import Connection

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import row_counts
from tokenbooth.kit.errors import Conflict, RateLimited
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.store.accounts.idempotency import (
    LEASE_US,
    RETENTION_US,
    Answer,
    Attempt,
    Claim,
    begin,
    complete,
    forget,
    forget_before,
    release,
)
from tokenbooth.store.engine import Store

CLAIM = Claim("acct_1", "POST /api/keys/credit", "once", b"\x01" * 32)
ROOM = 100
ANSWER = Answer(200, '{"success":true}')


def begun(store: Store, claim: Claim | None = CLAIM, *, now_us: int = NOW_US) -> Attempt:
    """An attempt that must be let in."""
    attempt = store.write_now(begin, claim, max_records=ROOM, now_us=now_us)
    assert isinstance(attempt, Attempt)
    return attempt


def refused_code(store: Store, claim: Claim, *, now_us: int = NOW_US) -> str:
    """The code of the conflict that a claim must meet."""
    with pytest.raises(Conflict) as refused:
        store.write_now(begin, claim, max_records=ROOM, now_us=now_us)
    return refused.value.code


def test_a_repetition_gets_the_kept_answer(store: Store) -> None:
    """From the completion until a day after the beginning."""
    store.write_now(complete, begun(store), ANSWER)
    assert store.write_now(begin, CLAIM, max_records=ROOM, now_us=NOW_US + RETENTION_US - 1) == ANSWER


def test_after_a_day_the_key_is_new(store: Store) -> None:
    """An expired record gives way, also to another body, and its derived ids are others."""
    first = begun(store)
    store.write_now(complete, first, ANSWER)
    second = begun(store, replace(CLAIM, body_sha256=b"\x02" * 32), now_us=NOW_US + RETENTION_US)
    assert second.provider_key("session") != first.provider_key("session")


def test_another_body_is_a_mismatch(store: Store) -> None:
    """Whether the first request runs, was released, or has its answer."""
    other = replace(CLAIM, body_sha256=b"\x02" * 32)
    attempt = begun(store)
    assert refused_code(store, other) == "idempotency_mismatch"
    store.write_now(release, attempt)
    assert refused_code(store, other) == "idempotency_mismatch"
    store.write_now(complete, begun(store), ANSWER)
    assert refused_code(store, other) == "idempotency_mismatch"


def test_accounts_and_routes_have_keys_of_their_own(store: Store) -> None:
    """The same key elsewhere is another request."""
    attempts = {
        begun(store, claim).seed
        for claim in (CLAIM, replace(CLAIM, account_id="acct_2"), replace(CLAIM, route="POST /api/keys/other"))
    }
    assert len(attempts) == 3


def test_a_running_request_is_not_started_again_until_its_lease_ends(store: Store) -> None:
    """Then its holder is taken for dead; it can no longer complete."""
    first = begun(store)
    assert refused_code(store, CLAIM, now_us=NOW_US + LEASE_US - 1) == "idempotency_in_progress"
    second = begun(store, now_us=NOW_US + LEASE_US)
    with pytest.raises(Conflict):
        store.write_now(complete, first, ANSWER)
    store.write_now(release, first)
    store.write_now(complete, second, ANSWER)
    assert store.write_now(begin, CLAIM, max_records=ROOM, now_us=NOW_US + LEASE_US) == ANSWER


def test_later_attempts_derive_the_same(store: Store) -> None:
    """What goes to a payment provider is the same after a release and after a take-over."""
    first = begun(store)
    store.write_now(release, first)
    second = begun(store, now_us=NOW_US + 5)
    third = begun(store, now_us=NOW_US + 5 + LEASE_US)
    derived = {
        (attempt.provider_key("session"), attempt.derived_id(IdPrefix.CHECKOUT)) for attempt in (first, second, third)
    }
    assert len(derived) == 1
    assert first.provider_key("session") != first.provider_key("customer")


def test_an_answer_that_is_not_kept_lets_the_repetition_run(store: Store) -> None:
    """Completing with nothing is a release."""
    store.write_now(complete, begun(store), None)
    assert begun(store, now_us=NOW_US + 1).claim == CLAIM


def test_a_first_attempt_without_an_effect_leaves_nothing(store: Store) -> None:
    """Unless another attempt has taken over by then."""
    first = begun(store)
    second = begun(store, now_us=NOW_US + LEASE_US)
    store.write_now(forget, first)
    assert refused_code(store, CLAIM, now_us=NOW_US + LEASE_US) == "idempotency_in_progress"
    store.write_now(forget, second)
    assert row_counts(store)["idempotency_records"] == 1
    store.write_now(forget, begun(store, replace(CLAIM, key="other")))
    assert row_counts(store)["idempotency_records"] == 1


def test_a_later_attempt_keeps_what_the_first_one_may_have_done(store: Store) -> None:
    """Its record stays, and with it the ids that the provider knows."""
    first = begun(store)
    store.write_now(release, first)
    store.write_now(forget, begun(store, now_us=NOW_US + 5))
    third = begun(store, now_us=NOW_US + 6)
    assert third.provider_key("session") == first.provider_key("session")


def test_a_full_account_begins_nothing_new(store: Store) -> None:
    """What it claimed is there until its day is over, whatever is asked for; others are not held up."""
    claims = [replace(CLAIM, key=str(number)) for number in range(3)]
    for number, claim in enumerate(claims):
        attempt = store.write_now(begin, claim, max_records=3, now_us=NOW_US + number)
        assert isinstance(attempt, Attempt)
        store.write_now(complete, attempt, ANSWER)

    def wait_s(max_records: int, now_us: int) -> float | None:
        with pytest.raises(RateLimited) as refused:
            store.write_now(begin, replace(CLAIM, key="new"), max_records=max_records, now_us=now_us)
        return refused.value.retry_after_s

    assert wait_s(3, NOW_US + 10) == (RETENTION_US - 10) / 1e6
    assert wait_s(2, NOW_US + 10) == (RETENTION_US - 9) / 1e6
    for claim in claims:
        assert store.write_now(begin, claim, max_records=3, now_us=NOW_US + RETENTION_US - 1) == ANSWER
    store.write_now(begin, replace(CLAIM, account_id="acct_2"), max_records=3, now_us=NOW_US + 10)
    store.write_now(begin, replace(CLAIM, key="new"), max_records=3, now_us=NOW_US + RETENTION_US)


async def test_of_many_new_keys_at_once_the_bound_gets_in(store: Store) -> None:
    """Two that begin together don't both take the last place."""

    def attempt(conn: Connection, key: str) -> bool:
        try:
            begin(conn, replace(CLAIM, key=key), max_records=5, now_us=NOW_US)
        except RateLimited:
            return False
        return True

    begun_at_once = await asyncio.gather(*(store.write(attempt, str(number)) for number in range(20)))
    assert (sum(begun_at_once), row_counts(store)["idempotency_records"]) == (5, 5)


def test_without_a_claim_nothing_is_recorded(store: Store) -> None:
    """Every attempt is one of its own."""
    before = row_counts(store)
    first, second = begun(store, None), begun(store, None)
    store.write_now(complete, first, ANSWER)
    store.write_now(release, second)
    assert row_counts(store) == before
    assert first.provider_key("session") != second.provider_key("session")


def test_old_records_are_forgotten(store: Store) -> None:
    """Those from before the given instant, no other."""
    begun(store)
    begun(store, replace(CLAIM, key="later"), now_us=NOW_US + 1)
    assert store.write_now(forget_before, NOW_US + 1) == 1
    assert row_counts(store)["idempotency_records"] == 1


async def test_of_many_at_once_one_begins(store: Store) -> None:
    """The others are told that it runs."""

    def attempt(conn: Connection) -> str:
        try:
            begin(conn, CLAIM, max_records=ROOM, now_us=NOW_US)
        except Conflict as refused:
            return refused.code
        return "begun"

    outcomes = await asyncio.gather(*(store.write(attempt) for _ in range(20)))
    assert sorted(outcomes) == ["begun", *["idempotency_in_progress"] * 19]
