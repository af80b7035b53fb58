"""The database fixture: every test here runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.store import open_empty_sqlite
from tokenbooth.store.engine import Store, open_store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database of each kind with the whole schema."""
    if request.param == "sqlite":
        opened = open_empty_sqlite(tmp_path / "tokenbooth.db")
        yield opened
        opened.close()
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.new_database()
    opened = open_store(url)
    yield opened
    opened.close()
    server.drop_database(url)
