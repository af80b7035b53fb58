"""Nobody spends more than there is, under any concurrency; nobody is refused for money that is merely held."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.gateway.gateway_rig import CHAT, MoodyStore, Rig, prompt, run_rig
from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.pricing import with_markup

CALLS = 60
# Costs 300,000 of the 500,000 nano-dollars that the tests give: what is left does not pay another call's floor.
FOR_ONE_USD = "0.0005"
ONE = prompt("[[write 1]] [[usage prompt=1111 completion=1]]")
BROKE = {402: "insufficient_credits", 429: "budget_exceeded"}


async def at_once(rig: Rig, key: str, bodies: Iterable[Mapping[str, object]]) -> list[httpx.Response]:
    """Send all calls at the same time."""
    headers = {"authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=rig.base_url, headers=headers, timeout=60, limits=limits) as http:
        return list(await asyncio.gather(*(http.post(CHAT, json=body) for body in bodies)))


def codes_of(answers: Iterable[httpx.Response]) -> Counter[str]:
    """How often each outcome came; "ok" for success."""
    return Counter("ok" if a.status_code == 200 else a.json()["error"]["code"] for a in answers)


def mixed(body: Mapping[str, object], count: int = CALLS) -> list[dict[str, object]]:
    """The same call many times, every other one as a stream."""
    return [{**body, "stream": number % 2 == 0} for number in range(count)]


async def test_credit_for_one_call_lets_one_pass(shared: Rig) -> None:
    """Sixty calls at once on credit for one: one passes, the others are told that the credit is spent (33)."""
    account = shared.account(FOR_ONE_USD)
    answers = await at_once(shared, shared.credit_key(account), mixed(ONE))
    assert codes_of(answers) == {"ok": 1, "insufficient_credits": CALLS - 1}
    assert len(shared.charges(account)) == 1


async def test_a_cap_for_one_call_lets_one_pass(shared: Rig) -> None:
    """A key's cap holds against sixty calls at once, whatever the account has (34)."""
    account = shared.account("5")
    answers = await at_once(shared, shared.credit_key(account, max_budget_usd=FOR_ONE_USD), mixed(ONE))
    assert codes_of(answers) == {"ok": 1, "key_budget_exceeded": CALLS - 1}
    assert shared.charged_nano(account) <= 500_000


