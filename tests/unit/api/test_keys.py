"""API keys over HTTP."""

import pytest

from tests.support.billing.billing_rows import DAY_US, add_subscription, spend_by_key
from tests.support.management import Plane, management_plane
from tests.support.store import Customer, new_customer
from tokenbooth.config.settings import ManagementSettings
from tokenbooth.domain.keys import KeyKind, is_well_formed
from tokenbooth.store.engine import Store
from tokenbooth.store.ledger import grant


@pytest.fixture
def subscription_id(plane: Plane, store: Store, customer: Customer) -> str:
    """A subscription that is paid for another day."""
    now_us = plane.clock.now_us()
    return store.write_now(add_subscription, customer.account_id, now_us=now_us, paid_until_us=now_us + DAY_US)


async def created(plane: Plane, customer: Customer, kind: str, body: dict[str, object]) -> dict[str, object]:
    """The payload of a key that must be created."""
    answer = await plane.client.post(f"/api/keys/{kind}", headers=customer.headers, json=body)
    assert answer.status_code == 200
    payload: dict[str, object] = answer.json()["data"]
    return payload


async def listed(plane: Plane, customer: Customer) -> list[dict[str, object]]:
    """The list of keys."""
    answer = await plane.client.get("/api/keys", headers=customer.headers)
    assert answer.status_code == 200
    payload: list[dict[str, object]] = answer.json()["data"]
    return payload


async def test_a_credit_key_with_limits(plane: Plane, store: Store, customer: Customer) -> None:
    """It is shown once, and the list has all of it but the key."""
    key = await created(plane, customer, "credit", {"name": "client-acme", "maxBudget": 25, "rpm": 100, "tpm": 50000})
    assert set(key) == {"id", "name", "apiKey"}
    assert is_well_formed(str(key["apiKey"]), KeyKind.API)
    store.write_now(spend_by_key, str(key["id"]), 3_400_000, now_us=plane.clock.now_us())
    assert await listed(plane, customer) == [
        {
            "id": key["id"],
            "name": "client-acme",
            "keyType": "credit",
            "keyPlan": None,
            "prefix": str(key["apiKey"])[:12],
            "isActive": True,
            "subscriptionId": None,
            "subscriptionStatus": None,
            "maxBudget": "25.00",
            "spent": "0.0034",
            "rpm": 100,
            "tpm": 50000,
            "createdAt": "2026-03-05T10:00:00.000Z",
            "lastUsedAt": None,
        }
    ]
    assert plane.live.settled_calls == 1


async def test_a_credit_key_needs_a_name_only(plane: Plane, customer: Customer) -> None:
    """Null is as good as missing."""
    await created(plane, customer, "credit", {"name": "a"})
    await created(plane, customer, "credit", {"name": "b", "maxBudget": None, "rpm": None, "tpm": None})
    assert [(key["maxBudget"], key["rpm"], key["tpm"]) for key in await listed(plane, customer)] == [(None,) * 3] * 2


async def test_a_subscription_key(plane: Plane, customer: Customer, subscription_id: str) -> None:
    """The list shows its plan and whether the subscription still gives access."""
    key = await created(plane, customer, "subscription", {"name": "prod-api", "subscriptionId": subscription_id})

    async def shown() -> tuple[object, ...]:
        found = (await listed(plane, customer))[0]
        return tuple(found[name] for name in ("id", "keyType", "keyPlan", "subscriptionStatus", "isActive"))

    assert await shown() == (key["id"], "subscription", "pro", "active", True)
    plane.clock.advance(86_400)
    assert await shown() == (key["id"], "subscription", "pro", "past_due", True)
    plane.clock.advance(6 * 3_600)
    assert await shown() == (key["id"], "subscription", "pro", "past_due", False)


async def test_an_ended_subscription_takes_no_key(plane: Plane, customer: Customer, subscription_id: str) -> None:
    """A conflict that a client should not repeat."""
    plane.clock.advance(86_400 + 6 * 3_600)
    body = {"name": "late", "subscriptionId": subscription_id}
    answer = await plane.client.post("/api/keys/subscription", headers=customer.headers, json=body)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "subscription_inactive"
    assert answer.headers["x-should-retry"] == "false"


