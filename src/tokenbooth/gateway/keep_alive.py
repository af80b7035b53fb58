"""Comments in a stream whose upstream is silent, so that nothing between us and the client takes it for dead.

They begin after the upstream's first byte: before that an error must still be possible. Only the relay imports this.
"""

import asyncio
from typing import Final, Protocol

COMMENT: Final = b": keep-alive\n\n"


class Sending(Protocol):
    """The answer that is being sent.

    Attributes:
        head_sent: whether its head has left.
        parts_sent: how many parts of its body have left.
        sending: whether one is leaving now, which may take as long as the client is slow.
    """

    head_sent: bool
    parts_sent: int
    sending: bool

    async def send_body(self, body: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        ...


class KeepAlive:
    """Sends a comment whenever nothing was sent between two looks; costs a timer and nothing for each event."""

    __slots__ = ("_every_s", "_exchange", "_loop", "_seen", "_task", "_timer")

    def __init__(self, exchange: Sending, every_s: float) -> None:
        """Args:
        exchange: the answer; whole events leave it at a time, so that a comment is always between two.
        every_s: the time between two looks, in seconds.
        """
        self._exchange = exchange
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._seen = exchange.parts_sent
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(every_s, self._look)

    def stop(self) -> None:
        """Send none any more."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _look(self) -> None:
        exchange = self._exchange
        silent = exchange.head_sent and exchange.parts_sent == self._seen and not exchange.sending
        self._seen = exchange.parts_sent
        if silent:
            self._task = self._loop.create_task(exchange.send_body(COMMENT, more=True))
            self._seen += 1
        self._timer = self._loop.call_later(self._every_s, self._look)
