"""Sockets: binding them, and telling this machine from others; and a start that is called off."""

import asyncio
import os
import signal

import pytest

from tokenbooth.server import (
    Listener,
    ListenFailed,
    Message,
    Receive,
    Send,
    address_of,
    bind,
    is_loopback,
    port_of,
    run,
)


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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("203.0.113.9", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    """Only addresses of this machine count, in every way they are written; a name is none."""
    assert is_loopback(host) is expected


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
