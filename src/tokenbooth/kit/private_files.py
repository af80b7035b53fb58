"""Files that hold secrets or customers' data: readable by their owner only, whatever the umask is.

SQLite gives the files beside a database (`-wal`, `-shm`) the mode of the database.
"""

import os
from pathlib import Path
from typing import Final

_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700


def open_private(path: Path, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> int:
    """Open a file to write, with `os.open`'s flags, and make it private before anything is written.

    Raises:
        OSError: it cannot be opened, or is somebody else's.
    """
    descriptor = os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)
    try:
        # The umask may have taken more away, and a file that was there has the mode that it had.
        os.fchmod(descriptor, _FILE_MODE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_private(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all, durably; a text as UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(open_private(new), "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def touch_private(path: Path) -> None:
    """Make an empty file where there is none; one that is there keeps its mode, which may be meant.

    Raises:
        OSError: it cannot be made.
    """
    try:
        os.close(open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        # As the caller is going to use it, it has to be usable.
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it, where there is none; one that is there keeps its mode.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=_DIRECTORY_MODE)
    except FileExistsError:
        # Made by another process meanwhile, or no directory at all.
        path.mkdir(exist_ok=True)
        return
    path.chmod(_DIRECTORY_MODE)


def close_to_others(path: Path) -> None:
    """Make a file private that an earlier version left readable, and what SQLite keeps beside it; if there are any.

    Raises:
        OSError: it is somebody else's.
    """
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file.is_file() and file.stat().st_mode & 0o777 != _FILE_MODE:
            file.chmod(_FILE_MODE)
