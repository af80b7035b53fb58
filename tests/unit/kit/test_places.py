"""Places of a bound: who waits for one, who does not, and who is woken."""

import asyncio

import pytest

from tokenbooth.kit.places import Caller, Place, Places

A, B, C = (Caller(name, has_money=True) for name in "abc")
POOR = Caller("poor", has_money=False)


def take(places: Places, caller: Caller, count: int = 1) -> list[Place]:
    """So many places of somebody."""
    taken = [places.take(caller) for _ in range(count)]
    assert None not in taken
    return [place for place in taken if place is not None]


async def begun(places: Places, caller: Caller) -> "asyncio.Task[bool]":
    """A wait that has begun."""
    task = asyncio.create_task(places.wait_for_room(caller))
    await asyncio.sleep(0)
    return task


def test_a_place_is_freed_once() -> None:
    """A repeated call changes nothing."""
    places = Places(4)
    (place,) = take(places, A)
    place.free()
    place.free()

    assert places.shares.used == 0


async def test_who_has_none_gets_the_next_one() -> None:
    """The account that has places is not woken: it is above its share."""
    places = Places(4)
    (first, *_) = take(places, A, 3)
    take(places, B)
    waiting = await begun(places, C)
    assert not waiting.done()
    assert not await places.wait_for_room(A)
    first.free()

    assert await waiting
    assert places.take(A) is None
    assert places.take(C) is not None


async def test_a_wait_ends() -> None:
    """When no place became free within a second, there is none; nothing of the wait is left."""
    places = Places(1)
    take(places, A)
    assert not await places.wait_for_room(B)

    assert not places.waiting


@pytest.mark.parametrize("caller", [POOR, A])
async def test_who_does_not_wait(caller: Caller) -> None:
    """Accounts without money, and those that have a place, are told at once."""
    places = Places(1)
    take(places, A)

    assert (await begun(places, caller)).done()


async def test_of_one_account_only_some_calls_wait() -> None:
    """The fifth is told at once; others may wait all the same."""
    places = Places(1)
    (place,) = take(places, A)
    waiting = [await begun(places, B) for _ in range(5)]
    waiting.append(await begun(places, C))

    assert [task.done() for task in waiting] == [False] * 4 + [True, False]
    place.free()
    assert await waiting[0]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not places.waiting


async def test_accounts_that_wait_take_turns() -> None:
    """Each free place goes to another account, whoever has more calls in line."""
    places, order = Places(1), []

    async def call(caller: Caller) -> None:
        assert await places.wait_for_room(caller)
        place = places.take(caller)
        assert place is not None
        order.append(caller.account)
        await asyncio.sleep(0)
        place.free()

    (place,) = take(places, A)
    calls = [asyncio.create_task(call(caller)) for caller in (B, B, B, C)]
    await asyncio.sleep(0)
    place.free()
    await asyncio.gather(*calls)

    assert order == ["b", "c", "b", "b"]


async def test_a_wait_that_was_cancelled_keeps_nobody_waiting() -> None:
    """The one behind it is woken."""
    places = Places(1)
    (place,) = take(places, A)
    gone, waiting = await begun(places, B), await begun(places, B)
    gone.cancel()
    place.free()

    assert await waiting