async def test_a_window_for_one_call_lets_one_pass(moody: MoodyStore, tmp_path: Path) -> None:
    """Two keys of one subscription share its window, which holds against sixty calls at once (34)."""
    tiny = {"price_usd": "20", "rpm": 1_000, "budget_usd": FOR_ONE_USD, "window": "5h"}
    with run_rig(moody, tmp_path, standard=tiny) as rig:
        account = rig.account()
        subscription = rig.subscription(account)
        keys = [rig.subscription_key(subscription, account) for _ in range(2)]
        both = await asyncio.gather(*(at_once(rig, key, mixed(ONE, CALLS // 2)) for key in keys))
        assert codes_of([*both[0], *both[1]]) == {"ok": 1, "budget_exceeded": CALLS - 1}
        assert rig.charged_nano(account) <= 500_000


async def test_a_request_rate_is_exact(shared: Rig) -> None:
    """Of sixty calls at once ten pass on ten requests a minute, streams and others alike (34)."""
    answers = await at_once(shared, shared.credit_key(shared.account("5"), rpm=10), mixed(prompt("[[write 1]]")))
    assert codes_of(answers) == {"ok": 10, "rate_limit_exceeded": CALLS - 10}


async def test_a_token_rate_is_never_exceeded_at_admission(shared: Rig) -> None:
    """Calls that each count for more than a third of the token rate pass two at a time at most (34)."""
    key = shared.credit_key(shared.account("5"), tpm=3_000)
    body = prompt("[[delay 0.3]] [[usage prompt=200 completion=900]]", max_tokens=1_000)
    answers = await at_once(shared, key, mixed(body))
    assert codes_of(answers) == {"ok": 2, "rate_limit_exceeded": CALLS - 2}


async def test_calls_that_cost_more_than_they_held_never_overdraw(rig: Rig) -> None:
    """Upstreams that report more than any hold take what is free; the rest is the operator's loss (37)."""
    account = rig.account("0.01")
    body = prompt("[[write 2]] [[usage prompt=60000 completion=8000]]", max_tokens=10)
    await at_once(rig, rig.credit_key(account), mixed(body))
    charges = rig.charges(account)
    assert rig.charged_nano(account) == NANO_PER_USD // 100
    # 60,000 x 270 + 8,000 x 1,100 each.
    assert [c.charged_nano + c.uncollected_nano for c in charges] == [25_000_000] * len(charges)


async def test_ten_huge_ceilings_on_a_fresh_window_all_pass(moody: MoodyStore, tmp_path: Path) -> None:
    """Ten calls at once with a ceiling of 32k run on $0.14, with lowered ceilings that the upstream saw (48)."""

    def large(catalog: Catalog) -> Catalog:
        models = {name: replace(m, max_output_tokens=32_768) for name, m in catalog.models.items()}
        return replace(catalog, models=models)

    with run_rig(moody, tmp_path, change_catalog=large) as rig:
        account = rig.account()
        key = rig.subscription_key(rig.subscription(account), account)
        body = prompt("[[write 200]] [[delay 0.2]]", max_tokens=32_000)
        answers = await at_once(rig, key, mixed(body, 10))
        assert codes_of(answers) == {"ok": 10}
        told = sorted(int(a.headers.get("x-max-tokens-clamped", 32_000)) for a in answers)
        seen = []
        for position in range(10):
            ceiling = rig.upstream_body(position)["max_tokens"]
            assert isinstance(ceiling, int)
            seen.append(ceiling)
        assert sorted(seen) == told
        assert told[0] < 32_000


async def test_ten_long_prompts_on_a_fresh_window_all_pass(rig: Rig) -> None:
    """Ten prompts of 200 KB at once, whose real cost fits $0.14, are all answered (48)."""
    account = rig.account()
    key = rig.subscription_key(rig.subscription(account), account)
    bodies = [prompt(f"{number} " + "lorem ipsum " * 16_600, max_tokens=50) for number in range(10)]
    answers = await at_once(rig, key, bodies)
    assert codes_of(answers) == {"ok": 10}
    assert all(not charge.uncollected_nano for charge in rig.charges(account))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_lowered_ceiling_goes_in_the_upstreams_field(shared: Rig, field: str) -> None:
    """Whichever field the client used, the lowered ceiling stands in the one that the upstream obeys."""
    answer = shared.post(shared.credit_key(shared.account("0.002")), prompt("[[write 9]]", **{field: 8_000}))
    sent = shared.upstream_body()
    assert answer.status_code == 200
    assert sent["max_tokens"] == int(answer.headers["x-max-tokens-clamped"]) < 8_000
    assert "max_completion_tokens" not in sent


def test_no_ceiling_is_sent_merely_to_state_one(shared: Rig) -> None:
    """A call whose worst case is easily paid goes up without a ceiling of ours."""
    answer = shared.post(shared.credit_key(shared.account("50")), prompt("hello"))
    assert "x-max-tokens-clamped" not in answer.headers
    assert {"max_tokens", "max_completion_tokens"}.isdisjoint(shared.upstream_body())


async def test_two_hundred_clients_spend_a_dollar_to_the_last_cent(shared: Rig) -> None:
    """Clients that retry as told, of an upstream that takes its time, spend a dollar but a hundredth, never more."""
    account = shared.account("1")
    key = shared.credit_key(account)
    # 1,700 tokens cost $0.00187, and with the prompt's worst case less than $0.002.
    body = prompt("[[write 1700]] [[delay 0.4]]", max_tokens=1_700)

    async def spend(http: httpx.AsyncClient) -> None:
        while True:
            answer = await http.post(CHAT, json=body)
            if answer.status_code == 402:
                return
            if answer.status_code == 429:
                assert answer.json()["error"]["code"] == "budget_reserved"
                await asyncio.sleep(int(answer.headers["retry-after"]))
            else:
                assert answer.status_code == 200

    headers = {"authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=shared.base_url, headers=headers, timeout=60, limits=limits) as http:
        await asyncio.gather(*(spend(http) for _ in range(200)))
    assert 0.99 * NANO_PER_USD <= shared.charged_nano(account) <= NANO_PER_USD
    assert sum(charge.uncollected_nano for charge in shared.charges(account)) == 0


def test_a_plans_and_a_models_markup_are_charged_and_the_cost_is_kept(moody: MoodyStore, tmp_path: Path) -> None:
    """The model's markup is in every price, the plan's on top of it; what the operator pays is recorded beside it."""
    marked: dict[str, object] = {
        "price_usd": "20",
        "rpm": 60,
        "budget_usd": "0.14",
        "window": "5h",
        "markup_percent": 50,
    }

    def dearer(catalog: Catalog) -> Catalog:
        models = {name: replace(m, price=with_markup(m.price, 1_000)) for name, m in catalog.models.items()}
        return replace(catalog, models=models)

    with run_rig(moody, tmp_path, change_catalog=dearer, standard=marked) as rig:
        account = rig.account("5")
        keys = (rig.credit_key(account), rig.subscription_key(rig.subscription(account), account))
        body = prompt("[[usage prompt=1000 completion=100]]")
        told = [rig.post(key, body).headers["x-cost-usd"] for key in keys]
        charges = rig.charges(account)
    # 1,000 x 270 + 100 x 1,100, times 1.1, and times 1.1 x 1.5.
    assert told == ["0.000418", "0.000627"]
    assert [charge.charged_nano for charge in charges] == [418_000, 627_000]
    assert [charge.upstream_cost_nano for charge in charges] == [380_000, 380_000]


def test_money_that_is_only_held_is_told_apart_from_money_that_is_spent(moody: MoodyStore, tmp_path: Path) -> None:
    """While a call in flight holds the rest, others wait a moment and are told to come back in a second."""
    with run_rig(moody, tmp_path, gateway_settings=GatewaySettings(hold_wait_ms=50)) as rig:
        account = rig.account(FOR_ONE_USD)
        key = rig.credit_key(account)
        headers = {"authorization": f"Bearer {key}"}
        hanging = prompt("[[write 5]] [[hang-after 1]]", stream=True)
        with rig.http.stream("POST", CHAT, json=hanging, headers=headers) as held:
            pieces = held.iter_raw()
            next(pieces)
            refused = rig.post(key, prompt("hello"))
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_reserved")
            assert refused.headers["retry-after"] == "1"
            assert refused.headers["x-should-retry"] == "true"
            assert rig.usage(key)["held"] != "0.00"


def test_held_money_of_a_cap_is_told_of_the_key(moody: MoodyStore, tmp_path: Path) -> None:
    """When the key's cap is what is held, the refusal speaks of the key and its figures."""
    with run_rig(moody, tmp_path, gateway_settings=GatewaySettings(hold_wait_ms=50)) as rig:
        key = rig.credit_key(rig.account("5"), max_budget_usd=FOR_ONE_USD)
        hanging = prompt("[[write 5]] [[hang-after 1]]", stream=True)
        with rig.http.stream("POST", CHAT, json=hanging, headers={"authorization": f"Bearer {key}"}) as held:
            pieces = held.iter_raw()
            next(pieces)
            refused = rig.post(key, prompt("hello")).json()["error"]
        assert refused["code"] == "budget_reserved"
        assert "maxBudget" in refused["message"]
        assert "0.0005" in refused["message"]


async def test_a_waiting_call_runs_when_the_money_comes_free(shared: Rig) -> None:
    """A call that waits for held money is admitted when the holder settles for less."""
    key = shared.credit_key(shared.account(FOR_ONE_USD))
    answers = await at_once(shared, key, [prompt("[[write 1]] [[delay 0.2]]")] * 3)
    assert codes_of(answers) == {"ok": 3}


def test_usage_shows_what_is_held_and_then_what_was_spent(shared: Rig) -> None:
    """The caller's own figures: nothing, then a hold, then exactly the charge."""
    account = shared.account()
    key = shared.subscription_key(shared.subscription(account), account)
    assert (shared.usage(key)["held"], shared.usage(key)["spent"]) == ("0.00", "0.00")
    hanging = prompt("[[write 5]] [[hang-after 1]]", stream=True)
    with shared.http.stream("POST", CHAT, json=hanging, headers={"authorization": f"Bearer {key}"}) as held:
        pieces = held.iter_raw()
        next(pieces)
        # The worst case at one token a byte plus the frame: dearest rates, the model's whole ceiling.
        assert shared.usage(key)["held"] != "0.00"
    answer = shared.post(key, prompt("[[usage prompt=1000 completion=100]]"))
    assert answer.headers["x-cost-usd"] == "0.00038"
    assert answer.headers["x-budget-limit"] == "0.14"
    spent_nano = shared.charged_nano(account)
    usage = shared.usage(key)
    assert usage["held"] == "0.00"
    assert usage["spent"] == f"{spent_nano / NANO_PER_USD:.9f}".rstrip("0")
    assert usage["available"] == f"{(140_000_000 - spent_nano) / NANO_PER_USD:.9f}".rstrip("0")
