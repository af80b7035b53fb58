"""Failures that a command expects, as one clear line and an exit code; anything else keeps its traceback."""

from typing import Final

CONFIGURATION: Final = 2
FAILURE: Final = 1


class CommandFailed(Exception):
    """A command could not do its work; the message says what to do."""

    def __init__(self, message: str, *, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def explain(failure: Exception) -> tuple[str, int] | None:
    """The line and the exit code for a failure; None when it is a defect of the program."""
    # Imported only now that something failed: `--help` must not wait for the whole program.
    from tokenbooth.backup import BackupFailed
    from tokenbooth.errors import TokenboothError
    from tokenbooth.gateway.charge_log import DataDirectoryLocked
    from tokenbooth.gateway.charge_recovery import UnknownChargeFormat
    from tokenbooth.gateway.registration import AnotherProcess
    from tokenbooth.server import ListenFailed
    from tokenbooth.settings import SettingsError
    from tokenbooth.store.migrate import SchemaMismatch

    match failure:
        case CommandFailed():
            return str(failure), failure.exit_code
        case SettingsError():
            return str(failure), CONFIGURATION
        case (
            TokenboothError()
            | DataDirectoryLocked()
            | AnotherProcess()
            | UnknownChargeFormat()
            | SchemaMismatch()
            | ListenFailed()
            | BackupFailed()
        ):
            return str(failure), FAILURE
        case _:
            return None
