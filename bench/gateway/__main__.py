"""Tokenbooth and its peers before one mock upstream, in one run, gateway by gateway in turn.

All gateways are bound to one core; the load generator and the mock upstream share another. Run it with `make bench`,
`make bench ARGS=--quick`, or `make bench ARGS="--only tokenbooth,nginx"`. The exit code is 1 when Tokenbooth's books
are wrong afterwards, or a request to it was not answered.
"""

import argparse
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.gateway.gateways import DidNotStart, NotInstalled
from bench.gateway.load import LoadFailed
from bench.gateway.measure import Lengths
from bench.gateway.page import page
from bench.gateway.processes import Cores
from bench.gateway.report import for_terminal
from bench.gateway.session import GATEWAYS, OURS, BooksWrong, Plan, Session

_PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main() -> int:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, for a first look")
    parser.add_argument("--only", default=",".join(GATEWAYS), help=f"some of {','.join(GATEWAYS)}")
    parser.add_argument("--runs", type=int, help="how often everything is measured")
    parser.add_argument("--profile", action="store_true", help="sample where Tokenbooth's time goes")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    asked = parser.parse_args()
    names = [name.strip().lower() for name in asked.only.split(",")]
    if unknown := [name for name in names if name not in GATEWAYS]:
        parser.error(f"--only: {', '.join(unknown)}: not one of {', '.join(GATEWAYS)}")
    if shutil.which("h2load") is None:
        parser.error("h2load is not installed (Debian: nghttp2-client)")
    plan = Plan(
        names=names,
        runs=asked.runs or (3 if asked.quick else 5),
        starts=1 if asked.quick else 3,
        lengths=Lengths(short=20, long=100 if asked.quick else 200),
        is_quick=asked.quick,
        profile_s=0 if not asked.profile else 5 if asked.quick else 20,
    )
    cores = Cores.pick()
    os.sched_setaffinity(0, {cores.load})
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    with tempfile.TemporaryDirectory(prefix="tokenbooth-bench-") as directory:
        results = Session(plan, cores, Path(directory), lambda line: print(line, flush=True)).run()
    print(for_terminal(results))
    if OURS in names:
        print("The books are right: the audit is clean, and every answered request is one usage event.")
    if asked.write:
        _PAGE.write_text(page(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BooksWrong, DidNotStart, LoadFailed, NotInstalled) as failure:
        sys.exit(str(failure))
