"""What a connection needs of uvicorn, which runs the ASGI application."""

from typing import Protocol

from tokenbooth.http.exchange import RawHeaders


class AsgiRequest(Protocol):
    """A request for the ASGI application.

    Attributes:
        kept_bytes: of its body, as far as they are counted in the client's share.
    """

    kept_bytes: int

    @property
    def began(self) -> bool:
        """Whether an answer has begun."""
        ...

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open behind the answer."""
        ...

    def begin(self) -> None:
        """Let the application run: it is this request's turn."""
        ...

    def receive(self, body: bytes) -> None:
        """Take a part of the body that has arrived."""
        ...

    def received(self) -> None:
        """The request is complete."""
        ...

    def end_connection(self) -> None:
        """Make its answer the last one of the connection."""
        ...

    def lost(self) -> None:
        """The client is gone."""
        ...


class AsgiServer(Protocol):
    """Makes requests for the ASGI application, on one connection."""

    def asgi_request(self, url: bytes, headers: RawHeaders, *, expects_continue: bool) -> AsgiRequest:
        """A request whose head the parser has just read."""
        ...

    def default_headers(self) -> RawHeaders:
        """The headers that every answer has; the same list while they are the same."""
        ...
