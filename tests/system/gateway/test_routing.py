"""Upstreams that fail, rest and come back, and the ceilings on open calls, over HTTP."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from tests.support.gateway.gateway_rig import (
    CHAT,
    JumpingClock,
    MoodyStore,
    Rig,
    eventually,
    prompt,
    run_rig,
    with_routes,
)
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream, answer, chunk, serve_scripts
from tokenbooth.config.catalog import Catalog
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.upstreams import UpstreamHealth
from tokenbooth.gateway.upstream.base import Timeouts

USAGE = {"prompt_tokens": 100, "completion_tokens": 7}
MESSAGES = "/anthropic/v1/messages"
SETTINGS = GatewaySettings(
    rest_after_failures=2, cooldown_s=10, max_rest_s=15, max_retry_after_s=60, whole_answer_timeout_s=0.5
)


def good() -> Script:
    """A whole answer."""
    return Script((answer(usage=USAGE),), content_type="application/json")


def bad(status: int = 500, **headers: str) -> Script:
    """A failure with these headers."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Script((b"{}",), status=status, content_type="application/json", extra_headers=named)


def held(*, stream: bool = False) -> Script:
    """An answer that goes on when the test lets it: after its first event, or before its only piece."""
    if stream:
        return Script((chunk("a"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE), pause_before=1)
    return Script((answer(usage=USAGE),), content_type="application/json", pause_before=0)


@dataclass(slots=True)
class Booth:
    """A gateway whose model is on one or two scripted upstreams, of which the first is preferred."""

    rig: Rig
    clock: JumpingClock
    upstreams: tuple[ScriptedUpstream, ...]
    key: str
    account: str

    def ask(self, *scripts: Script, **fields: object) -> httpx.Response:
        """One call that runs these scripts, one on each upstream."""
        names = [upstream.add(script) for upstream, script in zip(self.upstreams, scripts, strict=True)]
        assert len(set(names)) == 1
        return self.rig.post(self.key, prompt(names[0], **fields))

    def health(self) -> list[UpstreamHealth]:
        """How the upstreams do."""
        return self.rig.gateway.upstream_health()

    def states(self) -> list[str]:
        """In which state each is."""
        return [health.state for health in self.health()]

    def rpm_left(self) -> str:
        """Requests that the key has left in this minute."""
        headers = {"authorization": f"Bearer {self.key}"}
        return self.rig.http.get("/v1/usage", headers=headers).headers["x-ratelimit-remaining-requests"]


@contextmanager
def booth(
    store: MoodyStore,
    tmp_path: Path,
    count: int,
    *,
    settings: GatewaySettings = SETTINGS,
    max_concurrent: int | None = None,
    first_byte_s: float = 20,
) -> Iterator[Booth]:
    """Run one, with `count` upstreams."""
    clock = JumpingClock()

    def limited(catalog: Catalog, *urls: str) -> Catalog:
        (name,) = catalog.models
        model = with_routes(catalog, *urls).models[name]
        routes = tuple(replace(r, upstream=replace(r.upstream, max_concurrent=max_concurrent)) for r in model.routes)
        return replace(catalog, models={name: replace(model, routes=routes)})

    with serve_scripts() as one, serve_scripts() as two:
        served = (one, two)[:count]
        with run_rig(
            store,
            tmp_path,
            clock=clock,
            gateway_settings=settings,
            timeouts=Timeouts(connect_s=5, first_byte_s=first_byte_s, idle_s=20, whole_answer_s=first_byte_s),
            change_catalog=lambda catalog: limited(catalog, *(url for _, url in served)),
        ) as rig:
            account = rig.account("50")
            yield Booth(rig, clock, tuple(up for up, _ in served), rig.credit_key(account, rpm=100), account)


class TestTwoUpstreams:
    """Of which the first is preferred all but surely."""

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("failure", [b"{}", b"busy", b'{"error":"busy"}', b'{"code":500,"success":false}'])
    def test_a_failure_told_with_200_is_another_upstreams_turn(
        self, moody: MoodyStore, tmp_path: Path, failure: bytes, stream: bool
    ) -> None:
        """Nothing was written, so nobody is billed twice; the log names the one that failed."""
        with booth(moody, tmp_path, 2) as at, capture_logs() as logs:
            failed, second = Script((failure,), content_type="application/json"), good()
            response = at.ask(failed, second, stream=stream)
            assert (response.status_code, failed.calls, second.calls) == (200, 1, 1)
            (line,) = [line for line in logs if line["event"] == "upstream_failed"]
            assert (line["upstream"], line["kind"], line["status"]) == ("upstream-0", "failed_answer", 200)
            assert [health.failed_calls for health in at.health()] == [1, 0]
            assert [charge.upstream for charge in at.rig.charges(at.account)] == ["upstream-1"]
            assert at.rig.charged_nano(at.account) == 100 * 270 + 7 * 1_100

    def test_one_that_keeps_failing_is_left_out_until_it_is_back(self, moody: MoodyStore, tmp_path: Path) -> None:
        """It rests, is tried by one call, rests for longer, is tried again, and gets the calls again."""
        with booth(moody, tmp_path, 2) as at, capture_logs() as logs:
            assert [at.ask(bad(), good()).status_code for _ in range(2)] == [200, 200]
            assert at.states() == ["resting", "up"]

            first = bad()
            assert [at.ask(first, good()).status_code for _ in range(3)] == [200] * 3
            assert first.calls == 0

            at.clock.advance(10)
            assert at.ask(first, good()).status_code == 200
            assert first.calls == 1

            at.clock.advance(14)
            at.ask(first, good())
            assert first.calls == 1

            at.clock.advance(1)
            second = good()
            assert at.ask(good(), second).status_code == 200
            assert (second.calls, at.states()) == (0, ["up", "up"])
            assert [line["event"] for line in logs if line["event"] in ("upstream_rests", "upstream_back")] == [
                "upstream_rests",
                "upstream_back",
            ]
            assert {charge.upstream for charge in at.rig.charges(at.account)} == {"upstream-0", "upstream-1"}

    def test_while_one_call_tries_it_the_others_go_elsewhere(self, moody: MoodyStore, tmp_path: Path) -> None:
        """One trial at a time; and a customer who hangs up leaves it to the next call."""
        with booth(moody, tmp_path, 2) as at:
            for _ in range(2):
                at.ask(bad(), good())
            at.clock.advance(10)
            trial, other = Script(headless=True, ending="hang"), good()
            body = prompt(at.upstreams[0].add(trial), stream=True)
            at.upstreams[1].add(good())

            def others_pass() -> bool:
                if not trial.calls:
                    return False
                assert at.states() == ["trial", "up"]
                return at.ask(other, good()).status_code == 200

            _begin_and_hang_up(at, body, hang_up_when=others_pass)
            assert other.calls == 0
            eventually(lambda: at.states() == ["resting", "up"])
            assert at.ask(other, good()).status_code == 200
            assert (other.calls, at.states()) == (1, ["up", "up"])

    def test_one_that_asks_to_be_left_alone_is_left_alone(self, moody: MoodyStore, tmp_path: Path) -> None:
        """At the first answer that says so, for as long as it says."""
        with booth(moody, tmp_path, 2) as at:
            assert at.ask(bad(429, retry_after_ms="30000"), good()).status_code == 200
            first = good()
            at.clock.advance(29)
            at.ask(first, good())
            assert (first.calls, at.states()) == (0, ["resting", "up"])
            at.clock.advance(1)
            at.ask(first, good())
            assert (first.calls, at.states()) == (1, ["up", "up"])

    def test_when_all_rest_a_call_asks_the_one_that_is_due_soonest(self, moody: MoodyStore, tmp_path: Path) -> None:
        """And no other one."""
        with booth(moody, tmp_path, 2) as at:
            for _ in range(2):
                at.ask(bad(), good())
            at.clock.advance(5)
            for _ in range(2):
                at.ask(bad(), bad())
            assert at.states() == ["resting", "resting"]

            first, second = bad(), good()
            assert at.ask(first, second).status_code == 502
            assert (first.calls, second.calls) == (1, 0)

            assert at.ask(good(), second).status_code == 200
            assert (second.calls, at.states()) == (0, ["up", "resting"])

    def test_when_all_ask_to_be_left_alone_the_call_is_refused(self, moody: MoodyStore, tmp_path: Path) -> None:
        """With the time until the first of them listens again."""
        with booth(moody, tmp_path, 2) as at:
            assert at.ask(bad(429, retry_after="40"), bad(503, retry_after="20")).headers["retry-after"] == "20"
            at.clock.advance(5)
            refused = at.ask(good(), good())
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "15")

    def test_a_full_one_is_passed_over(self, moody: MoodyStore, tmp_path: Path) -> None:
        """Above the ceiling the next one is taken; when that is full too the call is refused, for nothing."""
        with booth(moody, tmp_path, 2, max_concurrent=1) as at, ThreadPoolExecutor() as pool:
            scripts = [(held(), held()) for _ in range(2)]
            asking = [_ask_held(pool, at, pair) for pair in scripts]
            assert [[script.calls for script in pair] for pair in scripts] == [[1, 0], [0, 1]]
            left = at.rpm_left()

            refused = at.ask(good(), good())

            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert refused.headers["retry-after"] == "1"
            assert at.rpm_left() == left
            for pair in scripts:
                for script in pair:
                    script.proceed.set()
            assert [call.result(timeout=20).status_code for call in asking] == [200, 200]
            assert [health.open_calls for health in at.health()] == [0, 0]
            assert len(at.rig.charges(at.account)) == 2
            assert at.ask(good(), good()).status_code == 200


