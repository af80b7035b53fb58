"""One server under load for long, many idle streams, unknown keys, hostile sockets: figures, and what must hold.

Prints figures, and exits with 1 when a promise is broken. Run it with `make soak`, or in parts:
`make soak ARGS="--only requests --requests 200000"`.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.soak import sockets
from bench.soak.parts import soak_requests, soak_streams, soak_unknown_keys
from tests.support.service import Service, run_service


def main() -> int:
    """Run the parts that are asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="calls that are not streamed")
    parser.add_argument("--streams", type=int, default=2_000, help="idle streams at once")
    parser.add_argument("--idle-s", type=float, default=25, help="how long these are idle, in seconds")
    parser.add_argument("--keys", type=int, default=200_000, help="keys that are nobody's")
    parser.add_argument("--hostile", type=int, default=200, help="hostile clients of each kind at once")
    parts: dict[str, Callable[[Service], list[str]]] = {
        "requests": lambda service: soak_requests(service, arguments.requests),
        "streams": lambda service: soak_streams(service, arguments.streams, arguments.idle_s),
        "sockets": lambda service: sockets.soak_sockets(service, arguments.hostile),
        "keys": lambda service: soak_unknown_keys(service, arguments.keys),
    }
    parser.add_argument("--only", choices=parts, action="append", help="a part; by default all")
    arguments = parser.parse_args()
    _allow_many_files()
    broken = [broken for name in arguments.only or parts for broken in _run(name, parts[name])]
    for promise in broken:
        print(f"BROKEN: {promise}")
    return 1 if broken else 0


def _run(name: str, part: Callable[[Service], list[str]]) -> list[str]:
    """One part on a server of its own, and the audit after it."""
    print(name, flush=True)
    settings = sockets.SETTINGS if name == "sockets" else ""
    with (
        tempfile.TemporaryDirectory(prefix="tokenbooth-soak-") as home,
        run_service(Path(home), server_settings=settings) as service,
    ):
        broken = part(service)
        found = service.audit()
        print(f"  {'audit':14} {'clean' if found is None else found}", flush=True)
    return broken if found is None else [*broken, f"the audit found differences: {found}"]


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
