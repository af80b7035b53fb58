"""Where Tokenbooth's CPU time goes: each thread's exact time, divided among parts of the code by py-spy's samples.

py-spy counts a thread that waits for the core or for the interpreter's lock as running, so its samples are only used
inside a thread; how much each thread took comes from the kernel. It is installed by `make bench`.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.gateway.gateways import NotInstalled
from bench.gateway.load import Target, ask
from bench.gateway.measure import CONNECTIONS
from bench.gateway.peers import INSTALLED
from bench.gateway.processes import Running

_RATE_HZ: Final = 200
_NS_PER_S: Final = 1e9
_FRAME: Final = re.compile(r"\((\S+?)(?::\d+)?\)$")
# The first that fits the innermost of our own files on a stack names the part.
_PARTS: Final = (
    (re.compile(r"tokenbooth/gateway/(upstream|http_upstreams|proxied)"), "asking the upstream"),
    (re.compile(r"tokenbooth/(server|http_\w+|gateway/exchange)\.py|uvicorn/"), "HTTP with the client"),
    (
        re.compile(r"tokenbooth/gateway/(charge_log|settle)|tokenbooth/domain/(pricing|money|usage)"),
        "settlement, charge log",
    ),
    (re.compile(r"tokenbooth/gateway/(admission|authenticate|state)|tokenbooth/domain/"), "key, limits, holds"),
    (re.compile(r"tokenbooth/gateway/\w*(body|fields|request|messages)\w*\.py"), "reading the request"),
    (re.compile(r"tokenbooth/gateway/"), "passing the answer on"),
    (re.compile(r"tokenbooth/store/|sqlalchemy/|sqlite"), "SQLite commits"),
)
_LOOP: Final = "event loop, Python itself"
_NATIVE: Final = "threads of native libraries"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the code, and what one request costs there, in seconds."""

    name: str
    cpu_s: float


def profile(target: Target, process: Running, scratch: Path, *, duration_s: int) -> tuple[list[Part], int]:
    """Sample a Tokenbooth under load; the dearest part first, and how many requests were answered.

    Raises:
        NotInstalled: there is no py-spy, or it may not look into the process.
    """
    program = INSTALLED / "profile" / "bin" / "py-spy"
    if not program.exists():
        raise NotInstalled("pip could not install bench/peers/profile.txt")
    pid = process.process.pid
    before = _cpu_by_thread(pid)
    answered = 0
    samples = scratch / "samples"
    command = [str(program), "record", f"--pid={pid}", f"--rate={_RATE_HZ}", f"--duration={duration_s}"]
    command += ["--format=raw", "--nonblocking", f"--output={samples}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as sampler:
        while sampler.poll() is None:
            ask(target, scratch, requests=1_000, connections=CONNECTIONS)
            answered += 1_000
        if sampler.returncode:
            assert sampler.stderr is not None
            raise NotInstalled(f"py-spy failed: {sampler.stderr.read().decode()[-200:]}")
    after = _cpu_by_thread(pid)
    taken = {thread: cpu_s - before.get(thread, 0.0) for thread, cpu_s in after.items()}
    return _divide(taken, pid, samples.read_text().splitlines(), answered), answered


def _divide(taken: Mapping[tuple[int, str], float], pid: int, samples: Iterable[str], answered: int) -> list[Part]:
    """Each kind of thread's time, divided by that kind's samples."""
    main_name = next(name for tid, name in taken if tid == pid)
    cpu_s = {"loop": 0.0, "python": 0.0, "native": 0.0}
    for (tid, name), thread_s in taken.items():
        kind = "loop" if tid == pid else "python" if name == main_name else "native"
        cpu_s[kind] += thread_s
    counts: dict[str, Counter[str]] = {"loop": Counter(), "python": Counter()}
    for sample in samples:
        stack, _, count = sample.rpartition(" ")
        frames = stack.split(";")
        kind = "python" if "_bootstrap (threading.py" in stack else "loop"
        counts[kind][_part(frames)] += int(count)
    parts: dict[str, float] = {_NATIVE: cpu_s["native"]}
    for kind, by_part in counts.items():
        for name, count_of_part in by_part.items():
            share = count_of_part / by_part.total()
            parts[name] = parts.get(name, 0.0) + share * cpu_s[kind]
    return [
        Part(name, part_s / answered) for name, part_s in sorted(parts.items(), key=lambda item: -item[1]) if part_s
    ]


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        file = _FRAME.search(frame)
        if file is not None and file[1].startswith("tokenbooth/"):
            return next((name for pattern, name in _PARTS if pattern.search(file[1])), _LOOP)
    return next((name for frame in reversed(frames) for pattern, name in _PARTS if pattern.search(frame)), _LOOP)


def _cpu_by_thread(pid: int) -> dict[tuple[int, str], float]:
    """Seconds on a core of each thread, by its id and its name."""
    threads = {}
    for entry in os.listdir(f"/proc/{pid}/task"):
        task = Path(f"/proc/{pid}/task/{entry}")
        try:
            name, ran_ns = (task / "comm").read_text().strip(), int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
        threads[int(entry), name] = ran_ns / _NS_PER_S
    return threads
