"""`tokenbooth backup` and `tokenbooth restore`: the file of the configured SQLite installation."""

from pathlib import Path

from tokenbooth.cli.output import print_json, print_line
from tokenbooth.config.settings import Settings, load_settings
from tokenbooth.runtime.backup import BackupFailed, Contents, back_up, restore

_SQLITE = "sqlite:///"


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
