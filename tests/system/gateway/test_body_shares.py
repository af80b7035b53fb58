"""What accounts send and leave unread, in shares: whatever one of them does, others are served."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.support.command import wait_until
from tests.support.gateway.load import CHAT, post
from tests.support.raw_client import RawClient
from tests.support.service import Service, run_service

MIB: Final = 1024 * 1024
SETTINGS: Final = f"""
max_all_bodies_bytes = {8 * MIB}
max_all_unread_bytes = {2 * MIB}
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server with room for few bodies and answers; afterwards its books are right."""
    with run_service(tmp_path_factory.mktemp("shares"), server_settings=SETTINGS) as running:
        yield running
        wait_until(lambda: running.held() == 0, "no money is held")
        assert running.audit() is None


def begin_body(client: RawClient, key: str, size: int) -> None:
    """Send all of a body but its last byte; a server that does not want it may say so meanwhile."""
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {size}\r\n\r\n"
    client.send(head.encode())
    client.send(b" " * (size - 1))


def in_two_pieces(service: Service, key: str, size: int) -> int:
    """The status of a call whose body does not come with its head."""
    head, end, body = post(key, messages=[{"role": "user", "content": "x" * size}]).partition(b"\r\n\r\n")
    with RawClient(service.port) as client:
        assert not client.send(head + end).hears(wait_s=0.1)
        return client.send(body).answer().status


@pytest.mark.parametrize("piece", [1_000_000, 5_000_000])
def test_bodies_of_one_account_leave_room_for_others(service: Service, piece: int) -> None:
    """It gets three quarters at most, a further body of it is 503; another account's calls are served."""
    greedy, other = service.keys(accounts=2, per_account=1)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(service.port)) for _ in range(10)]
        for client in clients:
            begin_body(client, greedy, piece)
        refused = [client for client in clients if client.hears(wait_s=0.2)]

        assert {client.answer().status for client in refused} == {503}
        assert len(clients) - len(refused) == 6 * MIB // piece
        for size in (100, 100_000, 200_000):
            assert in_two_pieces(service, other, size) == 200
    wait_until(lambda: in_two_pieces(service, greedy, 200_000) == 200, "the room is free again")


def test_bodies_without_money_have_a_sixteenth(service: Service) -> None:
    """All accounts without money together: what is left is not for them."""
    (paying,) = service.keys(accounts=1, per_account=1)
    poor = service.keys(accounts=4, per_account=1, credit_usd=0)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(service.port)) for _ in range(16)]
        for number, client in enumerate(clients):
            begin_body(client, poor[number % 4], 100_000)
        kept = [client for client in clients if not client.hears(wait_s=0.2)]

        assert 1 <= len(kept) <= MIB // 2 // 100_000
        assert in_two_pieces(service, paying, 200_000) == 200


def test_answers_left_unread_leave_room_for_others(service: Service) -> None:
    """An account that leaves its streams unread loses those that have no room; another one's arrives whole."""
    greedy, other = service.keys(accounts=2, per_account=1)
    flood = [{"role": "user", "content": "flood"}]
    before = service.requests()
    with ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(RawClient(service.port, receive_buffer_bytes=4_096))
            client.send(post(greedy, stream=True, messages=flood)).read(b"data: ")
        wait_until(lambda: service.requests() > before, "a stream that had no room is ended and charged")
        with RawClient(service.port, receive_buffer_bytes=4_096) as client:
            answer = client.send(post(other, stream=True, messages=flood)).answer()
        assert answer.body.endswith(b"data: [DONE]\n\n")
    wait_until(lambda: service.requests() == before + 41, "every stream is charged once")
