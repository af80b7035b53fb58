"""What one customer meets at an upstream, and whom it concerns: other customers and other models, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx
import pytest
from structlog.testing import capture_logs

from tests.support.gateway.gateway_rig import JumpingClock, MoodyStore, Rig, prompt, run_rig, with_routes
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream, answer, chunk, serve_scripts
from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings

SETTINGS = GatewaySettings(rest_after_failures=2, cooldown_s=10, max_rest_s=15, max_retry_after_s=60)
USAGE: Final = {"prompt_tokens": 100, "completion_tokens": 7}
OTHER_MODEL: Final = "other"
TOO_LARGE: Final = (
    b'{"error":{"message":"Request too large for big on tokens per min (TPM): Limit 10000, Requested 12000.",'
    b'"code":"rate_limit_exceeded"}}'
)
LIMITED: Final = (
    b'{"error":{"message":"Rate limit reached for big on tokens per min (TPM): Limit 10000, Used 9900, Requested 200. '
    b'Please try again in 2s.","code":"rate_limit_exceeded"}}'
)


def good(*, stream: bool = False) -> Script:
    """An answer."""
    if stream:
        return Script((chunk("a"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE))
    return Script((answer(usage=USAGE),), content_type="application/json")


def refusal(status: int = 429, body: bytes = LIMITED, **headers: str) -> Script:
    """A refusal with these headers."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Script((body,), status=status, content_type="application/json", extra_headers=named)


@dataclass(slots=True)
class Booth:
    """A gateway with two models on one scripted upstream, and customers who have a key each."""

    rig: Rig
    clock: JumpingClock
    upstream: ScriptedUpstream
    keys: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str, script: Script, **fields: object) -> httpx.Response:
        """One call of a customer that runs this script."""
        if who not in self.keys:
            self.keys[who] = self.rig.credit_key(self.rig.account("50"))
        return self.rig.post(self.keys[who], prompt(self.upstream.add(script), **fields))

    def status(self, who: str, **fields: object) -> int:
        """What a customer gets whose call would be answered."""
        return self.ask(who, good(), **fields).status_code

    def states(self) -> dict[str, str]:
        """In which state each model is."""
        return {health.model: health.state for health in self.rig.gateway.upstream_health()}


@pytest.fixture
def at(moody: MoodyStore, tmp_path: Path) -> Iterator[Booth]:
    """One booth."""
    with booth(moody, tmp_path) as running:
        yield running


@contextmanager
def booth(store: MoodyStore, tmp_path: Path) -> Iterator[Booth]:
    """Run one."""
    clock = JumpingClock()

    def with_two_models(catalog: Catalog, url: str) -> Catalog:
        (model,) = with_routes(catalog, url).models.values()
        routes = tuple(replace(route, model="other-model") for route in model.routes)
        other = replace(model, name=OTHER_MODEL, routes=routes)
        return replace(catalog, models={model.name: model, OTHER_MODEL: other})

    with (
        serve_scripts() as (upstream, url),
        run_rig(
            store,
            tmp_path,
            clock=clock,
            gateway_settings=SETTINGS,
            change_catalog=lambda catalog: with_two_models(catalog, url),
        ) as rig,
    ):
        yield Booth(rig, clock, upstream)


@pytest.mark.parametrize("status", [429, 503, 529])
def test_a_call_that_is_too_large_concerns_nobody(at: Booth, status: int) -> None:
    """Not its own account either, and not when many accounts send one."""
    for who in ("one", "two", "three", "one", "one"):
        refused = at.ask(who, refusal(status, TOO_LARGE, retry_after="60"), max_tokens=8_000)
        assert refused.status_code == 503
    assert [at.status(who) for who in ("one", "two", "four")] == [200] * 3
    assert set(at.states().values()) == {"up"}


@pytest.mark.parametrize("retry_after", ["60", "31536000", "99999999999999999999"])
def test_one_account_is_left_alone_by_itself(at: Booth, retry_after: str) -> None:
    """What it alone was told keeps its calls back, at most as long as the operator says; others are answered."""
    assert at.ask("one", refusal(retry_after=retry_after)).status_code == 503
    kept_back = at.ask("one", good())
    assert (kept_back.status_code, kept_back.headers["retry-after"]) == (503, "60")
    assert at.status("one", model=OTHER_MODEL) == 200

    assert at.status("two") == 200
    assert at.status("one") == 200  # an answer to anybody shows that the upstream works


