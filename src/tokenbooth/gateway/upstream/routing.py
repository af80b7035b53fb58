"""Which upstream a call goes to, and to which next: by weight among those that are up and have room.

Each model of an upstream has a circuit of its own; what concerns the upstream as a whole, no connection or a refused
credential, opens them all. One that rests after failures is left out while another one can be asked; a call that has no
other chance asks the one that is due soonest. One that asked to be left alone is left alone, but for a call every ten
seconds. Nothing here does I/O but for log lines.
"""

import random
from collections.abc import Iterable
from typing import Final

import structlog

from tokenbooth.config.catalog import Model, Route
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.upstreams import UpstreamHealth
from tokenbooth.gateway.errors import Refusal, UpstreamFailure, unsupported_endpoint, upstreams_busy
from tokenbooth.gateway.formats.base import OutboundRequest, PricedRequest, estimated_tokens
from tokenbooth.gateway.upstream.base import AnswerHead
from tokenbooth.gateway.upstream.call_size import CallSize
from tokenbooth.gateway.upstream.circuit_breaker import EVERYBODY, Call, Change, CircuitBreaker, RestRules
from tokenbooth.gateway.upstream.outcome import Outcome, outcome_of_failure, outcome_of_status
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.places import Caller, Place, Places

_BUSY_WAIT_US: Final = 1_000_000
# One account's calls can be told to wait again and again, between those of others that are answered.
_ONE_ACCOUNT_TOLD_EVERY_US: Final = 60 * 1_000_000
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


class _Server:
    """An upstream: its places, if their number has a bound, and the circuit of each model by the model's name there."""

    __slots__ = ("circuits", "places")

    def __init__(self) -> None:
        self.places: Places | None = None
        self.circuits: dict[str, CircuitBreaker] = {}

    def rest_with(self, found: CircuitBreaker) -> None:
        """All its models rest as this one does."""
        for circuit in self.circuits.values():
            if circuit is not found:
                circuit.rest_with(found)


class _Candidate:
    """An upstream that a call may go to, how it is spoken to, and how it does."""

    __slots__ = ("health", "outbound", "route", "server")

    def __init__(self, route: Route, outbound: OutboundRequest, server: _Server, health: CircuitBreaker) -> None:
        self.route = route
        self.outbound = outbound
        self.server = server
        self.health = health

    def has_room(self, caller: Caller) -> bool:
        places = self.server.places
        return places is None or places.has_room(caller)


