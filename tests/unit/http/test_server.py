"""Sockets: binding them, telling this machine from others, and serving on more than one; a start that is called off."""

import asyncio
import os
import signal
import socket
import threading
import time

import httpx
import pytest

from tokenbooth.http.server import (
    Listener,
    ListenFailed,
    Message,
    Receive,
    Send,
    address_of,
    bind,
    port_of,
    run,
)
from tokenbooth.kit.background import Background


def test_port_zero_picks_a_free_port() -> None:
    """Two sockets get two ports, and say where they are."""
    with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as other:
        assert port_of(one) != port_of(other)
        assert address_of(one) == f"http://127.0.0.1:{port_of(one)}"


def test_a_port_belongs_to_one() -> None:
    """A port in use is refused by its address."""
    with bind("127.0.0.1", 0) as one, pytest.raises(ListenFailed, match=f"127.0.0.1:{port_of(one)}"):
        bind("127.0.0.1", port_of(one))


def test_a_host_that_is_none() -> None:
    """A host that cannot be resolved is refused by its name."""
    with pytest.raises(ListenFailed, match="no host"):
        bind("no host", 0)


class Starved(socket.socket):
    """A socket that cannot be copied at first, as when a process is out of descriptors."""

    fails = 2

    def dup(self) -> "Starved":
        """Duplicate the socket, after it failed a few times."""
        if self.fails:
            self.fails -= 1
            raise OSError("too many open files")
        return super().dup()


class Life:
    """The life of an application that needs none."""

    async def start(self) -> None:
        """Nothing."""

    async def stop(self, drain_s: float) -> None:
        """Nothing."""


async def hello(_scope: Message, _receive: Receive, send: Send) -> None:
    """Answer with nothing."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_second_listener_that_dies_is_served_again() -> None:
    """The first goes on meanwhile, the deaths are told, and the end is clean."""
    first = bind("127.0.0.1", 0)
    second = Starved(fileno=bind("127.0.0.1", 0).detach())
    port, url = port_of(second), address_of(second)
    background = Background()
    statuses: list[int] = []

    def ask_and_stop() -> None:
        give_up_s = time.monotonic() + 20
        while not statuses and time.monotonic() < give_up_s:
            try:
                statuses.append(httpx.get(url, timeout=1).status_code)
            except httpx.TransportError:
                time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_and_stop)
    code = run(
        Life(),
        [Listener(hello, first), Listener(hello, second)],
        drain_s=1,
        ready=asking.start,
        background=background,
    )
    asking.join()
    assert (code, statuses) == (0, [204])
    assert [(name, deaths) for name, deaths, _ in background.report()] == [(f"listener {port}", 2)]


class _WaitingStart:
    """A program whose start waits for something that never comes."""

    def __init__(self) -> None:
        self.stopped = False

    async def start(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    async def stop(self, drain_s: float) -> None:
        self.stopped = True


async def _answer_nothing(_scope: Message, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nothing is served")


def test_a_start_that_waits_is_called_off() -> None:
    """SIGTERM ends it with exit code 0, and lets everything go."""
    program = _WaitingStart()
    code = run(program, [Listener(_answer_nothing, bind("127.0.0.1", 0))], drain_s=1, ready=lambda: None)
    assert (code, program.stopped) == (0, True)