@pytest.mark.parametrize("retry_after", ["-5", "0", "soon", "1e9", "", "Thu, 05 Mar 2020 10:00:00 GMT"])
def test_what_asks_for_nothing_keeps_nobody_back(at: Booth, retry_after: str) -> None:
    """A time that has passed, none at all, and what is no time."""
    assert at.ask("one", refusal(retry_after=retry_after)).status_code == 503
    assert [at.status(who) for who in ("one", "two")] == [200, 200]


def test_what_two_accounts_met_concerns_everybody_but_no_other_model(at: Booth) -> None:
    """The third is refused with what is left; every ten seconds one call is let through, until one is answered."""
    with capture_logs() as logs:
        for who in ("one", "two"):
            at.ask(who, refusal(retry_after="Thu, 05 Mar 2026 11:00:00 GMT" if who == "one" else "50"))
        refused = at.ask("three", good())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        assert at.status("three", model=OTHER_MODEL) == 200
        assert at.states() == {"model-0": "resting", "other-model": "up"}

        at.clock.advance(10)
        again = refusal(retry_after="60")
        assert (at.ask("three", again).status_code, again.calls) == (503, 1)
        assert at.status("one") == 503
        at.clock.advance(10)
        assert [at.status("four"), at.status("one"), at.status("two")] == [200] * 3
    told = [(line["account"] == "*", line["model"]) for line in logs if line["event"] == "upstream_rests"]
    assert told == [(False, "model-0"), (True, "model-0")]


def test_one_account_that_alternates_between_models_keeps_back_itself(at: Booth) -> None:
    """Each model is left alone for its calls, and for nobody else's."""
    for model in (None, OTHER_MODEL) * 3:
        more = {} if model is None else {"model": model}
        at.ask("one", refusal(retry_after="60"), **more)
    assert [at.status("one"), at.status("one", model=OTHER_MODEL)] == [503, 503]
    assert [at.status("two"), at.status("two", model=OTHER_MODEL)] == [200, 200]


def test_large_calls_that_are_told_to_wait_do_not_keep_small_ones_back(at: Booth) -> None:
    """Whatever the words of the upstream are, and however many accounts they come from."""
    for who in ("one", "two", "three"):
        at.ask(who, refusal(body=b'{"error":"no"}', retry_after="60"), max_tokens=8_000)
    assert [at.status("four", max_tokens=8_000), at.status("four", max_tokens=5_000), at.status("five")] == [
        503,
        200,
        200,
    ]


def test_an_error_in_the_first_event_of_a_stream_is_judged_by_the_same_rules(at: Booth) -> None:
    """Too large is nobody's failure; another one is that of the account, until a second one meets it."""
    for who in ("one", "two", "one"):
        script = Script((b"data: " + TOO_LARGE + b"\n\n",))
        assert at.ask(who, script, stream=True).status_code == 502
    assert set(at.states().values()) == {"up"}
    for _ in range(2):
        at.ask("one", Script((b"data: " + LIMITED + b"\n\n",)), stream=True)
    (health, _) = at.rig.gateway.upstream_health()
    assert (health.state, health.rests_for is not None) == ("resting", True)
    at.ask("two", Script((b"data: " + LIMITED + b"\n\n",)), stream=True)
    (health, _) = at.rig.gateway.upstream_health()
    assert (health.state, health.rests_for) == ("resting", None)


def test_a_refused_credential_concerns_every_model(at: Booth) -> None:
    """It is the same for all of them; no customer can bring it about."""
    assert at.status("one", model=OTHER_MODEL) == 200
    for _ in range(2):
        at.ask("one", refusal(401))
    assert at.states() == {"model-0": "resting", "other-model": "resting"}
    assert [health.rests_for for health in at.rig.gateway.upstream_health()] == [None, None]


def test_the_body_of_an_error_is_not_waited_for_for_long(at: Booth, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that says 429 and then nothing has said enough."""
    monkeypatch.setattr("tokenbooth.gateway.relay._ERROR_BODY_S", 0.05)
    silent = Script((b'{"error":',), status=429, content_type="application/json", ending="hang")
    assert at.ask("one", silent).status_code == 503
    assert silent.gone.wait(10)
    assert at.status("one") == 200
