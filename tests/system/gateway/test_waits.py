"""A call that waited is asked again before it is let in, and who would be refused anyway takes nobody's turn."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Concatenate, ParamSpec, TypeVar

import httpx
import pytest
from sqlalchemy import Connection, select

from tests.support.gateway.gateway_rig import CHAT, JumpingClock, MoodyStore, Rig, eventually, prompt, run_rig
from tests.support.store import with_schema
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.store import processes
from tokenbooth.store.accounts.accounts import suspend
from tokenbooth.store.accounts.keys import delete_api_key
from tokenbooth.store.engine import make_engine
from tokenbooth.store.tables import api_keys

P = ParamSpec("P")
R = TypeVar("R")

CALL = prompt("[[usage prompt=1000 completion=100]]")
WINDOW_S = 5 * 3_600


class SlowStore(MoodyStore):
    """A store whose look at a window takes as long as a test wants."""

    def __init__(self, path: Path) -> None:
        super().__init__(make_engine(f"sqlite:///{path}"))
        self.asked, self.may_answer = Event(), Event()
        self.may_answer.set()

    async def read(self, fn: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Read; what a window has spent, only when it may be told."""
        if fn.__name__ == "load_window_spent_nano":
            self.asked.set()
            await asyncio.to_thread(self.may_answer.wait, 10)
        return await super().read(fn, *args, **kwargs)


@pytest.fixture
def clock() -> JumpingClock:
    """Time stands still until a test moves it."""
    return JumpingClock()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowStore]:
    """An empty database with the whole schema."""
    opened = with_schema(SlowStore(tmp_path / "slow.db"))
    yield opened
    opened.close()


@pytest.fixture
def rig(slow: SlowStore, clock: JumpingClock, tmp_path: Path) -> Iterator[Rig]:
    """A gateway whose calls wait for held money for a second of ours."""
    settings = GatewaySettings(hold_wait_ms=1_000)
    with run_rig(slow, tmp_path / "data", clock=clock, gateway_settings=settings) as running:
        yield running


def delete_it(rig: Rig, account: str) -> None:
    """The customer deletes the key."""
    key_id = rig.store.read_now(
        lambda conn: conn.execute(select(api_keys.c.id).where(api_keys.c.account_id == account)).scalar_one()
    )
    rig.store.write_now(delete_api_key, account, key_id, actor="test", now_us=rig.clock.now_us())
    rig.sync()


def suspend_it(rig: Rig, account: str) -> None:
    """The operator suspends the account."""
    rig.store.write_now(suspend, account, actor="test", reason="test", now_us=rig.clock.now_us())
    rig.sync()


def replace_it(rig: Rig, account: str) -> None:
    """The operator declares the process dead, and it learns of that with its next beat."""
    rig.store.write_now(processes.close_by_operator, rig.gateway.epoch, beat=None, now_us=1)
    eventually(lambda: not rig.gateway.process_is_open)


MEANWHILE = [
    pytest.param(delete_it, (401, "invalid_api_key"), id="the key is deleted"),
    pytest.param(suspend_it, (403, "account_suspended"), id="the account is suspended"),
    pytest.param(replace_it, (503, "temporarily_unavailable"), id="the process is replaced"),
]
Change = Callable[[Rig, str], None]


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


async def nothing() -> None:
    """Done when the loop has come to it."""


@pytest.mark.parametrize(("change", "refusal"), MEANWHILE)
def test_a_call_that_waited_for_its_window_is_asked_again(
    rig: Rig, slow: SlowStore, clock: JumpingClock, change: Change, refusal: tuple[int, str]
) -> None:
    """The store takes its time to say what the window has spent, and meanwhile the key may not call any more."""
    account = rig.account()
    key = rig.subscription_key(rig.subscription(account), account)
    assert rig.post(key, CALL).status_code == 200
    clock.advance(WINDOW_S)
    rig.sync()
    slow.asked.clear()
    slow.may_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rig.post, key, CALL)
        assert slow.asked.wait(10)
        change(rig, account)
        slow.may_answer.set()
        assert told(waiting.result()) == refusal
    assert len(rig.models.requests) == 1


@pytest.mark.parametrize(("change", "refusal"), MEANWHILE)
def test_a_call_that_waited_for_held_money_is_asked_again(rig: Rig, change: Change, refusal: tuple[int, str]) -> None:
    """The rest of the credit is held, it becomes free, and meanwhile the key may not call any more."""
    account = rig.account("0.0005")
    key = rig.credit_key(account)
    headers = {"authorization": f"Bearer {key}"}
    hanging = prompt("[[write 5]] [[hang-after 1]]", stream=True)
    with ThreadPoolExecutor(1) as pool:
        with rig.http.stream("POST", CHAT, json=hanging, headers=headers) as held:
            # Kept: when nobody has it any more, the stream is closed.
            pieces = held.iter_raw()
            next(pieces)
            waiting = pool.submit(rig.post, key, prompt("hello"))
            eventually(lambda: rig.gateway.open_requests == 2)
            rig.on_loop(nothing())
            change(rig, account)
        assert told(waiting.result()) == refusal
    assert len(rig.models.requests) == 1


async def test_calls_above_a_limit_of_requests_take_nobodys_turn(
    moody: MoodyStore, clock: JumpingClock, tmp_path: Path
) -> None:
    """While the store is behind calls begin in turn, as many as fit in a second; a key at its limit is not in line."""
    settings = GatewaySettings(max_unflushed_charges=8)
    with run_rig(moody, tmp_path / "data", clock=clock, gateway_settings=settings) as rig:
        limited, other = rig.credit_key(rig.account("5"), rpm=4), rig.credit_key(rig.account("5"))
        assert [rig.post(key, CALL).status_code for key in (other, limited)] == [200, 200]
        rig.settled()
        moody.away = True
        assert [rig.post(limited, CALL).status_code for _ in range(4)] == [200, 200, 200, 429]
        for _ in range(1_001):
            assert rig.post(limited, CALL).status_code == 429
        assert rig.post(other, CALL).status_code == 200
        moody.away = False
