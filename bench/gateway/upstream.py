"""The mock upstream: nginx for whole answers, `stream_server` for streams; both on the load's core."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.gateway.answers import STREAM_MODEL, WHOLE, WHOLE_MODEL
from bench.gateway.gateways import FAST, Gateway, always, running
from bench.gateway.load import Target
from bench.gateway.nginx import HTTP, command, installed_version
from bench.gateway.processes import Cores, free_port

PATH: Final = "/v1/chat/completions"

_CONFIGURATION: Final = """
{http}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        default_type application/json;
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Both servers, and what it is to ask them without a gateway."""

    whole_port: int
    stream_port: int
    target: Target


@contextmanager
def mock_upstream(directory: Path, cores: Cores) -> Iterator[Upstream]:
    """Start the mock upstream.

    Raises:
        NotInstalled: there is no nginx.
        DidNotStart: one of the servers does not answer.
    """
    whole_port, stream_port = free_port(), free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(http=HTTP, port=whole_port, answer=WHOLE.decode()))
    whole = f"http://127.0.0.1:{whole_port}{PATH}"
    streamed = f"http://127.0.0.1:{stream_port}{PATH}"
    swapped = Cores(gateway=cores.load, load=cores.gateway)
    with ExitStack() as stack:
        for name, url, start in (
            ("whole", whole, command(configuration)),
            ("stream", streamed, (sys.executable, "-m", "bench.gateway.stream_server", str(stream_port))),
        ):
            target = Target(url, url, WHOLE_MODEL, STREAM_MODEL)
            server = Gateway(
                name=f"mock upstream ({name})",
                version=installed_version(),
                does="",
                effort=FAST,
                command=start,
                target=always(target),
                log=directory / f"{name}.log",
            )
            stack.enter_context(running(server, swapped))
        yield Upstream(whole_port, stream_port, Target(whole, streamed, WHOLE_MODEL, STREAM_MODEL))
