"""`tokenbooth migrate`: brings the database's schema up to date."""

from pathlib import Path

from tokenbooth.cli.output import print_json, print_line
from tokenbooth.config.settings import load_settings
from tokenbooth.runtime.database import open_database
from tokenbooth.store.migrate import migrate


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