class TestOneUpstream:
    """A model that has no other."""

    @pytest.mark.parametrize(
        ("script", "errors"),
        [
            (bad(500), "HTTP 500"),
            (bad(429), "HTTP 429"),
            (bad(302), "HTTP 302"),
            (Script(headless=True, ending="cut"), "a broken answer or no connection"),
            (Script(headless=True, ending="hang"), "no answer in time"),
            (Script((b"{",), content_type="application/json"), "a broken answer"),
            (Script(), "a broken answer"),
        ],
        ids=["500", "429", "302", "cut", "silence", "no JSON", "an empty stream"],
    )
    def test_what_is_a_failure(self, moody: MoodyStore, tmp_path: Path, script: Script, errors: str) -> None:
        """It rests, and is asked all the same."""
        with booth(moody, tmp_path, 1, first_byte_s=0.3) as at:
            for calls, state in ((1, "up"), (2, "resting"), (3, "resting")):
                again = replace(script)
                assert at.ask(again, stream=True).status_code >= 500
                (health,) = at.health()
                assert (again.calls, health.recent_failures, health.state) == (1, calls, state)
                assert health.last_error in errors.split(" or ")
            (health,) = at.health()
            assert health.rests_until_s is not None
            assert round(health.rests_until_s * 1_000_000) == at.clock.now_us() + 10_000_000
            # One that is late still works on the call, for as long as its answer is read on.
            eventually(lambda: at.health()[0].open_calls == 0)

            assert at.ask(good()).status_code == 200
            (health,) = at.health()
            assert (health.state, health.recent_failures, health.failed_calls) == ("up", 0, 3)

    @pytest.mark.parametrize("status", [400, 404, 413, 422])
    def test_a_wrong_call_is_no_failure(self, moody: MoodyStore, tmp_path: Path, status: int) -> None:
        """Its upstream works, and what failed before is forgotten."""
        with booth(moody, tmp_path, 1) as at:
            for _ in range(3):
                at.ask(bad())
                at.ask(bad(status))
            assert [(health.state, health.recent_failures) for health in at.health()] == [("up", 0)]

    @pytest.mark.parametrize("status", [401, 402, 403])
    def test_a_refused_credential_is_an_error_of_the_operator(
        self, moody: MoodyStore, tmp_path: Path, status: int
    ) -> None:
        """The log says so once, and names the upstream."""
        with booth(moody, tmp_path, 1) as at, capture_logs() as logs:
            assert [at.ask(bad(status)).status_code for _ in range(4)] == [502] * 4
            (line,) = [line for line in logs if line["event"] == "upstream_rejects_us"]
            assert (line["event"], line["log_level"]) == ("upstream_rejects_us", "error")
            assert (line["upstream"], line["error"]) == ("upstream-0", f"HTTP {status}")

    @pytest.mark.parametrize("path", [CHAT, MESSAGES])
    @pytest.mark.parametrize("stream", [True, False])
    def test_its_wish_to_be_left_alone_is_told_to_the_callers(
        self, moody: MoodyStore, tmp_path: Path, path: str, stream: bool
    ) -> None:
        """With the time that is left, which the operator bounds; nothing is consumed, nothing charged."""
        with booth(moody, tmp_path, 1) as at:
            assert at.ask(bad(429, retry_after="3000")).status_code == 503
            left = at.rpm_left()
            script = good()
            body = {**prompt(at.upstreams[0].add(script)), "max_tokens": 10, "stream": stream}
            headers = {"authorization": f"Bearer {at.key}"}
            at.clock.advance(20)
            refused = at.rig.http.post(path, json=body, headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (503 if path == CHAT else 529, "40")
            assert refused.json()["error"]["code"] == "overloaded"
            assert (at.rpm_left(), script.calls, at.rig.charges(at.account)) == (left, 0, [])

            at.clock.advance(40)
            assert at.ask(good()).status_code == 200

    def test_a_trial_may_fail_and_the_next_call_is_sent_all_the_same(self, moody: MoodyStore, tmp_path: Path) -> None:
        """Only its own word keeps calls from the only upstream."""
        with booth(moody, tmp_path, 1) as at:
            at.ask(bad(429, retry_after="30"))
            at.clock.advance(30)
            assert at.ask(bad(500)).status_code == 502
            assert at.states() == ["resting"]
            assert at.ask(good()).status_code == 200


class TestCeilings:
    """On open streams of a key."""

    @pytest.mark.parametrize("path", [CHAT, MESSAGES])
    def test_streams_of_a_key(self, moody: MoodyStore, tmp_path: Path, path: str) -> None:
        """One more is refused before it counts; calls without a stream, other keys, and later streams pass."""
        settings = GatewaySettings(max_streams_per_key=2)
        with booth(moody, tmp_path, 1, settings=settings) as at, ThreadPoolExecutor() as pool:
            open_ones = [(held(stream=True),) for _ in range(2)]
            asking = [_ask_held(pool, at, pair, stream=True) for pair in open_ones]
            left = at.rpm_left()
            headers = {"authorization": f"Bearer {at.key}"}
            refused = at.rig.http.post(path, json={**prompt("x", stream=True), "max_tokens": 10}, headers=headers)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"], error["type"]) == (429, "too_many_streams", "rate_limit_error")
            assert "2 of 2 streams" in error["message"]
            assert (refused.headers["retry-after"], at.rpm_left()) == ("1", left)

            assert at.ask(good()).status_code == 200
            other = at.rig.credit_key(at.account)
            stream = (chunk("a"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE)
            body = prompt(at.upstreams[0].add(Script(stream)), stream=True)
            assert at.rig.post(other, body).status_code == 200
            for (script,) in open_ones:
                script.proceed.set()
            assert [call.result(timeout=20).status_code for call in asking] == [200, 200]
            assert at.ask(Script(stream), stream=True).status_code == 200


def _ask_held(
    pool: ThreadPoolExecutor, at: Booth, scripts: tuple[Script, ...], *, stream: bool = False
) -> "Future[httpx.Response]":
    """Begin a call, and wait until an upstream works on it."""
    call = pool.submit(at.ask, *scripts, stream=stream)
    eventually(lambda: any(script.calls for script in scripts))
    return call


def _begin_and_hang_up(at: Booth, body: dict[str, object], *, hang_up_when: Callable[[], bool]) -> None:
    """A client that is gone before its answer began."""
    url = httpx.URL(at.rig.base_url)
    connection = HTTPConnection(url.host, url.port or 80)
    headers = {"authorization": f"Bearer {at.key}", "content-type": "application/json"}
    connection.request("POST", CHAT, msgspec.json.encode(body), headers)
    eventually(hang_up_when)
    connection.close()
