"""Fakes that tests hand to the code as arguments. Only tests import them."""

from typing import Final

from tokenbooth.domain.upstreams import UpstreamHealth

MARCH_5_2026_US: Final = 1_772_704_800_000_000
"""2026-03-05T10:00:00Z, a Thursday."""


class FakeClock:
    """A clock that a test moves by hand; both of its faces move together."""

    def __init__(self, now_us: int = MARCH_5_2026_US) -> None:
        self._now_us = now_us
        self._monotonic_us = 1_000_000

    def now_us(self) -> int:
        """UTC microseconds since 1970."""
        return self._now_us

    def monotonic_us(self) -> int:
        """Microseconds that only go forward."""
        return self._monotonic_us

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_us += round(seconds * 1_000_000)
        self._monotonic_us += round(seconds * 1_000_000)


class FakeLive:
    """A gateway's live state that only remembers what it was asked."""

    def __init__(self) -> None:
        self.settled_calls = 0
        self.changed_calls = 0
        self.held: dict[str, int] = {}
        self.health: list[UpstreamHealth] = []
        self.fail_with: Exception | None = None
        self.is_admitting = True
        self.is_storing = True

    async def flush(self) -> None:
        """Count the call, or fail as a test said."""
        self.settled_calls += 1
        self._fail()

    async def refresh(self) -> None:
        """Count the call, or fail as a test said."""
        self.changed_calls += 1
        self._fail()

    def held_nano(self, account_id: str) -> int:
        """What a test said is held, in nano-USD."""
        return self.held.get(account_id, 0)

    def admits(self) -> bool:
        """What a test said."""
        return self.is_admitting

    def stores(self) -> bool:
        """What a test said."""
        return self.is_storing

    def upstream_health(self) -> list[UpstreamHealth]:
        """What a test said of the upstreams."""
        return list(self.health)

    def _fail(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with
