"""One run of one gateway: load, CPU time before and after, memory with silent streams."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.gateway.agent_bodies import SIZES, agent_body
from bench.gateway.figures import Figure, Samples
from bench.gateway.gateways import Effort, Started
from bench.gateway.load import IdleStreams, LoadFailed, Streamed, Target, ask, first_bytes, stream
from bench.gateway.processes import Running

CONNECTIONS: Final = 64
GAP_MS: Final = 20
_US: Final = 1e-6
# For each size: where its price goes, and how many times fewer requests than small ones are sent.
_AGENTS: Final = (
    (SIZES["7 KB"], Figure.AGENT_7_KB_CPU, 4),
    (SIZES["30 KB"], Figure.AGENT_30_KB_CPU, 8),
    (SIZES["200 KB"], Figure.AGENT_200_KB_CPU, 20),
    (SIZES["1 MB"], Figure.AGENT_1_MB_CPU, 80),
)
# A mock upstream and a gateway that share bodies of a megabyte need no more to be busy.
_AGENT_CONNECTIONS: Final = 8
# What a gateway leaves for later (a commit in batches, a log) is its work too.
_AFTERWARDS_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the two kinds of streams are; the price of an event is the slope between them.

    Attributes:
        short: events of the short ones.
        long: events of the long ones.
    """

    short: int
    long: int


@dataclass(slots=True)
class Count:
    """How many requests a gateway has answered so far."""

    answered: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, and where its samples go.

    Attributes:
        target: what is asked.
        process: whose CPU time is taken; None for the upstream itself.
        effort: how much is asked.
        samples: latencies are absolute here.
        count: counts what was answered.
    """

    target: Target
    process: Running | None
    effort: Effort
    samples: Samples
    count: Count


class EventsMerged(LoadFailed):
    """Fewer events came than were sent: what one of them costs cannot be said."""


def run(subject: Subject, lengths: Lengths, scratch: Path) -> None:
    """Measure everything but memory and the start, once; `scratch` is for files of the load generator.

    Raises:
        LoadFailed: a request was not answered as it should be.
    """
    _whole(subject, scratch)
    if subject.process is not None:
        _agents(subject, subject.process, scratch)
        _chunks(subject, subject.process, lengths)
    firsts = first_bytes(subject.target, streams=subject.effort.first_bytes)
    subject.count.answered += subject.effort.first_bytes
    subject.samples.add(Figure.FIRST_BYTE, firsts.first_us[len(firsts.first_us) // 2] * _US)


def warm_up(target: Target, effort: Effort, count: Count, scratch: Path) -> None:
    """Let it make its connections and fill its caches, unmeasured."""
    requests = max(effort.requests // 10, CONNECTIONS)
    ask(target, scratch, requests=requests, connections=CONNECTIONS)
    stream(target, streams=effort.streams, chunks=3, gap_ms=GAP_MS)
    count.answered += requests + effort.streams


def idle_memory(started: Started, effort: Effort, samples: Samples, count: Count) -> None:
    """What a stream costs that has begun and says nothing.

    Raises:
        LoadFailed: not all of them stayed open.
    """
    before = started.running.memory_bytes()
    idle = IdleStreams(started.target)
    try:
        idle.open(effort.idle_streams)
        still_open = idle.wait(1)
        with_streams = started.running.memory_bytes()
    finally:
        idle.close()
    if still_open != effort.idle_streams:
        raise LoadFailed(f"{still_open} of {effort.idle_streams} idle streams stayed open")
    count.answered += effort.idle_streams
    samples.add(Figure.IDLE_STREAM, (with_streams - before) / effort.idle_streams)


def _whole(subject: Subject, scratch: Path) -> None:
    process, effort, samples = subject.process, subject.effort, subject.samples
    before_s = process.cpu_s() if process is not None else 0.0
    many = ask(subject.target, scratch, requests=effort.requests, connections=CONNECTIONS)
    if process is not None:
        time.sleep(_AFTERWARDS_S)
        samples.add(Figure.REQUEST_CPU, (process.cpu_s() - before_s) / effort.requests)
    one_by_one = max(effort.requests // 10, 100)
    few = ask(subject.target, scratch, requests=one_by_one, connections=1)
    subject.count.answered += effort.requests + one_by_one
    samples.add(Figure.PER_S, many.per_s)
    samples.add(Figure.P50_AT_64, many.percentile_us(50) * _US)
    samples.add(Figure.P99_AT_64, many.percentile_us(99) * _US)
    samples.add(Figure.P50_AT_1, few.percentile_us(50) * _US)
    samples.add(Figure.P99_AT_1, few.percentile_us(99) * _US)


def _agents(subject: Subject, process: Running, scratch: Path) -> None:
    for size, figure, fewer in _AGENTS:
        requests = max(subject.effort.requests // fewer, _AGENT_CONNECTIONS)
        before_s = process.cpu_s()
        body = agent_body(subject.target.model, size)
        ask(subject.target, scratch, requests=requests, connections=_AGENT_CONNECTIONS, content=body)
        time.sleep(_AFTERWARDS_S)
        subject.count.answered += requests
        subject.samples.add(figure, (process.cpu_s() - before_s) / requests)


def _chunks(subject: Subject, process: Running, lengths: Lengths) -> None:
    streams, samples = subject.effort.streams, subject.samples
    short_s, _ = _streamed(subject, process, lengths.short)
    long_s, long = _streamed(subject, process, lengths.long)
    samples.add(Figure.EVENTS_PER_READ, long.events / long.reads)
    samples.add(Figure.CHUNK_CPU, (long_s - short_s) / (streams * (lengths.long - lengths.short)))


def _streamed(subject: Subject, process: Running, chunks: int) -> tuple[float, Streamed]:
    """The CPU seconds for streams of this length, and what they brought."""
    before_s = process.cpu_s()
    got = stream(subject.target, streams=subject.effort.streams, chunks=chunks, gap_ms=GAP_MS)
    time.sleep(_AFTERWARDS_S)
    subject.count.answered += subject.effort.streams
    if got.events < subject.effort.streams * chunks:
        raise EventsMerged(f"{subject.effort.streams * chunks} events were sent, and {got.events} came")
    return process.cpu_s() - before_s, got
