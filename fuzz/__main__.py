"""Fuzzes every target, or one, for some minutes.

    make fuzz ARGS="[--minutes 10] [--target streams]"

The minutes are shared by the targets. What was learned is kept in `.fuzz/`, so a later run goes on from there; the
bytes of a finding are written to `.fuzz/found/`. Exits with 1 if there is one.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from fuzz.targets import TARGETS

HOME: Final = Path(".fuzz")
_LONGEST_BYTES: Final = 32_768
_ONE_INPUT_TIMEOUT_S: Final = 20


def main() -> None:
    """Run the engine once for each target."""
    parser = argparse.ArgumentParser(description="Fuzz what reads the bytes of strangers.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--seed", type=int, default=0, help="0 takes another one each time")
    arguments = parser.parse_args()
    chosen = arguments.target or sorted(TARGETS)
    failed = [name for name in chosen if not _run(name, arguments.minutes * 60 / len(chosen), arguments.seed)]
    print(f"found something in: {', '.join(failed)}" if failed else "nothing found")
    sys.exit(bool(failed))


def _run(name: str, time_s: float, seed: int) -> bool:
    """Whether nothing was found."""
    corpus, found = HOME / name, HOME / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(exist_ok=True)
    for number, content in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(content)
    print(f"fuzzing {name} for {time_s:.0f} s", flush=True)
    command = [sys.executable, "-m", "fuzz.engine", name, str(corpus), f"-max_total_time={max(round(time_s), 1)}"]
    command += [f"-seed={seed}", f"-max_len={_LONGEST_BYTES}", f"-timeout={_ONE_INPUT_TIMEOUT_S}"]
    command += [f"-artifact_prefix={found}/{name}-", "-print_final_stats=1", "-verbosity=0"]
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    main()
