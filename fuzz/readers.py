"""What the bytes on a socket say according to others: h11, and httptools' parser without anything of ours around it."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

import h11
import httptools

Headers = list[tuple[bytes, bytes]]

_ROOM: Final = 1 << 20
_UPGRADE: Final = re.compile(rb"(\n)upgrade", re.IGNORECASE)
FRAMING: Final = (b"content-length", b"transfer-encoding")
"""The headers that say where a body ends."""


@dataclass(frozen=True, slots=True)
class Request:
    """A complete request; the path is decoded and without its query, headers of framing are left out."""

    method: str
    path: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Requests:
    """What a stream begins with.

    Attributes:
        complete: the requests up to the end, to the first mistake, or to the last one that is answered.
        is_valid: whether there is no mistake.
    """

    complete: list[Request]
    is_valid: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or as much of one as there is; `is_complete` says which."""

    status: int
    headers: Headers
    body: bytes
    is_complete: bool


class NotAnswers(Exception):
    """A mistake in what should be answers."""


def path_of(target: bytes) -> str:
    """The path of an origin-form target."""
    return unquote(target.partition(b"?")[0].decode("latin-1"))


def without_framing(headers: Headers) -> Headers:
    """The headers that say nothing of a body's length."""
    # httptools leaves the space behind a value.
    return [(name, value.rstrip(b" \t")) for name, value in headers if name not in FRAMING]


def requests_by_h11(stream: bytes) -> Requests:
    """The requests of a client, each of them answered as soon as it is complete."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=_ROOM)
    reader.receive_data(stream)
    found: list[Request] = []
    try:
        while (request := _next_request(reader)) is not None:
            found.append(request)
            reader.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
            reader.send(h11.EndOfMessage())
            if reader.our_state is not h11.DONE:
                break
            reader.start_next_cycle()
    except h11.RemoteProtocolError:
        return Requests(found, False)
    return Requests(found, True)


def _next_request(reader: h11.Connection) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        match reader.next_event():
            case h11.Request() as head:
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() if head is not None:
                headers = without_framing(list(head.headers))
                return Request(head.method.decode(), path_of(head.target), headers, body)
            case _:
                return None


class _Plain:
    """Collects what httptools' own parser calls back."""

    def __init__(self) -> None:
        self.found: list[Request] = []
        self._url = b""
        self._headers: Headers = []
        self._body = b""
        self._in_body = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def read(self, stream: bytes) -> Requests:
        """The requests in a stream, and whether all of it could be read."""
        try:
            self._parser.feed_data(stream)
        except httptools.HttpParserUpgrade as upgrade:
            return self.read(stream[upgrade.args[0] :])
        except httptools.HttpParserError:
            return Requests(self.found, False)
        return Requests(self.found, True)

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._in_body = b"", [], b"", False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        self.found.append(Request(method, path_of(self._url), without_framing(self._headers), self._body))


def requests_by_httptools(stream: bytes) -> Requests:
    """The requests of a client, in one piece; also those behind one that closes the connection."""
    return _Plain().read(stream)


def agreed(stream: bytes) -> list[Request] | None:
    """The requests that are to be served, or None if others see a mistake or don't agree."""
    # For httptools a request that asks for another protocol has no body.
    stream = _UPGRADE.sub(rb"\1x-upgrade", stream)
    one, other = requests_by_h11(stream), requests_by_httptools(stream)
    if not one.is_valid or not other.is_valid or one.complete != other.complete[: len(one.complete)]:
        return None
    return one.complete


def answers_by_h11(stream: bytes, methods: list[str], *, has_ended: bool) -> list[Answer]:
    """The answers to requests, as many as have begun, without the interim ones.

    Args:
        stream: what the server wrote.
        methods: of the requests; one more may be answered.
        has_ended: whether the connection was closed behind it.

    Raises:
        NotAnswers: these bytes are something else, or more.
    """
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ROOM)
    reader.receive_data(stream)
    if has_ended:
        reader.receive_data(b"")
    found: list[Answer] = []
    for method in methods:
        reader.send(h11.Request(method=method, target="/", headers=[("host", "here")]))
        reader.send(h11.EndOfMessage())
        answer = next_answer(reader)
        if answer is not None:
            found.append(answer)
        if answer is None or not answer.is_complete or reader.their_state is not h11.DONE:
            break
        if reader.our_state is not h11.DONE:
            break
        reader.start_next_cycle()
    if not found or found[-1].is_complete:
        left = reader.trailing_data[0]
        if left:
            raise NotAnswers(left)
    return found


def next_answer(reader: h11.Connection) -> Answer | None:
    """The next answer, or None if none has begun.

    Raises:
        NotAnswers: what begins here is none.
    """
    head: h11.Response | None = None
    body = b""
    while True:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError as mistake:
            if head is None and b"".join(reader.trailing_data[:1]):
                raise NotAnswers(str(mistake)) from mistake
            return None if head is None else Answer(head.status_code, list(head.headers), body, False)
        match event:
            case h11.Response() as head:
                pass
            case h11.Data(data=data):
                body += data
            case h11.EndOfMessage() if head is not None:
                return Answer(head.status_code, list(head.headers), body, True)
            case h11.InformationalResponse():
                pass
            case _:
                return None if head is None else Answer(head.status_code, list(head.headers), body, False)


class _Ends:
    """Notes whether an answer that is none in between was complete."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.has_ended = False

    def on_message_complete(self) -> None:
        self.has_ended = self.has_ended or self.parser.get_status_code() >= 200


def ends_by_itself(answer: bytes) -> bool:
    """Whether an answer is complete for httptools' own parser without the end of the connection."""
    ends = _Ends()
    with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        ends.parser.feed_data(answer)
    return ends.has_ended
