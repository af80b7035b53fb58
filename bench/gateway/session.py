"""A whole run: start the upstream and the gateways, measure them in turn, look into the books, stop everything."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.gateway import measure
from bench.gateway.booth import interpreted, tokenbooth
from bench.gateway.figures import Figure, Samples
from bench.gateway.gateways import (
    FAST,
    DidNotStart,
    Effort,
    Gateway,
    NotInstalled,
    Place,
    Started,
    running,
)
from bench.gateway.load import LoadFailed
from bench.gateway.machine import Machine
from bench.gateway.nginx import nginx
from bench.gateway.peers import envoy, litellm, portkey, tensorzero
from bench.gateway.processes import Cores
from bench.gateway.profile import Part, profile
from bench.gateway.report import Results, TookPart
from bench.gateway.upstream import Upstream, mock_upstream

OURS: Final = "tokenbooth"
# The profiler sees only what is interpreted.
INTERPRETED: Final = "tokenbooth-interpreted"
GATEWAYS: Final[dict[str, Callable[[Place], Gateway]]] = {
    "nginx": nginx,
    OURS: tokenbooth,
    INTERPRETED: interpreted,
    "envoy": envoy,
    "tensorzero": tensorzero,
    "portkey": portkey,
    "litellm": litellm,
}


class BooksWrong(Exception):
    """Tokenbooth's books do not agree with what was answered; the message tells how."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        names: of the gateways, in order.
        runs: of everything, gateway by gateway in turn.
        starts: of each gateway.
        lengths: of the streams.
        is_quick: whether each run is shorter.
        profile_s: how long Tokenbooth is profiled; 0 for not at all.
    """

    names: Sequence[str]
    runs: int
    starts: int
    lengths: measure.Lengths
    is_quick: bool
    profile_s: int

    def effort(self, effort: Effort) -> Effort:
        """A gateway's effort in this plan."""
        return effort.shortened() if self.is_quick else effort


@dataclass(slots=True)
class _Entrant:
    """A gateway with what was measured so far; `started` while it runs."""

    name: str
    gateway: Gateway
    samples: Samples = field(default_factory=Samples)
    count: measure.Count = field(default_factory=measure.Count)
    started: Started | None = None


class Session:
    """One run of the benchmark."""

    def __init__(self, plan: Plan, cores: Cores, directory: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._cores = cores
        self._directory = directory
        self._say = say
        self._skipped: list[tuple[str, str]] = []
        self._direct = Samples()
        self._parts: Sequence[Part] = ()

    def run(self) -> Results:
        """Do all of it.

        Raises:
            BooksWrong: charges are missing or doubled, or the audit found differences.
            DidNotStart, LoadFailed: of Tokenbooth or the upstream; a peer that fails is left out with its reason.
        """
        machine = Machine.this()
        with mock_upstream(self._new("upstream"), self._cores) as upstream, ExitStack() as stack:
            entrants = self._keep(self._set_up(upstream), lambda entrant: self._start(entrant, stack))
            for number in range(self._plan.runs):
                self._say(f"run {number + 1} of {self._plan.runs}")
                self._measure_directly(upstream)
                entrants = self._keep(entrants, self._measure)
            if self._plan.profile_s:
                self._profile(entrants)
        for entrant in entrants:
            if wrong := entrant.gateway.check(entrant.count.answered):
                raise BooksWrong("\n".join(wrong))
        return Results(
            machine=machine,
            runs=self._plan.runs,
            is_quick=self._plan.is_quick,
            gateways=[self._took_part(entrant.gateway) for entrant in entrants],
            samples={entrant.gateway.name: entrant.samples.added_to(self._direct) for entrant in entrants},
            skipped=self._skipped,
            parts=self._parts,
        )

    def _set_up(self, upstream: Upstream) -> list[_Entrant]:
        entrants = []
        for name in self._plan.names:
            place = Place(self._new(name), upstream.whole_port, upstream.stream_port, self._cores)
            try:
                entrants.append(_Entrant(name, GATEWAYS[name](place)))
            except NotInstalled as reason:
                if name == OURS:
                    raise
                self._skipped.append((name, str(reason)))
        return entrants

    def _keep(self, entrants: list[_Entrant], step: Callable[[_Entrant], None]) -> list[_Entrant]:
        """Take a step with each; those that fail at it are left out from now on."""
        kept = []
        for entrant in entrants:
            try:
                step(entrant)
                kept.append(entrant)
            except (DidNotStart, LoadFailed) as failure:
                if entrant.name == OURS:
                    raise
                self._skipped.append((entrant.name, str(failure)))
        return kept

    def _start(self, entrant: _Entrant, stack: ExitStack) -> None:
        """Start it some times, with a measurement of memory each time; the last one goes on running."""
        self._say(f"starting {entrant.gateway.name} {entrant.gateway.version}")
        for _ in range(self._plan.starts - 1):
            with running(entrant.gateway, self._cores) as started:
                self._first_figures(entrant, started)
        entrant.started = stack.enter_context(running(entrant.gateway, self._cores))
        self._first_figures(entrant, entrant.started)

    def _first_figures(self, entrant: _Entrant, started: Started) -> None:
        effort = self._plan.effort(entrant.gateway.effort)
        entrant.count.answered += 1
        entrant.samples.add(Figure.START, started.took_s)
        measure.warm_up(started.target, effort, entrant.count, self._directory)
        measure.idle_memory(started, effort, entrant.samples, entrant.count)

    def _measure_directly(self, upstream: Upstream) -> None:
        where = measure.Subject(upstream.target, None, self._plan.effort(FAST), self._direct, measure.Count())
        measure.run(where, self._plan.lengths, self._directory)

    def _measure(self, entrant: _Entrant) -> None:
        assert entrant.started is not None
        effort = self._plan.effort(entrant.gateway.effort)
        started = entrant.started
        subject = measure.Subject(started.target, started.running, effort, entrant.samples, entrant.count)
        try:
            measure.run(subject, self._plan.lengths, self._directory)
        except measure.EventsMerged as reason:
            if entrant.name == OURS:
                raise
            told = (f"{entrant.gateway.name}'s chunks and first bytes", str(reason))
            if told not in self._skipped:
                self._skipped.append(told)

    def _profile(self, entrants: Sequence[_Entrant]) -> None:
        for entrant in entrants:
            if entrant.name != INTERPRETED or entrant.started is None:
                continue
            self._say(f"profiling {entrant.gateway.name}")
            started = entrant.started
            try:
                self._parts, answered = profile(
                    started.target, started.running, self._directory, duration_s=self._plan.profile_s
                )
            except NotInstalled as reason:
                self._skipped.append(("the profile", str(reason)))
            else:
                entrant.count.answered += answered

    def _took_part(self, gateway: Gateway) -> TookPart:
        return TookPart(gateway.name, gateway.version, gateway.does, self._plan.effort(gateway.effort).idle_streams)

    def _new(self, name: str) -> Path:
        directory = self._directory / name
        directory.mkdir()
        return directory
