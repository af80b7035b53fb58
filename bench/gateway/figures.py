"""What is measured, and the samples of it. It knows neither gateways nor tables."""

from dataclasses import dataclass, field
from enum import Enum
from statistics import median


@dataclass(frozen=True, slots=True)
class _About:
    """A figure's title, its unit, and how many of its base unit one of that is."""

    title: str
    unit: str
    scale: float
    digits: int


class Figure(Enum):
    """A figure; its samples are in seconds, bytes or a number."""

    REQUEST_CPU = _About("CPU per request", "µs", 1e-6, 1)
    AGENT_7_KB_CPU = _About("CPU per agent's request of 7 KB", "µs", 1e-6, 1)
    AGENT_30_KB_CPU = _About("CPU per agent's request of 30 KB", "µs", 1e-6, 1)
    AGENT_200_KB_CPU = _About("CPU per agent's request of 200 KB", "µs", 1e-6, 1)
    AGENT_1_MB_CPU = _About("CPU per agent's request of 1 MB", "µs", 1e-6, 1)
    CHUNK_CPU = _About("CPU per streamed chunk", "µs", 1e-6, 1)
    # Above one: the client got events together, because the gateway did not keep up; that is cheaper for it.
    EVENTS_PER_READ = _About("streamed events per read of the client", "", 1, 2)
    PER_S = _About("requests per second", "1/s", 1, 0)
    P50_AT_1 = _About("added latency p50, 1 connection", "ms", 1e-3, 3)
    P99_AT_1 = _About("added latency p99, 1 connection", "ms", 1e-3, 3)
    P50_AT_64 = _About("added latency p50, 64 connections", "ms", 1e-3, 2)
    P99_AT_64 = _About("added latency p99, 64 connections", "ms", 1e-3, 2)
    FIRST_BYTE = _About("added time to first byte p50", "ms", 1e-3, 3)
    IDLE_STREAM = _About("memory per idle stream", "KB", 1e3, 1)
    START = _About("start-up to first answer", "s", 1, 2)

    @property
    def title(self) -> str:
        """What it is, for people."""
        return self.value.title

    @property
    def unit(self) -> str:
        """The unit that `show` writes in."""
        return self.value.unit

    def scaled(self, sample: float) -> float:
        """A sample in that unit."""
        return sample / self.value.scale

    def show(self, sample: float) -> str:
        """A sample in that unit, as text."""
        return f"{self.scaled(sample):,.{self.value.digits}f}"


ADDED = (Figure.P50_AT_1, Figure.P99_AT_1, Figure.P50_AT_64, Figure.P99_AT_64, Figure.FIRST_BYTE)
"""Figures from which the upstream's own of the same run is taken off."""


@dataclass(slots=True)
class Samples:
    """The samples of one gateway, one per run."""

    by_figure: dict[Figure, list[float]] = field(default_factory=dict)

    def add(self, figure: Figure, sample: float) -> None:
        """Keep a sample."""
        self.by_figure.setdefault(figure, []).append(sample)

    def middle(self, figure: Figure) -> float | None:
        """The median; None: it was not measured."""
        found = self.by_figure.get(figure)
        return median(found) if found else None

    def spread(self, figure: Figure) -> tuple[float, float] | None:
        """The least and the most; None: it was not measured."""
        found = self.by_figure.get(figure)
        return (min(found), max(found)) if found else None

    def added_to(self, upstream: "Samples") -> "Samples":
        """With the upstream's latency of the same run taken off."""
        return Samples(
            {
                figure: [mine - its for mine, its in zip(samples, upstream.by_figure[figure], strict=True)]
                if figure in ADDED
                else samples
                for figure, samples in self.by_figure.items()
            }
        )
