"""Usage over HTTP."""

import base64
from decimal import Decimal

import pytest

from tests.support.billing.billing_rows import DAY_US, HOUR_US, add_usage, by_window, charge
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.management import Plane
from tests.support.store import Customer
from tokenbooth.store.engine import Store


async def report(plane: Plane, customer: Customer, path: str = "/api/usage", **query: str) -> dict[str, object]:
    """The payload of a report that must be given."""
    answer = await plane.client.get(path, headers=customer.headers, params=query)
    assert answer.status_code == 200
    payload: dict[str, object] = answer.json()["data"]
    return payload


async def test_a_report_by_day(plane: Plane, store: Store, customer: Customer) -> None:
    """The last thirty days, today included; older requests and other accounts don't count."""
    me = customer.account_id
    store.write_now(
        add_usage,
        charge(me, finished_at_us=NOW_US, cost_nano=1_500),
        charge(me, finished_at_us=NOW_US - HOUR_US, cost_nano=500),
        charge(me, finished_at_us=NOW_US - DAY_US, cost_nano=1),
        charge(me, finished_at_us=NOW_US - 29 * DAY_US - 10 * HOUR_US, cost_nano=1),
        charge(me, finished_at_us=NOW_US - 29 * DAY_US - 10 * HOUR_US - 1, cost_nano=1),
        charge("acct_other", finished_at_us=NOW_US),
    )

    def sums(requests: int, cost: str) -> dict[str, object]:
        return {
            "requests": requests,
            "promptTokens": 100 * requests,
            "cachedTokens": 40 * requests,
            "completionTokens": 10 * requests,
            "cost": cost,
        }

    assert await report(plane, customer) == {
        "from": "2026-02-04T00:00:00.000Z",
        "to": "2026-03-06T00:00:00.000Z",
        "groups": [
            {"group": "2026-02-04", **sums(1, "0.000000001")},
            {"group": "2026-03-04", **sums(1, "0.000000001")},
            {"group": "2026-03-05", **sums(2, "0.000002")},
        ],
        "total": sums(4, "0.000002002"),
    }
    assert plane.live.settled_calls == 1


@pytest.mark.parametrize("group_by", ["day", "key", "model"])
async def test_the_total_is_the_sum_of_the_groups(
    plane: Plane, store: Store, customer: Customer, group_by: str
) -> None:
    """For every grouping, and the same for each."""
    me = customer.account_id
    store.write_now(
        add_usage,
        *(
            charge(me, finished_at_us=NOW_US - n * HOUR_US, key_id=f"key_{n % 3}", model=f"m{n % 2}", cost_nano=n)
            for n in range(50)
        ),
    )
    found = await report(plane, customer, groupBy=group_by)
    groups, total = found["groups"], found["total"]
    assert isinstance(groups, list)
    assert isinstance(total, dict)
    for name in ("requests", "promptTokens", "cachedTokens", "completionTokens"):
        assert sum(group[name] for group in groups) == total[name]
    assert sum(Decimal(group["cost"]) for group in groups) == Decimal(total["cost"])
    assert total["requests"] == 50


async def test_dates_and_instants_bound_a_report(plane: Plane, store: Store, customer: Customer) -> None:
    """An end date is a whole day; an end instant is not in the report any more."""
    store.write_now(
        add_usage,
        *(charge(customer.account_id, finished_at_us=NOW_US - n * HOUR_US) for n in range(48)),
    )

    async def requests(**query: str) -> object:
        total = (await report(plane, customer, **query))["total"]
        assert isinstance(total, dict)
        return total["requests"]

    assert await requests(startDate="2026-03-04", endDate="2026-03-04") == 24
    assert await requests(startDate="2026-03-05T08:00:00Z", endDate="2026-03-05T10:00:00Z") == 2
    assert await requests(startDate="2026-03-05T09:30:00Z", endDate="2026-03-05T10:30:00Z") == 1
    assert await requests(startDate="2026-03-05") == 11
    assert await requests(endDate="2026-03-03") == 13


async def test_the_usage_of_one_key(plane: Plane, store: Store, customer: Customer) -> None:
    """Also when it was deleted."""
    made = await plane.client.post("/api/keys/credit", headers=customer.headers, json={"name": "a"})
    key_id = made.json()["id"]
    store.write_now(
        add_usage,
        charge(customer.account_id, finished_at_us=NOW_US, key_id=key_id, cost_nano=7),
        charge(customer.account_id, finished_at_us=NOW_US, key_id="key_other"),
    )
    await plane.client.delete(f"/api/keys/{key_id}", headers=customer.headers)
    found = await report(plane, customer, f"/api/usage/{key_id}", groupBy="key")
    groups = found["groups"]
    assert isinstance(groups, list)
    assert [(group["group"], group["cost"]) for group in groups] == [(key_id, "0.000000007")]


