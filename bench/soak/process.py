"""What a process uses, as the kernel tells it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MB: Final = 1024 * 1024
_CPU_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")


def cpu_s(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CPU_TICKS_PER_S


@dataclass(slots=True)
class Samples:
    """The memory of a process at stages of a run, in bytes by the share of the work that was done."""

    pid: int
    total: int
    stages: int = 100
    by_stage: list[int] = field(default_factory=list)

    def __call__(self, done: int) -> None:
        """Take a sample where a stage has ended."""
        if done * self.stages // self.total > len(self.by_stage):
            self.by_stage.append(rss_bytes(self.pid))

    def after(self, share: float) -> list[int]:
        """The samples taken when more than this share was done."""
        return self.by_stage[int(share * self.stages) :]
