"""Migrations: what they make, who may run them, and what they refuse."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, insert, select, text

from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store import migrations
from tokenbooth.store.changes import last_seq
from tokenbooth.store.engine import make_engine
from tokenbooth.store.migrate import (
    REVISIONS,
    Migration,
    SchemaMismatch,
    SchemaState,
    migrate,
    needs_migration,
    require_current,
    schema_state,
    schema_version,
)
from tokenbooth.store.migrations.versions import r0008_bounds_of_accounts
from tokenbooth.store.tables import accounts, metadata


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'tokenbooth.db'}"


@pytest.fixture
def engine(url: str) -> Engine:
    return make_engine(url)


def _definitions(conn: Connection) -> dict[str, str]:
    """Every table and index as the database wrote it down, constraints included, white space apart."""
    rows = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"))
    return {row.name: _without_order(row.sql) for row in rows}


def _without_order(sql: str) -> str:
    # A column that was added later stands on the line of the one before it.
    parts = re.split(r"\n|,(?![^(]*\))", sql)
    return "\n".join(sorted(part.strip() for part in parts if part.strip()))


def test_an_upgraded_empty_database_is_what_the_tables_say(engine: Engine) -> None:
    """Alembic finds no difference between a migrated database and the tables of the program."""
    migrate(engine)
    with engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []


def test_constraints_are_migrated_too(engine: Engine) -> None:
    """Tables and indexes, with their CHECK constraints, are written as `create_all` writes them."""
    migrate(engine)
    made_by_tables = create_engine("sqlite://")
    with made_by_tables.connect() as conn:
        metadata.create_all(conn)
        expected = _definitions(conn)
    made_by_tables.dispose()
    with engine.connect() as conn:
        assert _definitions(conn) == expected


def test_the_change_sequence_starts_at_zero(engine: Engine) -> None:
    """A migrated database can announce changes."""
    migrate(engine)
    with engine.connect() as conn:
        assert last_seq(conn) == 0


def test_the_known_revisions_are_the_files() -> None:
    """The list in the program names exactly the revisions in the package, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    files = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert list(reversed(files)) == list(REVISIONS)


def test_a_second_migration_does_nothing(engine: Engine) -> None:
    """Migrating twice changes the database once."""
    first, second = migrate(engine), migrate(engine)
    assert first == Migration(before=None, after=REVISIONS[-1])
    assert second == Migration(before=REVISIONS[-1], after=REVISIONS[-1])
    assert (first.changed, second.changed) == (True, False)


def test_the_state_of_a_database_is_told(engine: Engine) -> None:
    """An empty database needs a migration, a migrated one does not."""
    with engine.connect() as conn:
        assert (schema_version(conn), schema_state(conn), needs_migration(conn)) == (
            None,
            SchemaState.EMPTY,
            True,
        )
    migrate(engine)
    with engine.connect() as conn:
        assert (schema_version(conn), schema_state(conn), needs_migration(conn)) == (
            REVISIONS[-1],
            SchemaState.CURRENT,
            False,
        )
        require_current(conn)


def test_hosts_in_other_letters_are_written_in_ascii(engine: Engine) -> None:
    """As new addresses are; not where that would be another host, or where somebody has the address already."""
    umlaut, sharp_s = "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "\N{LATIN SMALL LETTER SHARP S}"
    expected = {
        "plain": ("ada@example.com", "ada@example.com"),
        "moved": (f"ada@m{umlaut}ller.example", "ada@xn--mller-kva.example"),
        "folded": (f"ada@stra{sharp_s}e.example", f"ada@stra{sharp_s}e.example"),
        "long": (f"ada@{umlaut * 70}.example", f"ada@{umlaut * 70}.example"),
        "second": (f"bob@m{umlaut}ller.example", f"bob@m{umlaut}ller.example"),
        "first": ("bob@xn--mller-kva.example", "bob@xn--mller-kva.example"),
        "local": (f"{umlaut}@example.com", f"{umlaut}@example.com"),
    }
    migrate(engine)
    with engine.begin() as conn, Operations.context(MigrationContext.configure(conn)):
        conn.execute(text("DROP INDEX ix_idempotency_records_account_id_created_at_us"))
        for account_id, (before, _) in expected.items():
            conn.execute(insert(accounts).values(id=account_id, email=before, created_at_us=0))
        r0008_bounds_of_accounts.upgrade()
        found = {row.id: row.email for row in conn.execute(select(accounts.c.id, accounts.c.email))}
    assert found == {account_id: after for account_id, (_, after) in expected.items()}


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    """A database of a later release is left alone, with a message that says so."""
    migrate(engine)
    with engine.connect() as conn, conn.begin():
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=r"9999.*newer"):
        migrate(engine)


def test_a_foreign_database_is_refused(engine: Engine) -> None:
    """A database with someone else's tables is left alone."""
    with engine.connect() as conn, conn.begin():
        conn.execute(text("CREATE TABLE customers (id INTEGER)"))
    with pytest.raises(SchemaMismatch, match="did not make"):
        migrate(engine)


def test_an_unmigrated_database_is_not_current(engine: Engine) -> None:
    """Commands that don't migrate are told to."""
    with engine.connect() as conn, pytest.raises(SchemaMismatch, match="tokenbooth migrate"):
        require_current(conn)


def test_a_failed_migration_leaves_nothing(engine: Engine) -> None:
    """A migration is one transaction: a revision that fails in the middle leaves an empty database."""
    with engine.connect() as conn, conn.begin():
        # A view is no table, so the database counts as empty, but it is in the way of a table of that name.
        conn.execute(text("CREATE VIEW usage_hours AS SELECT 1 AS id"))
    with pytest.raises(StoreUnavailable):
        migrate(engine)
    with engine.connect() as conn:
        assert list(_definitions(conn)) == ["usage_hours"]


def test_a_database_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    """A file that cannot be opened is an outage, not a crash."""
    with pytest.raises(StoreUnavailable):
        migrate(make_engine(f"sqlite:///{tmp_path / 'missing' / 'tokenbooth.db'}"))


def test_several_processes_migrate_once(url: str) -> None:
    """Scenario 54: processes that migrate at the same time all succeed, and one of them did the work."""
    program = (
        "import sys\n"
        "from tokenbooth.store.engine import make_engine\n"
        "from tokenbooth.store.migrate import migrate\n"
        "sys.stdin.readline()\n"
        "print(migrate(make_engine(sys.argv[1])).changed)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(outputs) == ["False", "False", "False", "True"]
