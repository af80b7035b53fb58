"""`Idempotency-Key` on the routes, and for work that leaves the process."""

import asyncio

import pytest
from sqlalchemy import Connection
from starlette.requests import Request

from tests.support.management import Plane
from tests.support.store import Customer, row_counts
from tokenbooth.api.parsing import read_claim
from tokenbooth.api.responses import success
from tokenbooth.api.schemas import Payload
from tokenbooth.kit.errors import Conflict, InvalidRequest, NotFound, ProviderFailed, RateLimited, TokenboothError
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.services.idempotency import IdempotentAttempt, Outcome, replayed, run_idempotent, run_idempotent_tx
from tokenbooth.store import changes
from tokenbooth.store.accounts.idempotency import Answer, Claim
from tokenbooth.store.engine import Store

CLAIM = Claim("acct_1", "POST /api/keys/credit", "once", b"\x01" * 32)


class Done(Payload):
    """What the work of these tests answers."""

    done: bool


DONE = success(Done(done=True))


def keyed(customer: Customer, key: str) -> dict[str, str]:
    """The headers of an authenticated call with an Idempotency-Key."""
    return {**customer.headers, "idempotency-key": key}


async def test_a_repeated_key_creation_tells_the_id_and_not_the_key(
    plane: Plane, store: Store, customer: Customer
) -> None:
    """One key was made, and the database holds no clear text of it."""
    first = await plane.client.post("/api/keys/credit", headers=keyed(customer, "a"), json={"name": "x"})
    counts = row_counts(store)
    again = await plane.client.post("/api/keys/credit", headers=keyed(customer, "a"), json={"name": "x"})
    assert (first.status_code, again.status_code) == (200, 409)
    error = again.json()["error"]
    assert (error["code"], error["id"]) == ("key_already_created", first.json()["id"])
    assert again.headers["x-should-retry"] == "false"
    assert first.json()["apiKey"] not in again.text
    assert row_counts(store) == counts


async def test_of_many_repetitions_at_once_one_creates(plane: Plane, customer: Customer) -> None:
    """The others are conflicts that name the key."""
    answers = await asyncio.gather(
        *(plane.client.post("/api/keys/credit", headers=keyed(customer, "a"), json={"name": "x"}) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 19]
    created = next(answer.json()["id"] for answer in answers if answer.status_code == 200)
    ids = {answer.json()["error"]["id"] for answer in answers if answer.status_code == 409}
    assert ids == {created}
    listed = await plane.client.get("/api/keys", headers=customer.headers)
    assert len(listed.json()["data"]) == 1


async def test_another_body_is_a_mismatch_byte_by_byte(plane: Plane, customer: Customer) -> None:
    """Also when it means the same."""
    headers = {**keyed(customer, "a"), "content-type": "application/json"}
    await plane.client.post("/api/keys/credit", headers=headers, content=b'{"name":"x"}')
    answer = await plane.client.post("/api/keys/credit", headers=headers, content=b'{"name": "x"}')
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_mismatch"
    assert answer.headers["x-should-retry"] == "false"


async def test_a_refusal_by_the_state_is_kept(plane: Plane, customer: Customer) -> None:
    """The same request gets the same answer, byte for byte."""
    body = {"name": "x", "subscriptionId": "sub_" + "0" * 26}
    answers = [
        await plane.client.post("/api/keys/subscription", headers=keyed(customer, "a"), json=body) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content


async def test_a_malformed_request_claims_nothing(plane: Plane, store: Store, customer: Customer) -> None:
    """Corrected, it may use the same key."""
    bad = await plane.client.post("/api/keys/credit", headers=keyed(customer, "a"), json={"name": ""})
    good = await plane.client.post("/api/keys/credit", headers=keyed(customer, "a"), json={"name": "x"})
    assert (bad.status_code, good.status_code) == (400, 200)
    assert row_counts(store)["idempotency_records"] == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "ä"])
