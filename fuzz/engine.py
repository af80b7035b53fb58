"""Runs one target under atheris, which keeps what reaches new branches of the gateway's code.

Started by `fuzz.__main__`, a process for each target: `python -m fuzz.engine TARGET LIBFUZZER-ARGUMENTS…`.
"""

import logging
import random
import sys
from typing import Final

import atheris
import structlog

_OURS: Final = ["tokenbooth.gateway", "tokenbooth.domain", "tokenbooth.http.connection", "tokenbooth.http.exchange"]

# What is imported in here reports which branches it takes.
with atheris.instrument_imports(include=_OURS):
    from fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until the time is up, or something is found."""
    target = TARGETS[sys.argv[1]]
    # What an upstream did wrong is worth a line once, not a thousand times a second.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
        rng = random.Random(seed)
        # Now and then as the engine does it: bytes without any sense.
        changed = atheris.Mutate(data, max_bytes) if rng.randrange(10) == 0 else target.mutate(data, rng)
        return bytes(changed[:max_bytes])

    atheris.Setup([sys.argv[0], *sys.argv[2:]], target.check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