async def test_another_accounts_things_are_not_there(
    plane: Plane, store: Store, customer: Customer, subscription_id: str
) -> None:
    """Neither its subscription, nor its key, nor its usage: 404, and nothing changes."""
    eve = new_customer(store, now_us=plane.clock.now_us(), email="eve@example.com")
    key = await created(plane, customer, "subscription", {"name": "mine", "subscriptionId": subscription_id})
    body = {"name": "hers", "subscriptionId": subscription_id}
    answers = [
        await plane.client.post("/api/keys/subscription", headers=eve.headers, json=body),
        await plane.client.delete(f"/api/keys/{key['id']}", headers=eve.headers),
        await plane.client.get(f"/api/usage/{key['id']}", headers=eve.headers),
        await plane.client.delete(f"/api/keys/management/{customer.key_id}", headers=eve.headers),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert await listed(plane, eve) == []
    assert len(await listed(plane, customer)) == 1


async def test_a_deleted_key_is_gone_once_and_for_all(plane: Plane, customer: Customer) -> None:
    """The caches followed before the answer; again it is 404."""
    key = await created(plane, customer, "credit", {"name": "a"})
    followed = plane.live.changed_calls
    answer = await plane.client.delete(f"/api/keys/{key['id']}", headers=customer.headers)
    assert answer.json()["data"] == {"id": key["id"], "deleted": True}
    assert plane.live.changed_calls == followed + 1
    assert await listed(plane, customer) == []
    again = await plane.client.delete(f"/api/keys/{key['id']}", headers=customer.headers)
    assert again.status_code == 404


@pytest.mark.parametrize("key_id", ["x", "key_", "KEY_" + "0" * 26, "..%2f..", "%F0%9F%A6%8A", "k" * 5_000])
async def test_an_id_that_cannot_be_is_404(plane: Plane, customer: Customer, key_id: str) -> None:
    """Whatever stands in the path."""
    for method, path in (("DELETE", "/api/keys/"), ("DELETE", "/api/keys/management/"), ("GET", "/api/usage/")):
        answer = await plane.client.request(method, path + key_id, headers=customer.headers)
        assert answer.status_code == 404


async def test_an_account_has_so_many_keys_at_most(store: Store) -> None:
    """The setting bounds them; deleting one makes room."""
    async with management_plane(store, ManagementSettings(max_keys=2)) as plane:
        customer = new_customer(store, now_us=plane.clock.now_us())
        first = await created(plane, customer, "credit", {"name": "a"})
        await created(plane, customer, "credit", {"name": "b"})
        answer = await plane.client.post("/api/keys/credit", headers=customer.headers, json={"name": "c"})
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "too_many_keys"
        await plane.client.delete(f"/api/keys/{first['id']}", headers=customer.headers)
        await created(plane, customer, "credit", {"name": "c"})


async def test_an_account_that_never_had_money_has_fewer(store: Store) -> None:
    """Of both kinds of keys; with its first credit it may have more."""
    async with management_plane(store, ManagementSettings(max_keys=5, max_unfunded_keys=2)) as plane:
        customer = new_customer(store, now_us=plane.clock.now_us())

        async def statuses(path: str) -> list[int]:
            return [
                (await plane.client.post(path, headers=customer.headers, json={"name": "x"})).status_code
                for _ in range(3)
            ]

        # It has a management key already.
        assert await statuses("/api/keys/credit") == [200, 200, 409]
        assert await statuses("/api/keys/management") == [200, 409, 409]
        now_us = plane.clock.now_us()
        store.write_now(grant, account_id=customer.account_id, amount_nano=1, reference="g", reason="g", now_us=now_us)
        assert await statuses("/api/keys/credit") == [200, 200, 200]
        assert await statuses("/api/keys/management") == [200, 200, 200]


async def test_keys_are_listed_newest_first(plane: Plane, customer: Customer) -> None:
    """By the time of their creation."""
    for name in ("first", "second", "third"):
        await created(plane, customer, "credit", {"name": name})
        plane.clock.advance(1)
    assert [key["name"] for key in await listed(plane, customer)] == ["third", "second", "first"]
