"""`tokenbooth processes`: the servers that take model calls on the database, and the end of one that is dead."""

import time
from pathlib import Path
from typing import Final

import typer

from tokenbooth.cli.failures import CommandFailed
from tokenbooth.cli.output import Json, print_json, print_line, print_table
from tokenbooth.config.settings import load_settings
from tokenbooth.gateway.access.registration import WATCH_S, describe
from tokenbooth.kit.clock import SystemClock, iso_ms
from tokenbooth.runtime.database import ready_database
from tokenbooth.store import processes
from tokenbooth.store.engine import Store
from tokenbooth.store.processes import Process, ProcessState

_LOOK_EVERY_S: Final = 0.25


def list_processes(config: Path, *, limit: int, as_json: bool) -> None:
    """Print the runs, open ones first."""
    with ready_database(load_settings(config)) as store:
        found = store.read_now(processes.newest, limit)
    if as_json:
        print_json({"processes": [_as_json(process) for process in found]})
        return
    print_table(
        ("epoch", "host", "directory", "pid", "version", "since", "state", "last beat"),
        (
            (
                process.epoch,
                process.host,
                process.directory,
                str(process.pid),
                process.version,
                iso_ms(process.started_at_us),
                _state(process),
                "" if process.state is ProcessState.CLOSED else f"{process.silent_s} s ago",
            )
            for process in found
        ),
    )


def close_process(config: Path, epoch: str, *, yes: bool, force: bool, as_json: bool) -> None:
    """Close the row of a run that is dead.

    Args:
        config: the configuration.
        epoch: the run.
        yes: don't ask.
        force: also when it lives.
        as_json: print one JSON object.

    Raises:
        CommandFailed: there is no such run, it is over, it lives, or the answer was no.
    """
    with ready_database(load_settings(config)) as store:
        process = _open_process(store, epoch)
        if not yes and (as_json or not typer.confirm(f"Is {describe(process)} dead?")):
            raise CommandFailed("nothing was closed; --yes closes without a question")
        if not force:
            _watch(store, process)
        now_us = SystemClock().now_us()
        beat = None if force else process.beat
        if not store.write_now(processes.close_by_operator, epoch, beat=beat, now_us=now_us):
            raise CommandFailed(f"{epoch} changed meanwhile; look again with `tokenbooth processes`")
    if as_json:
        print_json({"epoch": epoch, "closed": True})
    else:
        print_line(f"{epoch} is closed. If it lives after all, it admits nothing more within seconds.")


def _open_process(store: Store, epoch: str) -> Process:
    process = store.read_now(processes.find, epoch)
    if process is None:
        raise CommandFailed(f"there is no process {epoch}; `tokenbooth processes` lists them")
    if process.state is ProcessState.CLOSED:
        raise CommandFailed(f"{epoch} is closed already ({process.closed_how})")
    return process


def _watch(store: Store, process: Process) -> None:
    """Look at a beat for long enough to see it move, if it does.

    Raises:
        CommandFailed: the process lives, or ended meanwhile.
    """
    give_up_s = time.monotonic() + WATCH_S
    while time.monotonic() < give_up_s:
        if _open_process(store, process.epoch).beat != process.beat:
            raise CommandFailed(f"it lives: {describe(process)}. Stop it; --force closes it all the same")
        time.sleep(_LOOK_EVERY_S)


def _state(process: Process) -> str:
    return process.state if process.closed_how is None else f"{process.state} ({process.closed_how})"


def _as_json(process: Process) -> Json:
    return {
        "epoch": process.epoch,
        "host": process.host,
        "directory": process.directory,
        "pid": process.pid,
        "version": process.version,
        "mode": process.mode,
        "state": process.state,
        "startedAt": iso_ms(process.started_at_us),
        "closedHow": process.closed_how,
        "closedAt": None if process.closed_at_us is None else iso_ms(process.closed_at_us),
        "secondsSinceBeat": process.silent_s,
    }
