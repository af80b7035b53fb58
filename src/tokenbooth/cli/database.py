"""The commands about the database as a whole: `migrate`, and for SQLite `backup` and `restore`."""

from pathlib import Path

from tokenbooth.cli.output import print_json, print_line
from tokenbooth.config.settings import Settings, load_settings
from tokenbooth.runtime.backup import BackupFailed, Contents, back_up, restore
from tokenbooth.runtime.database import open_database
from tokenbooth.store.migrate import migrate

_SQLITE = "sqlite:///"


def run_migration(config: Path, *, as_json: bool) -> None:
    """Migrate the configured database and say what was done."""
    store = open_database(load_settings(config))
    try:
        done = migrate(store.engine)
    finally:
        store.close()
    if as_json:
        print_json({"before": done.before, "after": done.after, "changed": done.changed})
    elif done.changed:
        print_line(f"The schema is now at {done.after} (before: {done.before or 'an empty database'}).")
    else:
        print_line(f"The schema is at {done.after}; there was nothing to do.")


def write_backup(config: Path, target: Path, *, as_json: bool) -> None:
    """Back the configured database and charge log up into one file.

    Raises:
        BackupFailed: the database is PostgreSQL's, or something cannot be read or written.
    """
    database, data_dir = _places(load_settings(config))
    contents = back_up(database, data_dir, target)
    _print_contents(contents, target, f"{target} holds", as_json=as_json)


def restore_backup(config: Path, source: Path, *, as_json: bool) -> None:
    """Put a backup where the configuration says that the database and the charge log are.

    Raises:
        BackupFailed: the file is no backup, or there is something in its place.
        DataDirectoryLocked: the server is running.
    """
    database, data_dir = _places(load_settings(config))
    contents = restore(source, database, data_dir)
    _print_contents(contents, database, f"{database} is restored, with", as_json=as_json)


def _places(settings: Settings) -> tuple[Path, Path]:
    url = settings.store.url
    if not url.startswith(_SQLITE) or settings.store.data_dir is None:
        raise BackupFailed(
            "this command is for SQLite. For PostgreSQL use pg_dump, and copy the directory `charges` of the data "
            "directory before it"
        )
    return Path(url.removeprefix(_SQLITE)), Path(settings.store.data_dir)


def _print_contents(contents: Contents, path: Path, begin: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {"file": str(path), "databaseBytes": contents.database_bytes, "chargeSegments": contents.charge_segments}
        )
    else:
        print_line(
            f"{begin} {contents.database_bytes:,} bytes of database and {contents.charge_segments} segments of charges."
        )
