"""Fixtures that every test may use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.management import Plane, management_plane
from tests.support.postgres import Postgres, running_postgres
from tests.support.store import Customer, new_customer, open_empty_sqlite
from tokenbooth.store.engine import Store

# No test depends on how busy the machine is.
settings.register_profile("tokenbooth", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tokenbooth")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server of this test process."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """An empty database of its own for one test, without a schema."""
    url = postgres_server.new_database(empty=True)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite database with the whole schema."""
    opened = open_empty_sqlite(tmp_path / "tokenbooth.db")
    yield opened
    opened.close()


@pytest.fixture
async def plane(store: Store) -> AsyncIterator[Plane]:
    """The management plane without Stripe, over an empty database."""
    async with management_plane(store) as built:
        yield built


@pytest.fixture
def customer(plane: Plane) -> Customer:
    """An account whose management key may do everything."""
    return new_customer(plane.context.store, now_us=plane.clock.now_us())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests recorded as "shown", also where they ran in processes of their own."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "shown":
                terminalreporter.section(report.nodeid.rpartition("::")[2])
                terminalreporter.write_line(str(text))
