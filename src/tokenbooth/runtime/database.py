"""The configured database: opened with mistakes named, and with a schema that fits this program."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tokenbooth.config.settings import Settings, SettingsError
from tokenbooth.kit.private_files import make_private_directory, touch_private
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.migrate import SchemaState, migrate, require_current, schema_state

# With each the one driver that this program works with; SQLAlchemy knows others.
_DRIVERS: Final = {"sqlite": ("", "pysqlite"), "postgresql": ("", "psycopg")}
# Of a name that may be very long.
_SHOWN: Final = 64
_SQLITE_HEADER: Final = b"SQLite format 3\0"


def open_database(settings: Settings) -> Store:
    """The store of `settings`; a SQLite file is made when it is missing. Close it when done.

    Raises:
        SettingsError: `store.url` cannot be used.
    """
    try:
        url = make_url(settings.store.url)
    except (ArgumentError, ValueError):
        # Its own words would quote the URL, and the password in it.
        raise SettingsError(
            "store.url: it is no database URL; write sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS:
        raise SettingsError(f'store.url: "{backend[:_SHOWN]}" is not supported; use sqlite or postgresql')
    if driver not in _DRIVERS[backend]:
        raise SettingsError(
            f'store.url: the driver "{driver[:_SHOWN]}" is not supported; write {backend}:// without one'
        )
    if backend == "sqlite":
        _make_file(url)
    else:
        _check_options(url)
    return open_store(settings.store.url)


@contextmanager
def ready_database(settings: Settings) -> Iterator[Store]:
    """The store of `settings` for a command; an empty database gets its schema first.

    Raises:
        SettingsError: `store.url` cannot be used.
        SchemaMismatch: the schema is older or newer than this program.
        StoreUnavailable: the database does not answer.
    """
    store = open_database(settings)
    try:
        if store.read_now(schema_state) is SchemaState.EMPTY:
            migrate(store.engine)
        store.read_now(require_current)
        yield store
    finally:
        store.close()


def _make_file(url: URL) -> None:
    """Make the file before SQLite does, so that nobody else may read it; its journal gets the same mode."""
    path = Path(url.database or "")
    if url.host or path.name in ("", ":memory:") or "\0" in str(path):
        raise SettingsError(
            "store.url: name a file behind three slashes, sqlite:///FILE: a database in memory would lose every balance"
        )
    if url.query or path.name.startswith("file:"):
        raise SettingsError("store.url: SQLite takes no options here; write sqlite:///FILE")
    try:
        make_private_directory(path.parent)
        touch_private(path)
        _check_file(path)
    except OSError as failure:
        raise SettingsError(f"store.url: {path} cannot be used: {failure.strerror}") from None


def _check_file(path: Path) -> None:
    """SQLite itself says too little, and says it late.

    Raises:
        SettingsError: it is no database, or may not be written.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise SettingsError(f"store.url: {path} cannot be used: it is no file")
    with path.open("rb") as file:
        header = file.read(len(_SQLITE_HEADER))
    if header not in (b"", _SQLITE_HEADER):
        raise SettingsError(f"store.url: {path} cannot be used: it is no SQLite database")
    for needed in (path, path.parent):
        if not os.access(needed, os.W_OK):
            raise SettingsError(f"store.url: {path} cannot be used: {needed} is read-only for this user")


def _check_options(url: URL) -> None:
    """Whether the driver is there, and everything stands where it belongs.

    Raises:
        SettingsError: so it is not.
    """
    if "@" in (url.host or ""):
        # What stands before it is a part of the password, and the driver's error would tell it.
        raise SettingsError("store.url: write an @ in the password as %40")
    try:
        from psycopg import Error
        from psycopg.conninfo import make_conninfo
    except ImportError:
        raise SettingsError(
            "store.url: PostgreSQL needs a driver: install tokenbooth with the extra `postgres`"
        ) from None
    for name in url.query:
        try:
            make_conninfo("", **{name: "1"})
        except Error:
            raise SettingsError(f'store.url: PostgreSQL knows no option "{name[:_SHOWN]}"') from None
