"""Each bound of docs/operating.md: its default, and what becomes of others while one account is at it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

import msgspec
import pytest
from sqlalchemy import Connection

from tests.support.gateway.crowd import USAGE, Crowd, open_ones, run_crowd
from tests.support.gateway.gateway_rig import CHAT, MoodyStore, Rig, eventually
from tests.support.gateway.scripted_upstream import Script, answer
from tests.support.raw_client import RawClient
from tests.support.store import with_schema
from tests.system.docs.pages import codes, read, rows, section
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.gateway.formats.json.steps import STEP_BYTES
from tokenbooth.gateway.settlement.pacing import MOST_WAITING
from tokenbooth.http.limits import Bounds
from tokenbooth.store.engine import make_engine

P = ParamSpec("P")
R = TypeVar("R")

PAGE: Final = read("operating.md")
# Without their heads.
ROWS: Final = rows(section(PAGE, "Bounds"))[1:]
SETTINGS: Final = {codes(row[0])[0]: row[1] for row in rows(section(PAGE, "Settings"))[1:]}
MIB: Final = 1024 * 1024
HALF_A_BODY: Final = (
    b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
    b"content-length: 100\r\n\r\n{"
)


class SlowStore(MoodyStore):
    """A store that a test can let wait with its word on keys."""

    def __init__(self, path: Path) -> None:
        super().__init__(make_engine(f"sqlite:///{path}"))
        self._is_slow = False
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    async def read(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Read; a key, only when it may be told."""
        if fn.__name__ == "load_key" and self._is_slow:
            loop = asyncio.get_running_loop()
            may_tell: asyncio.Future[None] = loop.create_future()
            self._held.append((loop, may_tell))
            await may_tell
        return await super().read(fn, *args, **kwargs)

    @contextmanager
    def slow_look_ups(self) -> Iterator[None]:
        """Keys are not told while the block runs."""
        self._is_slow = True
        yield
        self._is_slow = False
        for loop, may_tell in self._held:
            loop.call_soon_threadsafe(may_tell.set_result, None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SlowStore]:
    """An empty database with the whole schema."""
    opened = with_schema(SlowStore(tmp_path / "slow.db"))
    yield opened
    opened.close()


def refused_at(rig: Rig, setting: str) -> int:
    """How often somebody found no room at a bound."""
    return (rig.gateway.refused_at_bounds() | rig.listener.refused_at_bounds())[setting]


def begin_a_body(rig: Rig, key: str) -> socket.socket:
    """A request whose body never ends."""
    url = urlsplit(rig.base_url)
    sock = socket.create_connection((url.hostname, url.port))
    sock.sendall(HALF_A_BODY % (CHAT.encode(), key.encode()))
    return sock


def open_requests(store: SlowStore, data_dir: Path) -> None:
    """One account with two keys has twelve of sixteen, and is told so; two others are served meanwhile."""
    with run_crowd(store, data_dir, settings=GatewaySettings(max_open_requests=16)) as crowd:
        account = crowd.rig.account("5")
        keys = [crowd.rig.credit_key(account) for _ in range(2)]
        calls = [call for _ in range(8) for key in keys for call in crowd.open(key)]
        assert open_ones(calls) == 12
        refused = calls[-1].end()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert "12 of 16 requests at once are open, 12 of them of this account" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert refused_at(crowd.rig, "gateway.max_open_requests") == 4

        one, two = crowd.key(), crowd.key()
        assert open_ones(crowd.open(one, 3)) == 3
        assert [crowd.ask(two).status_code for _ in range(3)] == [200] * 3
        assert [call.end().status_code for call in calls] == [200] * 12 + [503] * 4
        assert crowd.ask(keys[0]).status_code == 200


def bodies_that_never_end(store: SlowStore, data_dir: Path) -> None:
    """Accounts without money have four of sixty-four together, however many they are, and four calls each at most."""
    with run_crowd(store, data_dir, settings=GatewaySettings(max_open_requests=64), is_free=True) as crowd:
        rich = crowd.key()
        assert crowd.ask(rich).status_code == 200
        socks = [begin_a_body(crowd.rig, key) for key in [crowd.key(None) for _ in range(6)] for _ in range(5)]
        eventually(lambda: refused_at(crowd.rig, "gateway.max_open_requests") == 26)
        assert crowd.rig.gateway.open_requests == 4
        assert open_ones(crowd.open(rich, 40)) == 40
        assert crowd.ask(crowd.key()).status_code == 200
        for sock in socks:
            sock.close()
        eventually(lambda: crowd.rig.gateway.open_requests == 40)
        assert crowd.ask(crowd.key(None)).status_code == 200


def unfunded_calls(store: SlowStore, data_dir: Path) -> None:
    """The fifth call of an account without money is refused; another such account has its own four."""
    with run_crowd(store, data_dir, is_free=True) as crowd:
        one, two = crowd.key(None), crowd.key(None)
        calls = crowd.open(one, 5)
        assert open_ones(calls) == 4
        assert calls[-1].end().status_code == 402
        assert open_ones(crowd.open(two, 4)) == 4


