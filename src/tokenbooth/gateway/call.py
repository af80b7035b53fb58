"""One HTTP request to the data plane, before and beside its exchange."""

import asyncio

from tokenbooth.gateway.access.admission import Pool
from tokenbooth.gateway.access.cache import AccountState, KeyState
from tokenbooth.gateway.registry import style_of
from tokenbooth.http.exchange import HttpExchange


class Call:
    """One HTTP request with what the handlers need of it."""

    __slots__ = ("http", "in_steps", "key", "path", "pool", "request_id", "task", "unfunded")

    def __init__(self, http: HttpExchange, request_id: str) -> None:
        self.http = http
        self.path = http.path
        self.request_id = request_id
        # Whether there is too much in the body to be read at once.
        self.in_steps = False
        self.key: KeyState | None = None
        self.pool: Pool | None = None
        self.task: asyncio.Task[None] | None = None
        # The account that had no money when the call began, and counts it.
        self.unfunded: AccountState | None = None

    def answer(self, status: int, body: bytes, header_lines: bytes = b"") -> None:
        """Give a whole JSON answer, with further header lines."""
        lines = b"content-type: application/json\r\n" + style_of(self.path).id_lines(self.request_id) + header_lines
        self.http.answer(status, lines, body)
