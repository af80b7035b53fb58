"""A backup of a running installation restores to a state that replays and audits clean."""

import sqlite3
import tarfile
from pathlib import Path

import pytest
from openai import AuthenticationError, OpenAI
from sqlalchemy import Connection, func, insert, select

from tests.support.gateway.gateway_rig import MODEL, open_moody_store, run_rig
from tests.support.store import new_customer, row_counts
from tokenbooth.domain.keys import digest
from tokenbooth.gateway.settlement.charge_files import next_number, read_back
from tokenbooth.gateway.settlement.charge_log import ChargeLog, DataDirectoryLocked, DirectoryLock
from tokenbooth.runtime.backup import BackupFailed, back_up, restore
from tokenbooth.store.accounts.keys import delete_api_key
from tokenbooth.store.accounts.management_keys import delete_management_key, find_management_key
from tokenbooth.store.engine import Store, open_store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import api_keys, audit_log, sessions, usage_events
from tokenbooth.store.usage.settlement import apply_charges


def ask(client: OpenAI) -> None:
    """One paid call."""
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])


def test_a_backup_under_way_restores_replays_and_audits(store: Store, tmp_path: Path) -> None:
    """What was charged before the backup is in it, from the database or from the charge log, once."""
    target = tmp_path / "backup.tar"
    database = tmp_path / "tokenbooth.db"
    with run_rig(store, tmp_path) as rig:
        account = rig.account("5")
        client = rig.client(rig.credit_key(account))
        for _ in range(20):
            ask(client)
        # As a second log beside the running one: a charge whose commit is still to come.
        rig.sync()
        waiting = rig.charges(account)[0]
        contents = back_up(database, tmp_path, target)
        for _ in range(5):
            ask(client)
    assert contents.database_bytes > 0

    home = tmp_path / "restored"
    home.mkdir()
    restored = restore(target, home / "tokenbooth.db", home)
    assert restored == contents
    opened = open_store(f"sqlite:///{home / 'tokenbooth.db'}")
    log = ChargeLog(home, first_number=next_number(home), epoch="gw_test")
    log.append(waiting)
    log.close()
    replayed = opened.write_now(apply_charges, read_back(home).charges, now_us=waiting.finished_at_us)
    events = opened.read_now(lambda conn: len(conn.execute(usage_events.select()).all()))
    report = opened.read_now(audit)
    opened.close()

    assert (replayed.inserted, events) == (0, 20)
    assert report.differences == ()


def test_charges_that_only_the_log_has_are_restored(tmp_path: Path) -> None:
    """Taken while the database is away: what only the log knows of is charged after the restoration, once."""
    moody = open_moody_store(tmp_path / "tokenbooth.db")
    target = tmp_path / "backup.tar"
    home = tmp_path / "restored"
    home.mkdir()
    with run_rig(moody, tmp_path) as rig:
        account = rig.account("5")
        client = rig.client(rig.credit_key(account))
        ask(client)
        before_nano = rig.charged_nano(account)
        moody.away = True
        for _ in range(3):
            ask(client)
        back_up(tmp_path / "tokenbooth.db", tmp_path, target)
        moody.away = False
        after_nano = rig.charged_nano(account)
    moody.close()
    restore(target, home / "tokenbooth.db", home)
    opened = open_store(f"sqlite:///{home / 'tokenbooth.db'}")
    charged = select(func.sum(usage_events.c.charged_nano))
    restored_nano = [opened.read_now(lambda conn: conn.execute(charged).scalar_one())]
    replayed = opened.write_now(apply_charges, read_back(home).charges, now_us=1)
    restored_nano.append(opened.read_now(lambda conn: conn.execute(charged).scalar_one()))
    report = opened.read_now(audit)
    opened.close()

    assert replayed.inserted == 3
    assert restored_nano == [before_nano, after_nano]
    assert report.differences == ()


