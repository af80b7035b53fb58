"""Listening sockets and uvicorn: runs an application until SIGTERM, then lets what is under way end.

It knows nothing of what it serves.
"""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Generator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import uvicorn

from tokenbooth.http.limits import PLAIN_LISTENER, ListenerConfig
from tokenbooth.http.uvicorn import connection_class
from tokenbooth.kit.background import Background, BackgroundTask

Message = MutableMapping[str, object]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

_BACKLOG: Final = 2_048
_UNSENT_BYTES: Final = 128 * 1024
_LAST_MOMENT_S: Final = 1.0
_COLLECT_AT: Final = 50_000


class ListenFailed(Exception):
    """An address cannot be listened on; the message names it."""


class Lifecycle(Protocol):
    """What has to run for an application to be served."""

    async def start(self) -> None:
        """Get ready to serve; what it raises ends the start."""
        ...

    async def stop(self, drain_s: float) -> None:
        """Finish what is under way within `drain_s` seconds, then let everything go."""
        ...


@dataclass(frozen=True, slots=True)
class Listener:
    """An application with the socket it is served on.

    Attributes:
        app: the ASGI application; its lifespan is not run, see `Lifecycle`.
        socket: bound, not listening yet.
        trusted_proxies: addresses and networks whose X-Forwarded-* headers are believed.
        config: what clients may send, and which requests go past the application.
    """

    app: Asgi
    socket: socket.socket
    trusted_proxies: Sequence[str] = field(default=())
    config: ListenerConfig = PLAIN_LISTENER


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 picks a free one.

    Raises:
        ListenFailed: the address is in use, not ours, or no address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or "this is no host"
        raise ListenFailed(f"cannot listen on {host}:{port}: {reason}") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Connections inherit it. Else the kernel takes megabytes that a client does not read, which nobody counts.
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        bound.bind(address)
        # Listening shows whether the port is free: two sockets may be bound to it before.
        bound.listen(_BACKLOG)
    except OSError as failure:
        bound.close()
        raise ListenFailed(f"cannot listen on {host}:{port}: {failure.strerror}") from None
    return bound


def port_of(bound: socket.socket) -> int:
    """The port of a bound socket."""
    return int(bound.getsockname()[1])


def address_of(bound: socket.socket) -> str:
    """The URL at which a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(
    lifecycle: Lifecycle,
    listeners: Sequence[Listener],
    *,
    drain_s: int,
    ready: Callable[[], None],
    background: Background | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Args:
        lifecycle: started before the first connection is accepted, stopped after the last one ended.
        listeners: the first is for customers; the others are stopped after it, being needed until then.
        drain_s: how long calls under way may go on, in seconds.
        ready: called once when connections are accepted.
        background: told how the listeners behind the first do.
    """
    _allow_all_files()
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(_run(lifecycle, listeners, drain_s, ready, background or Background()))


async def _run(
    lifecycle: Lifecycle, listeners: Sequence[Listener], drain_s: int, ready: Callable[[], None], background: Background
) -> int:
    loop = asyncio.get_running_loop()
    main = _Server(_config(listeners[0], drain_s))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, main.ask_to_stop)
    helpers = [_Helper(listener, drain_s) for listener in listeners[1:]]
    for helper in helpers:
        background.watch(helper.work.running)
        helper.work.start()
    try:
        main.starting = asyncio.ensure_future(lifecycle.start())
        await asyncio.wait({main.starting})
        if main.starting.cancelled():
            return 0
        main.starting.result()
        # What was built until here stays. Without this a full collection walks through all of it, and every call waits.
        gc.freeze()
        # Calls end without leaving cycles behind. With the default of 700 the collector looks at each of them in vain.
        gc.set_threshold(_COLLECT_AT, 10, 10)
        main.when_ready = ready
        await main.serve(sockets=[listeners[0].socket])
    finally:
        await lifecycle.stop(main.left_to_drain_s(drain_s))
        await asyncio.gather(*(helper.stop() for helper in helpers))
        for listener in listeners:
            listener.socket.close()
    return 0


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to `run` and says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.when_ready: Callable[[], None] | None = None
        self.asked_at_s: float | None = None
        self.starting: asyncio.Future[None] | None = None

    def ask_to_stop(self) -> None:
        """Stop admitting and let calls end; asked again, cut them off."""
        if self.should_exit:
            self.force_exit = True
            return
        self.asked_at_s = asyncio.get_running_loop().time()
        self.should_exit = True
        if self.starting is not None:
            # A start may have to wait for another process; cancelling one that is done changes nothing.
            self.starting.cancel()

    def left_to_drain_s(self, drain_s: int) -> float:
        """What is left of the time to drain, in seconds; a last moment in any case."""
        if self.asked_at_s is None or self.force_exit:
            return _LAST_MOMENT_S
        return max(_LAST_MOMENT_S, self.asked_at_s + drain_s - asyncio.get_running_loop().time())

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Nothing: uvicorn would end the process by the signal, not with exit code 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then say so."""
        await super().startup(sockets=sockets)
        if self.when_ready is not None:
            self.when_ready()


class _Helper:
    """A listener behind the first; it is served again when its server dies."""

    def __init__(self, listener: Listener, drain_s: int) -> None:
        self.work = BackgroundTask(f"listener {port_of(listener.socket)}", self._serve)
        self._listener = listener
        self._drain_s = drain_s
        self._server: _Server | None = None
        self._ended = asyncio.Event()

    async def stop(self) -> None:
        """Let the server end its calls, then end it."""
        if self._server is not None:
            self._server.should_exit = True
            await self._ended.wait()
        await self.work.stop()

    async def _serve(self) -> None:
        self._ended.clear()
        self._server = _Server(_config(self._listener, self._drain_s))
        try:
            # A server closes the sockets that it was given.
            await self._server.serve(sockets=[self._listener.socket.dup()])
        finally:
            self._server = None
            self._ended.set()


def _config(listener: Listener, drain_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        listener.app,
        interface="asgi3",
        http=connection_class(listener.config),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(listener.trusted_proxies),
        forwarded_allow_ips=list(listener.trusted_proxies),
        backlog=_BACKLOG,
        timeout_graceful_shutdown=drain_s,
    )


def _allow_all_files() -> None:
    """Open as many files as the machine lets the process: each connection is one. The soft limit is 1,024 as a rule."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    # Imported here: importing this module must stay cheap for commands that don't serve.
    import uvloop

    return uvloop.new_event_loop()
