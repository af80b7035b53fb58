"""Hostile sockets against the server as it is run: bounded in bytes, in number and in time, and refused cleanly.

Scenarios 57 to 59 at a size that takes seconds; `make soak` has the large ones. Whatever a test does, at the end no
money is held, the books are right, and nothing stands in the log that is a bug.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.support.command import wait_until
from tests.support.gateway.load import CHAT, get, post
from tests.support.raw_client import Answer, RawClient
from tests.support.service import Service, run_service
from tokenbooth.domain.keys import KeyKind
from tokenbooth.kit.ids import new_key

MAX_HEADER_BYTES: Final = 8_192
MAX_HEADERS: Final = 20
MAX_BODY_BYTES: Final = 65_536
SETTINGS: Final = f"""
max_header_bytes = {MAX_HEADER_BYTES}
max_header_count = {MAX_HEADERS}
max_body_bytes = {MAX_BODY_BYTES}
header_timeout_s = 0.5
body_timeout_s = 0.5
idle_timeout_s = 2
unread_timeout_s = 1
min_bytes_per_s = 200
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server that is soon tired of waiting; afterwards its books are right and its log has no bug in it."""
    with run_service(tmp_path_factory.mktemp("sockets"), server_settings=SETTINGS) as running:
        yield running
        wait_until(lambda: running.held() == 0, "no money is held")
        assert running.audit() is None
    log = running.log.read_text(encoding="utf-8")
    events = {json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")}
    assert "Traceback" not in log
    assert events.isdisjoint({"gateway_failed", "management_failed"}), log


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    """A key with credit."""
    return service.keys(accounts=1, per_account=1)[0]


@pytest.fixture
def client(service: Service) -> Iterator[RawClient]:
    """A new connection."""
    with RawClient(service.port) as connected:
        yield connected


def head(key: str, *more: str, path: str = CHAT, method: str = "POST") -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", *more]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def assert_refused(client: RawClient, *statuses: int) -> Answer:
    """The next answer is a refusal with an id; then the connection is closed, and nothing else is answered on it."""
    refused = client.answer()
    assert refused.status in statuses
    assert refused.headers["x-request-id"].startswith("req_")
    assert client.is_closed()
    return refused


def drip(client: RawClient, piece: bytes) -> None:
    """Send a little from time to time until the server has something to say."""
    while not client.hears(wait_s=0.05):
        client.send(piece)


def charged(service: Service) -> int:
    """How many calls were charged so far."""
    return service.requests()


# Time


def test_a_head_that_drips_is_too_slow(client: RawClient) -> None:
    """A head that never ends is 408, however steadily it drips."""
    client.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n")
    drip(client, b"a")
    assert_refused(client, 408)


@pytest.mark.parametrize("framing", ["content-length: 1000", "transfer-encoding: chunked"])
@pytest.mark.parametrize("path", [CHAT, "/anthropic/v1/messages", "/api/keys/credit", "/login"])
def test_a_body_that_stops_is_too_slow(service: Service, key: str, client: RawClient, framing: str, path: str) -> None:
    """A body whose rest does not come is refused, on every plane; nothing is charged."""
    before = charged(service)
    client.send(head(key, framing, "content-type: application/json", path=path))
    client.send(b'3e8\r\n{"model":' if "chunked" in framing else b'{"model":')
    refused = client.answer()
    # A plane that need not wait for the body may refuse for a reason of its own.
    assert refused.status in (401, 403, 408, 413)
    assert client.is_closed()
    assert charged(service) == before


@pytest.mark.parametrize("framing", ["content-length: 1000", "transfer-encoding: chunked"])
@pytest.mark.parametrize("path", [CHAT, "/anthropic/v1/messages", "/api/keys/credit", "/login"])
def test_a_body_that_drips_is_too_slow(service: Service, key: str, client: RawClient, framing: str, path: str) -> None:
    """A byte now and then is no body, on any plane: it ends as one that stops; nothing is charged."""
    before = charged(service)
    media = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
    asks = service.owners[0] if path.startswith("/api") else key
    client.send(head(asks, framing, f"content-type: {media}", "origin: http://x", path=path))
    drip(client, b"1\r\n{\r\n" if "chunked" in framing else b"{")
    assert_refused(client, 408)
    assert charged(service) == before


def test_a_body_may_take_its_time_if_it_comes(service: Service, key: str, client: RawClient) -> None:
    """Every part in time is in time, although the whole takes longer than a pause may."""
    request = post(key)
    for start in range(0, len(request), 40):
        client.send(request[start : start + 40])
        assert not client.hears(wait_s=0.1) or start + 40 >= len(request)
    assert client.answer().status == 200


def test_a_connection_that_says_nothing_is_closed(client: RawClient) -> None:
    """Half-open: nothing was asked, so nothing is answered."""
    assert client.is_closed()


def test_a_connection_between_two_requests_is_closed_without_a_word(key: str, client: RawClient) -> None:
    """An idle kept-alive connection is closed; a stray answer would be taken for the next request's."""
    assert client.send(get(key, "/v1/models")).answer().status == 200
    assert client.is_closed()


