"""The addresses of upstreams: looked up by name, remembered, and apart from everything else.

A look-up blocks a thread for as long as the name servers are silent. In a pool that others use, a few such names would
hold up every new connection. So each host has one look-up at a time, in a thread of its own: at most as many threads as
there are hosts in the configuration. While a look-up fails or takes long, known addresses go on (RFC 8767).
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

Resolve = Callable[[str], Sequence[str]]
"""Looks a host up, as long as it takes: its addresses, the preferred ones first. Raises OSError or UnicodeError."""

FRESH_S: Final = 60.0
"""So long addresses are used without another look-up."""
LONGEST_S: Final = 3_600.0
"""So long they are used when no other can be had. A name that moved on may belong to a stranger some day."""
RETRY_S: Final = 5.0
"""After a failed look-up the known addresses are used for so long before the next one."""
_PATIENCE_S: Final = 0.5
_TOLD_EVERY_S: Final = 60.0
_log = structlog.get_logger(__name__)


def resolve(host: str) -> Sequence[str]:
    """Look a host up as the system does.

    Raises:
        OSError, UnicodeError: it has no address, or nobody knows.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Host:
    """What is known of a host.

    Attributes:
        addresses: empty before the first look-up.
        found_at_s: when they were found.
        failed: those that could not be connected to since.
        looking: the look-up under way.
        began_s: when it began.
        retry_at_s: before that none begins where addresses are known.
        told_at_s: when the operator was last told of a failed look-up.
    """

    __slots__ = (
        "_turn",
        "addresses",
        "began_s",
        "failed",
        "found_at_s",
        "looking",
        "name",
        "retry_at_s",
        "told_at_s",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: Sequence[str] = ()
        self.found_at_s = 0.0
        self.failed: set[str] = set()
        self.looking: asyncio.Future[Sequence[str]] | None = None
        self.began_s = 0.0
        self.retry_at_s = 0.0
        self.told_at_s: float | None = None
        self._turn = 0

    def in_turn(self) -> list[str]:
        """The addresses in the order to try: another one first each time, the preferred family and those that work."""
        is_preferred = [":" in address for address in self.addresses]
        families = [
            [address for address, is_six in zip(self.addresses, is_preferred, strict=True) if is_six == family]
            for family in dict.fromkeys(is_preferred)
        ]
        turned = [
            addresses[(position + self._turn) % len(addresses)]
            for addresses in families
            for position in range(len(addresses))
        ]
        self._turn += 1
        return sorted(turned, key=self.failed.__contains__)


class Names:
    """Finds the addresses of hosts."""

    def __init__(self, resolve: Resolve = resolve, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take what looks a host up, in a thread, and the time in seconds."""
        self._resolve = resolve
        self._now_s = now_s
        self._hosts: dict[str, _Host] = {}

    async def addresses(self, name: str) -> list[str]:
        """The addresses of a host, in the order to try.

        Raises:
            OSError, UnicodeError: it has none, or nobody knows.
        """
        if _is_address(name):
            return [name]
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(name)
        age_s = self._now_s() - host.found_at_s
        if host.addresses and age_s < LONGEST_S:
            if age_s >= FRESH_S and (host.looking is not None or self._now_s() >= host.retry_at_s):
                await self._wait_a_moment(host)
            return host.in_turn()
        looking = host.looking or self._look_up(host)
        # It goes on when this call gives up: others wait for it too.
        await asyncio.wait((looking,))
        looking.result()
        return host.in_turn()

    def failed(self, name: str, address: str) -> None:
        """No connection could be made to an address: until the next look-up it comes last."""
        host = self._hosts.get(name)
        if host is not None:
            host.failed.add(address)

    async def _wait_a_moment(self, host: _Host) -> None:
        """Look a known host up again; one that takes long goes on without this call."""
        looking = host.looking or self._look_up(host)
        left_s = host.began_s + _PATIENCE_S - self._now_s()
        if left_s > 0:
            await asyncio.wait((looking,), timeout=left_s)

    def _look_up(self, host: _Host) -> "asyncio.Future[Sequence[str]]":
        loop = asyncio.get_running_loop()
        looking: asyncio.Future[Sequence[str]] = loop.create_future()
        host.looking, host.began_s = looking, self._now_s()
        looking.add_done_callback(lambda done: self._found(host, done))
        # A daemon: the process does not wait for it at its end, nor does it return when the loop has ended.
        thread = threading.Thread(target=self._run, args=(host.name, loop, looking), name="name-look-up", daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            looking.set_exception(OSError(str(failure)))
        return looking

    def _run(self, name: str, loop: asyncio.AbstractEventLoop, looking: "asyncio.Future[Sequence[str]]") -> None:
        """Look a host up, in a thread."""
        found: Sequence[str] = ()
        failure: Exception | None = None
        try:
            found = self._resolve(name)
        except Exception as mistake:
            failure = mistake
        if failure is None and not found:
            failure = OSError("the name has no address")
        with contextlib.suppress(RuntimeError):
            if failure is None:
                loop.call_soon_threadsafe(looking.set_result, found)
            else:
                loop.call_soon_threadsafe(looking.set_exception, failure)

    def _found(self, host: _Host, looking: "asyncio.Future[Sequence[str]]") -> None:
        host.looking = None
        if looking.cancelled():
            return
        failure, now_s = looking.exception(), self._now_s()
        if failure is None:
            host.addresses, host.found_at_s = looking.result(), now_s
            host.failed.clear()
            return
        host.retry_at_s = now_s + RETRY_S
        if host.addresses and (host.told_at_s is None or now_s >= host.told_at_s + _TOLD_EVERY_S):
            host.told_at_s = now_s
            _log.warning(
                "name_look_up_failed",
                host=host.name,
                error=str(failure),
                known_for_s=round(now_s - host.found_at_s),
                action="Its known addresses are used for up to an hour. Look at the name servers of this machine.",
            )


def _is_address(name: str) -> bool:
    """Whether a host is written as an address, which nobody has to look up."""
    try:
        socket.getaddrinfo(name, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True
