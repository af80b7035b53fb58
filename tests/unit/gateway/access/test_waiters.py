"""Calls that wait for money that is only held."""

import asyncio

from tokenbooth.gateway.access.waiters import Waiters


async def test_waiters_are_woken_together() -> None:
    """Everyone who waits looks again; who comes later waits for the next time."""
    waiters = Waiters()
    waiting = [asyncio.create_task(waiters.wait(30)) for _ in range(3)]
    await asyncio.sleep(0)
    waiters.wake()

    assert await asyncio.gather(*waiting) == [True, True, True]
    assert await waiters.wait(0) is False
    waiters.wake()


async def test_a_waiter_that_gave_up_disturbs_nobody() -> None:
    """A cancelled wait leaves nothing that a wake-up would stumble over."""
    waiters = Waiters()
    task = asyncio.create_task(waiters.wait(30))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    waiters.wake()

    assert task.cancelled()
