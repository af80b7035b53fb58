"""Management keys over HTTP."""

import httpx
import pytest

from tests.support.management import Plane, management_plane
from tests.support.store import Customer, new_customer, row_counts
from tokenbooth.config.settings import ManagementSettings
from tokenbooth.domain.keys import KeyKind, Scope, is_well_formed
from tokenbooth.store.engine import Store

ALL = ["billing:read", "billing:write", "keys:read", "keys:write", "usage:read", "management-keys"]


async def create(plane: Plane, customer: Customer, **body: object) -> httpx.Response:
    """Ask for a key named "ci" with these further fields."""
    return await plane.client.post("/api/keys/management", headers=customer.headers, json={"name": "ci", **body})


async def test_by_default_a_key_may_everything_but_make_keys(plane: Plane, customer: Customer) -> None:
    """It is shown once, works at once, and the list has all of it but the key."""
    payload = (await create(plane, customer)).json()["data"]
    assert payload["scopes"] == ALL[:-1]
    assert payload["expiresAt"] is None
    key = payload["managementKey"]
    assert is_well_formed(key, KeyKind.MANAGEMENT)
    headers = {"authorization": f"Bearer {key}"}
    assert (await plane.client.get("/api/keys", headers=headers)).status_code == 200
    assert (await plane.client.get("/api/keys/management", headers=headers)).status_code == 403
    listed = await plane.client.get("/api/keys/management", headers=customer.headers)
    assert key not in listed.text
    assert {
        "id": payload["id"],
        "name": "ci",
        "prefix": key[:7],
        "scopes": ALL[:-1],
        "createdAt": "2026-03-05T10:00:00.000Z",
        "expiresAt": None,
        "lastUsedAt": "2026-03-05T10:00:00.000Z",
    } in listed.json()["data"]


async def test_scopes_and_expiry_as_asked(plane: Plane, customer: Customer) -> None:
    """Scopes come back in one order, each once; the time in UTC."""
    answer = await create(
        plane,
        customer,
        scopes=["management-keys", "keys:read", "keys:read"],
        expiresAt="2026-03-06T12:00:00+02:00",
    )
    payload = answer.json()["data"]
    assert payload["scopes"] == ["keys:read", "management-keys"]
    assert payload["expiresAt"] == "2026-03-06T10:00:00.000Z"


async def test_a_key_gives_no_scope_that_it_lacks(plane: Plane, store: Store) -> None:
    """By default it gives those that it has."""
    scopes = (Scope.KEYS_READ, Scope.MANAGEMENT_KEYS)
    customer = new_customer(store, now_us=plane.clock.now_us(), scopes=scopes)
    before = row_counts(store)
    refused = await create(plane, customer, scopes=["keys:read", "keys:write"])
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "insufficient_scope"
    assert "keys:write" in refused.json()["error"]["message"]
    assert row_counts(store) == before
    assert (await create(plane, customer)).json()["data"]["scopes"] == ["keys:read"]


async def test_a_key_with_nothing_to_give_by_default_must_name_scopes(plane: Plane, store: Store) -> None:
    """A key without any scope would be of no use."""
    customer = new_customer(store, now_us=plane.clock.now_us(), scopes=(Scope.MANAGEMENT_KEYS,))
    assert (await create(plane, customer)).json()["error"]["param"] == "scopes"
    assert (await create(plane, customer, scopes=["management-keys"])).status_code == 200


async def test_a_key_gives_no_longer_life_than_its_own(plane: Plane, store: Store) -> None:
    """Without a time the new key ends with its creator."""
    now_us = plane.clock.now_us()
    customer = new_customer(store, now_us=now_us, expires_at_us=now_us + 3_600_000_000)
    refused = await create(plane, customer, expiresAt="2026-03-05T11:00:00.000001Z")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "lifetime_exceeded"
    for body in ({}, {"expiresAt": None}, {"expiresAt": "2026-03-05T11:00:00Z"}):
        payload = (await create(plane, customer, **body)).json()["data"]
        assert payload["expiresAt"] == "2026-03-05T11:00:00.000Z"


@pytest.mark.parametrize("expires_at", ["2026-03-05T10:00:00Z", "2020-01-01T00:00:00Z", "2026-03-06", "soon", 5])
async def test_an_expiry_must_be_an_instant_ahead(plane: Plane, customer: Customer, expires_at: str | int) -> None:
    """Now is too late, and a date is no instant."""
    answer = await create(plane, customer, expiresAt=expires_at)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "expiresAt"


async def test_a_deleted_key_is_refused_at_once(plane: Plane, customer: Customer) -> None:
    """It may delete itself; again it is 404 for another key."""
    payload = (await create(plane, customer, scopes=ALL)).json()["data"]
    headers = {"authorization": f"Bearer {payload['managementKey']}"}
    answer = await plane.client.delete(f"/api/keys/management/{payload['id']}", headers=headers)
    assert answer.json()["data"] == {"id": payload["id"], "deleted": True}
    assert (await plane.client.get("/api/keys", headers=headers)).status_code == 401
    again = await plane.client.delete(f"/api/keys/management/{payload['id']}", headers=customer.headers)
    assert again.status_code == 404


async def test_a_repeated_creation_cannot_show_the_key_again(plane: Plane, customer: Customer) -> None:
    """It names the key."""
    headers = {**customer.headers, "idempotency-key": "a"}
    first, again = [
        await plane.client.post("/api/keys/management", headers=headers, json={"name": "ci"}) for _ in range(2)
    ]
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "key_already_created"
    assert again.json()["error"]["id"] == first.json()["id"]


async def test_an_account_has_so_many_management_keys_at_most(store: Store) -> None:
    """The same setting bounds them."""
    async with management_plane(store, ManagementSettings(max_keys=2)) as plane:
        customer = new_customer(store, now_us=plane.clock.now_us())
        assert (await create(plane, customer)).status_code == 200
        refused = await create(plane, customer)
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "too_many_keys"
