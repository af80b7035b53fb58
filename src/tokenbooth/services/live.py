"""What the management side may ask of the gateway, without importing it."""

from typing import Protocol

from tokenbooth.domain.upstreams import UpstreamHealth


class Live(Protocol):
    """The gateway's live state, as far as others need it."""

    async def flush(self) -> None:
        """Return when every charge finished so far is in the store, or after a bounded wait when it is away."""
        ...

    async def refresh(self) -> None:
        """Apply what was committed to the change sequence so far to this process's caches, now."""
        ...

    def held_nano(self, account_id: str) -> int:
        """What calls in flight hold of an account's credit, in nano-USD."""
        ...

    def admits(self) -> bool:
        """Whether calls with known keys are admitted.

        Not when this process was replaced or is cut off for long, and not while charges cannot be kept.
        """
        ...

    def stores(self) -> bool:
        """Whether the database took what this process last wrote; a full disk fails writes alone."""
        ...

    def upstream_health(self) -> list[UpstreamHealth]:
        """How each upstream that a model uses does now, by name."""
        ...
