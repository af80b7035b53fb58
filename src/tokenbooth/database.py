"""The configured database: opened with mistakes named, and with a schema that fits this program.

The composition root and the command line import it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from tokenbooth.private_files import make_private_directory, touch_private
from tokenbooth.settings import Settings, SettingsError
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.migrate import SchemaState, migrate, require_current, schema_state

_BACKENDS: Final = ("sqlite", "postgresql")


def open_database(settings: Settings) -> Store:
    """The store of `settings`; a SQLite file is made when it is missing. Close it when done.

    Raises:
        SettingsError: `store.url` cannot be used.
    """
    try:
        url = make_url(settings.store.url)
        backend = url.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        raise SettingsError("store.url: it is no database URL") from None
    if backend not in _BACKENDS:
        raise SettingsError(f'store.url: "{backend}" is not supported; use sqlite or postgresql')
    if backend == "sqlite":
        _make_file(url.database)
    try:
        return open_store(settings.store.url)
    except ModuleNotFoundError:
        raise SettingsError(
            "store.url: PostgreSQL needs a driver: install tokenbooth with the extra `postgres`"
        ) from None


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


def _make_file(database: str | None) -> None:
    """Make the file before SQLite does, so that nobody else may read it; its journal gets the same mode."""
    if database in (None, "", ":memory:"):
        raise SettingsError("store.url: name a file: a database in memory would lose every balance")
    path = Path(database)
    try:
        make_private_directory(path.parent)
        touch_private(path)
    except OSError as failure:
        raise SettingsError(f"store.url: {path} cannot be used: {failure.strerror}") from None
