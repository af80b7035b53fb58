"""Addresses of hosts: looked up apart, remembered, and used on while a look-up fails or takes long."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from tokenbooth.gateway.upstream import names as names_module
from tokenbooth.gateway.upstream.names import FRESH_S, LONGEST_S, RETRY_S, Names, resolve


class Servers:
    """Name servers: each name has addresses, or fails; a silent one answers when the test lets it."""

    def __init__(self, **known: Sequence[str] | Exception) -> None:
        self.known = known
        self.asked = Counter[str]()
        self.silent: set[str] = set()
        self.answer = threading.Event()
        self.now_s = 1_000.0

    def resolve(self, name: str) -> Sequence[str]:
        """What stands in for the system."""
        self.asked[name] += 1
        if name in self.silent:
            assert self.answer.wait(20)
        found = self.known.get(name, socket.gaierror(socket.EAI_NONAME, "unknown"))
        if isinstance(found, Exception):
            raise found
        return found

    def names(self) -> Names:
        """What is tested."""
        return Names(self.resolve, now_s=lambda: self.now_s)


async def test_addresses_are_remembered() -> None:
    """One look-up in a minute, however many ask, and one more behind it."""
    servers = Servers(a=["192.0.2.1"])
    names = servers.names()
    for _ in range(5):
        assert await names.addresses("a") == ["192.0.2.1"]
    servers.now_s += FRESH_S - 1
    await names.addresses("a")
    assert servers.asked["a"] == 1

    servers.known["a"] = ["192.0.2.2"]
    servers.now_s += 1
    assert await names.addresses("a") == ["192.0.2.2"]
    assert servers.asked["a"] == 2


async def test_a_silent_name_server_holds_up_nobody_else() -> None:
    """However many hosts are silent, and however many calls wait for each; each has one look-up under way."""
    silent = [f"silent-{number}" for number in range(100)]
    servers = Servers(a=["192.0.2.1"], **dict.fromkeys(silent, ("192.0.2.9",)))
    servers.silent.update(silent)
    names = servers.names()
    waiting = [asyncio.ensure_future(names.addresses(name)) for name in silent for _ in range(3)]
    await asyncio.sleep(0)

    assert await names.addresses("a") == ["192.0.2.1"]
    assert not any(task.done() for task in waiting)
    servers.answer.set()
    assert await asyncio.gather(*waiting) == [["192.0.2.9"]] * 300
    assert set(servers.asked.values()) == {1}


async def test_a_call_that_gives_up_leaves_the_look_up_to_others() -> None:
    """Its cancellation is its own."""
    servers = Servers(a=["192.0.2.1"])
    servers.silent.add("a")
    names = servers.names()
    one, other = (asyncio.ensure_future(names.addresses("a")) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    servers.answer.set()

    assert await other == ["192.0.2.1"]
    assert (one.cancelled(), servers.asked["a"]) == (True, 1)


async def test_known_addresses_are_used_on_while_a_look_up_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once for those that come when it is under way for a moment; what it finds counts from then on."""
    monkeypatch.setattr(names_module, "_PATIENCE_S", 0.01)
    servers = Servers(a=["192.0.2.1"])
    names = servers.names()
    await names.addresses("a")
    servers.silent.add("a")
    servers.known["a"] = ["192.0.2.2"]
    servers.now_s += FRESH_S
    assert await names.addresses("a") == ["192.0.2.1"]
    servers.now_s += 1
    assert await names.addresses("a") == ["192.0.2.1"]
    assert servers.asked["a"] == 2

    servers.answer.set()
    while await names.addresses("a") == ["192.0.2.1"]:  # noqa: ASYNC110 - it is found in another thread
        await asyncio.sleep(0)
    assert servers.asked["a"] == 2


@pytest.mark.parametrize(
    "failure", [socket.gaierror(socket.EAI_AGAIN, "try again"), OSError("x"), UnicodeError("x"), []]
)
async def test_known_addresses_are_used_on_when_a_look_up_fails(failure: Exception | list[str]) -> None:
    """For an hour, with a look-up every few seconds, and a line in the log once a minute; then the call fails."""
    servers = Servers(a=["192.0.2.1"])
    names = servers.names()
    await names.addresses("a")
    servers.known["a"] = failure
    with capture_logs() as logs:
        servers.now_s += FRESH_S
        for _ in range(3):
            assert await names.addresses("a") == ["192.0.2.1"]
        assert servers.asked["a"] == 2
        servers.now_s += RETRY_S
        assert await names.addresses("a") == ["192.0.2.1"]
        assert servers.asked["a"] == 3
    assert [(line["event"], line["host"]) for line in logs] == [("name_look_up_failed", "a")]

    servers.now_s += LONGEST_S
    with pytest.raises((OSError, UnicodeError)):
        await names.addresses("a")


async def test_a_name_that_was_never_known_fails_each_time() -> None:
    """With its reason; the next call asks again."""
    names = (servers := Servers()).names()
    for times in (1, 2):
        with pytest.raises(socket.gaierror, match="unknown"):
            await names.addresses("a")
        assert servers.asked["a"] == times


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2001:db8::1"])
async def test_an_address_is_not_looked_up(address: str) -> None:
    """There is nothing to find."""
    servers = Servers()
    assert await servers.names().addresses(address) == [address]
    assert not servers.asked


async def test_addresses_take_turns_within_their_family() -> None:
    """The preferred family stays first; one that failed comes last until the next look-up."""
    servers = Servers(a=["2001:db8::1", "2001:db8::2", "192.0.2.1"])
    names = servers.names()
    assert [await names.addresses("a") for _ in range(3)] == [
        ["2001:db8::1", "2001:db8::2", "192.0.2.1"],
        ["2001:db8::2", "2001:db8::1", "192.0.2.1"],
        ["2001:db8::1", "2001:db8::2", "192.0.2.1"],
    ]
    names.failed("a", "2001:db8::2")
    names.failed("unknown", "2001:db8::2")
    assert [await names.addresses("a") for _ in range(2)] == [["2001:db8::1", "192.0.2.1", "2001:db8::2"]] * 2
    servers.now_s += FRESH_S
    assert (await names.addresses("a"))[-1] == "192.0.2.1"


async def test_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call fails, and the next one tries again."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names = Servers(a=["192.0.2.1"]).names()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="thread"):
            await names.addresses("a")
    assert await names.addresses("a") == ["192.0.2.1"]


def test_the_system_is_asked() -> None:
    """This machine knows itself."""
    assert {"127.0.0.1", "::1"} & set(resolve("localhost"))
