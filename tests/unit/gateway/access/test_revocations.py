"""The list of deleted keys: what is on it stays deleted, and damage to it harms nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from tests.support.fakes import FakeClock
from tests.support.store import Customer, new_customer, open_empty_sqlite
from tokenbooth.domain.keys import digest
from tokenbooth.gateway.access.revocations import FILE_NAME, KEEP_US, Revocations
from tokenbooth.store.accounts.management_keys import delete_management_key, find_management_key
from tokenbooth.store.changes import Topic
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import management_keys


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty database."""
    opened = open_empty_sqlite(tmp_path / "tokenbooth.db")
    yield opened
    opened.close()


def delete(store: Store, customer: Customer, *, now_us: int = 1) -> None:
    """Delete a customer's key."""
    store.write_now(delete_management_key, customer.account_id, customer.key_id, actor="test", now_us=now_us)


def revive(store: Store) -> None:
    """What an earlier state of the database does."""
    store.write_now(lambda conn: conn.execute(update(management_keys).values(deleted_at_us=None)))


def is_alive(store: Store, customer: Customer) -> bool:
    """Whether a customer's key is good."""
    return store.read_now(find_management_key, digest(customer.management_key)) is not None


async def test_only_deleted_keys_are_listed(store: Store, tmp_path: Path) -> None:
    """A change also tells of keys that were made."""
    clock = FakeClock()
    one, two = (new_customer(store, now_us=1, email=f"{name}@example.com") for name in "ab")
    delete(store, one)
    revocations = Revocations(store, clock, tmp_path)
    await revocations.enforce()
    for customer in (one, two):
        await revocations.note(Topic.MANAGEMENT_KEY, customer.key_id)
    assert (tmp_path / FILE_NAME).read_text() == f"{clock.now_us()} management_key {one.key_id}\n"
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    revive(store)
    await Revocations(store, clock, tmp_path).enforce()
    assert [is_alive(store, customer) for customer in (one, two)] == [False, True]


async def test_what_was_deleted_before_there_was_a_list_is_listed(store: Store, tmp_path: Path) -> None:
    """And what another server deleted meanwhile: each once, however often the server starts."""
    clock = FakeClock()
    one, two = (new_customer(store, now_us=1, email=f"{name}@example.com") for name in "ab")
    delete(store, one, now_us=clock.now_us())
    await Revocations(store, clock, tmp_path).enforce()
    delete(store, two, now_us=clock.now_us())
    for _ in range(2):
        await Revocations(store, clock, tmp_path).enforce()
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    assert [line.split()[2] for line in lines] == [one.key_id, two.key_id]
    revive(store)
    await Revocations(store, clock, tmp_path).enforce()
    assert [is_alive(store, customer) for customer in (one, two)] == [False, False]


async def test_a_damaged_list_is_read_as_far_as_it_can_be(store: Store, tmp_path: Path) -> None:
    """A line that was cut off, or is none, is dropped; the others count."""
    clock = FakeClock()
    one, two = (new_customer(store, now_us=1, email=f"{name}@example.com") for name in "ab")
    line = f"{clock.now_us()} management_key {one.key_id}\n"
    cut_off = f"{clock.now_us()} management_key {two.key_id}"
    (tmp_path / FILE_NAME).write_bytes(b"\xff\x00 what\n\n1 2 3 4\n" + line.encode() + cut_off.encode())
    await Revocations(store, clock, tmp_path).enforce()
    assert [is_alive(store, customer) for customer in (one, two)] == [False, True]
    assert (tmp_path / FILE_NAME).read_text() == line


async def test_a_full_disk_stops_no_deletion(store: Store, tmp_path: Path) -> None:
    """What cannot be listed is said in the log, and the changes behind it are applied."""
    customer = new_customer(store, now_us=1)
    delete(store, customer)
    (tmp_path / FILE_NAME).mkdir()
    with capture_logs() as logged:
        await Revocations(store, FakeClock(), tmp_path).note(Topic.MANAGEMENT_KEY, customer.key_id)
    assert [(line["event"], line["key_ids"]) for line in logged] == [("deleted_keys_not_listed", [customer.key_id])]


async def test_the_list_forgets_what_no_backup_has(store: Store, tmp_path: Path) -> None:
    """It does not grow for ever; a key on it that is not in the database is none of its business."""
    clock = FakeClock()
    customer = new_customer(store, now_us=1)
    old = f"{clock.now_us() - KEEP_US - 1} management_key {customer.key_id}\n"
    new = f"{clock.now_us() - KEEP_US} api_key key_nobody\n"
    (tmp_path / FILE_NAME).write_text(old + new)
    await Revocations(store, clock, tmp_path).enforce()
    assert ((tmp_path / FILE_NAME).read_text(), is_alive(store, customer)) == (new, True)
