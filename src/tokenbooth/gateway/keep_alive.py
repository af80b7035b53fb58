"""Comments in a stream whose upstream is silent, so that nothing between us and the client takes it for dead.

They begin after the upstream's first real event: before that an error must still be possible.
"""

import asyncio
from typing import Final

from tokenbooth.gateway.exchange import Exchange

COMMENT: Final = b": keep-alive\n\n"


class KeepAlive:
    """Sends a comment whenever nothing was sent between two looks; costs a timer and nothing for each event."""

    __slots__ = ("_every_s", "_exchange", "_loop", "_seen", "_timer")

    def __init__(self, exchange: Exchange, every_s: float) -> None:
        """Args:
        exchange: its answer has begun; whole events leave it at a time, so that a comment is always between two.
        every_s: the time between two looks, in seconds.
        """
        self._exchange = exchange
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._seen = exchange.parts_sent
        self._timer = self._loop.call_later(every_s, self._look)

    def stop(self) -> None:
        """Send none any more."""
        self._timer.cancel()

    def _look(self) -> None:
        exchange = self._exchange
        if exchange.parts_sent == self._seen and not exchange.http.write_paused:
            exchange.send(COMMENT)
        self._seen = exchange.parts_sent
        self._timer = self._loop.call_later(self._every_s, self._look)
