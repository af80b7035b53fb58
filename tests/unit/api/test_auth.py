"""Who is let in on the management plane."""

import pytest

from tests.support.management import Plane, management_plane
from tests.support.store import Customer, another_key, new_customer
from tokenbooth.config.settings import ManagementSettings
from tokenbooth.domain.keys import ALL_SCOPES, KeyKind, Scope
from tokenbooth.kit.ids import new_key
from tokenbooth.store.accounts.accounts import suspend, unsuspend
from tokenbooth.store.accounts.management_keys import delete_management_key
from tokenbooth.store.engine import Store

ROUTES = [
    ("POST", "/api/keys/subscription", Scope.KEYS_WRITE),
    ("POST", "/api/keys/credit", Scope.KEYS_WRITE),
    ("GET", "/api/keys", Scope.KEYS_READ),
    ("DELETE", "/api/keys/key_1", Scope.KEYS_WRITE),
    ("GET", "/api/usage", Scope.USAGE_READ),
    ("GET", "/api/usage/requests", Scope.USAGE_READ),
    ("GET", "/api/usage/key_1", Scope.USAGE_READ),
    ("POST", "/api/keys/management", Scope.MANAGEMENT_KEYS),
    ("GET", "/api/keys/management", Scope.MANAGEMENT_KEYS),
    ("DELETE", "/api/keys/management/mkey_1", Scope.MANAGEMENT_KEYS),
]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_every_route_needs_a_key(plane: Plane, method: str, path: str, scope: Scope) -> None:
    """Without one it is 401, and the answer says what to send."""
    answer = await plane.client.request(method, path)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_management_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_every_route_needs_its_scope(plane: Plane, store: Store, method: str, path: str, scope: Scope) -> None:
    """A key with all others is refused, and told which it lacks."""
    others = tuple(other for other in ALL_SCOPES if other is not scope)
    customer = new_customer(store, now_us=plane.clock.now_us(), scopes=others)
    answer = await plane.client.request(method, path, headers=customer.headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "insufficient_scope"
    assert f"`{scope}`" in answer.json()["error"]["message"]


async def refused(plane: Plane, authorization: str) -> str:
    """The message of the 401 that this header gets."""
    answer = await plane.client.get("/api/keys", headers={"authorization": authorization})
    assert answer.status_code == 401
    return str(answer.json()["error"]["message"])


async def test_the_wrong_kind_of_key_is_told_which_belongs_here(plane: Plane) -> None:
    """Well formed or not."""
    for key in (new_key(KeyKind.API), "sk_live_x"):
        message = await refused(plane, f"Bearer {key}")
        assert message == "This is an API key (sk_live_). Management calls need a management key (mk_)."


async def test_a_mistyped_key_needs_no_look_up(plane: Plane, store: Store, customer: Customer) -> None:
    """Its checksum tells, so it is 401 even while the store is away."""
    with store.engine.begin() as conn:
        conn.exec_driver_sql("ALTER TABLE management_keys RENAME TO moved")
    last = "1" if customer.management_key[-1] != "1" else "2"
    message = await refused(plane, f"Bearer {customer.management_key[:-1]}{last}")
    assert "mistyped" in message


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic YTpi", "mk_alone", "Bearer a b", "Bearer mk_ä", "Bearer " + "x" * 5_000],
)
async def test_a_malformed_header_is_401(plane: Plane, authorization: str) -> None:
    """Whatever is in it."""
    answer = await plane.client.get("/api/keys", headers={b"authorization": authorization.encode()})
    assert answer.status_code == 401


async def test_two_credentials_are_refused(plane: Plane, customer: Customer) -> None:
    """We don't guess which one is meant."""
    headers = [("authorization", customer.headers["authorization"])] * 2
    assert (await plane.client.get("/api/keys", headers=headers)).status_code == 401


async def test_the_scheme_is_read_in_any_case(plane: Plane, customer: Customer) -> None:
    """As RFC 9110 wants it."""
    answer = await plane.client.get("/api/keys", headers={"authorization": f"bEARER  {customer.management_key}"})
    assert answer.status_code == 200


async def test_unknown_and_deleted_keys_are_refused(plane: Plane, store: Store, customer: Customer) -> None:
    """At once, and no answer holds the key."""
    unknown = new_key(KeyKind.MANAGEMENT)
    assert unknown not in await refused(plane, f"Bearer {unknown}")
    store.write_now(
        delete_management_key, customer.account_id, customer.key_id, actor="operator", now_us=plane.clock.now_us()
    )
    assert customer.management_key not in await refused(plane, f"Bearer {customer.management_key}")


async def test_an_expired_key_is_refused_from_its_last_microsecond_on(plane: Plane, store: Store) -> None:
    """Until then it is good."""
    customer = new_customer(store, now_us=plane.clock.now_us(), expires_at_us=plane.clock.now_us() + 60_000_000)
    plane.clock.advance(59.999999)
    assert (await plane.client.get("/api/keys", headers=customer.headers)).status_code == 200
    plane.clock.advance(0.000001)
    assert "expired at 2026-03-05T10:01:00.000Z" in await refused(plane, customer.headers["authorization"])


async def test_a_suspended_account_may_read_and_not_write(plane: Plane, store: Store, customer: Customer) -> None:
    """Until it is let go on."""
    now_us = plane.clock.now_us()
    store.write_now(suspend, customer.account_id, actor="operator", reason="test", now_us=now_us)
    assert (await plane.client.get("/api/keys", headers=customer.headers)).status_code == 200
    for method, path in (("POST", "/api/keys/credit"), ("DELETE", "/api/keys/key_1")):
        answer = await plane.client.request(method, path, headers=customer.headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "account_suspended"
    store.write_now(unsuspend, customer.account_id, actor="operator", reason="test", now_us=now_us)
    answer = await plane.client.post("/api/keys/credit", headers=customer.headers, json={"name": "a"})
    assert answer.status_code == 200


async def test_use_is_noted_at_most_once_a_minute(plane: Plane, customer: Customer) -> None:
    """The list shows it."""

    async def last_used_at() -> str:
        answer = await plane.client.get("/api/keys/management", headers=customer.headers)
        return str(answer.json()["data"][0]["lastUsedAt"])

    assert await last_used_at() == "None"
    assert await last_used_at() == "2026-03-05T10:00:00.000Z"
    plane.clock.advance(59)
    await last_used_at()
    assert await last_used_at() == "2026-03-05T10:00:00.000Z"
    plane.clock.advance(1)
    await last_used_at()
    assert await last_used_at() == "2026-03-05T10:01:00.000Z"


async def test_an_account_has_a_request_rate_of_its_own(store: Store) -> None:
    """Its keys share it, other accounts don't, and the answer says how long to wait."""
    async with management_plane(store, ManagementSettings(requests_per_minute=3)) as plane:
        now_us = plane.clock.now_us()
        ada, eve = new_customer(store, now_us=now_us), new_customer(store, now_us=now_us, email="eve@example.com")
        second = another_key(store, ada.account_id, ada.email, now_us=now_us)
        for customer in (ada, second, ada):
            assert (await plane.client.get("/api/keys", headers=customer.headers)).status_code == 200
            plane.clock.advance(1)
        answer = await plane.client.get("/api/keys", headers=second.headers)
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert answer.headers["retry-after"] == "57"
        assert (await plane.client.get("/api/keys", headers=eve.headers)).status_code == 200
        plane.clock.advance(57)
        assert (await plane.client.get("/api/keys", headers=ada.headers)).status_code == 200
        assert (await plane.client.get("/api/keys", headers=ada.headers)).status_code == 429
