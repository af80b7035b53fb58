"""One HTTP request to the data plane, before and beside its exchange. Only the gateway's application imports it."""

from collections.abc import Sequence

from tokenbooth.gateway.admission import Pool
from tokenbooth.gateway.endpoints import face_of
from tokenbooth.gateway.state import KeyState
from tokenbooth.http_exchange import HttpExchange


class Call:
    """One HTTP request with what the handlers need of it."""

    __slots__ = ("http", "key", "path", "pool", "request_id")

    def __init__(self, http: HttpExchange, request_id: str) -> None:
        self.http = http
        self.path = http.path
        self.request_id = request_id
        self.key: KeyState | None = None
        self.pool: Pool | None = None

    def answer(self, status: int, body: bytes, extra: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Give a whole JSON answer."""
        headers = [(b"content-type", b"application/json"), *face_of(self.path).id_headers(self.request_id), *extra]
        self.http.answer(status, headers, body)
