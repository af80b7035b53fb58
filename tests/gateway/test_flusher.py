"""The flusher, as far as it shows from inside: calls are slowed down before any has to be refused."""

from contextlib import closing
from pathlib import Path

from tests.support.billing_rows import charge
from tests.support.fakes import FakeClock
from tests.support.registration import unregistered
from tests.support.store import open_empty_sqlite
from tokenbooth.domain.allowance import Allowance
from tokenbooth.gateway.charge_log import ChargeLog
from tokenbooth.gateway.flusher import Flusher, Unflushed
from tokenbooth.gateway.state import AccountState


async def test_calls_give_way_before_there_is_no_room(tmp_path: Path) -> None:
    """From a quarter of what may wait on, each charge lets the writing thread have the interpreter."""
    slept: list[float] = []
    log = ChargeLog(tmp_path, first_number=1, epoch="gw_test")
    account = AccountState("acct_1", 0, False, Allowance(10**9))
    with closing(open_empty_sqlite(tmp_path / "tokenbooth.db")) as store:
        flusher = Flusher(
            store=store,
            clock=FakeClock(),
            log=log,
            max_unflushed=8,
            process=unregistered(store, tmp_path),
            budgets_nano=dict,
            sleep=slept.append,
        )
        waited = []
        for number in range(8):
            assert flusher.has_room()
            flusher.add(Unflushed(charge("acct_1", finished_at_us=number), account, (account.credit,), None))
            waited.append(len(slept))
        assert not flusher.has_room()
    log.close()
    assert waited == [0, 0, 1, 2, 3, 4, 5, 6]
    assert flusher.waiting == 8