class Routing:
    """Picks an upstream by weight, leaving out those that rest."""

    def __init__(self, rules: RestRules, clock: Clock, rng: random.Random) -> None:
        self._rules = rules
        self.clock = clock
        self._rng = rng
        self._servers: dict[str, _Server] = {}

    def route(self, request: PricedRequest, caller: Caller) -> "RoutedCall":
        """A call that has asked no upstream yet.

        Args:
            request: what is asked.
            caller: who has the places that it takes.

        Raises:
            Refusal: none of the model's upstreams can be asked in this format, or in one that it translates to.
        """
        candidates = [
            self._candidate(route, outbound)
            for route in request.model.routes
            if (outbound := request.outbound(route.upstream.formats)) is not None
        ]
        if not candidates:
            raise unsupported_endpoint(request.model.name, request.endpoint)
        return RoutedCall(self, request, candidates, caller)

    def choose(self, call: "RoutedCall", candidates: list[_Candidate], *, may_ask_resting: bool) -> _Candidate | None:
        """The one to ask now, if any.

        Args:
            call: which is to be sent there.
            candidates: those that the call has not asked.
            may_ask_resting: also one that rests, when it is the only chance.
        """
        if len(candidates) == 1 and candidates[0].health.is_up:
            return candidates[0] if candidates[0].has_room(call.caller) else None
        now_us = self.clock.monotonic_us()
        free = [candidate for candidate in candidates if candidate.has_room(call.caller)]
        ready = [c for c in free if c.health.is_up or c.health.is_ready(call.at(c.route), now_us)]
        if ready:
            return self._rng.choices(ready, weights=[candidate.route.weight for candidate in ready])[0]
        if not may_ask_resting:
            return None
        patient = [c for c in free if not c.health.asked_wait_us(call.at(c.route), now_us)]
        return min(patient, key=lambda candidate: candidate.health.due_us, default=None)

    def report(self, models: Iterable[Model]) -> list[UpstreamHealth]:
        """How each model of each upstream does that these models use, by their names there."""
        names = {(route.upstream.name, route.model) for model in models for route in model.routes}
        return [self._report(upstream, model) for upstream, model in sorted(names)]

    def _candidate(self, route: Route, outbound: OutboundRequest) -> _Candidate:
        server = self._server(route.upstream.name)
        if route.upstream.max_concurrent is not None or server.places is not None:
            _bound_places(server, route.upstream.max_concurrent)
        return _Candidate(route, outbound, server, self._circuit(server, route.model))

    def _server(self, name: str) -> _Server:
        server = self._servers.get(name)
        if server is None:
            server = self._servers[name] = _Server()
        return server

    def _circuit(self, server: _Server, model: str) -> CircuitBreaker:
        circuit = server.circuits.get(model)
        if circuit is None:
            circuit = server.circuits[model] = CircuitBreaker(self._rules)
        return circuit

    def refused(self) -> dict[str, int]:
        """How often calls found no room at upstreams, by the setting."""
        return {
            f"upstreams.{name}.max_concurrent": server.places.refused
            for name, server in self._servers.items()
            if server.places is not None
        }

    def busy(self, call: "RoutedCall", candidates: list[_Candidate]) -> Refusal:
        """Refuse a call that no upstream can be asked now."""
        now_us = self.clock.monotonic_us()
        for candidate in candidates:
            if candidate.server.places is not None and not candidate.has_room(call.caller):
                candidate.server.places.refused += 1
        waits_us = [c.health.asked_wait_us(call.at(c.route), now_us) or _BUSY_WAIT_US for c in candidates]
        return upstreams_busy(min(waits_us))

    def _report(self, upstream: str, model: str) -> UpstreamHealth:
        health = self._circuit(self._server(upstream), model)
        left_us = health.due_us - self.clock.monotonic_us()
        return UpstreamHealth(
            name=upstream,
            model=model,
            rests_for=None if health.rests_for == EVERYBODY else health.rests_for,
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
        caller: who has the places that it takes.
        route: where it goes now; there is none before `take`.
        outbound: how it is spoken there.
    """

    __slots__ = (
        "_asked_resting",
        "_clamped_output_tokens",
        "_generation",
        "_health",
        "_is_probe",
        "_left",
        "_open",
        "_place",
        "_request",
        "_routing",
        "_server",
        "caller",
        "outbound",
        "route",
    )

    route: Route
    outbound: OutboundRequest
    _server: _Server
    _health: CircuitBreaker
    _generation: int
    _clamped_output_tokens: int | None

    def __init__(self, routing: Routing, request: PricedRequest, candidates: list[_Candidate], caller: Caller) -> None:
        self._routing = routing
        self._request = request
        self.caller = caller
        self._place: Place | None = None
        self._left = candidates
        self._asked_resting = False
        self._open = False
        self._is_probe = False

    def is_full(self) -> bool:
        """Whether no upstream has a place for the caller, up or not."""
        caller = self.caller
        return self._left[0].server.places is not None and not any(c.has_room(caller) for c in self._left)

    async def wait_for_room(self) -> None:
        """Wait a moment for a place, where each upstream is full; `take` tells whether there is one."""
        first = next((candidate for candidate in self._left if candidate.health.is_up), self._left[0])
        if (places := first.server.places) is not None:
            await places.wait_for_room(self.caller)

    def take(self, clamped_output_tokens: int | None) -> None:
        """Choose the upstream that is asked first, and take a place there; `end` must follow.

        Args:
            clamped_output_tokens: the output ceiling as lowered at admission; None when it was not.

        Raises:
            Refusal: each is as busy as it may be, or asked to be left alone; nothing was taken.
        """
        self._clamped_output_tokens = clamped_output_tokens
        first = self._routing.choose(self, self._left, may_ask_resting=True)
        if first is None:
            raise self._routing.busy(self, self._left)
        self._occupy(first)

    def move_on(self) -> bool:
        """Give back the upstream that was asked, and take the next; False, and nothing changes, when there is none.

        A call asks at most one upstream that rests: when all are away, each call burdens one of them.
        """
        following = self._routing.choose(self, self._left, may_ask_resting=not self._asked_resting)
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
        health = self._health
        change = health.succeeded(self._generation, None if health.is_up else self.at(self.route))
        if change is Change.BACK and health.is_told:
            health.is_told = False
            _log.info(
                "upstream_back",
                upstream=self.route.upstream.name,
                model=self.route.model,
                note="It answers again, and gets its share of calls.",
            )

    def record_response(self, response: AnswerHead, body: bytes | None = None) -> None:
        """The head of an answer came. One with status 200 proves nothing until a body follows.

        Args:
            response: the head.
            body: what the upstream says with a status of `MAY_BE_TOO_LARGE`; None where that was not read.
        """
        if response.status != 200:
            now_us = self._routing.clock.now_us()
            self._take_in(outcome_of_status(response, body, self._size_at(self.route), now_us))

    def failed(self, failure: UpstreamFailure) -> None:
        """No answer came, or not to its first byte."""
        self._take_in(outcome_of_failure(failure, self._size_at(self.route)))

    def at(self, route: Route) -> Call:
        """Whose call it is, and how large it is for an upstream."""
        return Call(self.caller.account, self._size_at(route).tokens)

    def _size_at(self, route: Route) -> CallSize:
        request = self._request
        ceiling = request.sent_ceiling(route, self._clamped_output_tokens) or 0
        return CallSize(estimated_tokens(request.text_bytes) + request.parts_tokens, ceiling * request.choices)

    def _show(self, candidate: _Candidate) -> None:
        self.route = candidate.route
        self.outbound = candidate.outbound
        self._server = candidate.server
        self._health = candidate.health
        self._generation = candidate.health.generation

    def _occupy(self, candidate: _Candidate) -> None:
        health = candidate.health
        self._left.remove(candidate)
        self._is_probe = False
        if not health.is_up:
            call = self.at(candidate.route)
            self._asked_resting = self._asked_resting or health.concerns(call)
            self._is_probe = health.probe(call, self._routing.clock.monotonic_us())
        health.begin()
        places = candidate.server.places
        self._place = None if places is None else places.take(self.caller)
        self._open = True
        self._show(candidate)

    def _take_in(self, outcome: Outcome) -> None:
        health, error = self._health, outcome.error
        if outcome.works:
            self.succeeded()
        if not outcome.counts:
            if error is not None:
                health.note_failed_call(error)
            return
        now_us = self._routing.clock.monotonic_us()
        call = self.at(self.route)
        if outcome.is_whole:
            call = Call(EVERYBODY, call.tokens)
        change = health.failed(
            self._generation, now_us, error or "", call, is_probe=self._is_probe, asked_us=outcome.asked_us
        )
        if change is Change.RESTS:
            if outcome.is_whole:
                self._server.rest_with(health)
            self._tell(outcome, now_us)

    def _tell(self, outcome: Outcome, now_us: int) -> None:
        """Tell the operator of a rest that began."""
        health = self._health
        if health.rests_for != EVERYBODY and _was_just_told(health, now_us):
            return
        health.told_us, health.is_told = now_us, True
        upstream, model = self.route.upstream.name, EVERYBODY if outcome.is_whole else self.route.model
        rests_s = round((health.due_us - now_us) / 1_000_000, 1)
        if outcome.rejects_us:
            _log.error(
                "upstream_rejects_us",
                upstream=upstream,
                model=model,
                account=health.rests_for,
                error=outcome.error,
                rests_s=rests_s,
                action="Check its api_key in the configuration, and the account that it belongs to.",
            )
            return
        _log.warning(
            "upstream_rests",
            upstream=upstream,
            model=model,
            account=health.rests_for,
            error=outcome.error,
            failures=health.failures,
            rests_s=rests_s,
            action=_ACTION_ASKED if outcome.asked_us else _ACTION,
        )


def _was_just_told(health: CircuitBreaker, now_us: int) -> bool:
    return health.told_us is not None and now_us < health.told_us + _ONE_ACCOUNT_TOLD_EVERY_US


def _bound_places(server: _Server, most: int | None) -> None:
    """Let an upstream have so many places; another configuration may have another number, or none."""
    if most is None:
        server.places = None
    elif server.places is None:
        server.places = Places(most)
    else:
        server.places.shares.most = most
