"""The charge log of an earlier run at the start: every charge that the store takes is booked, and damage is told."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from tests.support.billing.billing_rows import charge
from tests.support.gateway.gateway_rig import MoodyStore, open_moody_store, run_rig
from tests.support.postgres import Postgres
from tests.support.store import new_customer
from tests.unit.gateway.settlement.test_charge_log import segment_of, spoilt
from tests.unit.gateway.settlement.test_charge_recovery import encode_1
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.ledger import credit_of, key_spend
from tokenbooth.gateway.settlement.charge_files import read_back, read_file, set_aside
from tokenbooth.gateway.settlement.charge_record import encode_record, encode_segment_head
from tokenbooth.gateway.settlement.charge_replay import ReplayFigures, book
from tokenbooth.kit.clock import SystemClock
from tokenbooth.kit.errors import StoreUnavailable
from tokenbooth.store.engine import make_engine
from tokenbooth.store.ledger import balance_nano, grant
from tokenbooth.store.tables import usage_events

CREDIT_NANO = 10**9


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MoodyStore]:
    """A migrated database of each kind."""
    if request.param == "sqlite":
        with closing(open_moody_store(tmp_path / "tokenbooth.db")) as opened:
            yield opened
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.new_database()
    with closing(MoodyStore(make_engine(url))) as opened:
        yield opened
    server.drop_database(url)


@pytest.fixture
def account_id(store: MoodyStore) -> str:
    """A customer with a dollar."""
    now_us = SystemClock().now_us()
    made = new_customer(store, now_us=now_us).account_id
    store.write_now(grant, account_id=made, amount_nano=CREDIT_NANO, reference="welcome", reason="test", now_us=now_us)
    return made


def charges_of(account_id: str, count: int) -> list[Charge]:
    """Charges of different amounts, each of a key of its own."""
    now_us = SystemClock().now_us()
    return [
        charge(account_id, finished_at_us=now_us + number, key_id=f"key_{number}", cost_nano=1_000 + number)
        for number in range(count)
    ]


def stored(store: MoodyStore) -> set[str]:
    """The requests that the store has."""

    def read(conn: Connection) -> set[str]:
        return set(conn.execute(select(usage_events.c.request_id)).scalars())

    return store.read_now(read)


def test_one_refused_charge_costs_that_one(store: MoodyStore, account_id: str, tmp_path: Path) -> None:
    """The start goes on, the others are booked exactly, and the refused one is kept with a line about it."""
    charges = charges_of(account_id, 7)
    refused = charges[3] = charges[3]._replace(upstream_cost_nano=2**63)
    segment_of(tmp_path, b"".join([encode_segment_head("gw_before"), *map(encode_record, charges)]))
    with capture_logs() as lines, run_rig(store, tmp_path) as rig:
        assert rig.gateway.replayed == ReplayFigures(refused=1)
        assert rig.gateway.charges_refused == 1

    good = [charged for charged in charges if charged is not refused]
    assert stored(store) == {charged.request_id for charged in good}
    balance = store.read_now(balance_nano, credit_of(account_id))
    assert balance == CREDIT_NANO - sum(charged.charged_nano for charged in good)
    assert [read_file(path).content.charges for path in set_aside(tmp_path)] == [[refused]]
    told = [line for line in lines if line["event"] == "charge_refused"]
    assert [(line["log_level"], line["request_id"]) for line in told] == [("error", refused.request_id)]


@pytest.mark.parametrize("is_old", [False, True], ids=["format 2", "format 1"])
def test_a_damaged_log_is_booked_but_for_what_is_lost(
    store: MoodyStore, account_id: str, tmp_path: Path, is_old: bool
) -> None:
    """One record restored, one lost, the others booked; it is an error that says how many, how much and where."""
    charges = [made._replace(key_id=f"key_{number:026x}") for number, made in enumerate(charges_of(account_id, 6))]
    records = [encode_1(charged) if is_old else encode_record(charged) for charged in charges]
    before, lost_bytes = sum(map(len, records[:4])), len(records[4])
    records[1] = bytes(records[1][:60]) + bytes([records[1][60] ^ 4]) + bytes(records[1][61:])
    records[4] = spoilt(records[4], 3, 60, 80)
    segment_of(tmp_path, b"".join(records))
    with capture_logs() as lines, run_rig(store, tmp_path) as rig:
        assert rig.gateway.replayed == ReplayFigures(records_restored=1, records_lost=1, lost_bytes=lost_bytes)

    good = charges[:4] + charges[5:]
    assert stored(store) == {charged.request_id for charged in good}
    for charged in good:
        assert store.read_now(balance_nano, key_spend(charged.key_id)) == charged.charged_nano
    (told,) = [line for line in lines if line["event"] == "charge_log_damaged"]
    assert (told["log_level"], told["charges_read"], told["lost_bytes"]) == ("error", 5, lost_bytes)
    assert (told["records_restored"], told["records_lost"]) == (1, 1)
    assert told["kept_in"] == ["000000000001.damaged"]
    assert told["places"] == [
        f"000000000001.log: restored {charges[1].request_id}, {len(records[1])} bytes from {len(records[0])}",
        f"000000000001.log: lost, {lost_bytes} bytes from {before}",
    ]


async def test_a_store_that_is_away_is_no_refusal(store: MoodyStore, account_id: str) -> None:
    """Nothing is set aside for it; the caller decides whether to wait."""
    store.away = True
    with pytest.raises(StoreUnavailable):
        await book(store, SystemClock(), charges_of(account_id, 3), budgets_nano={})


async def test_every_refused_charge_is_found_among_many(store: MoodyStore, account_id: str) -> None:
    """At the ends, next to each other, and more than one in a batch."""
    charges = charges_of(account_id, 40)
    wrong = (0, 11, 12, 39)
    for number in wrong:
        charges[number] = charges[number]._replace(upstream_cost_nano=2**63)
    booked = await book(store, SystemClock(), charges, budgets_nano={})

    assert booked.fresh == 36
    assert [refused.charge for refused in booked.refused] == [charges[number] for number in wrong]
    assert (await book(store, SystemClock(), charges, budgets_nano={})).fresh == 0


def test_an_undamaged_log_leaves_nothing_behind(store: MoodyStore, account_id: str, tmp_path: Path) -> None:
    """Neither a file nor a word about damage, also with an unfinished last record."""
    charges = charges_of(account_id, 3)
    whole = b"".join([encode_segment_head("gw_before"), *map(encode_record, charges)])
    segment_of(tmp_path, whole + encode_record(charges[0])[:50])
    with capture_logs() as lines, run_rig(store, tmp_path) as rig:
        assert rig.gateway.replayed == ReplayFigures()

    assert stored(store) == {charged.request_id for charged in charges}
    assert (set_aside(tmp_path), read_back(tmp_path).charges) == ([], ())
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
