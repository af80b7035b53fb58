"""Passwords: Argon2id, off the event loop, one at a time, behind everything else that the machine has to do.

A hash takes 64 MiB and four threads for a tenth of a second, so that one at a time fills the processors; more would
only make the event loop wait for its turn. Model calls come first: the threads have a lower priority. Who comes in a
crowd is told to come back. Nothing tells whether an account exists: checking against none takes as long as checking
against one.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Final, ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tokenbooth.kit.errors import InvalidRequest, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 200
_WAITING_MAX: Final = 32
# A third of the weight of other threads. Not less: what it does with the interpreter's lock the loop waits for.
_NICENESS: Final = 5


class Passwords:
    """Hashes and checks; one for the process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """`hasher` None: Argon2id with the parameters of RFC 9106's second choice."""
        self._hasher = hasher or PasswordHasher()
        self._thread = ThreadPoolExecutor(1, "passwords", initializer=_give_way)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The hash to store.

        Raises:
            Unavailable: too many wait already.
        """
        return await self._in_turn(self._hasher.hash, password)

    async def matches(self, password: str, stored: str | None) -> bool:
        """Whether it is the password of `stored`; None, for no account or none with a password, takes as long.

        Raises:
            Unavailable: too many wait already.
        """
        return await self._in_turn(self._matches, password, stored)

    def needs_rehash(self, stored: str) -> bool:
        """Whether the hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _of_nobody(self) -> str:
        return self._hasher.hash("the password of nobody")

    def _matches(self, password: str, stored: str | None) -> bool:
        try:
            self._hasher.verify(self._of_nobody if stored is None else stored, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    async def _in_turn(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._waiting >= _WAITING_MAX:
            raise Unavailable("busy", "Too many people are logging in right now. Try again in a few seconds.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, partial(work, *args, **kwargs))
        finally:
            self._waiting -= 1


def _give_way() -> None:
    """Lower the priority of this thread, and of those that the hasher starts in it."""
    # Elsewhere a priority is a process's, never a thread's.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def checked_password(password: str, email: str) -> str:
    """The password, if it may be chosen.

    Raises:
        InvalidRequest: it is too short or too long, or it is the email.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidRequest(
            "weak_password", f"A password needs {MIN_LENGTH} to {MAX_LENGTH} characters.", param="password"
        )
    if password.lower() in (email, email.partition("@")[0]) or len(set(password)) < 4:
        raise InvalidRequest("weak_password", "This password is too easy to guess.", param="password")
    return password
