"""The results of a run, and their text for a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.gateway.figures import Figure, Samples
from bench.gateway.goals import Goal, goals
from bench.gateway.machine import Machine
from bench.gateway.profile import Part

MEASURE: Final = "nginx"


@dataclass(frozen=True, slots=True)
class TookPart:
    """A gateway of this run.

    Attributes:
        name: for people.
        version: of what was installed.
        does: with a request, in a few words.
        idle_streams: how many were open at once.
    """

    name: str
    version: str
    does: str
    idle_streams: int


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that a run brought.

    Attributes:
        machine: it ran on.
        runs: of each gateway, in turn.
        is_quick: whether each run was cut short.
        gateways: that took part, in order.
        samples: of each, by name; latencies are above the upstream's own.
        skipped: names of those that did not take part, with the reason.
        parts: where Tokenbooth's time goes; empty without a profile.
    """

    machine: Machine
    runs: int
    is_quick: bool
    gateways: Sequence[TookPart]
    samples: dict[str, Samples]
    skipped: Sequence[tuple[str, str]]
    parts: Sequence[Part] = field(default=())

    def idle_streams(self) -> dict[str, int]:
        """How many streams each gateway held open at once, by its name."""
        return {one.name: one.idle_streams for one in self.gateways}

    def goals(self) -> list[Goal]:
        """What Tokenbooth set out to reach, and whether this run did."""
        return goals(self.samples, self.idle_streams())

    def ratio(self, name: str, figure: Figure) -> str:
        """A gateway's median over nginx's, as text; a dash where there is none."""
        measure = self.samples[MEASURE].middle(figure) if MEASURE in self.samples else None
        middle = self.samples[name].middle(figure)
        if middle is None or measure is None or measure <= 0 or middle < 0:
            return "–"
        times = middle / measure
        return f"{times:,.0f} ×" if times >= 100 else f"{times:.2f} ×"


def for_terminal(results: Results) -> str:
    """Each figure of each gateway: the median, its ratio to nginx's, the least and the most of all runs."""
    lines: list[str] = []
    for figure in Figure:
        lines.append(f"\n{figure.title} ({figure.unit})" if figure.unit else f"\n{figure.title}")
        for name, samples in results.samples.items():
            middle, spread = samples.middle(figure), samples.spread(figure)
            if middle is None or spread is None:
                continue
            least, most = map(figure.show, spread)
            lines.append(
                f"  {name:<12} {figure.show(middle):>12}  {results.ratio(name, figure):>9}  ({least} to {most})"
            )
    if results.parts:
        lines.append("\nwhere Tokenbooth's time goes, µs per request")
        lines += [f"  {part.cpu_s * 1e6:>8.1f}  {part.name}" for part in results.parts]
    lines += [
        "",
        *(
            f"{verdict(goal):<10} {goal.text} ({goal.measured})"
            for goal in goals(results.samples, results.idle_streams())
        ),
    ]
    lines += [f"skipped: {name}: {reason}" for name, reason in results.skipped]
    return "\n".join(lines)


def verdict(goal: Goal) -> str:
    """Whether a goal is met, in a word or two."""
    match goal.is_met:
        case None:
            return "not known"
        case True:
            return "met"
        case False:
            return "missed"
