"""What machine this is, without its name."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Machine:
    """What a figure depends on besides the code.

    Attributes:
        processor: its model.
        cores: of the machine.
        kernel: Linux's release.
        python: its version.
        load: processes that wanted a core in the minute before the run; above zero, others were at work.
    """

    processor: str
    cores: int
    kernel: str
    python: str
    load: float

    @classmethod
    def this(cls) -> Self:
        """The machine that we run on, now."""
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return cls(
            processor=next(models, platform.machine()),
            cores=os.cpu_count() or 1,
            kernel=".".join(platform.release().split("-")[0].split(".")[:2]),
            python=platform.python_version(),
            load=os.getloadavg()[0],
        )
