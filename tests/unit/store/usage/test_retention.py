"""Single requests are forgotten after a while; sums, statements and the audit stay exact."""

from pathlib import Path

from sqlalchemy import Connection, select

from tests.support.fakes import MARCH_5_2026_US, FakeClock
from tests.support.gateway.gateway_rig import MODEL, run_rig
from tokenbooth.jobs.upkeep import forget_usage
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import usage_events
from tokenbooth.store.usage.retention import prune_usage, pruned_until_us
from tokenbooth.store.usage.usage_reports import GroupBy, Span, usage_by

DAY_US = 86_400_000_000


def event_days(conn: Connection) -> list[int]:
    """The days of the events that are there, counted from the first."""
    times = conn.scalars(select(usage_events.c.finished_at_us).order_by(usage_events.c.finished_at_us))
    return [(at_us - MARCH_5_2026_US) // DAY_US for at_us in times]


async def test_old_requests_go_and_their_sums_stay(store: Store, tmp_path: Path) -> None:
    """The report of a month is the same before and after; the audit is clean; what is young is there."""
    clock = FakeClock()
    with run_rig(store, tmp_path, clock=clock) as rig:
        account = rig.account("5")
        client = rig.client(rig.credit_key(account))
        for _ in range(4):
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
            rig.charges(account)
            clock.advance(86_400)
            rig.sync()
    span = Span(MARCH_5_2026_US // DAY_US * DAY_US, MARCH_5_2026_US // DAY_US * DAY_US + 10 * DAY_US)
    before = store.read_now(usage_by, account, span, GroupBy.DAY)
    await forget_usage(store, clock, keep_days=2)

    assert store.read_now(event_days) == [2, 3]
    assert store.read_now(usage_by, account, span, GroupBy.DAY) == before
    assert store.read_now(pruned_until_us) == clock.now_us() - 2 * DAY_US - 1
    assert store.read_now(audit).differences == ()
    assert store.write_now(prune_usage, clock.now_us() - 2 * DAY_US) == 0
