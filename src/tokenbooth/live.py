"""What the management side may ask of the gateway, without importing it."""

from typing import Protocol


class Live(Protocol):
    """The gateway's live state, as far as others need it."""

    async def settled(self) -> None:
        """Return when every charge finished so far is in the store, or after a bounded wait when it is away."""
        ...

    async def changed(self) -> None:
        """Apply what was committed to the change sequence so far to this process's caches, now."""
        ...

    def held_nano(self, account_id: str) -> int:
        """What calls in flight hold of an account's credit, in nano-USD."""
        ...
