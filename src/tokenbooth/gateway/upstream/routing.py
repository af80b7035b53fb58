"""Which upstream a call goes to, and to which next: by weight among those that are up and have room.

An upstream that rests after failures is left out while another one can be asked; a call that has no other chance asks
the one that is due soonest. One that asked to be left alone is left alone. Nothing here does I/O but for log lines.
"""

import random
from collections.abc import Iterable
from typing import Final

import structlog

from tokenbooth.config.catalog import Model, Route, Upstream
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.upstreams import UpstreamHealth
from tokenbooth.gateway.errors import (
    Refusal,
    UpstreamFailure,
    UpstreamTimedOut,
    UpstreamUnreachable,
    unsupported_endpoint,
    upstreams_busy,
)
from tokenbooth.gateway.formats.base import OutboundRequest, PricedRequest
from tokenbooth.gateway.upstream.base import AnswerHead
from tokenbooth.gateway.upstream.circuit_breaker import Change, CircuitBreaker, RestRules
from tokenbooth.gateway.upstream.retry_after import retry_after_us
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.places import Caller, Place, Places

_BUSY_WAIT_US: Final = 1_000_000
_REFUSES_US: Final = frozenset((401, 402, 403))
_CUSTOMERS: Final = frozenset((400, 413, 422))
_ASKS_FOR_REST: Final = frozenset((429, 503, 529))
_ACTION: Final = (
    "It is tried again by itself; look at it if it does not come back. A second upstream keeps calls going."
)
_ACTION_ASKED: Final = "It asked for that; it is tried again by itself. If often: a higher limit, or a second upstream."

_log = structlog.get_logger(__name__)


def rest_rules(settings: GatewaySettings) -> RestRules:
    """The rules as the operator set them."""
    return RestRules(
        failures=settings.rest_after_failures,
        first_rest_us=round(settings.cooldown_s * 1_000_000),
        longest_rest_us=round(settings.max_rest_s * 1_000_000),
        longest_asked_us=round(settings.max_retry_after_s * 1_000_000),
    )


class _Candidate:
    """An upstream that a call may go to, how it is spoken to, how it does, and its places, if it has a bound."""

    __slots__ = ("health", "outbound", "places", "route")

    def __init__(self, route: Route, outbound: OutboundRequest, health: CircuitBreaker, places: Places | None) -> None:
        self.route = route
        self.outbound = outbound
        self.health = health
        self.places = places

    def has_room(self, caller: Caller) -> bool:
        return self.places is None or self.places.has_room(caller)


class Routing:
    """Picks an upstream by weight, leaving out those that rest."""

    def __init__(self, rules: RestRules, clock: Clock, rng: random.Random) -> None:
        self._rules = rules
        self.clock = clock
        self._rng = rng
        self._healths: dict[str, CircuitBreaker] = {}
        self._places: dict[str, Places] = {}

    def route(self, request: PricedRequest, caller: Caller) -> "RoutedCall":
        """A call that has asked no upstream yet.

        Args:
            request: what is asked.
            caller: who has the places that it takes.

        Raises:
            Refusal: none of the model's upstreams can be asked in this format, or in one that it translates to.
        """
        candidates = [
            _Candidate(route, outbound, self._health(route.upstream), self._places_at(route.upstream))
            for route in request.model.routes
            if (outbound := request.outbound(route.upstream.formats)) is not None
        ]
        if not candidates:
            raise unsupported_endpoint(request.model.name, request.endpoint)
        return RoutedCall(self, candidates, caller)

    def choose(self, candidates: list[_Candidate], caller: Caller, *, may_ask_resting: bool) -> _Candidate | None:
        """The one to ask now, if any.

        Args:
            candidates: those that the call has not asked.
            caller: who asks.
            may_ask_resting: also one that rests, when it is the only chance.
        """
        if len(candidates) == 1 and candidates[0].health.is_up:
            return candidates[0] if candidates[0].has_room(caller) else None
        now_us = self.clock.monotonic_us()
        free = [candidate for candidate in candidates if candidate.has_room(caller)]
        ready = [candidate for candidate in free if candidate.health.is_ready(now_us)]
        if ready:
            return self._rng.choices(ready, weights=[candidate.route.weight for candidate in ready])[0]
        if not may_ask_resting:
            return None
        patient = [candidate for candidate in free if not candidate.health.asked_wait_us(now_us)]
        return min(patient, key=lambda candidate: candidate.health.due_us, default=None)

    def report(self, models: Iterable[Model]) -> list[UpstreamHealth]:
        """How each upstream of these models does, by name."""
        upstreams = {route.upstream.name: route.upstream for model in models for route in model.routes}
        return [self._report(upstream) for _, upstream in sorted(upstreams.items())]

    def _health(self, upstream: Upstream) -> CircuitBreaker:
        health = self._healths.get(upstream.name)
        if health is None:
            health = self._healths[upstream.name] = CircuitBreaker(self._rules)
        return health

    def _places_at(self, upstream: Upstream) -> Places | None:
        """The places at an upstream, if their number has a bound; another configuration may have another one."""
        if (most := upstream.max_concurrent) is None:
            return None
        places = self._places.get(upstream.name)
        if places is None:
            places = self._places[upstream.name] = Places(most)
        places.shares.most = most
        return places

    def refused(self) -> dict[str, int]:
        """How often calls found no room at upstreams, by the setting."""
        return {f"upstreams.{name}.max_concurrent": places.refused for name, places in self._places.items()}

    def busy(self, candidates: list[_Candidate], caller: Caller) -> Refusal:
        """Refuse a call that no upstream can be asked now."""
        now_us = self.clock.monotonic_us()
        for candidate in candidates:
            if candidate.places is not None and not candidate.places.has_room(caller):
                candidate.places.refused += 1
        return upstreams_busy(min(c.health.asked_wait_us(now_us) or _BUSY_WAIT_US for c in candidates))

    def _report(self, upstream: Upstream) -> UpstreamHealth:
        health = self._health(upstream)
        left_us = health.due_us - self.clock.monotonic_us()
        return UpstreamHealth(
            name=upstream.name,
            state=health.state,
            open_calls=health.open_calls,
            recent_failures=health.failures,
            rests_until_s=None if health.is_up else (self.clock.now_us() + left_us) / 1_000_000,
            last_error=health.last_error,
            failed_calls=health.failed_calls,
        )


