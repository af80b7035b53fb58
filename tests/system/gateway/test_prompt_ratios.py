"""Prompts denser than what was learned: whom they concern, and what a burst of them costs the operator."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.support.gateway.gateway_rig import CHAT, MODEL, MoodyStore, Rig, prompt, run_rig, with_routes
from tests.support.gateway.scripted_upstream import Script, ScriptedUpstream, answer, serve_scripts
from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.money import NANO_PER_USD

BYTES = 60_000
CONTEXT = 65_536
# Of the rig's model, in nano-USD.
TOKEN_NANO = 270
SIX_DENSE_NANO = 6 * (BYTES + 1_000) * TOKEN_NANO
TEN_FIT_NANO = 10 * BYTES * TOKEN_NANO * 4 // 10


def prompts_of(tokens: int, *, completion: int = 1, held: bool = False) -> Script:
    """An answer that reports so many tokens of its prompt."""
    usage = {"prompt_tokens": tokens, "completion_tokens": completion}
    body = answer(usage=usage)
    return Script((body,), content_type="application/json", pause_before=0 if held else None)


@dataclass(slots=True)
class Booth:
    """A gateway with one scripted upstream."""

    rig: Rig
    upstream: ScriptedUpstream

    def body(self, script: Script) -> dict[str, object]:
        """A large prompt that runs a script."""
        body = prompt(self.upstream.add(script), max_tokens=10)
        messages = [{"role": "user", "content": "x" * BYTES}, {"role": "user", "content": self.upstream.add(script)}]
        return {**body, "messages": messages}

    def ask(self, key: str, script: Script) -> httpx.Response:
        """One call."""
        return self.rig.post(key, self.body(script))

    def burst(self, key: str, scripts: list[Script]) -> list[int]:
        """Calls that are all under way before the first one is answered; their statuses."""

        async def run() -> list[int]:
            headers = {"authorization": f"Bearer {key}"}
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=self.rig.base_url, headers=headers, timeout=60, limits=limits
            ) as http:
                calls = [asyncio.ensure_future(http.post(CHAT, json=self.body(script))) for script in scripts]
                # Those that nobody works on were refused, so that each is one or the other.
                while sum(s.calls for s in scripts) + sum(c.done() for c in calls) < len(calls):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                for script in scripts:
                    script.proceed.set()
                return [answered.status_code for answered in await asyncio.gather(*calls)]

        return asyncio.run(run())


@pytest.fixture
def at(moody: MoodyStore, tmp_path: Path) -> Iterator[Booth]:
    """A gateway whose calls don't wait for money, with an upstream that is known to keep ceilings."""

    def large(catalog: Catalog, url: str) -> Catalog:
        model = with_routes(catalog, url).models[MODEL]
        return replace(catalog, models={MODEL: replace(model, context_tokens=CONTEXT, max_output_tokens=10)})

    with (
        serve_scripts() as (upstream, url),
        run_rig(
            moody,
            tmp_path,
            gateway_settings=GatewaySettings(hold_wait_ms=0),
            change_catalog=lambda catalog: large(catalog, url),
        ) as rig,
    ):
        yield Booth(rig, upstream)


def test_one_customers_dense_prompts_leave_others_holds_alone(at: Booth) -> None:
    """Ten large prompts at once that fit are all answered, before and after."""
    ordinary, dense = at.rig.account("5"), at.rig.account("5")
    key = at.rig.credit_key(ordinary)
    for _ in range(26):
        assert at.ask(key, prompts_of(BYTES // 4)).status_code == 200
    assert (
        at.burst(_with(at, ordinary, TEN_FIT_NANO), [prompts_of(BYTES // 4, held=True) for _ in range(10)])
        == [200] * 10
    )

    key = at.rig.credit_key(dense)
    for _ in range(5):
        assert at.ask(key, prompts_of(BYTES)).status_code == 200
    assert (
        at.burst(_with(at, ordinary, TEN_FIT_NANO), [prompts_of(BYTES // 4, held=True) for _ in range(10)])
        == [200] * 10
    )


def test_a_burst_of_dense_prompts_does_not_pay_for_who_taught_a_low_ratio(at: Booth) -> None:
    """Taught by cheap prompts of repeated text, of which each proves no more than it cost; it works once at most."""
    account = at.rig.account("5")
    key = at.rig.credit_key(account)
    for _ in range(12):
        assert at.ask(key, prompts_of(BYTES // 100)).status_code == 200
    statuses = at.burst(_with(at, account, SIX_DENSE_NANO), [prompts_of(BYTES, held=True) for _ in range(30)])
    uncollected_nano = _uncollected_nano(at, account)

    assert statuses.count(200) >= 6
    # What the longest prompt could cost above its hold, and what was paid before.
    assert uncollected_nano <= (CONTEXT * 6_875 // 10_000 + 12 * BYTES // 100) * TOKEN_NANO

    statuses = at.burst(_with(at, account, SIX_DENSE_NANO), [prompts_of(BYTES, held=True) for _ in range(30)])
    assert 4 <= statuses.count(200) <= 6
    assert _uncollected_nano(at, account) == uncollected_nano


def _with(at: Booth, account_id: str, budget_nano: int) -> str:
    """A key that has so much to spend."""
    return at.rig.credit_key(account_id, max_budget_usd=f"{budget_nano / NANO_PER_USD:.9f}")


def _uncollected_nano(at: Booth, account_id: str) -> int:
    return sum(charge.uncollected_nano for charge in at.rig.charges(account_id))
