"""`tokenbooth inbox`: events that came from outside, and what became of them; also while the server runs."""

from pathlib import Path
from typing import Final

from tokenbooth.cli.failures import CONFIGURATION, CommandFailed
from tokenbooth.cli.output import Json, print_json, print_line, print_table
from tokenbooth.config.settings import load_settings
from tokenbooth.kit.clock import SystemClock, iso_ms
from tokenbooth.runtime.database import ready_database
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.inbox import InboxRow, InboxStatus

_STATUSES: Final = {
    "open": (InboxStatus.DUE, InboxStatus.PARKED),
    **{str(status): (status,) for status in InboxStatus},
}


def list_events(config: Path, *, status: str, limit: int, as_json: bool) -> None:
    """Print the newest events of a status."""
    if status not in _STATUSES:
        raise CommandFailed(f"--status: must be one of {', '.join(_STATUSES)}", exit_code=CONFIGURATION)
    with ready_database(load_settings(config)) as store:
        rows = store.read_now(inbox.list_rows, _STATUSES[status], limit=limit)
    if as_json:
        print_json({"events": [_as_json(row) for row in rows]})
        return
    print_table(
        ("id", "received", "type", "status", "attempts", "why"),
        (
            (row.id, iso_ms(row.received_at_us), row.type, row.status, str(row.attempts), row.error or "")
            for row in rows
        ),
    )


def show_event(config: Path, row_id: str, *, as_json: bool) -> None:
    """Print one event."""
    with ready_database(load_settings(config)) as store:
        row = store.read_now(inbox.find_row, row_id)
    if as_json:
        print_json(_as_json(row))
        return
    for name, value in _as_json(row).items():
        print_line(f"{name:<12} {'' if value is None else value}")


def retry_event(config: Path, row_id: str, *, as_json: bool) -> None:
    """Make an event due again."""
    with ready_database(load_settings(config)) as store:
        row = store.write_now(inbox.retry, row_id, actor=OPERATOR, now_us=SystemClock().now_us())
    if as_json:
        print_json(_as_json(row))
    else:
        print_line(f"{row.id} is due again; a running server handles it within seconds.")


def _as_json(row: InboxRow) -> dict[str, Json]:
    return {
        "id": row.id,
        "source": row.source,
        "externalId": row.external_id,
        "type": row.type,
        "status": row.status,
        "attempts": row.attempts,
        "why": row.error,
        "object": row.payload.decode(errors="replace"),
        "receivedAt": iso_ms(row.received_at_us),
        "dueAt": iso_ms(row.due_at_us),
        "handledAt": None if row.handled_at_us is None else iso_ms(row.handled_at_us),
    }
