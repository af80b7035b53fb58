"""The management plane over a real database, with fakes beside it. Only tests import it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from tests.support.fakes import FakeClock, FakeLive
from tokenbooth.api.app import create_management_app
from tokenbooth.config.catalog import build_catalog
from tokenbooth.config.settings import ManagementSettings, Settings
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.engine import Store


@dataclass(frozen=True, slots=True)
class Plane:
    """A management plane and what it was built from."""

    client: httpx.AsyncClient
    app: FastAPI
    context: ServiceContext
    clock: FakeClock
    live: FakeLive


@asynccontextmanager
async def management_plane(
    store: Store, management: ManagementSettings | None = None, *, down: Callable[[], Sequence[str]] = tuple
) -> AsyncIterator[Plane]:
    """Build the plane without Stripe; `management` are the settings to be tried, `down` what background work is."""
    settings = Settings(management=management or ManagementSettings())
    clock, live, catalog = FakeClock(), FakeLive(), build_catalog(settings)
    context = ServiceContext(
        store=store,
        clock=clock,
        settings=settings,
        catalog=lambda: catalog,
        live=live,
        stripe=None,
        handle_event=_no_events,
        down=down,
    )
    app = create_management_app(context)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://booth.test") as client:
        yield Plane(client=client, app=app, context=context, clock=clock, live=live)


async def _no_events(_row_id: str) -> None:
    raise AssertionError("no event was expected")
