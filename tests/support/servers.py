"""A real HTTP server around an ASGI application, for tests that must cross a socket.

It binds to 127.0.0.1 on a port that the system picks, and to nothing else. Only tests import it.
"""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Literal

import uvicorn

from tokenbooth.http.limits import PLAIN_LISTENER, ListenerConfig
from tokenbooth.http.server import bind, port_of
from tokenbooth.http.uvicorn import connection_class

# Below what systems hand out to outgoing connections: Linux from 32768 on, others from 49152 on.
_LASTING_PORTS = range(20_000, 32_000)
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 10.0


def lasting_port() -> int:
    """A free port that no outgoing connection is given, so that a server that was killed can have it again."""
    for port in random.SystemRandom().sample(_LASTING_PORTS, 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: "Future[None]") -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if not self.should_exit:
            self._ready.set_result(None)


@contextmanager
def serve(
    app: Callable[..., Awaitable[None]],
    *,
    lifespan: Literal["auto", "on", "off"] = "auto",
    config: ListenerConfig = PLAIN_LISTENER,
) -> Iterator[str]:
    """Serves `app` from a thread of its own while the block runs.

    Connections that are still open when the block ends are cut after a second, so that a stream
    which never ends cannot hold up a test. Stopping takes about 0.2 s: tests that can share a server should.

    Args:
        app: the ASGI application; it runs in an event loop of the server's thread.
        lifespan: uvicorn's setting; `auto` runs the application's start-up and shutdown if it has them.
        config: what clients may send, and which requests go past the application.

    Yields:
        The base URL, `http://127.0.0.1:<port>`, without a slash at the end.

    Raises:
        RuntimeError: the application did not start, or its server did not stop in time.
    """
    listener = bind("127.0.0.1", 0)
    port = port_of(listener)
    ready: Future[None] = Future()
    server_config = uvicorn.Config(
        app,
        lifespan=lifespan,
        http=connection_class(config),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        # As the product's own server: a connection whose test is busy for some seconds is not idle.
        timeout_keep_alive=75,
    )
    server = _Server(server_config, ready)
    thread = threading.Thread(target=_run, args=(server, listener, ready), name=f"serve-{port}", daemon=True)
    thread.start()
    try:
        ready.result(timeout=_START_TIMEOUT_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(_STOP_TIMEOUT_S)
        listener.close()
        if thread.is_alive():
            raise RuntimeError(f"the server on port {port} did not stop within {_STOP_TIMEOUT_S} s")


def _run(server: _Server, listener: socket.socket, ready: "Future[None]") -> None:
    """Runs the server to its end in this thread; a start that failed is reported through `ready`."""
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))
    except BaseException as failure:
        if ready.done():
            raise
        ready.set_exception(failure)
    else:
        if not ready.done():
            ready.set_exception(RuntimeError("the application did not start"))
