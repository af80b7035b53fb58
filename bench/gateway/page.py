"""The results as docs/benchmarks.md, written whole by `make bench ARGS="--write --profile"`."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

from bench.gateway.figures import Figure
from bench.gateway.measure import CONNECTIONS, GAP_MS
from bench.gateway.report import Results, verdict

_PAGE: Final = """\
# Benchmarks

Tokenbooth beside other gateways, in front of one mock upstream, in one run. Written by `make bench` on {date}; every
figure here can be made again with one command:

<!-- not run: it takes many minutes and measures the machine -->
```sh
make bench ARGS="--write --profile"
```

`make bench ARGS=--quick` takes two minutes, `ARGS="--only tokenbooth,nginx"` chooses. It needs Linux, two cores, a C
compiler, nginx and h2load; as root it installs the last two from Debian. The other gateways are installed into
`.venv/peers`, in the versions that `bench/peers` names. Tokenbooth takes part twice: compiled, as
`make install-compiled` installs it, and interpreted, as `make install` does.

Machine: {processor}, {cores} cores, Linux {kernel}, Python {python}. When the run began, {load:.1f} processes wanted a
core, so other work {others}. Compare the ratios, which come from runs in turn; take the figures as this machine's.

## What took part

| gateway | version | what it does with a request |
|---|---|---|
{gateways}

**No other gateway has the money on.** Tokenbooth checks the key, counts requests and tokens against limits, holds the
worst case on the credit and on the key's cap, settles the real cost, appends the charge to its log before the answer's
end, and commits every charge to SQLite. After the run its audit is clean, and its store holds exactly one usage event
per answered request; otherwise `make bench` fails.
{skipped}
## Figures

The median of {runs} runs, and in parentheses its ratio to nginx's plain proxy in the same runs.{quick}

{figures}

The least and the most of these runs:

{spreads}

## Goals

| goal | measured | |
|---|---|---|
{goals}
{reasons}
## Where our time goes

{parts}

## How it is measured

- All gateways are bound to one core, and one of them has work at a time. The load generator and the mock upstream
  share another core, so the load is never taken from the gateway's time. Gateways take turns within each run: what
  disturbs the machine disturbs all of them.
- CPU time is user and system time of the gateway's processes, threads and children, as the kernel counts it, over a
  fixed number of requests, and half a second beyond: what is left for later counts too. Not wall time.
- A request is a small chat completion over one of {connections} kept-alive connections. The upstream is nginx with a
  fixed answer of some 300 bytes.
- A coding agent's request has 20 tools and turns full of code (`bench/gateway/agent_bodies.py`): quotes and brackets by
  the thousand. Its upstream's answer is the same.
- A chunk is one event of a stream, sent every {gap} ms by itself, on many streams side by side that began one after the
  other. Its price is the slope between short and long streams, so a request's own price is not in it. Above one event
  per read of the client, a gateway did not keep up with the clock and sent events together, which is cheaper.
- Added latency and added time to first byte are what is above the same request sent to the upstream directly in the
  same run. At {connections} connections every gateway is saturated, and latency is what queueing makes of throughput.
- Memory per idle stream is what the processes' private memory grows by, divided by the streams that are open and
  silent: {idle}. The kernel's socket buffers are not in it.
- Start-up is from starting the process to its first answer to a real request.

## Instructions

Times of one machine differ by a fifth between runs of the same code; instructions do not. `make bench-instructions`
counts them with valgrind, per request of each size and per streamed event, for the sources and for what `make compile`
made, or for two checkouts: `ARGS="--src ../before/src --src src"`. `make bench-loop` prints how long the event loop is
held at most by bodies that are as hostile as the limits allow. `make bench-shares` prints how long one account's calls
take while another account asks for everything.

## What is not measured

Real networks, TLS, many models or keys, failing upstreams, PostgreSQL, more than one core. The
management plane and the dashboard are idle during the run.
"""


def page(results: Results) -> str:
    """The whole page."""
    names = list(results.samples)
    machine = results.machine
    return _PAGE.format(
        date=date.today().isoformat(),  # noqa: DTZ011 - the day it was for whoever ran it
        processor=machine.processor,
        cores=machine.cores,
        kernel=machine.kernel,
        python=machine.python,
        load=machine.load,
        others="ran beside it" if machine.load > 1 else "hardly disturbed it",
        gateways="\n".join(f"| {one.name} | {one.version} | {one.does} |" for one in results.gateways),
        skipped="".join(f"\nSkipped: {name}: {reason}.\n" for name, reason in results.skipped),
        runs=results.runs,
        quick=" Each run was a short one (`--quick`)." if results.is_quick else "",
        figures=_table(names, lambda name, figure: _median(results, name, figure)),
        spreads=_table(names, lambda name, figure: _spread(results, name, figure)),
        goals="\n".join(f"| {goal.text} | {goal.measured} | {verdict(goal)} |" for goal in results.goals()),
        reasons=_reasons(results),
        parts=_parts(results),
        connections=CONNECTIONS,
        gap=GAP_MS,
        idle=", ".join(f"{streams:,} for {name}" for name, streams in results.idle_streams().items()),
    )


def _reasons(results: Results) -> str:
    """What stands in the way of the goals that are missed, each reason once."""
    missed: dict[str, list[str]] = {}
    for goal in results.goals():
        if goal.is_met is False and goal.why:
            missed.setdefault(goal.why, []).append(goal.text.partition(":")[0])
    return "".join(f"\nMissed for {' and '.join(dict.fromkeys(texts))}: {why}\n" for why, texts in missed.items())


def _table(names: Sequence[str], cell: Callable[[str, Figure], str]) -> str:
    lines = [f"| | {' | '.join(names)} |", "|---" + "|---:" * len(names) + "|"]
    for figure in Figure:
        title = f"{figure.title}, {figure.unit}" if figure.unit else figure.title
        lines.append(f"| {title} | {' | '.join(cell(name, figure) for name in names)} |")
    return "\n".join(lines)


def _median(results: Results, name: str, figure: Figure) -> str:
    middle = results.samples[name].middle(figure)
    return "–" if middle is None else f"{figure.show(middle)} ({results.ratio(name, figure)})"


def _spread(results: Results, name: str, figure: Figure) -> str:
    spread = results.samples[name].spread(figure)
    return "–" if spread is None else f"{figure.show(spread[0])}–{figure.show(spread[1])}"


def _parts(results: Results) -> str:
    if not results.parts:
        return "Not profiled in this run (`--profile`)."
    total_s = sum(part.cpu_s for part in results.parts)
    lines = [
        "CPU per request that is not streamed, interpreted, as the profiler sees nothing else; each",
        "thread's time from the kernel, divided among the parts of the code by samples of its stack.",
        "",
        "| part | µs | |",
        "|---|---:|---:|",
    ]
    lines += [f"| {part.name} | {part.cpu_s * 1e6:.1f} | {part.cpu_s / total_s:.0%} |" for part in results.parts]
    return "\n".join(lines)
