"""Which upstream a call is given, and which next."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from tests.support.catalog_samples import sample_model
from tests.support.fakes import FakeClock
from tests.support.gateway.formats import messages_body, read_messages
from tokenbooth.config.catalog import OPENAI_FORMATS, Route, Upstream
from tokenbooth.gateway.errors import Refusal, UpstreamUnreachable
from tokenbooth.gateway.formats.base import PricedRequest
from tokenbooth.gateway.upstream.circuit_breaker import RestRules
from tokenbooth.gateway.upstream.routing import RoutedCall, Routing
from tokenbooth.kit.places import Caller

S = 1_000_000
CALLER = Caller("acct_1", has_money=True)
RULES = RestRules(failures=1, first_rest_us=10 * S, longest_rest_us=10 * S, longest_asked_us=60 * S)


def asking(*upstreams: Upstream, weights: tuple[int, ...] = ()) -> PricedRequest:
    """A request for a model on these upstreams."""
    routes = tuple(
        Route(upstream, "m", weight)
        for upstream, weight in zip(upstreams, weights or [1] * len(upstreams), strict=True)
    )
    return read_messages(messages_body(), replace(sample_model(), routes=routes))


def upstream(name: str, *, max_concurrent: int | None = None, formats: frozenset[str] = OPENAI_FORMATS) -> Upstream:
    """An upstream that is never really asked."""
    return Upstream(name, "http://upstream.invalid/v1", None, False, formats, max_concurrent)


def routing(clock: FakeClock | None = None) -> Routing:
    """A routing whose dice fall the same way each time."""
    return Routing(RULES, clock or FakeClock(), random.Random(7))


def begin(choosing: Routing, request: PricedRequest, caller: Caller = CALLER) -> RoutedCall:
    """A call that has chosen its first upstream."""
    attempt = choosing.route(request, caller)
    attempt.take()
    return attempt


def name(attempt: RoutedCall) -> str:
    """Where a call goes now."""
    return attempt.route.upstream.name


def test_the_traffic_is_shared_by_weight() -> None:
    """Also what is left when the first choice failed."""
    request = asking(upstream("a"), upstream("b"), upstream("c"), weights=(6, 3, 1))
    choosing = routing()
    first, second = Counter[str](), Counter[str]()
    for _ in range(10_000):
        attempt = begin(choosing, request)
        first[name(attempt)] += 1
        if name(attempt) == "a":
            assert attempt.move_on()
            second[name(attempt)] += 1
        attempt.end()

    assert [round(first[n] / 1_000) for n in "abc"] == [6, 3, 1]
    assert [round(second[n] / first["a"] * 4) for n in "bc"] == [3, 1]


def test_each_upstream_is_asked_once() -> None:
    """Then there is none left, and the call stays where it is until it ends."""
    request = asking(upstream("a"), upstream("b"))
    choosing = routing()
    attempt = begin(choosing, request)
    names = {name(attempt)}
    assert attempt.move_on()
    names.add(name(attempt))

    assert names == {"a", "b"}
    assert not attempt.move_on()
    assert sum(health.open_calls for health in choosing.report([request.model])) == 1
    attempt.end()
    attempt.end()
    assert [health.open_calls for health in choosing.report([request.model])] == [0, 0]


def test_an_upstream_that_cannot_be_asked_is_none() -> None:
    """It speaks another format, so it does not count as a chance."""
    deaf = upstream("deaf", formats=frozenset(("openai.embeddings",)))
    request = asking(deaf, upstream("a", max_concurrent=1), weights=(1_000, 1))
    choosing = routing()
    attempt = begin(choosing, request)

    assert name(attempt) == "a"
    with pytest.raises(Refusal) as refused:
        choosing.route(request, CALLER).take()
    assert (refused.value.status, refused.value.code, refused.value.retry_after_us) == (503, "overloaded", S)
    assert sum(health.open_calls for health in choosing.report([request.model])) == 1


def test_accounts_share_the_places_of_an_upstream() -> None:
    """Whoever is above its share at one goes to the next; at the end there is none, and another account has its own."""
    request = asking(upstream("a", max_concurrent=4), upstream("b", max_concurrent=4), weights=(10**9, 1))
    choosing, other = routing(), Caller("acct_2", has_money=True)
    calls = [begin(choosing, request) for _ in range(6)]

    assert Counter(map(name, calls)) == {"a": 3, "b": 3}
    full = choosing.route(request, CALLER)
    assert full.is_full()
    with pytest.raises(Refusal):
        full.take()
    assert choosing.refused() == {"upstreams.a.max_concurrent": 1, "upstreams.b.max_concurrent": 1}
    assert name(begin(choosing, request, other)) == "a"
    for call in calls:
        call.end()
    assert not full.is_full()


def test_who_moves_on_frees_its_place() -> None:
    """A call has one place at a time, and none at its end."""
    request = asking(upstream("a", max_concurrent=1), upstream("b", max_concurrent=1), weights=(10**9, 1))
    choosing, other = routing(), Caller("acct_2", has_money=True)
    first = begin(choosing, request)
    assert first.move_on()

    second = begin(choosing, request, other)
    assert name(second) == "a"
    assert not second.move_on()
    first.end()
    assert second.move_on()
    second.end()
    assert not choosing.route(request, CALLER).is_full()


def test_a_new_configuration_changes_the_places() -> None:
    """The bound that it names holds from the next call on, beside calls that are under way."""
    choosing = routing()
    calls = [begin(choosing, asking(upstream("a", max_concurrent=4))) for _ in range(3)]

    assert choosing.route(asking(upstream("a", max_concurrent=2)), CALLER).is_full()
    assert not choosing.route(asking(upstream("a", max_concurrent=8)), CALLER).is_full()
    assert not choosing.route(asking(upstream("a")), CALLER).is_full()
    for call in calls:
        call.end()


def test_a_call_asks_one_resting_upstream_at_most() -> None:
    """Also when the first that it asked was up."""
    request = asking(upstream("a"), upstream("b"), upstream("c"))
    clock = FakeClock()
    choosing = routing(clock)
    gone = [begin(choosing, request)]
    for _ in range(2):
        gone[0].failed(UpstreamUnreachable("x"))
        assert gone[0].move_on()
        clock.advance(1)
    resting = {health.name for health in choosing.report([request.model]) if health.state == "resting"}
    gone[0].end()
    assert len(resting) == 2

    attempt = begin(choosing, request)
    assert name(attempt) not in resting
    attempt.failed(UpstreamUnreachable("x"))
    assert attempt.move_on()
    assert name(attempt) in resting
    assert not attempt.move_on()


def test_health_is_shared_by_the_models_of_an_upstream() -> None:
    """It is the server that rests, whatever it was asked for."""
    shared = upstream("a")
    one, other = asking(shared), asking(shared, upstream("b"), weights=(1_000_000, 1))
    choosing = routing()
    attempt = begin(choosing, one)
    attempt.failed(UpstreamUnreachable("x"))
    attempt.end()

    assert name(begin(choosing, other)) == "b"
    assert [(h.name, h.state) for h in choosing.report([one.model, other.model])] == [("a", "resting"), ("b", "up")]
