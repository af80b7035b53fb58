"""What every answer of the management plane has, whatever the route."""

import re

import httpx
import pytest

from tests.support.gateway.hang_up import hang_up
from tests.support.management import Plane, management_plane
from tests.support.store import Customer
from tokenbooth.domain.keys import KeyKind
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.kit.ids import new_key
from tokenbooth.store.engine import Store

REQUEST_ID = re.compile(r"req_[0-9a-f]{26}")


async def test_every_answer_has_our_request_id_and_is_not_stored(plane: Plane, customer: Customer) -> None:
    """Success and refusal alike; a client's own id is never echoed."""
    seen = set()
    for path, headers in (("/api/keys", customer.headers), ("/api/keys", {}), ("/nowhere", {}), ("/healthz", {})):
        answer = await plane.client.get(path, headers={**headers, "x-request-id": "mine"})
        assert REQUEST_ID.fullmatch(answer.headers["x-request-id"])
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        seen.add(answer.headers["x-request-id"])
    assert len(seen) == 4


@pytest.mark.parametrize("path", ["/api/nowhere", "/api/keys/", "//api/keys", "/api/keys/x/y"])
async def test_an_unknown_path_is_404_in_the_envelope(plane: Plane, path: str) -> None:
    """Never a redirect, which would be built from the client's host."""
    answer = await plane.client.get(path)
    assert answer.status_code == 404
    assert answer.json() == {
        "success": False,
        "error": {
            "message": "There is nothing at this path.",
            "type": "not_found_error",
            "code": "route_not_found",
            "param": None,
        },
    }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/api/billing/auto-topup", "GET, PUT"),
        ("DELETE", "/api/billing/auto-topup", "GET, PUT"),
        ("PATCH", "/api/keys/management/mkey_1", "DELETE"),
    ],
)
async def test_a_refused_method_is_told_those_that_are_taken(
    plane: Plane, method: str, path: str, allowed: str
) -> None:
    """All of them, although each is a route of its own."""
    answer = await plane.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_an_unknown_method_is_405_in_the_envelope(plane: Plane) -> None:
    """With the header that names what is allowed."""
    answer = await plane.client.put("/api/plans")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "GET"


async def test_an_unexpected_failure_is_500_without_details(
    plane: Plane, customer: Customer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the answer nor the log has the error's text."""
    canary = "mk_" + "9" * 48
    plane.live.fail_with = RuntimeError(canary)
    answer = await plane.client.get("/api/keys", headers=customer.headers)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert canary not in answer.text
    logged = capsys.readouterr()
    assert "request_failed" in logged.out
    assert canary not in logged.out + logged.err


async def test_a_hang_up_is_no_failure(plane: Plane, customer: Customer, capsys: pytest.CaptureFixture[str]) -> None:
    """Anybody can hang up as often as he likes, and the log's errors are there for bugs."""
    json = {**customer.headers, "content-type": "application/json", "content-length": "100"}
    await hang_up(plane.app, "/api/keys/credit", json)
    assert "failed" not in capsys.readouterr().out


async def test_a_store_that_is_away_is_503(plane: Plane, customer: Customer) -> None:
    """With the header that says when to try again."""
    plane.live.fail_with = StoreUnavailable()
    answer = await plane.client.get("/api/keys", headers=customer.headers)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "temporarily_unavailable"
    assert answer.headers["retry-after"] == "2"


async def test_a_closed_store_is_503_also_for_the_credential(store: Store) -> None:
    """Never a 401: the key may well be right."""
    async with management_plane(store) as plane:
        with store.engine.begin() as conn:
            conn.exec_driver_sql("ALTER TABLE management_keys RENAME TO moved")
        key = "Bearer " + new_key(KeyKind.MANAGEMENT)
        answer = await plane.client.get("/api/keys", headers={"authorization": key})
        assert answer.status_code == 503


async def test_health_needs_no_credential(plane: Plane) -> None:
    """Both say so in the envelope."""
    assert (await plane.client.get("/healthz")).json()["data"] == {"status": "ok"}
    assert (await plane.client.get("/readyz")).json()["data"] == {"status": "ready"}


async def test_readiness_follows_admission(store: Store) -> None:
    """It is degraded while known keys go on and the database fails, and 503 when nobody is admitted any more."""
    async with management_plane(store) as plane:
        plane.live.is_admitting = False
        refused = await plane.client.get("/readyz")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "temporarily_unavailable")
        plane.live.is_admitting = True
        plane.live.is_storing = False
        answer = await plane.client.get("/readyz")
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, "degraded")
        assert "takes no writes" in answer.json()["data"]["reason"]
        store.close()
        answer = await plane.client.get("/readyz")
        away = {"status": "degraded", "reason": "The database does not answer."}
        assert (answer.status_code, answer.json()["data"]) == (200, away)


async def test_the_document_shows_requests_answers_and_errors(plane: Plane) -> None:
    """OpenAPI is served, and its bodies have schemas."""
    document = (await plane.client.get("/openapi.json")).json()
    operation = document["paths"]["/api/keys/credit"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"name", "maxBudget", "rpm", "tpm"}
    assert body["additionalProperties"] is False
    assert {"200", "400", "401", "403", "409", "413", "415", "429", "503", "default"} <= set(operation["responses"])
    assert operation["security"] == [{"managementKey": []}]
    answer = document["components"]["schemas"]["CreatedKeyAnswer"]["properties"]
    assert set(answer) == {"success", "data", "id", "name", "apiKey"}
    assert [name["name"] for name in operation["parameters"]] == ["Idempotency-Key"]


async def test_answers_are_compact_utf8(plane: Plane, customer: Customer) -> None:
    """Names stand in them as they are."""
    await plane.client.post("/api/keys/credit", headers=customer.headers, json={"name": "Zoë 🦊"})
    answer = await plane.client.get("/api/keys", headers=customer.headers)
    assert '"name":"Zoë 🦊"' in answer.content.decode()


async def test_an_object_is_spread_and_a_list_is_not(plane: Plane, customer: Customer) -> None:
    """The fields of an object stand at the top level and under `data`."""
    created = await plane.client.post("/api/keys/credit", headers=customer.headers, json={"name": "a"})
    body = created.json()
    assert body == {"success": True, **body["data"], "data": body["data"]}
    listed = (await plane.client.get("/api/keys", headers=customer.headers)).json()
    assert set(listed) == {"success", "data"}


async def test_a_url_that_is_no_utf8_is_refused_cleanly(plane: Plane) -> None:
    """As any other unknown path."""
    answer = await plane.client.send(httpx.Request("GET", "http://booth.test/api/usage/%ff%fe"))
    assert answer.status_code in (401, 404)


async def test_a_server_is_not_ready_while_background_work_is_down(store: Store) -> None:
    """What is down is named; once it runs again the server is ready. It lives meanwhile."""
    down = ["flusher", "job inbox"]
    async with management_plane(store, down=lambda: down) as plane:
        refused = await plane.client.get("/readyz")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "background_work_down"
        assert "flusher, job inbox" in refused.json()["error"]["message"]
        assert (await plane.client.get("/healthz")).status_code == 200
        down.clear()
        assert (await plane.client.get("/readyz")).status_code == 200
