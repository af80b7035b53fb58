"""Run TensorZero's gateway from its Python package until the process is ended, in the environment that has it.

Usage: run_tensorzero.py CONFIGURATION ADDRESS, where ADDRESS is a file that the base URL is written to.
"""

import signal
import sys
from pathlib import Path

from tensorzero import _start_http_gateway


def main(configuration: str, address: Path) -> None:
    """Start it, say where it listens, and wait."""
    address.unlink(missing_ok=True)
    gateway = _start_http_gateway(
        config_file=configuration, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
    )
    written = address.with_suffix(".new")
    written.write_text(gateway.base_url)
    written.rename(address)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
