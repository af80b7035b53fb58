"""What the connections of a listener have in common: bounds, and which requests go past ASGI.

Source of the bounds: RFC 9112 leaves them to the server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tokenbooth.http.exchange import HttpExchange
from tokenbooth.http.open_connections import OpenConnections
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.kit.places import ByteShares


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may send, and how long it may take.

    Attributes:
        head_bytes: the request line and all headers together.
        head_lines: the number of headers.
        body_bytes: a request's body on the data plane.
        all_bodies_bytes: what is kept of all bodies together, but for those that come in one piece.
        all_unread_bytes: what all clients together leave unread, but for what the transport takes without a word.
        connections: how many there may be at once.
        head_s: from a request's first byte to the end of its head, in seconds.
        body_s: between two parts of a body, and at its beginning, in seconds.
        min_bytes_per_s: the least rate of a body, and of the reading of an answer.
        transfer_s: a body in all, and an answer that is not read as fast as it comes, in seconds.
        idle_s: between two requests, in seconds.
        unread_s: how long a client may leave an answer unread, in seconds.
        linger_s: how long what still comes behind an early answer is thrown away before closing, in seconds.
        linger_idle_s: between two pieces of that, in seconds.
        linger_bytes: how much of that there may be.
    """

    head_bytes: int = 64 * 1024
    head_lines: int = 100
    body_bytes: int = 20 * 1024 * 1024
    all_bodies_bytes: int = 512 * 1024 * 1024
    all_unread_bytes: int = 512 * 1024 * 1024
    connections: int = 16_384
    head_s: float = 10
    body_s: float = 30
    # A prompt of 100 kB over the slowest lines that are still in use (GPRS, 5 kB/s). Kestrel asks for 240, Apache for
    # 500; at such a rate the largest body takes half a day.
    min_bytes_per_s: float = 4_096
    # The largest body at 25 kB/s.
    transfer_s: float = 900
    # Longer than the idle time-outs of common load balancers (60 s), so that we are never the first to hang up.
    idle_s: float = 75
    unread_s: float = 120
    # nginx's lingering_time and lingering_timeout. The bytes end a client that sends as fast as it can.
    linger_s: float = 30
    linger_idle_s: float = 5
    linger_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FastPath:
    """Serves the requests of some paths without ASGI.

    Attributes:
        handles: whether requests for a path are its own.
        serve: begins to serve a request whose head has arrived and whose turn it is; must not wait.
    """

    handles: Callable[[str], bool]
    serve: Callable[[HttpExchange], None]


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """What the connections of a listener have in common.

    Attributes:
        fast_path: which requests go past ASGI.
        bounds: what clients may do.
        new_request_id: even what is no request is answered with one.
        trusted_proxies: addresses and networks that stand for many clients.
        bodies, unread: how accounts share the memory for bodies that arrive, and for answers that are not read.
        connections: all that are open.
    """

    fast_path: FastPath
    bounds: Bounds
    new_request_id: Callable[[], str]
    trusted_proxies: Sequence[str] = ()
    bodies: ByteShares = field(init=False)
    unread: ByteShares = field(init=False)
    connections: OpenConnections = field(init=False)

    def __post_init__(self) -> None:
        """Make what all connections share."""
        object.__setattr__(self, "bodies", ByteShares(self.bounds.all_bodies_bytes))
        object.__setattr__(self, "unread", ByteShares(self.bounds.all_unread_bytes))
        object.__setattr__(self, "connections", OpenConnections(self.bounds.connections))

    def refused_at_bounds(self) -> dict[str, int]:
        """How often there was no room at a bound, by its setting."""
        return {
            "server.max_all_bodies_bytes": self.bodies.refused,
            "server.max_all_unread_bytes": self.unread.refused,
            "server.max_connections": self.connections.refused,
        }


def _not_ours(exchange: HttpExchange) -> None:
    raise AssertionError("no path is handled")


PLAIN_LISTENER: Final = ListenerConfig(
    FastPath(lambda path: False, _not_ours), Bounds(), lambda: new_id(IdPrefix.REQUEST, SystemClock().now_us())
)
"""Everything goes to the ASGI application."""
