"""Passwords: Argon2id, off the event loop, a bounded number at a time.

A hash takes 64 MiB and a good part of a processor, so at most two are made at once; who comes in a crowd is told to
come back. Nothing tells whether an account exists: checking against none takes as long as checking against one.
Only the dashboard imports this.
"""

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import Final, ParamSpec, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tokenbooth.errors import InvalidRequest, Unavailable

P = ParamSpec("P")
R = TypeVar("R")

MIN_LENGTH: Final = 10
MAX_LENGTH: Final = 200
_AT_ONCE: Final = 2
_WAITING_MAX: Final = 32


class Passwords:
    """Hashes and checks; one for the process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """`hasher` None: Argon2id with the parameters of RFC 9106's second choice."""
        self._hasher = hasher or PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
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
            async with self._turns:
                return await asyncio.to_thread(work, *args, **kwargs)
        finally:
            self._waiting -= 1


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