def places_at_an_upstream(store: SlowStore, data_dir: Path) -> None:
    """One account has six of eight, the seventh is refused; another has its first call at once."""
    with run_crowd(store, data_dir, max_concurrent=8) as crowd:
        many, few = crowd.key(), crowd.key()
        calls = crowd.open(many, 7)
        assert open_ones(calls) == 6
        refused = calls[-1].end()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert refused_at(crowd.rig, "upstreams.upstream-0.max_concurrent") == 1
        assert [crowd.ask(few).status_code for _ in range(3)] == [200] * 3
        # While the other one has as much as that leaves free, what ends is not taken again.
        assert open_ones(crowd.open(few)) == 1
        calls[0].end()
        assert open_ones(crowd.open(many)) == 0


def answers_read_on(store: SlowStore, data_dir: Path) -> None:
    """One account's answers have three of four places, and the fourth is cut; another account's is read to its end."""
    with run_crowd(store, data_dir, settings=GatewaySettings(max_draining=4)) as crowd:
        many, few = crowd.key(), crowd.key()
        scripts = [leave(crowd, many) for _ in range(4)]
        eventually(lambda: refused_at(crowd.rig, "gateway.max_draining") == 1)
        assert [script.gone.is_set() for script in scripts[:3]] == [False] * 3
        leave(crowd, few)
        eventually(lambda: crowd.rig.gateway.open_requests == 4)
        assert refused_at(crowd.rig, "gateway.max_draining") == 1


def answers_read_on_of_one_account(store: SlowStore, data_dir: Path) -> None:
    """Two of an account are read on, also where all accounts have plenty of places."""
    with run_crowd(store, data_dir, settings=GatewaySettings(max_draining_per_account=2)) as crowd:
        many, few = crowd.key(), crowd.key()
        for _ in range(3):
            leave(crowd, many)
        eventually(lambda: refused_at(crowd.rig, "gateway.max_draining") == 1)
        leave(crowd, few)
        eventually(lambda: crowd.rig.gateway.open_requests == 3)


def leave(crowd: Crowd, key: str) -> Script:
    """Hang up on a call whose answer comes in one piece, while the upstream works on it."""
    script = Script(headless=True, ending="hang")
    crowd.hang_up(key, script, when=lambda: script.calls == 1)
    return script


def charges_that_wait(store: SlowStore, data_dir: Path) -> None:
    """While the database is away one account's calls are charged six times of eight; then another's still are."""
    with run_crowd(store, data_dir, settings=GatewaySettings(max_unflushed_charges=8)) as crowd:
        many, few = crowd.key(), crowd.key()
        assert [crowd.ask(key).status_code for key in (many, few)] == [200, 200]
        crowd.rig.settled()
        store.away = True
        assert [crowd.ask(many).status_code for _ in range(8)] == [200] * 6 + [503] * 2
        assert refused_at(crowd.rig, "gateway.max_unflushed_charges") == 2
        assert crowd.ask(few).status_code == 200
        store.away = False
        crowd.rig.settled()
        assert crowd.ask(many).status_code == 200


def streams_of_a_key(store: SlowStore, data_dir: Path) -> None:
    """Each key has its two streams; those of four keys are open requests of one account, which has six of eight."""
    settings = GatewaySettings(max_open_requests=8, max_streams_per_key=2)
    with run_crowd(store, data_dir, settings=settings) as crowd:
        account = crowd.rig.account("5")
        keys = [crowd.rig.credit_key(account) for _ in range(4)]
        calls = crowd.open(keys[0], 3, stream=True)
        assert (open_ones(calls), calls[-1].end().status_code) == (2, 429)
        calls = [call for key in keys[1:] for call in crowd.open(key, 2, stream=True)]
        assert open_ones(calls) == 4
        assert [call.end().status_code for call in calls[4:]] == [503, 503]
        assert open_ones(crowd.open(crowd.key(), stream=True)) == 1


def key_look_ups(store: SlowStore, data_dir: Path) -> None:
    """While the database does not tell who asks, sixteen wait for it, and who is known is served."""
    with run_crowd(store, data_dir, settings=GatewaySettings(max_open_requests=32)) as crowd:
        known, unknown = crowd.key(), [crowd.key() for _ in range(18)]
        assert crowd.ask(known).status_code == 200
        with store.slow_look_ups():
            calls = [crowd.begin(key) for key in unknown]
            eventually(lambda: refused_at(crowd.rig, "gateway.max_open_requests") == 2)
            assert [crowd.ask(known).status_code for _ in range(3)] == [200] * 3
        assert sorted(call.end().status_code for call in calls) == [200] * 16 + [503] * 2


def begin_a_large_body(rig: Rig, key: str) -> RawClient:
    """A request of which all but the last byte of a megabyte has come."""
    client = RawClient(urlsplit(rig.base_url).port or 0)
    head, _, _ = (HALF_A_BODY % (CHAT.encode(), key.encode())).partition(b"content-length")
    return client.send(head + b"content-length: %d\r\n\r\n" % MIB).send(b" " * (MIB - 1))


