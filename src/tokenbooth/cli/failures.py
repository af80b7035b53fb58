"""Failures that a command expects, as one clear line and an exit code; anything else keeps its traceback."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy.exc import DatabaseError

CONFIGURATION: Final = 2
FAILURE: Final = 1
# PostgreSQL's SQLSTATE.
_INSUFFICIENT_PRIVILEGE: Final = "42501"


class CommandFailed(Exception):
    """A command could not do its work; the message says what to do."""

    def __init__(self, message: str, *, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def explain(failure: Exception) -> tuple[str, int] | None:
    """The line and the exit code for a failure; None when it is a defect of the program."""
    # Imported only now that something failed: `--help` must not wait for the whole program.
    from sqlalchemy.exc import DatabaseError, OperationalError

    from tokenbooth.config.settings import SettingsError
    from tokenbooth.gateway.access.registration import AnotherProcess
    from tokenbooth.gateway.settlement.charge_log import DataDirectoryLocked
    from tokenbooth.gateway.settlement.charge_recovery import UnknownChargeFormat
    from tokenbooth.http.server import ListenFailed
    from tokenbooth.kit.errors import StoreUnavailable, TokenboothError
    from tokenbooth.runtime.backup import BackupFailed
    from tokenbooth.store.migrate import SchemaMismatch

    match failure:
        case CommandFailed():
            return str(failure), failure.exit_code
        case SettingsError():
            return str(failure), CONFIGURATION
        case StoreUnavailable(__cause__=DatabaseError() as said) if not isinstance(said, OperationalError):
            # A damaged file, a standby, or an account of PostgreSQL that may not do what it has to.
            return f"store.url: the database cannot be used: {_reason(said)}", FAILURE
        case StoreUnavailable() if failure.__cause__ is not None:
            return f"store.url: the database does not answer: {_reason(failure.__cause__)}", FAILURE
        case DatabaseError() if type(failure) is DatabaseError or _is_forbidden(failure):
            # A damaged file, or an account of PostgreSQL that may not do what it has to.
            return f"store.url: the database cannot be used: {_reason(failure)}", FAILURE
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


def _reason(failure: BaseException) -> str:
    """What the driver says, in one line; it never has the password, which it gets apart from the address."""
    said = str(getattr(failure, "orig", None) or failure).strip().splitlines()
    return said[0].strip() if said else type(failure).__name__


def _is_forbidden(failure: "DatabaseError") -> bool:
    return getattr(failure.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
