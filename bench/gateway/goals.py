"""What Tokenbooth set out to reach, and whether this run did."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bench.gateway.figures import Figure, Samples


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, what was measured, and whether it is met.

    Attributes:
        is_met: None when what it is compared with did not take part.
        why: what stands in its way.
    """

    text: str
    measured: str
    is_met: bool | None
    why: str = ""


# Looked for with `perf record --call-graph dwarf` on the compiled package; to be looked at anew when the code changes.
_MANY_STEPS: Final = (
    "About a quarter of a request's time is the kernel's (two reads, two writes, the charge log, waking the other "
    "core), a tenth SQLite's and the flusher's. The rest are some hundred small steps of reading, limits, hold, "
    "settlement, headers and the event loop, none above 3 %; most of what they cost is making and dropping Python "
    "objects, which compiling does not spare."
)
_PER_EVENT: Final = (
    "More than half of an event's time is the kernel's: one wake-up, one read and one write, as in nginx. The event "
    "loop, the parser's callbacks, metering and framing it anew come on top, each well below a microsecond."
)
_FOLLOWS: Final = "It follows from the CPU time of a request: with one connection there is nothing else to wait for."


def goals(results: Mapping[str, Samples], idle_streams: Mapping[str, int]) -> list[Goal]:
    """Every goal; empty when Tokenbooth did not take part.

    Args:
        results: the samples of each gateway, by its name.
        idle_streams: how many streams each held open at once, without an error.
    """
    if "Tokenbooth" not in results:
        return []
    ours = results["Tokenbooth"]
    at_once = idle_streams["Tokenbooth"]
    return [
        replace(_request(results, ours), why=_MANY_STEPS),
        replace(_chunk(results, ours), why=_PER_EVENT),
        replace(
            _cheaper("a request: at least 150 × cheaper than LiteLLM's", results, ours, "LiteLLM", 150),
            why=_MANY_STEPS,
        ),
        replace(
            _cheaper("a request: at least 3 × cheaper than TensorZero's", results, ours, "TensorZero", 3),
            why=_MANY_STEPS,
        ),
        replace(
            _limit("added latency at one connection, p50: at most 0.25 ms", ours, Figure.P50_AT_1, 0.25e-3),
            why=_FOLLOWS,
        ),
        _limit("an idle stream: at most 60 KB", ours, Figure.IDLE_STREAM, 60e3),
        Goal("streams at once without an error: 2,000", f"{at_once:,}", at_once >= 2_000 or None),
        _limit("start-up: at most 1.5 s", ours, Figure.START, 1.5),
    ]


def _request(results: Mapping[str, Samples], ours: Samples) -> Goal:
    text = "a request: at most 60 µs of CPU, or 4 × nginx's"
    mine = ours.middle(Figure.REQUEST_CPU)
    nginx = results["nginx"].middle(Figure.REQUEST_CPU) if "nginx" in results else None
    if mine is None:
        return Goal(text, "–", None)
    if nginx is None:
        return Goal(text, f"{mine * 1e6:.1f} µs", mine <= 60e-6 or None)
    return Goal(text, f"{mine * 1e6:.1f} µs, {mine / nginx:.2f} ×", mine <= max(60e-6, 4 * nginx))


def _chunk(results: Mapping[str, Samples], ours: Samples) -> Goal:
    text, figure = "a streamed chunk: at most 1.25 × nginx's CPU", Figure.CHUNK_CPU
    mine, theirs = ours.middle(figure), results["nginx"].middle(figure) if "nginx" in results else None
    if mine is None or not theirs:
        return Goal(text, "–", None)
    return Goal(text, f"{mine / theirs:.2f} ×", mine <= 1.25 * theirs)


def _cheaper(text: str, results: Mapping[str, Samples], ours: Samples, peer: str, times: float) -> Goal:
    figure = Figure.REQUEST_CPU
    mine, theirs = ours.middle(figure), results[peer].middle(figure) if peer in results else None
    if not mine or theirs is None:
        return Goal(text, "–", None)
    return Goal(text, f"{theirs / mine:.1f} ×", theirs >= times * mine)


def _limit(text: str, ours: Samples, figure: Figure, at_most: float) -> Goal:
    mine = ours.middle(figure)
    if mine is None:
        return Goal(text, "–", None)
    return Goal(text, f"{figure.show(mine)} {figure.unit}", mine <= at_most)