def bodies_in_pieces(store: SlowStore, data_dir: Path) -> None:
    """One account has six of eight megabytes, one without money half of one at most; another's body is read."""
    with run_crowd(store, data_dir, bounds=Bounds(all_bodies_bytes=8 * MIB)) as crowd, ExitStack() as clients:
        many, few = crowd.key(), crowd.key()
        large = [clients.enter_context(begin_a_large_body(crowd.rig, many)) for _ in range(8)]
        refused = [client for client in large if client.hears(wait_s=0.2)]
        assert [client.answer().status for client in refused] == [503, 503]
        assert refused_at(crowd.rig, "server.max_all_bodies_bytes") == 2
        poor = clients.enter_context(begin_a_large_body(crowd.rig, crowd.key(None)))
        assert poor.answer().status == 402
        script = Script((answer(usage=USAGE),), content_type="application/json")
        answered = crowd.rig.post(few, crowd.body(script, metadata={"x": "x" * 200_000}))
        assert answered.status_code == 200


def answers_that_wait(store: SlowStore, data_dir: Path) -> None:
    """One account has six of eight megabytes unread at most; another account's answer waits until it is read."""
    with run_crowd(store, data_dir, bounds=Bounds(all_unread_bytes=8 * MIB)) as crowd, ExitStack() as clients:
        large = (answer("x" * MIB, usage=USAGE),)

        def ask(key: str) -> RawClient:
            body = msgspec.json.encode(crowd.body(Script(large, content_type="application/json")))
            head, _, _ = (HALF_A_BODY % (CHAT.encode(), key.encode())).partition(b"content-length")
            client = clients.enter_context(
                RawClient(urlsplit(crowd.rig.base_url).port or 0, receive_buffer_bytes=4_096)
            )
            return client.send(head + b"content-length: %d\r\n\r\n" % len(body) + body)

        many, unread = crowd.key(), crowd.rig.listener.unread
        kept = ask(many)
        eventually(lambda: unread.shares.used > 0)
        asked = [ask(many) for _ in range(9)]
        eventually(lambda: refused_at(crowd.rig, "server.max_all_unread_bytes") > 0)
        assert unread.shares.used <= 6 * MIB
        assert len(ask(crowd.key()).answer().body) > MIB
        assert len(kept.answer().body) > MIB
        with pytest.raises(EOFError):
            [client.answer() for client in asked]


def connections_without_a_request(store: SlowStore, data_dir: Path) -> None:
    """Sixteen connections that ask for nothing take all there are, and whoever asks is served."""
    with run_crowd(store, data_dir, bounds=Bounds(connections=16)) as crowd, ExitStack() as clients:
        key = crowd.key()
        for _ in range(40):
            clients.enter_context(RawClient(urlsplit(crowd.rig.base_url).port or 0))
        assert [crowd.ask(key).status_code for _ in range(3)] == [200] * 3
        assert len(crowd.rig.listener.connections) <= 16


Drive = Callable[[SlowStore, Path], None]
DRIVEN: Final[dict[str, tuple[Drive, ...]]] = {
    "gateway.max_open_requests": (open_requests, bodies_that_never_end, key_look_ups),
    "gateway.max_unfunded_calls": (unfunded_calls,),
    "gateway.max_streams_per_key": (streams_of_a_key,),
    "upstreams.<name>.max_concurrent": (places_at_an_upstream,),
    "gateway.max_draining": (answers_read_on,),
    "gateway.max_draining_per_account": (answers_read_on_of_one_account,),
    "gateway.max_unflushed_charges": (charges_that_wait,),
    "server.max_all_bodies_bytes": (bodies_in_pieces,),
    "server.max_all_unread_bytes": (answers_that_wait,),
    "server.max_connections": (connections_without_a_request,),
    "calls in line while the database is behind": (),
    "steps of large bodies": (),
}
"""What drives an account to the bound of a row; the last two are driven by unit tests."""
CONSTANTS: Final = {
    "calls in line while the database is behind": f"{MOST_WAITING:,}",
    "steps of large bodies": f"{STEP_BYTES // 1024} KiB",
}


def name_of(row: tuple[str, ...]) -> str:
    """The setting of a row, or what it is about where there is none."""
    named = codes(row[0])
    return named[0] if named else row[0]


def test_every_bound_is_driven() -> None:
    """A row of the table has its test, and each test its row."""
    assert {name_of(row) for row in ROWS} == set(DRIVEN)


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_a_bound_is_what_the_table_says(row: tuple[str, ...]) -> None:
    """It is a setting with that default, or a constant; and the row says what happens."""
    name, value = name_of(row), row[1]
    assert value == (CONSTANTS[name] if name in CONSTANTS else SETTINGS[name])
    assert all(row)


@pytest.mark.parametrize(
    "drive", [drive for drives in DRIVEN.values() for drive in drives], ids=lambda drive: drive.__name__
)
def test_others_are_served_while_one_account_is_at_the_bound(store: SlowStore, tmp_path: Path, drive: Drive) -> None:
    """In a gateway of its own."""
    drive(store, tmp_path / "data")
