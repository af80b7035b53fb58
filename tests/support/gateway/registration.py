"""A process's registration without a gateway around it. Only tests import it."""

from collections.abc import Callable
from pathlib import Path

from tests.support.fakes import FakeClock
from tokenbooth.gateway.access.registration import Registration
from tokenbooth.kit.clock import since_boot_us
from tokenbooth.store.engine import Store


def unregistered(
    store: Store,
    data_dir: Path,
    *,
    on_database_went_back: Callable[[], None] = lambda: None,
    since_boot_us: Callable[[], int] = since_boot_us,
    watch_s: float = 0.0,
) -> Registration:
    """A registration that has not begun; it does not watch a silent process for longer than `watch_s`."""
    return Registration(
        store=store,
        clock=FakeClock(),
        data_dir=data_dir,
        catalog_hash=str,
        on_database_went_back=on_database_went_back,
        since_boot_us=since_boot_us,
        watch_s=watch_s,
    )


async def no_replay() -> None:
    """Nothing has to be done before calls are admitted."""
