"""The change sequence: nothing is missed, and a history that was replaced by another one is noticed."""

import pytest
from sqlalchemy import Connection, delete, update

from tests.support.fakes import MARCH_5_2026_US
from tokenbooth.store import changes
from tokenbooth.store.changes import ChangesForgotten, DatabaseWentBack, Topic
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import change_counter
from tokenbooth.store.tables import changes as table

NOW_US = MARCH_5_2026_US


def record(store: Store, *subjects: str) -> None:
    """Announce changes, one transaction each."""
    for subject in subjects:
        store.write_now(changes.record, Topic.ACCOUNT, subject, now_us=NOW_US)


def go_back(store: Store, seq: int) -> None:
    """What a fail-over to a replica that lagged does: everything after `seq` never happened."""

    def work(conn: Connection) -> None:
        conn.execute(delete(table).where(table.c.seq > seq))
        conn.execute(update(change_counter).values(seq=seq))

    store.write_now(work)


def subjects_since(store: Store, seq: int, seen_id: str | None) -> list[str]:
    """What a reader is told that saw `seq` last."""
    return [change.subject for change in store.read_now(changes.since, seq, seen_id=seen_id)]


def test_a_reader_goes_on_behind_the_change_that_it_saw(store: Store) -> None:
    """The id of the last change leads to the next ones, each with an id of its own."""
    record(store, "a", "b")
    seen = store.read_now(changes.last)
    assert subjects_since(store, seen.seq, seen.id) == []
    record(store, "c", "d")
    found = store.read_now(changes.since, seen.seq, seen_id=seen.id)
    assert [(change.seq, change.subject) for change in found] == [(3, "c"), (4, "d")]
    assert len({seen.id, *(change.id for change in found)}) == 3
    assert [c.seq for c in store.read_now(changes.since, 1, 2)] == [2, 3]


@pytest.mark.parametrize("grown", [0, 1, 2, 3, 4])
def test_numbers_that_are_given_out_again_are_noticed(store: Store, grown: int) -> None:
    """However far the numbers grew again: below, at, or above the last change that was seen."""
    record(store, "a", "b", "lost", "lost")
    seen = store.read_now(changes.last)
    go_back(store, 2)
    record(store, *("new" for _ in range(grown)))
    with pytest.raises(DatabaseWentBack):
        store.read_now(changes.since, seen.seq, seen_id=seen.id)
    seen = store.read_now(changes.last)
    assert subjects_since(store, seen.seq, seen.id) == []


def test_going_back_to_what_was_seen_is_no_loss(store: Store) -> None:
    """A reader that had not seen what was lost goes on."""
    record(store, "a")
    seen = store.read_now(changes.last)
    record(store, "lost")
    go_back(store, 1)
    assert subjects_since(store, seen.seq, seen.id) == []
    record(store, "new")
    assert subjects_since(store, seen.seq, seen.id) == ["new"]


def test_the_last_change_is_kept_however_old_it_is(store: Store) -> None:
    """Readers hold on to it; those that have not seen what was deleted are told."""
    record(store, "a", "b", "c")
    first, last = store.read_now(changes.since, 0)[0], store.read_now(changes.last)
    assert store.write_now(changes.forget_before, NOW_US + 1) == 2
    assert subjects_since(store, last.seq, last.id) == []
    assert subjects_since(store, 2, None) == ["c"]
    with pytest.raises(ChangesForgotten):
        store.read_now(changes.since, first.seq, seen_id=first.id)


def test_a_change_of_an_older_version_is_compared_by_its_number(store: Store) -> None:
    """It has no id; the next one has."""
    record(store, "a", "b")
    store.write_now(lambda conn: conn.execute(update(table).values(id=None)))
    seen = store.read_now(changes.last)
    assert (seen.seq, seen.id) == (2, None)
    record(store, "c")
    assert subjects_since(store, seen.seq, seen.id) == ["c"]
