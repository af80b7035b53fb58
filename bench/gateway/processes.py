"""Processes pinned to a core: started, asked for CPU time and memory, stopped. It knows nothing of gateways."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Behind the command's name in /proc/PID/stat: proc(5) counts from 1, and the name is the second field.
_PARENT: Final = 1
_CPU_TICKS: Final = slice(11, 15)
_STOP_S: Final = 40


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core runs what.

    Attributes:
        gateway: of the gateway under test, alone.
        load: of the load generator and the mock upstream.
    """

    gateway: int
    load: int

    @classmethod
    def pick(cls) -> Self:
        """The last two of the cores that we may use; one and the same when there is only one."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(gateway=usable[-1], load=usable[-2:][0])


@dataclass(frozen=True, slots=True)
class Running:
    """A started program with everything that it starts."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    def start(cls, command: Sequence[str], *, core: int, log: Path, env: Mapping[str, str] | None = None) -> Self:
        """Start a command on one core; what it prints goes to `log`."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        return cls(process, log)

    def cpu_s(self) -> float:
        """User and system time so far, of all threads and all descendants, also ended ones."""
        ticks = 0
        for pid in self._pids():
            fields = _stat(pid)
            if fields is not None:
                ticks += sum(map(int, fields[_CPU_TICKS]))
        return ticks / _TICKS_PER_S

    def memory_bytes(self) -> int:
        """The resident memory of all its processes, without what they share with files."""
        return sum(_private_bytes(pid) for pid in self._pids())

    def has_ended(self) -> bool:
        """Whether the program is gone."""
        return self.process.poll() is not None

    def stop(self) -> int:
        """Ask it to end and wait; kill it when it does not. Returns its exit code."""
        if not self.has_ended():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            return self.process.wait(_STOP_S)

    def last_words(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def _pids(self) -> Iterator[int]:
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))) is not None:
                children.setdefault(int(fields[_PARENT]), []).append(int(entry))
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            waiting += children.get(pid, [])


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(pid: int) -> list[str] | None:
    """The fields behind the command's name, which may hold spaces and parentheses; None: it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _private_bytes(pid: int) -> int:
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES
