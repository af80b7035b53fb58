"""A process that was replaced, and a database that went back to an earlier state."""

import shutil
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, select, update

from tests.support.gateway.gateway_rig import MoodyStore, Rig, eventually, prompt, run_rig
from tokenbooth.domain.charges import Charge
from tokenbooth.domain.ledger import UNCOLLECTED, credit_of, key_spend
from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.settlement.charge_files import DIRECTORY_NAME
from tokenbooth.store import changes, processes
from tokenbooth.store.accounts.accounts import suspend
from tokenbooth.store.accounts.keys import delete_api_key
from tokenbooth.store.accounts.revocations import is_deleted
from tokenbooth.store.engine import open_store
from tokenbooth.store.ledger import balance_nano, grant
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import api_keys, change_counter, key_counts
from tokenbooth.store.tables import changes as change_rows
from tokenbooth.store.usage.settlement import apply_charges

COST_NANO = 1_000 * 270 + 100 * 1_100
BUDGET_NANO = 140_000_000
CALL = prompt("[[usage prompt=1000 completion=100]]")
SLOW_CALL = prompt("[[usage prompt=1000 completion=100]] [[write 60]] [[token-delay 0.05]]", stream=True)


def key_id_of(rig: Rig, account: str) -> str:
    """The id of an account's only key."""
    found: str = rig.store.read_now(
        lambda conn: conn.execute(select(api_keys.c.id).where(api_keys.c.account_id == account)).scalar_one()
    )
    return found


def spend_elsewhere(rig: Rig, charge: Charge, number: int) -> None:
    """What another process charges for a call like this one."""
    rig.store.write_now(apply_charges, [charge._replace(request_id=f"req_other_{number}")], now_us=1)


def test_a_replaced_process_breaks_no_limit_and_admits_nothing_more(rig: Rig, moody: MoodyStore) -> None:
    """Its row is closed and another process spends the cap: its last charge is cut, once, and then all are refused."""
    account = rig.account("5")
    key = rig.credit_key(account, max_budget_usd="0.001")
    assert rig.post(key, CALL).status_code == 200
    [first] = rig.charges(account)
    moody.write_now(processes.close_by_operator, rig.gateway.epoch, beat=None, now_us=1)
    spend_elsewhere(rig, first, 1)
    # It does not know yet; in its memory the cap has room for one more.
    late = rig.post(key, CALL)
    assert late.status_code == 200
    eventually(lambda: rig.post(key, CALL).status_code == 503)
    for path in ("/v1/models", "/v1/usage"):
        assert rig.http.get(path, headers={"authorization": f"Bearer {key}"}).status_code == 503
    assert (rig.gateway.admits(), rig.gateway.process_is_open) == (False, False)
    charges = {charge.request_id: charge for charge in rig.charges(account)}
    cut = charges[late.headers["x-request-id"]]
    assert (cut.charged_nano, cut.uncollected_nano) == (1_000_000 - 2 * COST_NANO, 3 * COST_NANO - 1_000_000)
    assert len(charges) == 3
    spent, uncollected = (moody.read_now(balance_nano, a) for a in (key_spend(first.key_id), UNCOLLECTED))
    assert (spent, uncollected) == (1_000_000, -cut.uncollected_nano)
    assert moody.read_now(audit).clean


def test_charges_that_are_left_of_a_replaced_process_break_no_limit(moody: MoodyStore, tmp_path: Path) -> None:
    """Its log is replayed after others spent the window: what is left is charged, the rest is uncollected."""
    other = open_store(str(moody.engine.url))
    try:
        with run_rig(moody, tmp_path / "first") as first:
            account = first.account()
            key = first.subscription_key(first.subscription(account), account)
            assert first.post(key, CALL).status_code == 200
            [known] = first.charges(account)
            moody.away = True
            late = first.post(key, CALL).headers["x-request-id"]
            shutil.copytree(tmp_path / "first" / DIRECTORY_NAME, tmp_path / "second" / DIRECTORY_NAME)
            moody.write_now(processes.close_by_operator, first.gateway.epoch, beat=None, now_us=1)
            elsewhere_nano = BUDGET_NANO - COST_NANO - COST_NANO // 2
            elsewhere = known._replace(request_id="req_other", charged_nano=elsewhere_nano)
            other.write_now(apply_charges, [elsewhere], now_us=1)
            with run_rig(other, tmp_path / "second") as second:
                charges = {charge.request_id: charge for charge in second.charges(account)}
                assert charges[late].charged_nano == charges[late].uncollected_nano == COST_NANO // 2
                assert sum(charge.charged_nano for charge in charges.values()) == BUDGET_NANO
                assert second.post(key, CALL).json()["error"]["code"] == "budget_exceeded"
            # The first one lives after all, and brings the same charge again.
            moody.away = False
            assert {charge.request_id: charge for charge in first.charges(account)} == charges
    finally:
        moody.away = False
        other.close()


def go_back(conn: Connection, seq: int) -> None:
    """What a fail-over to a replica that lagged does to the sequence: everything after `seq` never happened."""
    conn.execute(delete(change_rows).where(change_rows.c.seq > seq))
    conn.execute(update(change_counter).values(seq=seq))


def announce(conn: Connection, count: int) -> None:
    """Changes of accounts that nobody knows."""
    for _ in range(count):
        changes.record(conn, changes.Topic.ACCOUNT, "acct_unknown", now_us=1)


@pytest.mark.parametrize("lost", [1, 3, 5])
def test_what_changed_after_a_fail_over_holds(rig: Rig, lost: int) -> None:
    """The first changes of the new history have numbers that were seen before, and count all the same."""
    accounts = [rig.account("5"), rig.account("5"), rig.account("0.0004")]
    keys = [rig.credit_key(account) for account in accounts]
    assert [rig.post(key, CALL).status_code for key in keys] == [200, 200, 200]
    assert rig.post(keys[2], CALL).status_code == 402
    seq = rig.store.read_now(changes.last_seq)
    rig.store.write_now(announce, lost)
    rig.sync()

    def fail_over(conn: Connection) -> None:
        go_back(conn, seq)
        delete_api_key(conn, accounts[0], key_id_of(rig, accounts[0]), actor="test", now_us=1)
        suspend(conn, accounts[1], actor="test", reason="fraud", now_us=1)
        grant(conn, account_id=accounts[2], amount_nano=10**9, reference="new", reason="test", now_us=1)

    rig.store.write_now(fail_over)
    eventually(lambda: rig.gateway.times_database_went_back == 1)
    assert [rig.post(key, CALL).status_code for key in keys] == [401, 403, 200]
    rig.settled()
    assert rig.store.read_now(balance_nano, credit_of(accounts[2])) == 1_000_400_000 - 2 * COST_NANO
    assert rig.gateway.times_database_went_back == 1


def test_a_deletion_that_a_fail_over_lost_is_made_again(rig: Rig) -> None:
    """The replica never heard of it; the list beside the charge log did."""
    account = rig.account("5")
    key = rig.credit_key(account)
    assert rig.post(key, CALL).status_code == 200
    seq = rig.store.read_now(changes.last_seq)
    key_id = key_id_of(rig, account)
    rig.store.write_now(delete_api_key, account, key_id, actor="test", now_us=1)
    rig.sync()

    def fail_over(conn: Connection) -> None:
        go_back(conn, seq)
        conn.execute(update(api_keys).values(deleted_at_us=None))
        conn.execute(update(key_counts).values(live=key_counts.c.created))

    rig.store.write_now(fail_over)
    rig.sync()
    assert rig.post(key, CALL).status_code == 401
    assert rig.store.read_now(is_deleted, changes.Topic.API_KEY, key_id)
    assert rig.gateway.times_database_went_back == 1


def test_an_open_stream_keeps_nobody_out(rig: Rig) -> None:
    """Loading everything anew waits for nobody, and an account with calls under way is admitted at once as well."""
    busy, other = rig.account("5"), rig.account("5")
    busy_key, other_key = rig.credit_key(busy), rig.credit_key(other)
    assert [rig.post(key, CALL).status_code for key in (busy_key, other_key)] == [200, 200]
    began, ended = threading.Event(), threading.Event()

    def stream() -> None:
        headers = {"authorization": f"Bearer {busy_key}"}
        with rig.http.stream("POST", "/v1/chat/completions", json=SLOW_CALL, headers=headers) as answer:
            for line in answer.iter_lines():
                began.set()
                if line == "data: [DONE]":
                    ended.set()

    caller = threading.Thread(target=stream)
    caller.start()
    assert began.wait(10)
    rig.store.write_now(announce, 1)
    rig.sync()
    rig.store.write_now(lambda conn: go_back(conn, changes.last_seq(conn) - 1))
    rig.sync()
    assert rig.gateway.held_nano(busy) > 0
    assert (rig.post(other_key, CALL).status_code, rig.post(busy_key, CALL).status_code) == (200, 200)
    assert not ended.is_set()
    caller.join()
    assert ended.is_set()
    eventually(lambda: rig.post(busy_key, CALL).status_code == 200)
    left_nano = 5_000_000_000 - 4 * COST_NANO
    assert (rig.usage(busy_key)["held"], rig.usage(busy_key)["available"]) == ("0.00", format_usd(left_nano))
    rig.settled()
    assert rig.store.read_now(balance_nano, credit_of(busy)) == left_nano
