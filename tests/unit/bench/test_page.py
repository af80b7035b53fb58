"""What the benchmark makes of its samples: ratios, goals, the page."""

from bench.gateway.figures import Figure, Samples
from bench.gateway.machine import Machine
from bench.gateway.page import page
from bench.gateway.profile import Part
from bench.gateway.report import Results, TookPart, for_terminal

MACHINE = Machine(processor="A processor", cores=2, kernel="6.1", python="3.11.7", load=0.2)


def _samples(**values: float) -> Samples:
    return Samples({Figure[name]: [value] for name, value in values.items()})


def _results(**samples: Samples) -> Results:
    return Results(
        machine=MACHINE,
        runs=5,
        is_quick=False,
        gateways=[TookPart(name, "1.0", "something", 2_000) for name in samples],
        samples=samples,
        skipped=[("portkey", "there is no Node on this machine")],
        parts=[Part("SQLite commits", 30e-6), Part("key, limits, holds", 10e-6)],
    )


def test_latency_is_what_is_above_the_upstreams_in_the_same_run() -> None:
    """Each run's own latency of the upstream is taken off; CPU time is left as it is."""
    gateway = Samples({Figure.P50_AT_1: [0.003, 0.005], Figure.REQUEST_CPU: [2e-5, 3e-5]})
    upstream = Samples({Figure.P50_AT_1: [0.001, 0.002]})
    added = gateway.added_to(upstream)
    assert added.middle(Figure.P50_AT_1) == 0.0025
    assert added.spread(Figure.REQUEST_CPU) == (2e-5, 3e-5)


def test_goals_are_met_missed_or_not_known() -> None:
    """A goal that compares with a gateway which did not take part is not known."""
    ours = _samples(REQUEST_CPU=70e-6, CHUNK_CPU=30e-6, P50_AT_1=0.2e-3, IDLE_STREAM=70e3, START=1.0)
    results = _results(nginx=_samples(REQUEST_CPU=20e-6, CHUNK_CPU=20e-6), Tokenbooth=ours)
    assert [goal.is_met for goal in results.goals()] == [True, False, None, None, True, False, True, True]


def test_without_tokenbooth_there_are_no_goals() -> None:
    """Peers alone can be measured."""
    assert _results(nginx=_samples(REQUEST_CPU=20e-6)).goals() == []


def test_the_page_has_figures_with_ratios_and_says_who_was_skipped() -> None:
    """A table row per figure, parts with shares, reasons, and what a missing figure looks like."""
    text = page(_results(nginx=_samples(REQUEST_CPU=20e-6), Tokenbooth=_samples(REQUEST_CPU=70e-6, START=1.0)))
    assert "| CPU per request, µs | 20.0 (1.00 ×) | 70.0 (3.50 ×) |" in text
    assert "| start-up to first answer, s | – | 1.00 (–) |" in text
    assert "| SQLite commits | 30.0 | 75% |" in text
    assert "Skipped: portkey: there is no Node on this machine." in text


def test_the_terminal_shows_the_same() -> None:
    """Figures, parts, goals and reasons."""
    text = for_terminal(_results(nginx=_samples(REQUEST_CPU=20e-6), Tokenbooth=_samples(REQUEST_CPU=10e-6)))
    assert "0.50 ×" in text
    assert "met        a request: at most 60 µs of CPU, or 4 × nginx's (10.0 µs, 0.50 ×)" in text
    assert "skipped: portkey: there is no Node on this machine" in text
