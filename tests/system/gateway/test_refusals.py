"""Who is refused, with which words, and in which order; a refusal consumes nothing."""

from collections.abc import Iterator

import pytest

from tests.support.gateway.gateway_rig import CHAT, GRACE_US, JumpingClock, MoodyStore, Rig, eventually, prompt
from tokenbooth.domain.keys import KeyKind, digest
from tokenbooth.kit.ids import new_key
from tokenbooth.store.accounts.accounts import suspend, unsuspend
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key, delete_api_key, list_api_keys

HOUR_S = 3_600


def code_of(rig: Rig, key: str, content: bytes = b"") -> tuple[int, str]:
    """The status and code of a refused call."""
    answer = rig.http.post(CHAT, content=content, headers={"authorization": f"Bearer {key}"})
    return answer.status_code, answer.json()["error"]["code"]


def status_of(rig: Rig, key: str) -> int:
    """The status of an ordinary call."""
    return rig.post(key, prompt("hello")).status_code


def delete_keys(rig: Rig, account: str) -> None:
    """Delete every key of an account, as the management plane does."""
    now_us = rig.clock.now_us()
    for view in rig.store.read_now(list_api_keys, account, grace_us=GRACE_US, now_us=now_us):
        rig.store.write_now(delete_api_key, account, view.id, actor="test", now_us=now_us)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "No API key"),
        ({"authorization": "Bearer"}, "No API key"),
        ({"authorization": "Basic dTpw"}, "No API key"),
        ({"x-api-key": ""}, "No API key"),
        ({"authorization": "Bearer nonsense"}, "begin with sk_live_"),
        ({"authorization": "Bearer \xff\xfe"}, "begin with sk_live_"),
        ({"authorization": f"Bearer {'x' * 20_000}"}, "begin with sk_live_"),
    ],
)
def test_a_missing_or_strange_credential_is_401(shared: Rig, headers: dict[str, str], told: str) -> None:
    """Whatever stands in the place of a key, the answer is 401 that says what belongs there."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = shared.http.post(CHAT, json=prompt("hello"), headers=raw)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert told in answer.json()["error"]["message"]


def test_a_management_key_is_told_where_it_belongs(shared: Rig) -> None:
    """A management key cannot infer; the message says which kind of key can."""
    answer = shared.post(new_key(KeyKind.MANAGEMENT), prompt("hello"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "management key" in answer.json()["error"]["message"]
    assert "sk_live_" in answer.json()["error"]["message"]


def test_a_key_may_come_as_x_api_key_but_authorization_wins(shared: Rig) -> None:
    """Both headers carry a key; with both, only Authorization counts."""
    good, unknown = shared.credit_key(shared.account("5")), new_key(KeyKind.API)
    body = prompt("hello")
    assert shared.http.post(CHAT, json=body, headers={"x-api-key": good}).status_code == 200
    assert shared.post(good, body, **{"x-api-key": unknown}).status_code == 200
    assert shared.post(unknown, body, **{"x-api-key": good}).status_code == 401


def test_a_mistyped_key_never_reaches_the_store(rig: Rig, moody: MoodyStore) -> None:
    """The checksum refuses a key with one wrong character, without a look-up."""
    key = rig.credit_key(rig.account("5"))
    wrong = key[:-10] + ("a" if key[-10] != "a" else "b") + key[-9:]
    for _ in range(5):
        assert status_of(rig, wrong) == 401
    assert moody.reads.count("load_key") == 0


def test_an_unknown_key_is_looked_up_once(rig: Rig, moody: MoodyStore) -> None:
    """A flood of one unknown key costs one read (58)."""
    unknown = new_key(KeyKind.API)
    for _ in range(20):
        assert status_of(rig, unknown) == 401
    assert moody.reads.count("load_key") == 1


def test_a_known_key_is_looked_up_once(rig: Rig, moody: MoodyStore) -> None:
    """Calls of a known key read nothing from the store."""
    key = rig.credit_key(rig.account("5"))
    for _ in range(5):
        assert status_of(rig, key) == 200
    assert moody.reads.count("load_key") == 1


def test_a_deleted_key_is_refused_at_once_where_it_was_deleted(shared: Rig) -> None:
    """After the process was told of the change, not one more call passes (P11)."""
    account = shared.account("5")
    key = shared.credit_key(account)
    assert status_of(shared, key) == 200
    delete_keys(shared, account)
    shared.sync()
    assert status_of(shared, key) == 401
    assert status_of(shared, key) == 401


def test_a_deleted_key_is_refused_soon_where_nobody_told(shared: Rig) -> None:
    """Another process finds the deletion by itself (P11)."""
    account = shared.account("5")
    key = shared.credit_key(account)
    assert status_of(shared, key) == 200
    delete_keys(shared, account)
    eventually(lambda: status_of(shared, key) == 401, timeout_s=1)


def test_a_key_that_was_unknown_works_after_it_was_created(shared: Rig) -> None:
    """A key that was asked for before it existed is not refused from memory afterwards."""
    key, account = new_key(KeyKind.API), shared.account("5")
    assert status_of(shared, key) == 401
    new = NewApiKey(id="key_late", account_id=account, name="late", digest=digest(key), prefix="sk_live_late")
    shared.store.write_now(
        create_api_key, new, max_keys=10, grace_us=GRACE_US, actor="test", now_us=shared.clock.now_us()
    )
    shared.sync()
    assert status_of(shared, key) == 200


def test_a_suspended_account_is_refused_until_it_is_let_go_on(shared: Rig) -> None:
    """Suspension stops every key of the account, also GET calls; lifting it lets them go on."""
    account = shared.account("5")
    key, now_us = shared.credit_key(account), shared.clock.now_us()
    assert status_of(shared, key) == 200
    shared.store.write_now(suspend, account, actor="test", reason="test", now_us=now_us)
    shared.sync()
    assert code_of(shared, key) == (403, "account_suspended")
    models = shared.http.get("/v1/models", headers={"authorization": f"Bearer {key}"})
    assert models.json()["error"]["code"] == "account_suspended"
    shared.store.write_now(unsuspend, account, actor="test", reason="test", now_us=now_us)
    shared.sync()
    assert status_of(shared, key) == 200


def test_an_unpaid_renewal_has_its_grace_and_no_more(timed: Rig, clock: JumpingClock) -> None:
    """A subscription set to renew works to the last second of the grace, by the clock alone (P8)."""
    account = timed.account()
    key = timed.subscription_key(timed.subscription(account, paid_for_s=HOUR_S), account)
    assert status_of(timed, key) == 200
    for advance_s, expected in ((HOUR_S, 200), (6 * HOUR_S - 1, 200), (1, 403)):
        clock.advance(advance_s)
        timed.sync()
        assert status_of(timed, key) == expected
    assert code_of(timed, key) == (403, "subscription_inactive")


@pytest.mark.parametrize(("cancel_in_s", "ends_s"), [(HOUR_S, HOUR_S), (2 * HOUR_S, 2 * HOUR_S), (600, 600)])
def test_a_subscription_set_to_end_has_no_grace_beyond_it(
    timed: Rig, clock: JumpingClock, cancel_in_s: int, ends_s: int
) -> None:
    """Access ends when it is set to end, in this period or a later one that is unpaid yet (P8)."""
    account = timed.account()
    key = timed.subscription_key(timed.subscription(account, paid_for_s=HOUR_S, cancel_in_s=cancel_in_s), account)
    clock.advance(ends_s - 1)
    timed.sync()
    assert status_of(timed, key) == 200
    clock.advance(1)
    assert code_of(timed, key) == (403, "subscription_inactive")


def test_refusals_come_in_the_order_of_the_contract(shared: Rig) -> None:
    """Of several reasons the first in the contract's order is told."""
    account = shared.account("5")
    key = shared.credit_key(account, rpm=1, max_budget_usd="0.001")
    # Spends the cap to the last nano-dollar, and the minute's only request with it.
    assert shared.post(key, prompt("[[usage prompt=9000 completion=9000]]", max_tokens=256)).status_code == 200
    huge = b'{"model": "' + b"x" * (21 * 1024 * 1024) + b'"}'
    model = prompt("hello")["model"]
    assert code_of(shared, new_key(KeyKind.API), b"no json") == (401, "invalid_api_key")
    assert code_of(shared, key, b"no json") == (400, "invalid_json")
    assert code_of(shared, key, b"{}") == (400, "missing_model")
    assert code_of(shared, key, huge) == (413, "request_too_large")
    assert code_of(shared, key, b'{"model": "no/such"}') == (404, "model_not_found")
    assert code_of(shared, key, f'{{"model": "{model}"}}'.encode()) == (400, "missing_messages")
    assert shared.post(key, prompt("hello")).json()["error"]["code"] == "rate_limit_exceeded"
    shared.store.write_now(suspend, account, actor="test", reason="test", now_us=shared.clock.now_us())
    shared.sync()
    assert code_of(shared, key, b"no json") == (403, "account_suspended")


