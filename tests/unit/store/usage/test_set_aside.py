"""What the database knows of charges that were set aside."""

from sqlalchemy import select

from tests.support.billing.billing_rows import charge
from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import new_customer
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import audit_log
from tokenbooth.store.usage.retention import prune_usage
from tokenbooth.store.usage.set_aside import booked_before, note_replay
from tokenbooth.store.usage.settlement import apply_charges

NOW_US = MARCH_5_2026_US


def test_charges_are_told_apart(store: Store) -> None:
    """Those that are booked, those that are not, and those so old that single requests of then are forgotten."""
    account_id = new_customer(store, now_us=NOW_US).account_id
    booked, fresh, old = (
        charge(account_id, finished_at_us=NOW_US + number, cost_nano=0) for number in (0, 1, -1_000_000)
    )
    store.write_now(apply_charges, [booked], now_us=NOW_US)
    before = store.read_now(booked_before, [booked, fresh, old])
    assert (before.booked, before.forgotten) == (frozenset({booked.request_id}), frozenset())

    assert store.write_now(prune_usage, NOW_US) == 0
    before = store.read_now(booked_before, [booked, fresh, old])
    assert (before.booked, before.forgotten) == (frozenset({booked.request_id}), frozenset({old.request_id}))


def test_a_replay_is_noted(store: Store) -> None:
    """Who looks into the audit log sees that the operator had charges booked, and how many."""
    store.write_now(note_replay, files=2, booked=20, refused=1, lost_bytes=239, now_us=NOW_US)
    row = store.read_now(lambda conn: conn.execute(select(audit_log)).one())

    assert (row.actor, row.action) == ("operator", "charges.replay")
    assert row.detail == "2 files: 20 charges booked, 1 refused, 239 bytes lost"
