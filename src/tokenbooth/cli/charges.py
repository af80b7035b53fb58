"""`tokenbooth charges`: what the start could not book like other charges, read, and booked after all.

It never books beside a running server, which would not know of it, and never deletes a file.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from tokenbooth.cli.failures import CONFIGURATION, FAILURE, CommandFailed
from tokenbooth.cli.output import Json, print_json, print_line, print_table
from tokenbooth.config.settings import Settings, load_settings
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.settlement.charge_files import ReadFile, charge_files, mark_booked, read_file, set_aside
from tokenbooth.gateway.settlement.charge_log import DirectoryLock
from tokenbooth.gateway.settlement.charge_replay import Booked, book
from tokenbooth.kit.clock import SystemClock, iso_ms
from tokenbooth.runtime.application import data_dir
from tokenbooth.runtime.database import ready_database
from tokenbooth.store.engine import Store
from tokenbooth.store.usage.set_aside import BookedBefore, booked_before, note_replay


@dataclass(frozen=True, slots=True)
class _Known:
    """A file, and which of its charges the database has already."""

    file: ReadFile
    before: BookedBefore

    @property
    def open(self) -> list[Charge]:
        """The charges that are not booked, and can be."""
        done = self.before.booked | self.before.forgotten
        return [charge for charge in self.file.content.charges if charge.request_id not in done]

    def says(self, charge: Charge) -> str:
        """Whether a charge is booked."""
        if charge.request_id in self.before.booked:
            return "yes"
        return "unknown" if charge.request_id in self.before.forgotten else "no"

    @property
    def lost_bytes(self) -> int:
        """What could not be made anything of."""
        return max(self.file.content.lost_bytes, self.file.unreadable_bytes)


def list_files(config: Path, *, as_json: bool) -> None:
    """Print the files that wait for a person."""
    settings = load_settings(config)
    with ready_database(settings) as store:
        known = [_known(store, path) for path in set_aside(data_dir(settings))]
    if as_json:
        print_json({"files": [_as_json(file) for file in known]})
        return
    print_table(
        ("file", "charges", "restored", "not booked", "lost bytes"),
        (
            (
                file.file.path.name,
                str(len(file.file.content.charges)),
                str(len(file.file.content.restored)),
                str(len(file.open)),
                str(file.lost_bytes),
            )
            for file in known
        ),
    )
    if known:
        print_line("`tokenbooth charges show FILE` lists the charges; `tokenbooth charges replay` books them.")


def show_file(config: Path, name: Path, *, as_json: bool) -> None:
    """Print the charges of a file and its damages."""
    settings = load_settings(config)
    path = _find(settings, name)
    with ready_database(settings) as store:
        known = _known(store, path)
    if as_json:
        print_json({**_as_json(known), "rows": [_charge_json(known, charge) for charge in known.file.content.charges]})
        return
    restored = set(known.file.content.restored)
    print_table(
        ("request", "account", "model", "finished", "USD", "booked", "restored"),
        (
            (
                charge.request_id,
                charge.account_id,
                charge.model,
                iso_ms(charge.finished_at_us),
                format_usd(charge.charged_nano),
                known.says(charge),
                "yes" if charge.request_id in restored else "",
            )
            for charge in known.file.content.charges
        ),
    )
    for damage in known.file.content.damages:
        what = known.file.content.how_lost(damage) if damage.restored is None else "restored"
        print_line(f"{damage.size_bytes} bytes from {damage.offset}: {what}")
    if known.file.unreadable_bytes:
        print_line(f"{known.file.unreadable_bytes} bytes: the disk does not give them back")


def replay_files(config: Path, name: Path | None, *, yes: bool, as_json: bool) -> int:
    """Book what is not booked of a file, of the files in a directory, or of all that wait; returns the exit code."""
    settings = load_settings(config)
    ours = set_aside(data_dir(settings))
    if name is None:
        paths = ours
    else:
        found = _find(settings, name)
        paths = charge_files(found) if found.is_dir() else [found]
    # A server that runs knows every balance in its memory, and would not know of these charges.
    lock = DirectoryLock(data_dir(settings))
    try:
        with ready_database(settings) as store:
            known = [_known(store, path) for path in paths]
            charges = _each_once(known)
            if charges and not yes:
                _ask(charges, as_json=as_json)
            budgets_nano = {slug: plan.budget_nano for slug, plan in settings.plans.items()}
            booked = asyncio.run(book(store, SystemClock(), charges, budgets_nano=budgets_nano))
            lost_bytes = sum(file.lost_bytes for file in known)
            if known:
                store.write_now(
                    note_replay,
                    files=len(known),
                    booked=booked.fresh,
                    refused=len(booked.refused),
                    lost_bytes=lost_bytes,
                    now_us=SystemClock().now_us(),
                )
        refused = {refusal.charge.request_id for refusal in booked.refused}
        for file in known:
            is_done = refused.isdisjoint(charge.request_id for charge in file.file.content.charges)
            if is_done and file.file.path in ours:
                mark_booked(file.file.path)
    finally:
        lock.release()
    _report(known, booked, lost_bytes, as_json=as_json)
    return FAILURE if booked.refused else 0


def _report(known: Sequence[_Known], booked: Booked, lost_bytes: int, *, as_json: bool) -> None:
    if as_json:
        refused: list[Json] = [
            {"requestId": refusal.charge.request_id, "error": refusal.error} for refusal in booked.refused
        ]
        print_json({"files": len(known), "booked": booked.fresh, "lostBytes": lost_bytes, "refused": refused})
        return
    print_line(f"{len(known)} files: {booked.fresh} charges booked, {lost_bytes} bytes lost.")
    if forgotten := sum(len(file.before.forgotten) for file in known):
        print_line(f"{forgotten} charges are older than retention.usage_days: nobody can tell whether they are booked.")
    for refusal in booked.refused:
        print_line(f"{refusal.charge.request_id}: the database refuses it ({refusal.error}); its file stays.")


def _known(store: Store, path: Path) -> _Known:
    try:
        file = read_file(path)
    except OSError as failure:
        raise CommandFailed(f"{path} cannot be read: {failure.strerror}") from None
    return _Known(file, store.read_now(booked_before, file.content.charges))


def _each_once(known: Sequence[_Known]) -> list[Charge]:
    return list({charge.request_id: charge for file in known for charge in file.open}.values())


def _ask(charges: Sequence[Charge], *, as_json: bool) -> None:
    if as_json:
        raise CommandFailed("--yes: is needed with --json, which cannot ask", exit_code=CONFIGURATION)
    accounts = {charge.account_id for charge in charges}
    total = format_usd(sum(charge.charged_nano for charge in charges))
    typer.confirm(f"Book {len(charges)} charges of {total} USD to {len(accounts)} accounts?", abort=True)


def _find(settings: Settings, name: Path) -> Path:
    """A path, or the name of a file beside the charge log."""
    beside = [path for path in set_aside(data_dir(settings)) if path.name == str(name)]
    if not name.exists() and not beside:
        raise CommandFailed(f"{name}: there is no such file; `tokenbooth charges list` shows what waits")
    return beside[0] if beside else name


def _as_json(known: _Known) -> dict[str, Json]:
    content = known.file.content
    return {
        "file": known.file.path.name,
        "epoch": content.epoch or None,
        "charges": len(content.charges),
        "restored": list(content.restored),
        "notBooked": [charge.request_id for charge in known.open],
        "tooOldToTell": sorted(known.before.forgotten),
        "damages": [
            {"offset": damage.offset, "bytes": damage.size_bytes, "lost": damage.restored is None}
            for damage in content.damages
        ],
        "lostBytes": known.lost_bytes,
        "lostRecordsAtLeast": content.records_lost,
    }


def _charge_json(known: _Known, charge: Charge) -> dict[str, Json]:
    return {
        "requestId": charge.request_id,
        "accountId": charge.account_id,
        "keyId": charge.key_id,
        "model": charge.model,
        "finishedAt": iso_ms(charge.finished_at_us),
        "charged": format_usd(charge.charged_nano),
        "booked": known.says(charge),
    }
