"""`Idempotency-Key` on the routes, and for work that leaves the process."""

import asyncio
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection
from starlette.requests import Request

from tests.support.management import Plane, management_plane
from tests.support.store import Customer, new_customer, open_empty_sqlite, row_counts
from tokenbooth.api.parsing import read_claim
from tokenbooth.api.responses import success
from tokenbooth.api.schemas import Payload
from tokenbooth.config.settings import ManagementSettings
from tokenbooth.kit.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PaymentRequired,
    ProviderFailed,
    RateLimited,
    TokenboothError,
)
from tokenbooth.kit.ids import IdPrefix
from tokenbooth.services.idempotency import IdempotentAttempt, Outcome, replayed, run_idempotent, run_idempotent_tx
from tokenbooth.store import changes
from tokenbooth.store.accounts.audit_log import Entry
from tokenbooth.store.accounts.idempotency import MAX_ANSWER_BYTES, Answer, Attempt, Claim, begin, complete
from tokenbooth.store.engine import Store
from tokenbooth.store.ledger import grant

DAY_S = 86_400
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


async def test_a_refusal_without_an_effect_is_not_kept(plane: Plane, store: Store, customer: Customer) -> None:
    """It leaves no row, however often and with however many keys it is asked for; and the state may have changed."""
    before, body = row_counts(store), {"name": "x", "subscriptionId": "sub_" + "0" * 26}
    for number in range(5):
        answer = await plane.client.post("/api/keys/subscription", headers=keyed(customer, f"{number}"), json=body)
        assert answer.status_code == 404
    assert row_counts(store) == before


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
    """What it wrote is undone, its record with it, whatever its error is."""
    before = row_counts(store)

    def failing_with(error: TokenboothError) -> Outcome:
        raise error

    def effect_of(error: TokenboothError, conn: Connection) -> Outcome:
        changes.record(conn, changes.Topic.ACCOUNT, "acct_1", now_us=0)
        return failing_with(error)

    for error in (RateLimited("slow", "Slow down."), NotFound("gone", "Gone."), ProviderFailed("down", "Down.")):
        with pytest.raises(type(error)):
            await run_idempotent_tx(plane.context, CLAIM, partial(effect_of, error))
        assert row_counts(store) == before
    assert await run_idempotent_tx(plane.context, CLAIM, lambda _conn: replayed(DONE)) == DONE


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


@pytest.mark.parametrize("error", [NotFound("gone", "Gone."), RateLimited("slow", "Slow."), ProviderFailed("x", "X.")])
async def test_guarded_work_that_had_no_effect_leaves_nothing(
    plane: Plane, store: Store, error: TokenboothError
) -> None:
    """A repetition runs again, with ids of its own, and a flood of such requests makes no row."""
    before, ids = row_counts(store), []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        ids.append(attempt.derived_id(IdPrefix.CHECKOUT))
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            await run_idempotent(plane.context, CLAIM, work, replayed)
        assert row_counts(store) == before
        plane.clock.advance(1)
    assert len(set(ids)) == 2


async def test_guarded_work_that_is_refused_after_an_effect_keeps_the_refusal(plane: Plane) -> None:
    """As a card that was declined: a repetition does not try it again."""
    runs = []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        runs.append(attempt)
        attempt.note_effect()
        raise PaymentRequired("card_declined", "The card was declined.")

    with pytest.raises(PaymentRequired):
        await run_idempotent(plane.context, CLAIM, work, replayed)
    answer = await run_idempotent(plane.context, CLAIM, work, replayed)
    assert (answer.status, len(runs)) == (402, 1)


async def test_an_effect_that_is_not_known_outlives_a_refusal(plane: Plane, store: Store) -> None:
    """After a failure that may have charged, a repetition that is refused must not make the next one a new request."""
    ids = []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        ids.append(attempt.derived_id(IdPrefix.CHECKOUT))
        if len(ids) == 1:
            attempt.note_effect()
            raise ProviderFailed("stripe_error", "Stripe failed.")
        if len(ids) == 2:
            raise RateLimited("slow", "Slow down.")
        return await store.write(attempt.complete, DONE)

    for expected in (ProviderFailed, RateLimited):
        with pytest.raises(expected):
            await run_idempotent(plane.context, CLAIM, work, replayed)
        plane.clock.advance(1)
    assert await run_idempotent(plane.context, CLAIM, work, replayed) == DONE
    assert (len(ids), len(set(ids))) == (3, 1)


