"""Passwords are hashed away from the event loop, one at a time, and a crowd is told to come back."""

import asyncio
import os
import threading

import pytest
from argon2 import PasswordHasher

from tokenbooth.kit.errors import Unavailable
from tokenbooth.services.passwords import Passwords


class Watched(PasswordHasher):
    """Makes cheap hashes, as soon as they may go on, and notes where and how many at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go_on = threading.Event()
        self.began = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.niceness: set[int] = set()
        self._at_once = 0
        self.most_at_once = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        """Hash when the test lets it, and note on which thread, how many at once, and at what priority."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.threads.add(threading.get_ident())
        self.niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        self.began.release()
        assert self.go_on.wait(timeout=60)
        self._at_once -= 1
        return super().hash(password, salt=salt)


async def test_a_flood_waits_in_a_thread_and_is_bounded() -> None:
    """While a hash is being made the loop runs on; 32 may wait or be made, the next is refused, and all of them end."""
    hasher = Watched()
    passwords = Passwords(hasher)
    flood = [asyncio.create_task(passwords.hash(f"the password {number}")) for number in range(32)]
    await asyncio.to_thread(hasher.began.acquire)
    with pytest.raises(Unavailable, match="Too many people"):
        await passwords.hash("one too many")
    hasher.go_on.set()
    stored = await asyncio.gather(*flood)

    assert (len(set(stored)), hasher.most_at_once) == (32, 1)
    assert threading.get_ident() not in hasher.threads
    assert await passwords.matches("the password 7", stored[7])
    assert not await passwords.matches("the password 7", stored[8])


async def test_who_leaves_makes_room() -> None:
    """A client that hangs up while it waits neither takes a place nor a turn."""
    hasher = Watched()
    passwords = Passwords(hasher)
    flood = [asyncio.create_task(passwords.hash(f"the password {number}")) for number in range(32)]
    await asyncio.to_thread(hasher.began.acquire)
    for task in flood[1:]:
        task.cancel()
    await asyncio.gather(*flood[1:], return_exceptions=True)
    hasher.go_on.set()

    assert await passwords.matches("another one", await passwords.hash("another one"))
    await flood[0]
    assert hasher.began.acquire(blocking=False)
    assert not hasher.began.acquire(blocking=False)


async def test_model_calls_come_first() -> None:
    """The thread has a lower priority than the one of the event loop, which keeps its own."""
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    hasher = Watched()
    hasher.go_on.set()
    await Passwords(hasher).hash("a password of mine")

    assert hasher.niceness == {max(before, 5)}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
