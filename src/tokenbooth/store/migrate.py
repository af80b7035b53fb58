"""The schema's versions: what a database has, what this program needs, and the way from one to the other.

A migration is one transaction that only one process runs at a time; the others wait and find it done. This module must
never touch data beyond what a revision says.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, column, inspect, select, table, text
from sqlalchemy.exc import InterfaceError, OperationalError

from tokenbooth.kit.errors import StoreUnavailable

_MIGRATIONS: Final = Path(__file__).with_name("migrations")
REVISIONS: Final = tuple(sorted(path.name[1:5] for path in (_MIGRATIONS / "versions").glob("r[0-9]*_*.py")))
"""Every revision that this program knows, oldest first, by the names of the files."""

# Any number that nothing else in this database locks on: the ASCII of "tokbooth".
_ADVISORY_LOCK: Final = 0x746F6B626F6F7468
_VERSION_TABLE: Final = "alembic_version"


class SchemaState(StrEnum):
    """How a database relates to this program."""

    EMPTY = "empty"
    OLD = "old"
    CURRENT = "current"
    NEWER = "newer"
    FOREIGN = "foreign"


class SchemaMismatch(Exception):
    """The database's schema is not one that this program may work with; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """What a call of `migrate` did: the version before (None: an empty database) and after it."""

    before: str | None
    after: str

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.before != self.after


def schema_version(conn: Connection) -> str | None:
    """The revision that the database is at; None when no migration ever ran on it."""
    if not inspect(conn).has_table(_VERSION_TABLE):
        return None
    found: str | None = conn.execute(select(column("version_num")).select_from(table(_VERSION_TABLE))).scalar()
    return found


def schema_state(conn: Connection) -> SchemaState:
    """What the database is to this program."""
    version = schema_version(conn)
    if version is None:
        return SchemaState.FOREIGN if inspect(conn).get_table_names() else SchemaState.EMPTY
    if version == REVISIONS[-1]:
        return SchemaState.CURRENT
    return SchemaState.OLD if version in REVISIONS else SchemaState.NEWER


def needs_migration(conn: Connection) -> bool:
    """Whether `migrate` would change the database."""
    return schema_state(conn) in (SchemaState.EMPTY, SchemaState.OLD)


def require_current(conn: Connection) -> None:
    """Raise SchemaMismatch unless the schema is exactly this program's."""
    _refuse_unknown(conn)
    if needs_migration(conn):
        raise SchemaMismatch(
            "the database's schema is older than this program: stop the server, run `tokenbooth migrate`, "
            "start it again"
        )


def migrate(engine: Engine) -> Migration:
    """Bring the schema to the newest revision; waits for another process that is doing it.

    Raises:
        SchemaMismatch: the schema is newer than this program, or the database holds something else.
        StoreUnavailable: the database does not answer.
    """
    try:
        # READ COMMITTED: a serializable snapshot is taken before the wait for the lock and misses its result.
        options = {"tokenbooth_writer": True} if _is_sqlite(engine) else {"isolation_level": "READ COMMITTED"}
        with engine.connect().execution_options(**options) as conn, conn.begin():
            return _migrate_locked(conn)
    except (OperationalError, InterfaceError) as failure:
        raise StoreUnavailable from failure


def _migrate_locked(conn: Connection) -> Migration:
    if not _is_sqlite(conn):
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    _refuse_unknown(conn)
    before = schema_version(conn)
    if needs_migration(conn):
        _run_alembic(conn)
    return Migration(before=before, after=REVISIONS[-1])


def _run_alembic(conn: Connection) -> None:
    # Its lines about itself are no news to an operator; a warning would be.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Imported here: it costs a tenth of a second, and most starts have nothing to migrate.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _refuse_unknown(conn: Connection) -> None:
    match schema_state(conn):
        case SchemaState.NEWER:
            raise SchemaMismatch(
                f"the database's schema ({schema_version(conn)}) is newer than this program "
                f"({REVISIONS[-1]}): install the version of Tokenbooth that made it, or a later one"
            )
        case SchemaState.FOREIGN:
            raise SchemaMismatch(
                "the database holds tables that Tokenbooth did not make: point store.url at an empty database"
            )
        case _:
            return


def _is_sqlite(bind: Engine | Connection) -> bool:
    return bind.dialect.name == "sqlite"
