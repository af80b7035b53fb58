"""Tokenbooth and its peers before one mock upstream, in one run, gateway by gateway in turn.

Every gateway runs alone on one core; the load generator and the mock upstream share another. Run it with `make bench`,
`make bench ARGS=--quick`, or `make bench ARGS="--only tokenbooth,nginx"`.
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.gateway import measure, report
from bench.gateway.booth import tokenbooth
from bench.gateway.figures import Figure, Samples
from bench.gateway.gateways import FAST, DidNotStart, Effort, Gateway, NotInstalled, Place, Started, running
from bench.gateway.load import LoadFailed
from bench.gateway.nginx import nginx
from bench.gateway.peers import envoy, litellm, portkey, tensorzero
from bench.gateway.processes import Cores
from bench.gateway.upstream import Upstream, mock_upstream

GATEWAYS: Final[dict[str, Callable[[Place], Gateway]]] = {
    "nginx": nginx,
    "tokenbooth": tokenbooth,
    "envoy": envoy,
    "tensorzero": tensorzero,
    "portkey": portkey,
    "litellm": litellm,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: runs of everything, starts of each gateway, streams' lengths, whether efforts are cut."""

    runs: int
    starts: int
    lengths: measure.Lengths
    is_quick: bool

    def effort(self, effort: Effort) -> Effort:
        """A gateway's effort in this plan."""
        return effort.shortened() if self.is_quick else effort


FULL: Final = Plan(runs=5, starts=3, lengths=measure.Lengths(short=20, long=200), is_quick=False)
QUICK: Final = Plan(runs=3, starts=1, lengths=measure.Lengths(short=20, long=100), is_quick=True)


@dataclass(slots=True)
class Bench:
    """One gateway in this run, with what was measured so far."""

    gateway: Gateway
    samples: Samples = field(default_factory=Samples)
    count: measure.Count = field(default_factory=measure.Count)


def main() -> int:
    """Measure and print; the exit code is 1 when something that was asked for is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, for a first look")
    parser.add_argument("--only", default=",".join(GATEWAYS), help=f"some of {', '.join(GATEWAYS)}")
    parser.add_argument("--runs", type=int, help="how often everything is measured")
    asked = parser.parse_args()
    names = [name.strip().lower() for name in asked.only.split(",")]
    if unknown := [name for name in names if name not in GATEWAYS]:
        parser.error(f"--only: {', '.join(unknown)}: not one of {', '.join(GATEWAYS)}")
    if shutil.which("h2load") is None:
        parser.error("h2load is not installed (Debian: nghttp2-client)")
    plan = QUICK if asked.quick else FULL
    if asked.runs:
        plan = Plan(asked.runs, plan.starts, plan.lengths, plan.is_quick)
    cores = Cores.pick()
    os.sched_setaffinity(0, {cores.load})
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with tempfile.TemporaryDirectory(prefix="tokenbooth-bench-") as directory:
        return _measure(Path(directory), names, plan, cores)


def _measure(directory: Path, names: Sequence[str], plan: Plan, cores: Cores) -> int:
    with mock_upstream(_made(directory / "upstream"), cores) as upstream, ExitStack() as stack:
        taking_part, skipped = _set_up(directory, names, upstream, cores)
        started: list[tuple[Bench, Started]] = []
        for bench in taking_part:
            print(f"starting {bench.gateway.name} {bench.gateway.version}", flush=True)
            started.append((bench, _start(bench, plan, cores, directory, stack)))
        direct = Samples()
        for number in range(plan.runs):
            print(f"run {number + 1} of {plan.runs}", flush=True)
            _run(started, plan, upstream, direct, directory)
    print(report.table({bench.gateway.name: bench.samples.added_to(direct) for bench in taking_part}))
    print(report.skipped(skipped))
    wrong = [found for bench in taking_part for found in bench.gateway.check(bench.count.answered)]
    print("\n".join(wrong) or "the books are right: the audit is clean, every answered request is one usage event")
    return int(bool(wrong))


def _set_up(
    directory: Path, names: Sequence[str], upstream: Upstream, cores: Cores
) -> tuple[list[Bench], list[tuple[str, str]]]:
    taking_part, skipped = [], []
    for name in names:
        place = Place(_made(directory / name), upstream.whole_port, upstream.stream_port, cores)
        try:
            taking_part.append(Bench(GATEWAYS[name](place)))
        except NotInstalled as reason:
            skipped.append((name, str(reason)))
    return taking_part, skipped


def _start(bench: Bench, plan: Plan, cores: Cores, scratch: Path, stack: ExitStack) -> Started:
    """Start it some times, with a measurement of memory each time; the last one goes on running."""
    for _ in range(plan.starts - 1):
        with running(bench.gateway, cores) as started:
            _first_figures(bench, plan, started, scratch)
    started = stack.enter_context(running(bench.gateway, cores))
    _first_figures(bench, plan, started, scratch)
    return started


def _first_figures(bench: Bench, plan: Plan, started: Started, scratch: Path) -> None:
    bench.count.answered += 1
    bench.samples.add(Figure.START, started.took_s)
    measure.warm_up(started.target, plan.effort(bench.gateway.effort), bench.count, scratch)
    measure.idle_memory(started, plan.effort(bench.gateway.effort), bench.samples, bench.count)


def _run(
    started: Sequence[tuple[Bench, Started]], plan: Plan, upstream: Upstream, direct: Samples, scratch: Path
) -> None:
    direct_effort = plan.effort(FAST)
    measure.run(upstream.target, None, direct_effort, plan.lengths, direct, measure.Count(), scratch)
    for bench, one in started:
        effort = plan.effort(bench.gateway.effort)
        measure.run(one.target, one.running, effort, plan.lengths, bench.samples, bench.count, scratch)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DidNotStart, LoadFailed) as failure:
        sys.exit(str(failure))