def test_many_slow_connections_keep_nobody_waiting(service: Service, key: str) -> None:
    """Three hundred connections that drip heads, bodies or nothing: others are served, and all of them end."""
    beginnings = (b"GET /v1/models HTTP/1.1\r\nx", head(key, "content-length: 9"), b"")
    with ExitStack() as stack:
        slow = [stack.enter_context(RawClient(service.port)).send(begin) for begin in beginnings * 100]
        for _ in range(20):
            with RawClient(service.port) as client:
                assert client.send(post(key)).answer().status == 200
        ends = [client.rest()[:12] for client in slow]
    assert ends == [b"HTTP/1.1 408", b"HTTP/1.1 408", b""] * 100


# Size


@pytest.mark.parametrize("size", [2 * MAX_HEADER_BYTES, 2 * 1024 * 1024])
@pytest.mark.parametrize("piece", [1_460, 10_000_000])
@pytest.mark.parametrize("path", ["/v1/models", "/api/plans"])
def test_a_head_that_is_too_large_is_refused(client: RawClient, size: int, piece: int, path: str) -> None:
    """A whole head, in one piece or in many."""
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-large: {'a' * size}\r\n\r\n".encode()
    for start in range(0, len(request), piece):
        client.send(request[start : start + piece])
    assert_refused(client, 431)


def test_a_head_without_an_end_is_refused(client: RawClient) -> None:
    """A line that never ends is refused for its size, long before its time."""
    client.send(b"GET /v1/models HTTP/1.1\r\nx-large: ")
    while not client.hears():
        client.send(b"a" * 1_460)
    assert_refused(client, 431)


@pytest.mark.parametrize("path", ["/v1/models", "/api/plans"])
def test_too_many_headers_are_refused(client: RawClient, path: str) -> None:
    """One more than may be."""
    lines = "".join(f"x-{number}: 1\r\n" for number in range(MAX_HEADERS + 1))
    client.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    assert_refused(client, 431)


def test_as_many_headers_as_may_be_pass(key: str, client: RawClient) -> None:
    """The bound itself is allowed."""
    more = [f"x-{number}: 1" for number in range(MAX_HEADERS - 2)]
    assert client.send(head(key, *more, path="/v1/models", method="GET")).answer().status == 200


def test_a_request_line_that_is_too_long_is_refused(client: RawClient) -> None:
    """A path counts as part of the head."""
    client.send(b"GET /v1/" + b"a" * 3 * MAX_HEADER_BYTES + b" HTTP/1.1\r\nhost: x\r\n\r\n")
    assert_refused(client, 431, 414)


def test_a_body_that_says_it_is_too_large_is_refused_unread(service: Service, key: str, client: RawClient) -> None:
    """The announced length is believed; the body need not be sent, nor is it asked for."""
    before = charged(service)
    client.send(head(key, f"content-length: {MAX_BODY_BYTES + 1}", "expect: 100-continue"))
    assert client.answer().status == 413
    assert client.is_closed()
    assert charged(service) == before


def test_a_body_in_chunks_is_cut_off_where_it_is_too_large(service: Service, key: str, client: RawClient) -> None:
    """Nobody says how long a body in chunks is: it is refused when it has become too long."""
    client.send(head(key, "transfer-encoding: chunked"))
    for _ in range(1_000):
        if client.hears():
            break
        client.send(b"1000\r\n" + b"a" * 4_096 + b"\r\n")
    assert client.answer().status == 413
    client.rest()


def test_chunks_of_one_byte_are_as_good_as_others(key: str, client: RawClient) -> None:
    """A body in the smallest chunks is read as what it is."""
    body = post(key).partition(b"\r\n\r\n")[2]
    client.send(head(key, "transfer-encoding: chunked"))
    client.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    assert client.answer().status == 200