async def test_a_success_too_large_to_keep_never_runs_again(plane: Plane, store: Store) -> None:
    """Its repetition is told that it succeeded; what is kept is small."""
    large = Answer(200, '"' + "\N{EURO SIGN}" * (MAX_ANSWER_BYTES // 3) + '"')
    runs = []

    async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
        runs.append(attempt)
        return await store.write(attempt.complete, large)

    assert await run_idempotent(plane.context, CLAIM, work, replayed) == large
    again = await run_idempotent(plane.context, CLAIM, work, replayed)
    assert (again.status, json.loads(again.body)["error"]["code"], len(runs)) == (409, "answer_not_kept", 1)
    claim = replace(CLAIM, key="twice")
    assert await run_idempotent_tx(plane.context, claim, lambda _conn: replayed(large)) == large
    assert await run_idempotent_tx(plane.context, claim, lambda _conn: replayed(large)) == again


@pytest.mark.parametrize("had_money", [False, True])
async def test_a_new_key_beyond_the_bound_is_refused(store: Store, had_money: bool) -> None:
    """An account that never had money gets fewer; the keys that it used are answered as before, until their day is
    over."""
    limits = ManagementSettings(max_idempotency_keys_per_day=3, max_unfunded_idempotency_keys_per_day=2)
    async with management_plane(store, limits) as plane:
        customer = new_customer(store, now_us=plane.clock.now_us())
        if had_money:
            fund(store, customer, plane.clock.now_us())

        async def ask(key: str | None) -> httpx.Response:
            headers = customer.headers if key is None else keyed(customer, key)
            return await plane.client.post("/api/keys/credit", headers=headers, json={"name": "x"})

        allowed = 3 if had_money else 2
        for number in range(allowed):
            assert (await ask(f"{number}")).status_code == 200
            plane.clock.advance(60)
        before = row_counts(store)
        refused = await ask("new")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_idempotency_keys")
        assert refused.headers["retry-after"] == str(DAY_S - 60 * allowed)
        assert refused.headers["x-should-retry"] == "false"
        assert [(await ask(f"{number}")).status_code for number in range(allowed)] == [409] * allowed
        assert row_counts(store) == before
        assert (await ask(None)).status_code == 200
        plane.clock.advance(DAY_S - 60 * allowed)
        assert (await ask("new")).status_code == 200


async def test_the_record_above_the_bound_makes_no_file_larger(tmp_path: Path) -> None:
    """With the default bound: ten thousand records are there, and further keys add no page."""
    store = open_empty_sqlite(tmp_path / "tokenbooth.db")
    async with management_plane(store) as plane:
        now_us = plane.clock.now_us()
        customer = new_customer(store, now_us=now_us)
        fund(store, customer, now_us)

        def fill(conn: Connection) -> None:
            for number in range(9_999):
                claim = replace(CLAIM, account_id=customer.account_id, key=f"{number}")
                attempt = begin(conn, claim, max_records=10**9, now_us=now_us)
                assert isinstance(attempt, Attempt)
                complete(conn, attempt, DONE)

        def pages(conn: Connection) -> int:
            return int(conn.exec_driver_sql("PRAGMA page_count").scalar_one())

        async def status(number: int) -> int:
            headers = keyed(customer, f"{number}-{'x' * 240}")
            return (await plane.client.post("/api/keys/credit", headers=headers, json={"name": "x"})).status_code

        store.write_now(fill)
        assert await status(9_999) == 200
        before = store.read_now(pages)
        assert [await status(number) for number in range(10_000, 10_050)] == [429] * 50
        assert (row_counts(store)["idempotency_records"], store.read_now(pages)) == (10_000, before)
    store.close()


async def test_an_account_does_so_much_in_a_day(store: Store) -> None:
    """What is noted and could be repeated without end is refused before it is done; what ends something is not."""
    limits = ManagementSettings(max_unfunded_actions_per_day=2)
    async with management_plane(store, limits) as plane:
        customer = new_customer(store, now_us=plane.clock.now_us())
        done = []

        async def work(attempt: IdempotentAttempt[Answer]) -> Answer:
            done.append(attempt)
            return await store.write(attempt.complete, DONE)

        async def act(action: str, key: str) -> Answer:
            entry = Entry(customer.key_id, action, customer.account_id, "", plane.clock.now_us())
            claim = replace(CLAIM, account_id=customer.account_id, key=key)
            return await run_idempotent(plane.context, claim, work, replayed, entry=entry)

        assert await act("portal.opened", "1") == DONE
        before = row_counts(store)
        with pytest.raises(RateLimited) as refused:
            await act("portal.opened", "2")
        assert (refused.value.code, len(done), row_counts(store)) == ("too_many_actions", 1, before)
        assert await act("portal.opened", "1") == DONE
        assert await act("subscription.canceled", "3") == DONE


def fund(store: Store, customer: Customer, now_us: int) -> None:
    """Give an account money."""
    store.write_now(
        grant, account_id=customer.account_id, amount_nano=1, reference="welcome", reason="welcome", now_us=now_us
    )