def test_the_charge_log_is_part_of_it(store: Store, tmp_path: Path) -> None:
    """Segments go into the backup as they are, torn tail or not."""
    charges = tmp_path / "charges"
    charges.mkdir()
    (charges / "000000000007.log").write_bytes(b"\x01\x02")
    target = tmp_path / "backup.tar"

    assert back_up(tmp_path / "tokenbooth.db", tmp_path, target).charge_segments == 1
    home = tmp_path / "restored"
    home.mkdir()
    restore(target, home / "tokenbooth.db", home)
    assert (home / "charges" / "000000000007.log").read_bytes() == b"\x01\x02"
    assert (home / "tokenbooth.db").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(store: Store, tmp_path: Path) -> None:
    """A restoration refuses an installation that runs, has a database, or has charges that nobody replayed."""
    target = tmp_path / "backup.tar"
    back_up(tmp_path / "tokenbooth.db", tmp_path, target)
    with pytest.raises(BackupFailed, match="exists; move it away"):
        restore(target, tmp_path / "tokenbooth.db", tmp_path)
    home = tmp_path / "home"
    (home / "charges").mkdir(parents=True)
    (home / "charges" / "000000000001.log").touch()
    with pytest.raises(BackupFailed, match="charges of another run"):
        restore(target, home / "tokenbooth.db", home)
    lock = DirectoryLock(home)
    with pytest.raises(DataDirectoryLocked):
        restore(target, home / "tokenbooth.db", home)
    lock.release()


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    """Neither any file nor any tar file is taken for a backup, and no path in one leads outside."""
    home = tmp_path / "home"
    noise = tmp_path / "noise"
    noise.write_bytes(b"no tar")
    with pytest.raises(BackupFailed, match="could not be restored"):
        restore(noise, home / "tokenbooth.db", home)
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as archive:
        archive.add(noise, "../../escaped.log")
    with pytest.raises(BackupFailed, match="is no backup"):
        restore(other, home / "tokenbooth.db", home)
    assert not (tmp_path.parent / "escaped.log").exists()
    damaged = tmp_path / "damaged.tar"
    with tarfile.open(damaged, "w") as archive:
        archive.add(noise, "tokenbooth.db")
    with pytest.raises(BackupFailed, match="not a database"):
        restore(damaged, home / "tokenbooth.db", home)


def test_a_backup_needs_a_database_and_a_place(store: Store, tmp_path: Path) -> None:
    """All failures say what is wrong, and leave nothing behind."""
    noise = tmp_path / "noise.db"
    noise.write_bytes(b"no database" * 1_000)
    with pytest.raises(BackupFailed, match="cannot be copied: file is not a database"):
        back_up(noise, tmp_path, tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()
    with pytest.raises(BackupFailed, match="nothing to back up"):
        back_up(tmp_path / ("x" * 300), tmp_path, tmp_path / "b.tar")
    with pytest.raises(BackupFailed, match="nothing to back up"):
        back_up(tmp_path / "none.db", tmp_path, tmp_path / "b.tar")
    with pytest.raises(BackupFailed, match="cannot be written"):
        back_up(tmp_path / "tokenbooth.db", tmp_path, tmp_path / "no" / "b.tar")
    assert sqlite3.connect(tmp_path / "tokenbooth.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_restored_backup_revives_no_deleted_key(store: Store, tmp_path: Path) -> None:
    """Keys that were deleted after the backup are refused after the restoration, log-ins are over, others go on."""
    target, database = tmp_path / "backup.tar", tmp_path / "tokenbooth.db"
    with run_rig(store, tmp_path) as rig:
        account = rig.account("5")
        deleted, kept = rig.credit_key(account), rig.credit_key(account)
        customer = new_customer(store, now_us=rig.clock.now_us())
        for key in (deleted, kept):
            ask(rig.client(key))
        [deleted_id] = store.read_now(
            lambda conn: conn.execute(select(api_keys.c.id).where(api_keys.c.digest == digest(deleted))).scalars().all()
        )
        rig.charges(account)
        store.write_now(log_in, customer.account_id)
        back_up(database, tmp_path, target)
        now_us = rig.clock.now_us()
        store.write_now(delete_api_key, account, deleted_id, actor="test", now_us=now_us)
        store.write_now(delete_management_key, customer.account_id, customer.key_id, actor="test", now_us=now_us)
        rig.sync()
        with pytest.raises(AuthenticationError):
            ask(rig.client(deleted))
    store.close()
    for path in tmp_path.glob("tokenbooth.db*"):
        path.unlink()
    restore(target, database, tmp_path)
    opened = open_store(f"sqlite:///{database}")
    try:
        assert row_counts(opened)["sessions"] == 0
        for _ in range(2):
            with run_rig(opened, tmp_path) as again:
                ask(again.client(kept))
                with pytest.raises(AuthenticationError):
                    ask(again.client(deleted))
                assert opened.read_now(find_management_key, digest(customer.management_key)) is None
        actions = opened.read_now(lambda conn: conn.execute(select(audit_log.c.action)).scalars().all())
        assert sorted(action for action in actions if action.endswith("again")) == [
            "api_key.deleted_again",
            "management_key.deleted_again",
        ]
    finally:
        opened.close()


def log_in(conn: Connection, account_id: str) -> None:
    """A session of the dashboard."""
    conn.execute(
        insert(sessions).values(
            id="ses_1",
            account_id=account_id,
            digest=bytes(32),
            created_at_us=1,
            last_seen_at_us=1,
            expires_at_us=2**60,
            address="127.0.0.1",
            user_agent="test",
        )
    )