async def test_single_requests_page_by_page(plane: Plane, store: Store, customer: Customer) -> None:
    """Each once, newest first, also when new ones arrive between two pages."""
    me = customer.account_id
    charges = [charge(me, finished_at_us=NOW_US - n) for n in range(250)]
    store.write_now(add_usage, *charges)
    seen: list[str] = []
    query = {"limit": "100"}
    while True:
        answer = await plane.client.get("/api/usage/requests", headers=customer.headers, params=query)
        page = answer.json()["data"]
        seen += [shown["id"] for shown in page["requests"]]
        if page["nextCursor"] is None:
            break
        query["cursor"] = page["nextCursor"]
        store.write_now(add_usage, charge(me, finished_at_us=NOW_US + len(seen)))
    assert seen == [made.request_id for made in charges]


async def test_a_single_request(plane: Plane, store: Store, customer: Customer) -> None:
    """It shows tokens, unit prices and cost; nothing of the operator's, and no text."""
    made = charge(customer.account_id, finished_at_us=NOW_US, cost_nano=31_000)
    store.write_now(add_usage, by_window(made, "sub_a"))
    answer = await plane.client.get("/api/usage/requests", headers=customer.headers)
    assert answer.json()["data"] == {
        "requests": [
            {
                "id": made.request_id,
                "keyId": "key_a",
                "keyType": "subscription",
                "subscriptionId": "sub_a",
                "model": "small",
                "endpoint": "chat.completions",
                "finishedAt": "2026-03-05T10:00:00.000Z",
                "promptTokens": 100,
                "cachedTokens": 40,
                "cacheWriteTokens": 0,
                "completionTokens": 10,
                "reasoningTokens": 0,
                "prices": {
                    "input": "0.27",
                    "cachedInput": "0.07",
                    "cacheWrite": "0.27",
                    "output": "1.10",
                    "perRequest": "0.00",
                },
                "cost": "0.000031",
                "estimated": False,
            }
        ],
        "nextCursor": None,
    }


def encoded(text: str) -> str:
    """A cursor of a client's own making."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/api/usage", "startDate=yesterday", "startDate"),
        ("/api/usage", "endDate=2026-13-01", "endDate"),
        ("/api/usage", "startDate=2026-03-06&endDate=2026-03-05", "startDate"),
        ("/api/usage", "startDate=2030-01-01", "startDate"),
        ("/api/usage", "groupBy=hour", "groupBy"),
        ("/api/usage", "groupBy=", "groupBy"),
        ("/api/usage", "start_date=2026-03-05", "start_date"),
        ("/api/usage", "groupBy=day&groupBy=key", "groupBy"),
        ("/api/usage", "startDate=%00", "startDate"),
        ("/api/usage", "startDate=2026-03-05T10:00:00", "startDate"),
        ("/api/usage/requests", "limit=0", "limit"),
        ("/api/usage/requests", "limit=1001", "limit"),
        ("/api/usage/requests", "limit=-1", "limit"),
        ("/api/usage/requests", "limit=1e2", "limit"),
        ("/api/usage/requests", "limit=%D9%A3", "limit"),
        ("/api/usage/requests", "limit=" + "9" * 5_000, "limit"),
        ("/api/usage/requests", "cursor=", "cursor"),
        ("/api/usage/requests", "cursor=%00", "cursor"),
        ("/api/usage/requests", "cursor=%F0%9F%A6%8A", "cursor"),
        ("/api/usage/requests", "cursor=" + "A" * 5_000, "cursor"),
        ("/api/usage/requests", "cursor=" + encoded("1:req_x"), "cursor"),
        ("/api/usage/requests", "cursor=" + encoded("9" * 30 + ":req_" + "0" * 26), "cursor"),
        ("/api/usage/requests", "offset=5", "offset"),
    ],
)
async def test_a_wrong_query_is_400_and_names_the_parameter(
    plane: Plane, customer: Customer, path: str, query: str, param: str
) -> None:
    """Nothing is guessed."""
    answer = await plane.client.get(f"{path}?{query}", headers=customer.headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
