"""Bad input to every route that takes a body: the contract's error, and nothing half done."""

import json
from collections.abc import AsyncIterator

import pytest

from tests.support.billing.billing_rows import DAY_US, add_subscription
from tests.support.management import Plane
from tests.support.store import Customer, row_counts
from tokenbooth.store.engine import Store

SUBSCRIPTION_KEY = "/api/keys/subscription"
CREDIT_KEY = "/api/keys/credit"
MANAGEMENT_KEY = "/api/keys/management"
PATHS = [SUBSCRIPTION_KEY, CREDIT_KEY, MANAGEMENT_KEY]
VALID_ID = "sub_" + "0" * 26

RAW_BODIES = [
    (b"", "invalid_json"),
    (b"null", "invalid_json"),
    (b"[]", "invalid_json"),
    (b'"name"', "invalid_json"),
    (b"{", "invalid_json"),
    (b'{"name":"a","name":"b"}', "invalid_json"),
    (b'{"name":"\\ud800"}', "invalid_json"),
    (b'{"name":"\xff"}', "invalid_json"),
    (b'{"name":NaN}', "invalid_json"),
    (b'{"name":' + b"9" * 5_000 + b"}", "invalid_json"),
    (b'{"name":' + b"[" * 30_000, "invalid_json"),
    (b"name=a", "invalid_json"),
    (b'{"name":"a","extra":1}', "unknown_parameter"),
    (b'{"Name":"a"}', "unknown_parameter"),
    (b'{"__proto__":{}}', "unknown_parameter"),
    (b"{}", "missing_parameter"),
    (b'{"name":null}', "missing_parameter"),
    (b'{"name":1}', "invalid_type"),
    (b'{"name":["a"]}', "invalid_type"),
    (b'{"name":{"$ne":""}}', "invalid_type"),
    (b'{"name":true}', "invalid_type"),
    (b'{"name":""}', "invalid_value"),
    (b'{"name":"a\\u0000"}', "invalid_value"),
    (b'{"name":"a\\nb"}', "invalid_value"),
    (b'{"name":"a\\\\b"}', "invalid_value"),
    (b'{"name":"' + b"x" * 101 + b'"}', "invalid_value"),
    (b'{"name":"' + b"x" * 60_000 + b'"}', "invalid_value"),
]

FIELDS = [
    (SUBSCRIPTION_KEY, {"name": "a"}, 400, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": None}, 400, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": 1}, 400, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": ""}, 400, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": "x" * 5_000}, 400, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": "sub_uuid"}, 404, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": "sub\x00"}, 400, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": VALID_ID}, 404, "subscriptionId"),
    (SUBSCRIPTION_KEY, {"name": "a", "subscriptionId": VALID_ID, "rpm": 1}, 400, "rpm"),
    (CREDIT_KEY, {"name": "a", "subscriptionId": VALID_ID}, 400, "subscriptionId"),
    (CREDIT_KEY, {"name": "a", "maxBudget": 0}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": -5}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": 10**18}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": 1e300}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": 1e-300}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": "NaN"}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": "1e400"}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": "$5"}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": True}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "maxBudget": []}, 400, "maxBudget"),
    (CREDIT_KEY, {"name": "a", "rpm": 0}, 400, "rpm"),
    (CREDIT_KEY, {"name": "a", "rpm": 1.5}, 400, "rpm"),
    (CREDIT_KEY, {"name": "a", "rpm": "60"}, 400, "rpm"),
    (CREDIT_KEY, {"name": "a", "rpm": True}, 400, "rpm"),
    (CREDIT_KEY, {"name": "a", "rpm": 2**31}, 400, "rpm"),
    (CREDIT_KEY, {"name": "a", "tpm": -1}, 400, "tpm"),
    (CREDIT_KEY, {"name": "a", "tpm": 1e300}, 400, "tpm"),
    (CREDIT_KEY, {"name": "a", "tpm": {}}, 400, "tpm"),
    (MANAGEMENT_KEY, {"name": "a", "scopes": []}, 400, "scopes"),
    (MANAGEMENT_KEY, {"name": "a", "scopes": "keys:read"}, 400, "scopes"),
    (MANAGEMENT_KEY, {"name": "a", "scopes": ["keys:admin"]}, 400, "scopes"),
    (MANAGEMENT_KEY, {"name": "a", "scopes": ["keys:read"] * 50}, 400, "scopes"),
    (MANAGEMENT_KEY, {"name": "a", "scopes": [1]}, 400, "scopes"),
    (MANAGEMENT_KEY, {"name": "a", "expiresAt": 1}, 400, "expiresAt"),
    (MANAGEMENT_KEY, {"name": "a", "expiresAt": "never"}, 400, "expiresAt"),
    (MANAGEMENT_KEY, {"name": "a", "expiresAt": "1999-01-01T00:00:00Z"}, 400, "expiresAt"),
]


@pytest.fixture(autouse=True)
def another_subscription(store: Store, plane: Plane, customer: Customer) -> None:
    """A subscription that bad input might hit by mistake."""
    now_us = plane.clock.now_us()
    store.write_now(add_subscription, customer.account_id, now_us=now_us, paid_until_us=now_us + DAY_US)


async def refused(
    plane: Plane, customer: Customer, path: str, content: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    """The status and the error of a request that must be refused and change nothing."""
    store = plane.context.store
    before = row_counts(store)
    sent = {**customer.headers, "content-type": "application/json", "idempotency-key": "a", **(headers or {})}
    answer = await plane.client.post(path, headers=sent, content=content)
    body = answer.json()
    assert body["success"] is False
    assert set(body["error"]) == {"message", "type", "code", "param"}
    assert answer.headers["x-request-id"].startswith("req_")
    assert row_counts(store) == before
    error: dict[str, object] = body["error"]
    return answer.status_code, error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("content", "code"), RAW_BODIES)
async def test_a_bad_body_is_400(plane: Plane, customer: Customer, path: str, content: bytes, code: str) -> None:
    """With a code that says what is wrong."""
    status, error = await refused(plane, customer, path, content)
    assert (status, error["code"]) == (400, code)


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_is_too_large_is_413(plane: Plane, customer: Customer, path: str) -> None:
    """Whether its length is announced or not."""
    content = b'{"name":"' + b"x" * 70_000 + b'"}'
    assert (await refused(plane, customer, path, content))[0] == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield content

    sent = {**customer.headers, "content-type": "application/json"}
    answer = await plane.client.post(path, headers=sent, content=chunks())
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": ""},
        {"content-encoding": "gzip"},
        {"content-encoding": "identity, br"},
    ],
)
async def test_another_media_type_is_415(plane: Plane, customer: Customer, path: str, headers: dict[str, str]) -> None:
    """Also a compressed body."""
    status, _error = await refused(plane, customer, path, b'{"name":"a"}', headers)
    assert status == 415


@pytest.mark.parametrize(("path", "body", "status", "param"), FIELDS)
async def test_a_bad_field_is_named(
    plane: Plane, customer: Customer, path: str, body: dict[str, object], status: int, param: str
) -> None:
    """In `error.param`."""
    found, error = await refused(plane, customer, path, json.dumps(body).encode())
    assert (found, error["param"]) == (status, param)


async def test_json_with_a_charset_is_taken(plane: Plane, customer: Customer) -> None:
    """As many clients send it."""
    sent = {**customer.headers, "content-type": 'Application/JSON; charset="UTF-8"'}
    answer = await plane.client.post(CREDIT_KEY, headers=sent, content=b'{"name":"a"}')
    assert answer.status_code == 200
