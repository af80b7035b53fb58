"""The results as a table for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Final

from bench.gateway.figures import Figure, Samples

MEASURE: Final = "nginx"


def table(results: Mapping[str, Samples]) -> str:
    """Each figure of each gateway: the median, its ratio to nginx's, the least and the most of all runs."""
    lines = []
    for figure in Figure:
        lines.append(f"\n{figure.title} ({figure.unit})")
        for name, samples in results.items():
            middle, spread = samples.middle(figure), samples.spread(figure)
            if middle is None or spread is None:
                continue
            least, most = map(figure.show, spread)
            lines.append(
                f"  {name:<12} {figure.show(middle):>12}  {ratio(results, name, figure):>9}  ({least} to {most})"
            )
    return "\n".join(lines)


def ratio(results: Mapping[str, Samples], name: str, figure: Figure) -> str:
    """A gateway's median over nginx's, as text; a dash where there is none."""
    measure = results[MEASURE].middle(figure) if MEASURE in results else None
    middle = results[name].middle(figure)
    if middle is None or measure is None or measure <= 0 or middle < 0:
        return "–"
    times = middle / measure
    return f"{times:,.0f} ×" if times >= 100 else f"{times:.2f} ×"


def skipped(reasons: Sequence[tuple[str, str]]) -> str:
    """Which gateways did not take part, and why."""
    return "\n".join(f"skipped: {name}: {reason}" for name, reason in reasons)
