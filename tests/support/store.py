"""A real database in a temporary directory, and the few rows that most tests begin with.

Only tests import it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, func, insert, select

from tests.support.postgres import Postgres
from tokenbooth.domain.keys import ALL_SCOPES, KeyKind, Scope, digest, shown_prefix
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.store.accounts.accounts import create_account
from tokenbooth.store.accounts.management_keys import NewManagementKey, create_management_key
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.tables import change_counter, metadata

S = TypeVar("S", bound=Store)


def open_empty_sqlite(path: Path) -> Store:
    """A new SQLite database with the whole schema; the caller closes it."""
    return with_schema(open_store(f"sqlite:///{path}"))


def with_schema(empty: S) -> S:
    """A store of an empty database, with the whole schema in it."""
    metadata.create_all(empty.engine)
    empty.write_now(_start_counter)
    return empty


@contextmanager
def empty_store(request: pytest.FixtureRequest, directory: Path) -> Iterator[Store]:
    """An empty database with the whole schema, of the kind that is the fixture's parameter: sqlite or postgresql."""
    if request.param == "sqlite":
        opened = open_empty_sqlite(directory / "tokenbooth.db")
        yield opened
        opened.close()
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.new_database()
    opened = open_store(url)
    yield opened
    opened.close()
    server.drop_database(url)


@dataclass(frozen=True, slots=True)
class Customer:
    """An account with a management key in the clear."""

    account_id: str
    email: str
    key_id: str
    management_key: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an authenticated call."""
        return {"authorization": f"Bearer {self.management_key}"}


def new_customer(
    store: Store,
    *,
    now_us: int,
    email: str = "ada@example.com",
    scopes: tuple[Scope, ...] = ALL_SCOPES,
    expires_at_us: int | None = None,
) -> Customer:
    """Create an account and its first management key."""
    account_id = new_id(IdPrefix.ACCOUNT, now_us)
    store.write_now(create_account, account_id, email, None, now_us=now_us)
    return another_key(store, account_id, email, now_us=now_us, scopes=scopes, expires_at_us=expires_at_us)


def another_key(
    store: Store,
    account_id: str,
    email: str,
    *,
    now_us: int,
    scopes: tuple[Scope, ...] = ALL_SCOPES,
    expires_at_us: int | None = None,
) -> Customer:
    """A further management key of an account."""
    key = new_key(KeyKind.MANAGEMENT)
    new = NewManagementKey(
        id=new_id(IdPrefix.MANAGEMENT_KEY, now_us),
        account_id=account_id,
        name="test",
        digest=digest(key),
        prefix=shown_prefix(key, KeyKind.MANAGEMENT),
        scopes=scopes,
        expires_at_us=expires_at_us,
    )
    store.write_now(create_management_key, new, max_keys=1_000, actor="test", now_us=now_us)
    return Customer(account_id=account_id, email=email, key_id=new.id, management_key=key)


def row_counts(store: Store) -> Mapping[str, int]:
    """How many rows each table has, to tell whether anything was written."""

    def count(conn: Connection) -> dict[str, int]:
        return {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }

    return store.read_now(count)


def at_once(store: Store, work: Callable[[Connection], None]) -> None:
    """Run statements of a test's own as one transaction."""
    store.write_now(work)


def unchecked(store: Store, statement: str) -> None:
    """Run a statement without the database's own checks, as a damaged file or a careless hand would."""
    with store.engine.connect() as conn:
        # SQLite's pragmas have no effect inside a transaction, so it all goes to the driver's connection.
        driver = conn.connection.driver_connection
        assert driver is not None
        if store.is_sqlite:
            before = ["PRAGMA foreign_keys = OFF", "PRAGMA ignore_check_constraints = ON"]
            after = ["PRAGMA foreign_keys = ON", "PRAGMA ignore_check_constraints = OFF"]
        else:
            floor = "ALTER TABLE ledger_accounts DROP CONSTRAINT IF EXISTS ck_ledger_accounts_credit_floor"
            before = ["SET session_replication_role = replica", floor]
            after = ["SET session_replication_role = origin"]
        for line in (*before, statement, *after):
            driver.execute(line)
        driver.commit()


def _start_counter(conn: Connection) -> None:
    conn.execute(insert(change_counter).values(id=1, seq=0))