async def test_a_malformed_key_is_refused(plane: Plane, customer: Customer, key: str) -> None:
    """It must be 1 to 255 printable ASCII characters."""
    headers = {name.encode(): value.encode() for name, value in customer.headers.items()}
    headers[b"idempotency-key"] = key.encode()
    answer = await plane.client.post("/api/keys/credit", headers=headers, json={"name": "x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_idempotency_key"


def test_two_keys_are_refused() -> None:
    """We don't guess which one is meant."""
    header = (b"idempotency-key", b"a")
    request = Request({"type": "http", "method": "POST", "path": "/x", "headers": [header, header]})
    with pytest.raises(InvalidRequest):
        read_claim(request, "acct_1", b"{}")


async def test_an_effect_that_fails_leaves_nothing_behind(plane: Plane, store: Store) -> None:
    """What it wrote is undone, whether its error is kept or not."""
    before = row_counts(store)

    def failing_with(error: TokenboothError) -> Outcome:
        raise error

    def effect_of(error: TokenboothError, conn: Connection) -> Outcome:
        changes.record(conn, changes.Topic.ACCOUNT, "acct_1", now_us=0)
        return failing_with(error)

    with pytest.raises(RateLimited):
        await run_idempotent_tx(plane.context, CLAIM, lambda conn: effect_of(RateLimited("slow", "Slow down."), conn))
    assert row_counts(store) == before
    kept = await run_idempotent_tx(plane.context, CLAIM, lambda conn: effect_of(NotFound("gone", "Gone."), conn))
    assert kept.status == 404
    assert row_counts(store) == {**before, "idempotency_records": 1}
    assert await run_idempotent_tx(plane.context, CLAIM, lambda _conn: replayed(DONE)) == kept


async def test_caches_follow_before_the_answer(plane: Plane) -> None:
    """Both ways of carrying out a request wait for it."""
    await run_idempotent_tx(plane.context, None, lambda _conn: replayed(DONE))
    assert plane.live.changed_calls == 1

    async def work(_attempt: IdempotentAttempt[Answer]) -> Answer:
        return DONE

    await run_idempotent(plane.context, None, work, replayed)
    assert plane.live.changed_calls == 2


async def test_guarded_work_runs_once_at_a_time_and_its_answer_is_kept(plane: Plane, store: Store) -> None:
    """While it runs, the same request is told so; afterwards it gets the answer."""
    started, may_end, runs = asyncio.Event(), asyncio.Event(), []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        runs.append(attempt.provider_key("session"))
        started.set()
        await may_end.wait()
        return await store.write(attempt.complete, DONE)

    first = asyncio.create_task(run_idempotent(plane.context, CLAIM, work, replayed))
    await started.wait()
    with pytest.raises(Conflict) as refused:
        await run_idempotent(plane.context, CLAIM, work, replayed)
    assert refused.value.code == "idempotency_in_progress"
    may_end.set()
    assert await first == DONE
    assert await run_idempotent(plane.context, CLAIM, work, replayed) == DONE
    assert len(runs) == 1


async def test_guarded_work_that_a_provider_failed_runs_again_with_the_same_ids(plane: Plane, store: Store) -> None:
    """So that the provider recognises what it may have done."""
    seen = []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        seen.append((attempt.provider_key("session"), attempt.derived_id(IdPrefix.CHECKOUT)))
        if len(seen) == 1:
            raise ProviderFailed("stripe_error", "Stripe failed.")
        if len(seen) == 2:
            raise ValueError("a mistake of ours")
        return await store.write(attempt.complete, DONE)

    with pytest.raises(ProviderFailed):
        await run_idempotent(plane.context, CLAIM, work, replayed)
    plane.clock.advance(1)
    with pytest.raises(ValueError, match="a mistake"):
        await run_idempotent(plane.context, CLAIM, work, replayed)
    plane.clock.advance(1)
    assert await run_idempotent(plane.context, CLAIM, work, replayed) == DONE
    assert len(set(seen)) == 1


async def test_guarded_work_that_is_refused_keeps_the_refusal(plane: Plane) -> None:
    """A repetition does not run again."""
    runs = []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        runs.append(attempt)
        raise NotFound("plan_not_found", "There is no such plan.")

    with pytest.raises(NotFound):
        await run_idempotent(plane.context, CLAIM, work, replayed)
    answer = await run_idempotent(plane.context, CLAIM, work, replayed)
    assert answer.status == 404
    assert len(runs) == 1
