"""The inbox's rows: stored once, claimed by one, tried again, parked."""

import pytest

from tests.support.billing.stripe_state import TOP_UP, TOP_UP_NANO, new_checkout, paid_topup
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import new_customer, row_counts
from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.payment_commands import Ignore, PaymentCommand
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.inbox import LEASE_US, MAX_ATTEMPTS, InboxStatus, Outcome

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def receive(store: Store, external_id: str = "evt_1", now_us: int = NOW_US) -> str:
    """Store an event."""
    return store.write_now(
        inbox.insert,
        source=inbox.STRIPE,
        external_id=external_id,
        event_type="invoice.paid",
        payload=b"{}",
        now_us=now_us,
    )


def carry_out(store: Store, row_id: str, *commands: PaymentCommand) -> Outcome:
    """Apply commands for a row."""
    return store.write_now(inbox.carry_out, row_id, commands, seen={}, now_us=NOW_US)


def test_an_event_is_stored_once(store: Store) -> None:
    """1: the second delivery of an event finds the row of the first."""
    assert receive(store) == receive(store)
    assert row_counts(store)["inbox"] == 1


def test_a_claimed_row_is_nobody_elses_until_its_lease_ends(store: Store) -> None:
    """9: who claimed a row and died does not keep it for ever."""
    row_id = receive(store)
    assert store.write_now(inbox.claim, row_id, now_us=NOW_US) is not None
    assert store.write_now(inbox.claim, row_id, now_us=NOW_US + LEASE_US - 1) is None
    assert store.read_now(inbox.due, now_us=NOW_US + LEASE_US - 1, limit=10) == []
    assert store.read_now(inbox.due, now_us=NOW_US + LEASE_US, limit=10) == [row_id]
    assert store.write_now(inbox.claim, row_id, now_us=NOW_US + LEASE_US) is not None


def test_effects_and_mark_are_one_and_happen_once(store: Store) -> None:
    """P5: a row that was handled meanwhile is left alone by a slower handler."""
    ada = new_customer(store, now_us=NOW_US)
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    row_id = receive(store)
    command = paid_topup(ada.account_id, checkout_id)
    outcomes = [carry_out(store, row_id, command), carry_out(store, row_id, command)]
    assert outcomes == [Outcome(InboxStatus.HANDLED, None)] * 2
    assert store.read_now(ledger.balance_nano, credit_of(ada.account_id)) == TOP_UP_NANO
    assert store.read_now(inbox.due, now_us=NOW_US + DAY_US, limit=10) == []


def test_what_needs_a_person_is_parked_with_its_reason(store: Store) -> None:
    """5: a row whose command cannot be trusted is parked, and a repetition does not unpark it by itself."""
    ada = new_customer(store, now_us=NOW_US)
    outcome = carry_out(store, receive(store), paid_topup(ada.account_id, "chk_unknown"))
    assert outcome == Outcome(InboxStatus.PARKED, "There is no such checkout here.")


def test_what_is_ignored_is_handled_with_its_reason(store: Store) -> None:
    """8: an event that is not for us is done with, and says why."""
    outcome = carry_out(store, receive(store), Ignore("Not one of ours."))
    assert outcome == Outcome(InboxStatus.HANDLED, "Not one of ours.")


def test_failures_back_off_and_then_park(store: Store) -> None:
    """10: each failure waits longer than the one before; after the fifth the row waits for a person."""
    row_id = receive(store)
    now_us, waits_s = NOW_US, []
    for _ in range(MAX_ATTEMPTS - 1):
        assert store.write_now(inbox.claim, row_id, now_us=now_us) is not None
        outcome = store.write_now(inbox.fail, row_id, "Stripe: away", now_us=now_us)
        assert outcome == Outcome(InboxStatus.DUE, "Stripe: away")
        began_us = now_us
        while not store.read_now(inbox.due, now_us=now_us, limit=1):
            now_us += 10 * SECOND_US
        waits_s.append((now_us - began_us) // SECOND_US)
    assert waits_s == [10, 60, 600, 3_600]
    outcome = store.write_now(inbox.fail, row_id, "Stripe: away", now_us=now_us)
    assert outcome == Outcome(InboxStatus.PARKED, "Stripe: away")
    assert store.read_now(inbox.due, now_us=now_us + 365 * DAY_US, limit=1) == []


def test_a_parked_event_that_is_sent_again_is_tried_again(store: Store) -> None:
    """An operator repeats a parked event by resending it from Stripe's dashboard."""
    row_id = receive(store)
    for _ in range(MAX_ATTEMPTS):
        store.write_now(inbox.fail, row_id, "failed", now_us=NOW_US)
    assert receive(store, now_us=NOW_US + 5) == row_id
    claimed = store.write_now(inbox.claim, row_id, now_us=NOW_US + 5)
    assert claimed is not None
    assert claimed.attempts == 0


def test_a_failure_noted_late_does_not_undo_a_success(store: Store) -> None:
    """A slow handler's failure leaves a row alone that another one has handled."""
    row_id = receive(store)
    handled = carry_out(store, row_id, Ignore("done"))
    assert store.write_now(inbox.fail, row_id, "late", now_us=NOW_US) == handled


def test_only_handled_rows_are_forgotten(store: Store) -> None:
    """P6: a row that is due or parked is never deleted, however old."""
    carry_out(store, receive(store, "evt_handled"), Ignore("done"))
    receive(store, "evt_due")
    carry_out(store, receive(store, "evt_parked"), paid_topup("acct_none", "chk_none"))
    assert store.write_now(inbox.forget_handled_before, NOW_US) == 0
    assert store.write_now(inbox.forget_handled_before, NOW_US + 1) == 1
    assert row_counts(store)["inbox"] == 2


def test_a_parked_row_is_listed_and_retried(store: Store) -> None:
    """P6: what waits for a person is found with its reason, and tried again when the person says so."""
    ada = new_customer(store, now_us=NOW_US)
    row_id = receive(store)
    carry_out(store, row_id, paid_topup(ada.account_id, "chk_unknown"))
    (parked,) = store.read_now(inbox.list_rows, [InboxStatus.PARKED], limit=10)
    assert (parked.id, parked.external_id, parked.error) == (row_id, "evt_1", "There is no such checkout here.")
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    retried = store.write_now(inbox.retry, "evt_1", actor="operator", now_us=NOW_US)
    assert (retried.status, retried.attempts) == (InboxStatus.DUE, 0)
    assert store.read_now(inbox.due, now_us=NOW_US, limit=10) == [row_id]
    carry_out(store, row_id, paid_topup(ada.account_id, checkout_id))
    with pytest.raises(Conflict):
        store.write_now(inbox.retry, row_id, actor="operator", now_us=NOW_US)
    with pytest.raises(NotFound):
        store.read_now(inbox.find_row, "evt_2")
