"""The sweep deletes what is old, and nothing else."""

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.fakes import FakeClock
from tests.support.store import new_customer, row_counts
from tokenbooth.domain.payment_commands import Ignore
from tokenbooth.jobs.upkeep import sweep
from tokenbooth.store import changes, processes
from tokenbooth.store.accounts import idempotency
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.processes import NewProcess

SWEPT = {"idempotency_records": 0, "changes": 1, "inbox": 0, "gateway_processes": 1}
"""Tables, and how many rows stay whatever their age: the last change, and a process that is not closed."""


async def test_each_kind_is_kept_for_its_time(store: Store) -> None:
    """Changes go after an hour, idempotency records after a day, handled events and ended processes after 90 days."""
    clock = FakeClock()
    ada = new_customer(store, now_us=NOW_US)
    await store.write(changes.record, changes.Topic.ACCOUNT, ada.account_id, now_us=NOW_US)
    claim = idempotency.Claim(ada.account_id, "POST /api/keys/credit", "k", b"\0" * 32)
    await store.write(idempotency.begin, claim, max_records=9, now_us=NOW_US)
    row_id = await store.write(
        inbox.insert,
        source=inbox.STRIPE,
        external_id="evt_1",
        event_type="invoice.paid",
        payload=b"{}",
        now_us=NOW_US,
    )
    await store.write(inbox.carry_out, row_id, [Ignore("done")], seen={}, now_us=NOW_US)
    for epoch in ("gw_1", "gw_2"):
        process = NewProcess(epoch, "one", "/var/lib/one", "host", 42, "1.0", "hash")
        await store.write(processes.register, process, now_us=NOW_US)
    before = row_counts(store)
    left = []
    for seconds in (3_600, 1, 86_400 - 3_601, 1, 89 * 86_400 - 1, 1):
        clock.advance(seconds)
        await sweep(store, clock)
        counts = row_counts(store)
        left.append(tuple(counts[name] > kept for name, kept in SWEPT.items()))
    assert left == [
        (True, True, True, True),
        (True, False, True, True),
        (True, False, True, True),
        (False, False, True, True),
        (False, False, True, True),
        (False, False, False, False),
    ]
    untouched = {name: count for name, count in before.items() if name not in SWEPT}
    assert {name: row_counts(store)[name] for name in untouched} == untouched