def test_a_spent_cap_is_told_apart_from_spent_credit(shared: Rig) -> None:
    """The key's cap and the account's credit have codes of their own, both 402 and not to be retried."""
    capped = shared.credit_key(shared.account("5"), max_budget_usd="0.00001")
    poor = shared.credit_key(shared.account("0.00001"))
    for key, code in ((capped, "key_budget_exceeded"), (poor, "insufficient_credits")):
        answer = shared.post(key, prompt("hello"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, code)
        assert answer.headers["x-should-retry"] == "false"
        assert "0.00001" in answer.json()["error"]["message"]


def test_a_refusal_consumes_nothing(shared: Rig) -> None:
    """Refused calls count neither for rates nor for money."""
    account = shared.account()
    key = shared.credit_key(account, rpm=1, tpm=2_000)
    for _ in range(3):
        assert shared.post(key, prompt("hello")).status_code == 402
        assert code_of(shared, key, b"no json")[0] == 400
    shared.grant(account, "5")
    shared.sync()
    assert shared.post(key, prompt("hello")).status_code == 200


def test_the_limits_are_told_even_with_the_first_refusal(rig: Rig) -> None:
    """The first call ever of a subscription, refused for its body, already tells the plan's true limit."""
    account = rig.account()
    key = rig.subscription_key(rig.subscription(account), account)
    answer = rig.http.post(CHAT, content=b"no json", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 400
    assert answer.headers["x-ratelimit-limit-requests"] == "60"
    assert answer.headers["x-ratelimit-remaining-requests"] == "60"


def test_a_request_above_the_token_rate_alone_is_not_to_be_retried(shared: Rig) -> None:
    """A request that can never fit the token rate is 429 without a time to wait."""
    key = shared.credit_key(shared.account("5"), tpm=100)
    answer = shared.post(key, prompt("hello", max_tokens=500))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers


def test_a_grant_is_spendable_soon(shared: Rig) -> None:
    """Credit given by another process is seen by admission without being told."""
    account = shared.account()
    key = shared.credit_key(account)
    assert status_of(shared, key) == 402
    shared.grant(account, "1")
    eventually(lambda: status_of(shared, key) == 200, timeout_s=1)


def test_a_key_deleted_while_a_body_arrives_is_refused(shared: Rig) -> None:
    """A body that was begun with a key in force does not pass when the key was deleted meanwhile."""
    account = shared.account("5")
    key = shared.credit_key(account)
    assert status_of(shared, key) == 200

    def pieces() -> Iterator[bytes]:
        yield b"{"
        delete_keys(shared, account)
        shared.sync()
        yield b"}"

    answer = shared.http.post(CHAT, content=pieces(), headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 401
