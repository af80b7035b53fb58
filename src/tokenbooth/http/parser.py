"""Reads requests off the bytes of a client, within bounds on everything that the client controls."""

from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote, urlsplit

import httptools

from tokenbooth.http.exchange import HttpExchange, RawHeaders
from tokenbooth.http.faults import HEAD_TOO_LARGE, NOT_HTTP, SMALL_CHUNKS, Fault
from tokenbooth.http.limits import Bounds
from tokenbooth.kit.places import ByteShares

if TYPE_CHECKING:
    from tokenbooth.http.connection import ClientConnection

# What of a request is arriving. Numbers, because a member of an enum is looked up at each use.
NOTHING: Final = 0
HEAD: Final = 1
BODY: Final = 2

# Framing may double the size of a body; what is larger is nonsense.
_FRAMING_FACTOR: Final = 2
# The parser calls us for each chunk, and one read may bring two mebibytes of them. So many are few; of more, each must
# bring so many bytes on average.
_FEW_CHUNKS: Final = 8_192
_CHUNK_BYTES: Final = 256
_FRAMING_HEADERS: Final = (b"content-length", b"transfer-encoding")


class _Stop(Exception):
    """Ends the parsing of what has arrived."""


class RequestParser:
    """Parses the requests of one connection, and tells it of each head, part of a body, and end.

    Attributes:
        http: httptools' parser.
        phase: what is arriving: `NOTHING`, a `HEAD` or a `BODY`.
        url, headers: of the request that is arriving; names in lower case.
        expects_continue: whether its client waits for 100 (Continue) before it sends the body.
    """

    def __init__(self, connection: "ClientConnection", bounds: Bounds) -> None:
        self._connection: ClientConnection | None = connection
        self._bounds = bounds
        self.http = self._new_parser()
        self.phase = NOTHING
        self.url = b""
        self.headers: RawHeaders = []
        self.expects_continue = False
        self._chunks = 0
        self._body_bytes = 0
        # Without the piece in which it began, which may hold others too.
        self._fed_bytes = 0
        self._piece_bytes = 0
        self._is_new = False
        # A head that asks for an upgrade stops the parser; see `_go_on_parsing`.
        self._upgrading = False
        self._muted = False
        self._fault = NOT_HTTP

    def feed(self, data: bytes) -> Fault | None:
        """Parse what has arrived; returns what is wrong with it, None when nothing is."""
        self._piece_bytes = len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            return self._fault
        return None

    def count_piece(self) -> bool:
        """Count what was fed last to the request that is not complete; whether it began there."""
        began, self._is_new = self._is_new, False
        if not began:
            self._fed_bytes += self._piece_bytes
        return began

    def is_head_too_large(self) -> bool:
        """Whether more has arrived than a head may have."""
        return self._fed_bytes > self._bounds.head_bytes

    def is_body_too_large(self) -> bool:
        """Whether more has arrived than a request may have, in whatever framing."""
        return self._fed_bytes > self._bounds.head_bytes + _FRAMING_FACTOR * self._bounds.body_bytes

    def stop(self, fault: Fault) -> NoReturn:
        """Parse no more, because of `fault`; for what the parser calls."""
        self._fault = fault
        raise _Stop

    def forget(self) -> None:
        """What is arriving is not wanted any more."""
        self.phase = NOTHING

    def close(self) -> None:
        """Let go of the connection: they know each other, and would wait for the garbage collector."""
        self._connection = None
        self.http = _NO_PARSER

    def path(self) -> str:
        """The path of the request, decoded.

        Raises:
            ValueError: there is none.
        """
        url = self.url
        if not url.startswith(b"/"):
            url = urlsplit(url).path or b"/"
        path = url.partition(b"?")[0].decode("ascii")
        return unquote(path) if "%" in path else path

    def exchange(self, path: str, bodies: ByteShares) -> HttpExchange:
        """The request whose head is there, for the fast path; its body is counted in `bodies`."""
        connection, http = self._connection, self.http
        assert connection is not None
        is_1_1 = http.get_http_version() == "1.1"
        return HttpExchange(
            connection,
            http.get_method().decode("ascii"),
            path,
            self.headers,
            is_1_1=is_1_1,
            keep_alive=is_1_1 and http.should_keep_alive(),
            expects_continue=is_1_1 and self.expects_continue,
            most_body_bytes=self._bounds.body_bytes,
            bodies=bodies,
        )

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._muted:
            return
        self.phase = HEAD
        self._is_new = True
        self._fed_bytes = 0
        self._chunks = 0
        self._body_bytes = 0
        self.url = b""
        self.expects_continue = False
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        if not self._muted:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. A trailer behind a body in chunks is dropped: nobody looks for one."""
        if self.phase == BODY:
            self._count_chunk(0)
            return
        name = name.lower()
        if name == b"expect" and value.strip().lower() == b"100-continue":
            self.expects_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        connection = self._connection
        if self._muted or connection is None:
            return
        self._check_head()
        parser = self.http
        if parser.should_upgrade():
            self._upgrading = parser.get_method() != b"CONNECT"
            if not self._upgrading:
                raise _Stop
        connection.on_head()
        self.phase = BODY

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._upgrading = False
        self._count_chunk(len(body))
        connection = self._connection
        if connection is not None:
            connection.on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        connection = self._connection
        if self._upgrading or connection is None:
            return
        self.phase = NOTHING
        connection.on_request_complete()

    def _new_parser(self) -> httptools.HttpRequestParser:
        """A parser that lets a request behind one with `Connection: close` be read; it is never answered."""
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.http.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stopped:
                data = data[stopped.args[0] :]
                self._go_on_parsing()

    def _go_on_parsing(self) -> None:
        """A head asked for an upgrade. There is nothing to upgrade to, but the parser has stopped behind it.

        A new one is told of a request with the same framing, and will read its body.
        """
        self._upgrading = False
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING_HEADERS)
        self.http = self._new_parser()
        self._muted = True
        self.http.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        self._muted = False

    def _check_head(self) -> None:
        """Refuse a head that has too many headers, or is too large but came in one piece.

        Raises:
            _Stop: the head is refused.
        """
        bounds = self._bounds
        # All of it came in this piece; otherwise nobody has counted what came with the first one.
        is_small = self._is_new and self._piece_bytes <= bounds.head_bytes
        if is_small and len(self.headers) <= bounds.head_lines:
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > bounds.head_bytes or len(self.headers) > bounds.head_lines:
            self.stop(HEAD_TOO_LARGE)

    def _count_chunk(self, size: int) -> None:
        """Count a part of a body, or a trailer behind it.

        Raises:
            _Stop: there are too many for what they bring.
        """
        self._chunks += 1
        self._body_bytes += size
        if self._chunks > _FEW_CHUNKS and self._chunks * _CHUNK_BYTES > self._body_bytes + _FEW_CHUNKS * _CHUNK_BYTES:
            self.stop(SMALL_CHUNKS)


_NO_PARSER: Final = httptools.HttpRequestParser(object())
