"""nginx as the measure: a plain proxy of one worker, with connections to the upstream kept alive."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.gateway.answers import STREAM_MODEL, WHOLE_MODEL
from bench.gateway.gateways import FAST, Gateway, NotInstalled, Place, always
from bench.gateway.load import Target
from bench.gateway.processes import free_port

HTTP: Final = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections 16384; }
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    tcp_nodelay on;
    client_body_temp_path body;
    client_max_body_size 0;
    client_body_buffer_size 2m;
    proxy_temp_path proxy;
"""
_PROXY: Final = """
{http}
    upstream whole {{ server 127.0.0.1:{whole}; keepalive 256; keepalive_requests 1000000000; }}
    upstream streams {{ server 127.0.0.1:{streams}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 600s;
        location /v1/ {{ proxy_pass http://whole; }}
        location /streams/ {{ proxy_buffering off; proxy_pass http://streams/; }}
    }}
}}
"""


def nginx(place: Place) -> Gateway:
    """The plain proxy.

    Raises:
        NotInstalled: there is no nginx.
    """
    port = free_port()
    configuration = place.directory / "nginx.conf"
    configuration.write_text(_PROXY.format(http=HTTP, port=port, whole=place.whole_port, streams=place.stream_port))
    address = f"http://127.0.0.1:{port}"
    target = Target(
        f"{address}/v1/chat/completions", f"{address}/streams/v1/chat/completions", WHOLE_MODEL, STREAM_MODEL
    )
    return Gateway(
        name="nginx",
        version=installed_version(),
        does="passes bytes on",
        effort=FAST,
        command=command(configuration),
        target=always(target),
        log=place.directory / "log",
    )


def command(configuration: Path) -> tuple[str, ...]:
    """How nginx is started with a configuration; its other files lie beside it."""
    return (_program(), "-p", str(configuration.parent), "-c", str(configuration))


def installed_version() -> str:
    """Its version.

    Raises:
        NotInstalled: there is no nginx.
    """
    said = subprocess.run([_program(), "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\S+)", said)
    return found[1] if found else "unknown"


def _program() -> str:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise NotInstalled("nginx is not installed (Debian: nginx-light)")
    return program