def test_who_asks_whether_to_continue_is_told_so(key: str, client: RawClient) -> None:
    """`Expect: 100-continue` is answered before the body."""
    body = post(key).partition(b"\r\n\r\n")[2]
    client.send(head(key, f"content-length: {len(body)}", "expect: 100-continue"))
    assert client.answer().status == 100
    assert client.send(body).answer().status == 200


# Pipelining


def test_pipelined_requests_are_answered_in_their_order(key: str, client: RawClient) -> None:
    """Of all planes, in one piece: each answer stands where its request stood."""
    asked = [post(key), get(key, "/v1/nothing"), get(key, "/healthz"), get("mistyped", "/v1/models"), post(key)] * 3
    client.send(b"".join(asked))
    assert [client.answer().status for _ in asked] == [200, 404, 200, 401, 200] * 3


def test_a_long_pipeline_is_read_as_it_is_answered(key: str, client: RawClient) -> None:
    """A hundred requests, each sent on its own without waiting: reading stops and goes on, and none is lost."""
    for _ in range(100):
        client.send(post(key))
    assert [client.answer().status for _ in range(100)] == [200] * 100


def test_a_pipeline_in_one_piece_is_bounded(key: str, client: RawClient) -> None:
    """Thousands of requests in one piece are more than anybody needs: some are answered, then it ends."""
    client.send(get(key, "/v1/models") * 5_000)
    rest = client.rest()
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.count(b"HTTP/1.1 200 ") < 5_000


# Framing

