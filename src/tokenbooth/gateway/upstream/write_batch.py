"""Requests to upstreams that leave together, at the end of a turn of the event loop.

A server that waits on the same machine is then woken once for all of them. Waking it for each one would cost more than
everything else in sending a small request, since it goes back to sleep in between.
"""

import asyncio
from typing import Protocol


class Sender(Protocol):
    """Has something to write."""

    def write_out(self) -> None:
        """Write it now, if it is still wanted."""
        ...


class WriteBatch:
    """Those that write at the end of this turn, in order."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Sender] = []

    def add(self, sender: Sender) -> None:
        """Let a sender write soon."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write_out)
        self._waiting.append(sender)

    def _write_out(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sender in waiting:
            sender.write_out()
