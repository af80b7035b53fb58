"""`tokenbooth init`: writes a commented configuration that names every setting."""

import os
from importlib.resources import files
from pathlib import Path

from tokenbooth.cli.failures import CommandFailed
from tokenbooth.kit.private_files import open_private


def template() -> str:
    """The configuration that `init` writes; it starts a server as it is."""
    return files("tokenbooth.cli").joinpath("configuration.toml").read_text(encoding="utf-8")


def write_configuration(path: Path, *, force: bool) -> None:
    """Write the template, readable by its owner only, because secrets may be put into it.

    Raises:
        CommandFailed: the file exists and `force` is not set, or it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(open_private(path, flags), "w", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError:
        raise CommandFailed(f"{path} exists already; --force overwrites it") from None
    except OSError as failure:
        raise CommandFailed(f"{path} cannot be written: {failure.strerror}") from None
