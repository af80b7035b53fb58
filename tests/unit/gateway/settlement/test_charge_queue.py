"""Charges that wait for the store: how many may, and what calls have to wait for when there are many."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.billing.billing_rows import charge
from tests.support.fakes import MARCH_5_2026_US, FakeClock
from tokenbooth.domain.allowance import Allowance
from tokenbooth.gateway.access.cache import AccountState, Pin
from tokenbooth.gateway.access.prompt_ratio import PromptRatios
from tokenbooth.gateway.errors import Refusal
from tokenbooth.gateway.settlement.charge_log import ChargeLog
from tokenbooth.gateway.settlement.charge_queue import ChargeQueue, QueuedCharge
from tokenbooth.gateway.settlement.settle import Settler
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.places import Caller

CALLER = Caller("acct_1", has_money=True)
ACCOUNT = AccountState("acct_1", 0, False, Allowance(10**9))
ITEM = QueuedCharge(charge("acct_1", finished_at_us=MARCH_5_2026_US, cost_nano=1), ACCOUNT.pin(), (), None)
FREE_ITEM = QueuedCharge(charge("acct_1", finished_at_us=MARCH_5_2026_US, cost_nano=0), ACCOUNT.pin(), (), None)


def pinned(account_id: str) -> AccountState:
    """An account with one call."""
    account = AccountState(account_id, 0, False, Allowance(10**9))
    account.pin()
    return account


def account_with_a_call(account: AccountState, pins: list[Pin]) -> AccountState:
    """An account of which a call more is open; its pin stays."""
    pins.append(account.pin())
    return account


def wanted() -> bool:
    """The client is there."""
    return True


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ChargeLog]:
    """A charge log of its own directory."""
    opened = ChargeLog(tmp_path, first_number=1, epoch="gw_test")
    yield opened
    opened.close()


def filled(queue: ChargeQueue, count: int) -> ChargeQueue:
    """The queue with so many more charges."""
    for _ in range(count):
        queue.add(ITEM)
    return queue


def test_calls_wait_before_there_is_no_room() -> None:
    """From a quarter of what may wait on calls are slowed down."""
    queue, behind = ChargeQueue(8), []
    for _ in range(8):
        assert queue.has_room()
        queue.add(ITEM)
        behind.append(queue.is_behind())
    assert not queue.has_room()
    assert behind == [False, False, *[True] * 6]
    assert len(queue) == 8


def test_one_account_leaves_the_last_quarter_to_others() -> None:
    """What is charged already is counted in any case; what is in the store counts no more."""
    account, other = (AccountState(name, 0, False, Allowance(10**9)) for name in ("acct_1", "acct_2"))
    queue, pins = ChargeQueue(8), [other.pin()]
    while queue.has_room_for(account_with_a_call(account, pins), has_money=True):
        queue.add(ITEM)
    assert len(queue) == 6
    assert queue.has_room_for(other, has_money=True)
    filled(queue, 2)
    assert not queue.has_room_for(other, has_money=True)
    queue.drop(3)
    for pin in pins[1:5]:
        pin.release()
    assert queue.has_room_for(account, has_money=True)


def test_calls_without_money_leave_charges_for_a_sixteenth_of_the_room() -> None:
    """All of them together: what costs nothing fills no more, whoever it is from; others have the rest."""
    accounts = [AccountState(f"acct_{number}", 0, False, Allowance(0)) for number in range(9)]
    queue, pins = ChargeQueue(64), list[Pin]()
    for account in [*accounts, *accounts]:
        if queue.has_room_for(account_with_a_call(account, pins), has_money=False):
            queue.add(FREE_ITEM)
    assert len(queue) == 4
    assert queue.has_room_for(accounts[0], has_money=True)
    queue.drop(1)
    assert queue.has_room_for(account_with_a_call(AccountState("new", 0, False, Allowance(0)), pins), has_money=False)


def test_what_waits_does_not_grow_with_the_room_for_it() -> None:
    """While the database takes charges, calls are slowed down long before the room is used."""
    queue = ChargeQueue(1_000_000)
    while not queue.is_behind() and len(queue) < 20_000:
        queue.add(ITEM)
    assert len(queue) == 5_001


def test_nothing_waits_for_a_database_that_is_away() -> None:
    """Nobody could use the time then, so calls are slowed only from a quarter of what may wait on."""
    queue = ChargeQueue(100_000)
    queue.is_store_away = True
    while not queue.is_behind() and len(queue) < 50_000:
        queue.add(ITEM)
    assert len(queue) == 25_001


def test_calls_begin_at_once_when_the_store_has_caught_up() -> None:
    """What waited before does not slow down who comes later."""
    queue = filled(ChargeQueue(4), 3)
    assert queue.is_behind()
    queue.drop(3)
    assert not queue.is_behind()


async def test_calls_that_would_wait_for_long_are_refused(log: ChargeLog) -> None:
    """While the store is behind no more calls wait than begin within a second, and of one account three quarters."""
    queue = filled(ChargeQueue(100), 50)
    settler = Settler(clock=FakeClock(), log=log, ratios=PromptRatios(), queue=queue)
    waiting = [asyncio.ensure_future(settler.keep_pace(pinned("acct_2"), CALLER, wanted)) for _ in range(751)]
    with pytest.raises(Refusal) as refused:
        await waiting.pop()
    assert (refused.value.status, refused.value.retry_after_us, settler.refused) == (503, 2_000_000, 1)
    assert len(await asyncio.gather(*waiting)) == 750


async def test_the_loop_serves_others_while_a_call_waits(log: ChargeLog) -> None:
    """Only who wants to begin waits: nothing sleeps on the event loop, and what is under way goes on."""
    queue = filled(ChargeQueue(100), 50)
    settler = Settler(clock=SystemClock(), log=log, ratios=PromptRatios(), queue=queue)
    waiting = [asyncio.ensure_future(settler.keep_pace(pinned("acct_2"), CALLER, wanted)) for _ in range(50)]
    turns = 0
    while not all(call.done() for call in waiting):
        await asyncio.sleep(0)
        turns += 1
    assert [call.exception() for call in waiting] == [None] * 50
    assert turns > 50


async def test_a_call_that_waited_is_refused_when_there_is_no_room_any_more(log: ChargeLog) -> None:
    """What was charged meanwhile counts."""
    queue = filled(ChargeQueue(5), 3)
    settler = Settler(clock=SystemClock(), log=log, ratios=PromptRatios(), queue=queue)
    waiting = asyncio.ensure_future(settler.keep_pace(pinned("acct_2"), CALLER, wanted))
    await asyncio.sleep(0)
    filled(queue, 2)
    with pytest.raises(Refusal):
        await waiting
