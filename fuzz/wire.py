"""Bytes as they stand on a socket: seeds and mutators for requests of clients and answers of upstreams.

An input begins with a line that holds a number, from which everything follows that is not bytes: how a request is
answered, where the bytes are cut, what happens in between. So an input can be made smaller without changing the rest.
"""

import random
import re
from collections.abc import Callable
from typing import Final

BETWEEN_ANSWERS: Final = b"@@@"
"""Behind it stands the answer to the next call on the same connection."""

_METHODS: Final = (b"POST", b"POST", b"POST", b"GET", b"HEAD", b"OPTIONS", b"PUT", b"CONNECT", b"XYZ")
_TARGETS: Final = (
    *(b"/v1/chat", b"/v1/chat", b"/v1/chat?a=b", b"/v1/%7Ea", b"/api/keys", b"/api/keys", b"/", b"*", b"/v1/\xff"),
    *(b"http://there/v1/chat", b"there:80", b"/v1/" + b"a" * 2_100, b"//x:y/v1", b"/v1/a#b", b"?v1"),
)
_VERSIONS: Final = (*(b"HTTP/1.1",) * 12, b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9")
_HEADERS: Final = (
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade\r\nUpgrade: h2c", b"X: a\r\n b"),
    *(b"Expect: 100-continue ", b"Content-Length: 0 ", b"Content-Length: 5", b"Transfer-Encoding: gzip, chunked"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Content-Length : 5", b"X: \x00", b"X:\xff"),
    *(b"Transfer-Encoding: chunked,", b"Transfer-Encoding: xchunked", b"Transfer-Encoding:", b"Content-Length: +5"),
    *(b"Connection: close, upgrade", b"Upgrade: websocket", b"X: " + b"y" * 2_100, b"X:" + b" " * 40, b"A: b\n"),
    *(b"Content-Length: 99999999999999999999", b"Content-Length: 5, 5", b"Transfer-Encoding: chunked\r\n , gzip"),
)
_CHUNKED: Final = (*(b"Transfer-Encoding: chunked",) * 4, b"transfer-encoding:\tChunked \t")
_STATUSES: Final = (
    *(b"200 OK", b"200 OK", b"200 OK", b"200 ", b"200", b"500 No", b"204 None", b"304 Same", b"101 Other", b"999 x"),
    *(b"100 Continue", b"099 x", b"42 x", b"205 Reset"),
)
_TRAILERS: Final = (b"", b"", b"", b"X: y\r\n", b"Content-Length: x\r\n", b"Authorization: z\r\n", b"A: b\r\n" * 30)
_EXTENSIONS: Final = (b"", b"", b"", b";a=b", b' ;a="b"', b" ")
_SCRAPS: Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"0\r\n\r\n", b":", b" ", b"\t", b"\x00", b"\xff", b"5\r\nhello\r\n"),
    *(b"ffffffffffffffff\r\n", b"0", b"5", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1"),
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"Connection: close\r\n", b"x" * 2_500, b"", b"", b""),
)
_SEED_LINE: Final = re.compile(rb"(\d{1,9})\n")


def split_seed(data: bytes) -> tuple[int, bytes]:
    """The number in the first line, and the bytes behind it; 0 if there is none."""
    match = _SEED_LINE.match(data)
    return (int(match[1]), data[match.end() :]) if match else (0, data)


def requests() -> list[bytes]:
    """Seeds for `connection`."""
    return _seeds(_request, b"")


def responses() -> list[bytes]:
    """Seeds for `upstream`."""
    return _seeds(_answer, BETWEEN_ANSWERS)


def mutate_requests(data: bytes, rng: random.Random) -> bytes:
    """Requests with something changed."""
    return _mutate(data, rng, _request, b"")


def mutate_responses(data: bytes, rng: random.Random) -> bytes:
    """Answers with something changed."""
    return _mutate(data, rng, _answer, BETWEEN_ANSWERS)


def _seeds(make: Callable[[random.Random], bytes], between: bytes) -> list[bytes]:
    rng = random.Random(7)
    return [b"%d\n%b" % (number, _some(rng, make, between)) for number in range(24)]


def _some(rng: random.Random, make: Callable[[random.Random], bytes], between: bytes) -> bytes:
    return between.join(make(rng) for _ in range(rng.choice((1, 1, 2, 3, 5, 20))))


def _mutate(data: bytes, rng: random.Random, make: Callable[[random.Random], bytes], between: bytes) -> bytes:
    seed, stream = split_seed(data)
    at = rng.randrange(len(stream) + 1)
    match rng.randrange(8):
        case 0 | 1:
            seed = rng.randrange(1_000_000)
        case 2:
            stream = _some(rng, make, between)
        case 3:
            stream = stream + between + make(rng) if stream else make(rng)
        case 4:
            stream = stream[:at]
        case 5:
            lines = stream.split(b"\r\n")
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(_HEADERS))
            stream = b"\r\n".join(lines)
        case _:
            end = min(len(stream), at + rng.choice((0, 0, 1, 4, 40)))
            stream = stream[:at] + rng.choice((*_SCRAPS, stream[at:end] * 2)) + stream[end:]
    return b"%d\n%b" % (seed, stream)


def _request(rng: random.Random) -> bytes:
    plain = rng.randrange(3) > 0
    method = b"POST" if plain else rng.choice(_METHODS)
    target = rng.choice(_TARGETS[: 7 if plain else None])
    line = b"%b %b %b" % (method, target, b"HTTP/1.1" if plain else rng.choice(_VERSIONS))
    return _message(rng, line, plain, [b"Host: here"])


def _answer(rng: random.Random) -> bytes:
    plain = rng.randrange(3) > 0
    interim = b"HTTP/1.1 103 Early\r\nX: early\r\n\r\n" * rng.choice((0, 0, 0, 1, 2))
    line = b"%b %b" % (b"HTTP/1.1" if plain else rng.choice(_VERSIONS), b"200 OK" if plain else rng.choice(_STATUSES))
    return interim + _message(rng, line, plain, [])


def _message(rng: random.Random, line: bytes, plain: bool, headers: list[bytes]) -> bytes:
    """A message as it should be, or with headers that may not fit."""
    if rng.randrange(4) == 0:
        headers.append(rng.choice(_HEADERS[: 5 if plain else None]))
    if not plain and rng.randrange(4) == 0:
        headers += [b"A: b"] * rng.choice((2, 25))
    body = bytes(rng.choices(b"abc\r\n\x00\xff{}", k=rng.choice((0, 1, 5, 5, 50, 700, 3_500))))
    match rng.randrange(4 if plain else 5):
        case 0 | 1:
            headers.append(b"Content-Length: %d" % len(body))
        case 2 | 3:
            headers.append(rng.choice(_CHUNKED))
            body = _chunked(rng, body)
        case _:
            pass
    return b"%b\r\n\r\n%b" % (b"\r\n".join([line, *headers]), body)


def _chunked(rng: random.Random, body: bytes) -> bytes:
    size = rng.choice((1, 3, 100, 5_000)) if len(body) < 100 else rng.choice((100, 5_000))
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    framed = [b"%x%b\r\n%b\r\n" % (len(chunk), rng.choice(_EXTENSIONS), chunk) for chunk in chunks]
    return b"%b0\r\n%b\r\n" % (b"".join(framed), rng.choice(_TRAILERS))
