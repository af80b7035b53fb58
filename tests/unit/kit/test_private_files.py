"""Files that only their owner may read."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenbooth.kit.private_files import (
    close_to_others,
    make_private_directory,
    open_private,
    touch_private,
    write_private,
)


def mode_of(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """What the process takes away from every new file."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_new_files_are_private(tmp_path: Path, umask: int) -> None:
    """Whatever the umask is, nobody else may read them and their owner may."""
    os.close(open_private(tmp_path / "opened"))
    write_private(tmp_path / "written", "text")
    touch_private(tmp_path / "touched")
    make_private_directory(tmp_path / "directory")
    modes = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    assert modes == {"opened": 0o600, "written": 0o600, "touched": 0o600, "directory": 0o700}
    assert (tmp_path / "written").read_bytes() == b"text"


def test_what_is_written_anew_becomes_private(tmp_path: Path) -> None:
    """Also where another file was, or the rest of a write that broke off."""
    for name in ("old", "old.new"):
        (tmp_path / name).write_text("a longer text", encoding="utf-8")
        (tmp_path / name).chmod(0o644)
    write_private(tmp_path / "old", b"new")
    assert [(path.name, mode_of(path), path.read_bytes()) for path in tmp_path.iterdir()] == [("old", 0o600, b"new")]


def test_what_an_operator_opened_stays_open(tmp_path: Path) -> None:
    """A database that a group may read was opened to it by somebody, and so was a directory."""
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory").chmod(0o750)
    touch_private(tmp_path / "file")
    make_private_directory(tmp_path / "directory")
    assert (mode_of(tmp_path / "file"), mode_of(tmp_path / "directory")) == (0o640, 0o750)
    with pytest.raises(FileExistsError):
        make_private_directory(tmp_path / "file")


def test_a_file_is_closed_with_what_lies_beside_it(tmp_path: Path) -> None:
    """What SQLite writes beside a database holds the same rows."""
    for name in ("a.db", "a.db-wal", "a.db-shm", "other"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    close_to_others(tmp_path / "a.db")
    close_to_others(tmp_path / "missing")
    modes = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600, "other": 0o644}