NO_HTTP: Final = {
    "noise": b"\x00\x01\x02\xff" * 20,
    "tls": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 100,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http09": b"GET /v1/models\r\n\r\n",
    "version": b"GET /v1/models HTTP/9.9\r\nhost: x\r\n\r\n",
    "method": b"G\xe9T /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
    "colon": b"GET /v1/models HTTP/1.1\r\nhost x\r\n\r\n",
    "space": b"GET /v1/models HTTP/1.1\r\nhost : x\r\n\r\n",
    "nul": b"GET /v1/models HTTP/1.1\r\nhost: x\x00y\r\n\r\n",
    "return": b"GET /v1/models HTTP/1.1\r\nhost: x\ry: z\r\n\r\n",
    "path": b"GET /v1/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_refused(client: RawClient, name: str) -> None:
    """It is answered with an error, and the connection is closed."""
    # What has no version is served as before HTTP/1.0; here it lacks a key.
    assert_refused(client.send(NO_HTTP[name]), 400, 401 if name == "http09" else 400)


LENGTHS: Final = (
    ("content-length: -1",),
    ("content-length: +5",),
    ("content-length: 1e3",),
    ("content-length: 0x10",),
    ("content-length: 5, 6",),
    ("content-length: 99999999999999999999999",),
    ("content-length: 5", "content-length: 6"),
    ("content-length: 5", "transfer-encoding: chunked"),
    ("transfer-encoding: chunked", "content-length: 5"),
    ("transfer-encoding: chunked, gzip",),
    ("transfer-encoding: xchunked",),
)


@pytest.mark.parametrize("lines", LENGTHS)
@pytest.mark.parametrize("path", [CHAT, "/api/keys/credit"])
def test_a_body_whose_length_is_in_doubt_is_refused(
    service: Service, key: str, client: RawClient, lines: tuple[str, ...], path: str
) -> None:
    """Where two readers could disagree, nobody reads: what follows is not taken for a request."""
    before = charged(service)
    smuggled = post(key)
    client.send(head(key, "content-type: application/json", *lines, path=path) + b"0\r\n\r\n" + smuggled)
    assert_refused(client, 400, 413)
    assert charged(service) == before


CHUNKS: Final = (
    b"zz\r\nab\r\n0\r\n\r\n",
    b"-1\r\nab\r\n0\r\n\r\n",
    b"\r\nab\r\n0\r\n\r\n",
    b"2\r\nabXX0\r\n\r\n",
    b"2\nab\n0\n\n",
    b"ffffffffffffffffff\r\nab",
    b"0x2\r\nab\r\n0\r\n\r\n",
    b"2 \r\nab\r\n0\r\n\r\n",
)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("path", [CHAT, "/api/keys/credit"])
def test_bad_chunks_are_refused(service: Service, key: str, client: RawClient, chunks: bytes, path: str) -> None:
    """Chunks that are none end the request and the connection; nothing is charged."""
    before = charged(service)
    client.send(head(key, "content-type: application/json", "transfer-encoding: chunked", path=path) + chunks)
    assert_refused(client, 400, 413)
    assert charged(service) == before


def test_extensions_and_trailers_are_bounded(service: Service, key: str) -> None:
    """What may stand beside chunks is read over, but not for ever."""
    for endless in (b"1;" + b"a" * 40 * MAX_BODY_BYTES, b"0\r\nx: " + b"a" * 40 * MAX_BODY_BYTES):
        with RawClient(service.port) as client:
            client.send(head(key, "transfer-encoding: chunked") + endless)
            assert client.answer().status in (400, 408, 413, 431)
            client.rest()


def test_an_error_is_the_last_answer_of_a_connection(key: str, client: RawClient) -> None:
    """What was asked before a mistake is answered; what stands behind it is not."""
    client.send(get(key, "/v1/models") + NO_HTTP["colon"] + post(key))
    assert client.answer().status == 200
    assert_refused(client, 400)


# Clients that go away


def test_a_client_that_ends_its_half_is_not_half_served(service: Service, key: str, client: RawClient) -> None:
    """Who closes its half behind the request gets the whole answer or none."""
    answer = client.send(post(key)).end_sending().rest()
    assert answer == b"" or answer.endswith(b"}")
    wait_until(lambda: service.held() == 0, "the call is over")


@pytest.mark.parametrize("sent", [10, 120, -1])
def test_a_client_that_resets_in_mid_request_pays_nothing(service: Service, key: str, sent: int) -> None:
    """In its head, in its body, one byte before the end."""
    before = charged(service)
    with RawClient(service.port) as client:
        client.send(post(key)[:sent]).reset()
    with RawClient(service.port) as client:
        assert client.send(post(key)).answer().status == 200
    wait_until(lambda: charged(service) == before + 1, "the second call is charged, the first is not")


def test_a_client_that_does_not_read_its_stream_is_cut_off(service: Service, key: str) -> None:
    """Megabytes of answer for nobody: the upstream has to wait, then the stream ends, charged once."""
    before = charged(service)
    with RawClient(service.port, receive_buffer_bytes=4_096) as client:
        client.send(post(key, stream=True, messages=[{"role": "user", "content": "flood"}]))
        client.read(b"data: ")
        wait_until(lambda: charged(service) == before + 1, "the stream is given up and charged")


def test_a_client_that_reads_a_little_of_its_stream_is_cut_off(service: Service, key: str) -> None:
    """A few bytes now and then are no reading: it ends as if nothing was read."""
    before = charged(service)
    with RawClient(service.port, receive_buffer_bytes=4_096) as client:
        client.send(post(key, stream=True, messages=[{"role": "user", "content": "flood"}])).read(b"data: ")

        def is_charged() -> bool:
            client.read_some(2)
            return charged(service) == before + 1

        wait_until(is_charged, "the stream is given up and charged")


def test_a_client_that_reads_slowly_gets_everything(service: Service, key: str) -> None:
    """Back-pressure loses nothing: a stream of megabytes arrives whole with a small buffer."""
    with RawClient(service.port, receive_buffer_bytes=4_096) as client:
        answer = client.send(post(key, stream=True, messages=[{"role": "user", "content": "flood"}])).answer()
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert len(answer.body) > 4_000_000


# Many


def test_two_hundred_idle_streams_all_end_whole(service: Service, key: str) -> None:
    """Streams that are silent for a while (57)."""
    before = charged(service)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(service.port)) for _ in range(200)]
        for client in clients:
            client.send(post(key, stream=True)).read(b"data: ")
        service.release_streams()
        for client in clients:
            client.read(b"data: [DONE]")
    wait_until(lambda: charged(service) == before + 200, "every stream is charged")


def test_unknown_keys_are_looked_up_once(service: Service, client: RawClient) -> None:
    """Two hundred keys that are nobody's, then all of them again: one look-up each (58)."""
    keys = [new_key(KeyKind.API) for _ in range(200)]
    before = service.figure("tokenbooth_key_lookups")
    for key in keys * 3:
        assert client.send(get(key, "/v1/models")).answer().status == 401
    assert service.figure("tokenbooth_key_lookups") - before == 200
