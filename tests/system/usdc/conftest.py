"""Every test of this directory that asks for `booth` runs on both chains and both databases, and ends with an audit."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from tests.support.postgres import Postgres
from tests.support.usdc.chains import DrivenChain, running_anvil, running_sandbox
from tests.support.usdc.deposit_rig import Booth, running_booth
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import change_counter, metadata


@pytest.fixture(params=["anvil", "sandbox"])
def chain(request: pytest.FixtureRequest) -> Iterator[DrivenChain]:
    """A chain of the test's own."""
    made: AbstractContextManager[DrivenChain] = running_anvil() if request.param == "anvil" else running_sandbox()
    with made as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty database of the test's own; its books are audited at the end."""
    if request.param == "sqlite":
        opened = open_store(f"sqlite:///{tmp_path / 'tokenbooth.db'}")
        metadata.create_all(opened.engine)
        opened.write_now(_start_counter)
        yield opened
        _finish(opened)
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.new_database()
        opened = open_store(url)
        yield opened
        _finish(opened)
        server.drop_database(url)


@pytest.fixture
async def booth(store: Store, chain: DrivenChain) -> AsyncIterator[Booth]:
    """The product on a chain, with two customers."""
    async with running_booth(store, chain) as running:
        yield running


def _finish(store: Store) -> None:
    differences = store.read_now(audit).differences
    store.close()
    assert differences == ()


def _start_counter(conn: Connection) -> None:
    conn.execute(insert(change_counter).values(id=1, seq=0))