class RoutedCall:
    """One call on its way through the upstreams, one after the other. `end` gives back what it occupies.

    Attributes:
        route: where it goes now; there is none before `take`.
        outbound: how it is spoken there.
    """

    __slots__ = (
        "_asked_resting",
        "_caller",
        "_generation",
        "_health",
        "_is_probe",
        "_left",
        "_open",
        "_place",
        "_routing",
        "outbound",
        "route",
    )

    route: Route
    outbound: OutboundRequest
    _health: CircuitBreaker
    _generation: int

    def __init__(self, routing: Routing, candidates: list[_Candidate], caller: Caller) -> None:
        self._routing = routing
        self._caller = caller
        self._place: Place | None = None
        self._left = candidates
        self._asked_resting = False
        self._open = False
        self._is_probe = False

    def is_full(self) -> bool:
        """Whether no upstream has a place for the caller, up or not."""
        caller = self._caller
        if self._left[0].places is None:
            return False
        return all(not candidate.has_room(caller) for candidate in self._left)

    async def wait_for_room(self) -> None:
        """Wait a moment for a place, where each upstream is full; `take` tells whether there is one."""
        first = next((candidate for candidate in self._left if candidate.health.is_up), self._left[0])
        if (places := first.places) is not None:
            await places.wait_for_room(self._caller)

    def take(self) -> None:
        """Choose the upstream that is asked first, and take a place there; `end` must follow.

        Raises:
            Refusal: each is as busy as it may be, or asked to be left alone; nothing was taken.
        """
        first = self._routing.choose(self._left, self._caller, may_ask_resting=True)
        if first is None:
            raise self._routing.busy(self._left, self._caller)
        self._occupy(first)

    def move_on(self) -> bool:
        """Give back the upstream that was asked, and take the next; False, and nothing changes, when there is none.

        A call asks at most one upstream that rests: when all are away, each call burdens one of them.
        """
        following = self._routing.choose(self._left, self._caller, may_ask_resting=not self._asked_resting)
        if following is None:
            return False
        self.end()
        self._occupy(following)
        return True

    def end(self) -> None:
        """Give back the upstream; a repeated call changes nothing."""
        if self._open:
            self._open = False
            self._health.end(self._generation, is_probe=self._is_probe)
            if self._place is not None:
                self._place.free()

    def succeeded(self) -> None:
        """The first byte of an answer came, or the whole of it."""
        if self._health.succeeded(self._generation) is Change.BACK:
            _log.info(
                "upstream_back",
                upstream=self.route.upstream.name,
                note="It answers again, and gets its share of calls.",
            )

    def record_response(self, response: AnswerHead) -> None:
        """The head of an answer came. One with status 200 proves nothing until a body follows."""
        status = response.status
        if status == 200:
            return
        if 400 <= status < 500 and status not in _REFUSES_US and status != 429:
            # It works; what it was asked is wrong, by the customer or by us.
            self.succeeded()
            if status not in _CUSTOMERS:
                self._health.note_failed_call(f"HTTP {status}")
            return
        wait_us = retry_after_us(response, self._routing.clock.now_us()) if status in _ASKS_FOR_REST else None
        self._failed(f"HTTP {status}", asked_us=wait_us or 0, rejects_us=status in _REFUSES_US)

    def failed(self, failure: UpstreamFailure) -> None:
        """No answer came, or not to its first byte."""
        match failure:
            case UpstreamUnreachable():
                self._failed("no connection")
            case UpstreamTimedOut():
                self._failed("no answer in time")
            case _:
                self._failed("a broken answer")

    def _show(self, candidate: _Candidate) -> None:
        self.route = candidate.route
        self.outbound = candidate.outbound
        self._health = candidate.health
        self._generation = candidate.health.generation

    def _occupy(self, candidate: _Candidate) -> None:
        health = candidate.health
        self._place = None if candidate.places is None else candidate.places.take(self._caller)
        self._left.remove(candidate)
        if not health.is_up:
            self._asked_resting = True
        # While it is up there are no probes, and the time does not matter.
        self._is_probe = health.begin(0 if health.is_up else self._routing.clock.monotonic_us())
        self._open = True
        self._show(candidate)

    def _failed(self, error: str, *, asked_us: int = 0, rejects_us: bool = False) -> None:
        health = self._health
        now_us = self._routing.clock.monotonic_us()
        change = health.failed(self._generation, now_us, error, is_probe=self._is_probe, asked_us=asked_us)
        if change is not Change.RESTS:
            return
        upstream = self.route.upstream.name
        rests_s = round((health.due_us - now_us) / 1_000_000, 1)
        if rejects_us:
            _log.error(
                "upstream_rejects_us",
                upstream=upstream,
                error=error,
                rests_s=rests_s,
                action="Check its api_key in the configuration, and the account that it belongs to.",
            )
            return
        _log.warning(
            "upstream_rests",
            upstream=upstream,
            error=error,
            failures=health.failures,
            rests_s=rests_s,
            action=_ACTION_ASKED if asked_us else _ACTION,
        )
