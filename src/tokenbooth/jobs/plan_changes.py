"""The job that writes down changes of plan whose moment has come.

They count from that moment on without it, by the clock; what reads rows alone, such as reports, sees them by this.
"""

from tokenbooth.kit.clock import Clock
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import subscriptions


class PlanChanges:
    """Writes down what is due; `run` is a periodic job."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Do it once."""
        await self._store.write(subscriptions.settle_plans, now_us=self._clock.now_us())
