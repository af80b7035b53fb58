"""The store away, and a process that ended without a word: known keys go on, and every charge arrives once."""

import shutil
from pathlib import Path

from sqlalchemy import Connection, func, select

from tests.support.gateway.gateway_rig import (
    CHAT,
    JumpingClock,
    MoodyStore,
    Rig,
    eventually,
    prompt,
    run_rig,
    with_routes,
)
from tests.support.gateway.scripted_upstream import DONE, Script, ScriptedUpstream, answer, chunk
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.domain.keys import KeyKind, digest
from tokenbooth.domain.ledger import credit_of
from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.settlement.charge_files import DIRECTORY_NAME
from tokenbooth.kit.ids import new_key
from tokenbooth.store import processes
from tokenbooth.store.accounts.keys import delete_api_key
from tokenbooth.store.changes import forget_before
from tokenbooth.store.engine import open_store
from tokenbooth.store.ledger import balance_nano, grant
from tokenbooth.store.processes import ClosedHow
from tokenbooth.store.tables import api_keys, usage_events

Scripts = tuple[ScriptedUpstream, str]
USAGE = {"prompt_tokens": 100, "completion_tokens": 7}
COST_NANO = 1_000 * 270 + 100 * 1_100
CALL = prompt("[[usage prompt=1000 completion=100]]")


def stored(rig: Rig) -> int:
    """How many charges the store has, without waiting for more."""
    return rig.store.read_now(lambda conn: conn.execute(select(func.count()).select_from(usage_events)).scalar_one())


def balance(rig: Rig, account: str) -> int:
    """The account's credit in the store, in nano-USD."""
    return rig.store.read_now(balance_nano, credit_of(account))


def test_known_keys_go_on_and_charges_catch_up(rig: Rig, moody: MoodyStore) -> None:
    """Without its database the gateway serves known keys, and charges each call exactly once afterwards (53)."""
    account = rig.account("5")
    key = rig.credit_key(account)
    assert rig.post(key, CALL).status_code == 200
    moody.away = True
    for _ in range(10):
        assert rig.post(key, CALL).status_code == 200
    assert stored(rig) <= 1
    moody.away = False
    eventually(lambda: stored(rig) == 11)
    assert balance(rig, account) == 5_000_000_000 - 11 * COST_NANO


def test_an_unknown_key_is_503_while_the_store_is_away(rig: Rig, moody: MoodyStore) -> None:
    """Whether a key exists cannot be told without the database, so it is never called wrong."""
    key = rig.credit_key(rig.account("5"))
    moody.away = True
    for asked in (key, new_key(KeyKind.API)):
        refused = rig.post(asked, CALL)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "temporarily_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
    moody.away = False
    assert rig.post(key, CALL).status_code == 200


def test_a_window_that_was_never_seen_is_503_while_the_store_is_away(rig: Rig, moody: MoodyStore) -> None:
    """The key is known, but not what its window has left: 503, until the database is back."""
    account = rig.account()
    key = rig.subscription_key(rig.subscription(account), account)
    headers = {"authorization": f"Bearer {key}"}
    assert rig.http.get("/v1/models", headers=headers).status_code == 200
    moody.away = True
    assert rig.post(key, CALL).status_code == 503
    moody.away = False
    assert rig.post(key, CALL).status_code == 200


def test_a_window_may_turn_over_while_the_store_is_away(timed: Rig, moody: MoodyStore, clock: JumpingClock) -> None:
    """A new window has nothing spent, so known subscriptions go on into it."""
    account = timed.account()
    key = timed.subscription_key(timed.subscription(account), account)
    clock.advance(5 * 3_600 - 10)
    timed.sync()
    assert timed.post(key, CALL).status_code == 200
    moody.away = True
    clock.advance(20)
    assert timed.post(key, CALL).status_code == 200
    moody.away = False
    eventually(lambda: stored(timed) == 2)


def test_known_keys_end_when_the_store_is_away_for_too_long(timed: Rig, moody: MoodyStore, clock: JumpingClock) -> None:
    """After `stale_key_ttl_s` nobody knows who may still call: 503, and back with the database."""
    key = timed.credit_key(timed.account("5"))
    assert timed.post(key, CALL).status_code == 200
    moody.away = True
    timed.settled()
    clock.advance(299)
    assert timed.post(key, CALL).status_code == 200
    clock.advance(2)
    refused = timed.post(key, CALL)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "temporarily_unavailable")
    moody.away = False
    eventually(lambda: timed.post(key, CALL).status_code == 200)


def test_a_full_queue_admits_nobody(moody: MoodyStore, tmp_path: Path) -> None:
    """When more charges wait for the store than may, new calls are 503 and nothing is lost."""
    with run_rig(moody, tmp_path, gateway_settings=GatewaySettings(max_unflushed_charges=3)) as rig:
        key, other = (rig.credit_key(rig.account("5")) for _ in range(2))
        assert [rig.post(known, CALL).status_code for known in (key, other)] == [200, 200]
        rig.settled()
        moody.away = True
        # The last quarter is another account's.
        statuses = [rig.post(known, CALL).status_code for known in (key, key, key, other, other, key)]
        assert statuses == [200, 200, 503, 200, 503, 503]
        # What a load balancer is told.
        assert not rig.gateway.admits()
        moody.away = False
        eventually(lambda: stored(rig) == 5)
        # The row is there a moment before the gateway knows that it is.
        rig.settled()
        assert rig.gateway.admits()
        assert rig.post(key, CALL).status_code == 200


def test_a_commit_whose_answer_was_lost_charges_once(rig: Rig, moody: MoodyStore) -> None:
    """A write that is done but reported as failed is tried again without a second effect."""
    account = rig.account("5")
    key = rig.credit_key(account)
    assert rig.post(key, CALL).status_code == 200
    eventually(lambda: stored(rig) == 1)
    moody.lost_answers = 2
    assert rig.post(key, CALL).status_code == 200
    eventually(lambda: moody.lost_answers == 0)
    rig.settled()
    assert balance(rig, account) == 5_000_000_000 - 2 * COST_NANO


def test_credit_granted_while_the_store_was_away_is_seen_afterwards(rig: Rig, moody: MoodyStore) -> None:
    """Changes that were committed meanwhile are applied when the gateway can read again, each once."""
    account = rig.account("0.0005")
    key = rig.credit_key(account)
    assert rig.post(key, CALL).status_code == 200
    assert rig.post(key, CALL).status_code == 402
    moody.away = True
    rig.grant(account, "0.0005")
    moody.away = False
    eventually(lambda: rig.post(key, CALL).status_code == 200)
    assert rig.post(key, CALL).status_code == 402


def test_charges_of_a_process_that_ended_suddenly_are_replayed_once(moody: MoodyStore, tmp_path: Path) -> None:
    """What the log holds is charged at the next start, once: also when it is replayed again (35, 52)."""
    other = open_store(str(moody.engine.url))
    try:
        with run_rig(moody, tmp_path / "first") as first:
            account = first.account("5")
            key = first.credit_key(account)
            assert first.post(key, CALL).status_code == 200
            eventually(lambda: stored(first) == 1)
            moody.away = True
            for stream in (True, False, True):
                assert first.post(key, {**CALL, "stream": stream}).status_code == 200
            for name in ("second", "third"):
                leave_behind(tmp_path / "first", tmp_path / name)
            moody.write_now(processes.close, first.gateway.epoch, ClosedHow.COMMAND, now_us=first.clock.now_us())
            for name, replayed in (("second", 4), ("third", 5)):
                with run_rig(other, tmp_path / name) as again:
                    assert stored(again) == replayed
                    assert balance(again, account) == 5_000_000_000 - replayed * COST_NANO
                    assert again.post(key, CALL).status_code == 200
            # The first one lives after all, and flushes the same charges a third time.
            moody.away = False
            first.settled()
            assert stored(first) == 6
            assert balance(first, account) == 5_000_000_000 - 6 * COST_NANO
    finally:
        moody.away = False
        other.close()


def leave_behind(data_dir: Path, copy: Path) -> None:
    """What a process killed just now would leave in its data directory, the last record cut short."""
    shutil.copytree(data_dir / DIRECTORY_NAME, copy / DIRECTORY_NAME)
    last = max((copy / DIRECTORY_NAME).glob("*.log"))
    last.write_bytes(last.read_bytes() + b"\x40\x00\x00\x00torn")


def test_a_charge_is_in_the_log_before_its_client_sees_the_end(rig: Rig, moody: MoodyStore, tmp_path: Path) -> None:
    """When the client has the end of an answer, the record is on disk already (P10)."""
    key = rig.credit_key(rig.account("5"))
    rig.http.get("/v1/models", headers={"authorization": f"Bearer {key}"})
    moody.away = True
    size = 0
    for stream in (True, False, True, False):
        assert rig.post(key, {**CALL, "stream": stream}).status_code == 200
        grown = sum(path.stat().st_size for path in (tmp_path / DIRECTORY_NAME).glob("*.log"))
        assert grown > size
        size = grown
    moody.away = False


def test_a_log_that_was_committed_is_emptied(rig: Rig, tmp_path: Path) -> None:
    """Nothing is left to replay once the store has every charge."""
    key = rig.credit_key(rig.account("5"))
    assert rig.post(key, CALL).status_code == 200
    rig.settled()
    eventually(lambda: sum(p.stat().st_size for p in (tmp_path / DIRECTORY_NAME).glob("*.log")) == 0)


def test_a_balance_is_exact_after_a_restart(moody: MoodyStore, tmp_path: Path) -> None:
    """A gateway that is stopped and started goes on with the same credit, cap and window."""
    with run_rig(moody, tmp_path) as rig:
        account = rig.account("0.0005")
        key = rig.credit_key(account)
        assert rig.post(key, CALL).status_code == 200
        capped = rig.credit_key(rig.account("5"), max_budget_usd="0.0005")
        assert rig.post(capped, CALL).status_code == 200
    with run_rig(moody, tmp_path) as rig:
        assert rig.post(key, CALL).json()["error"]["code"] == "insufficient_credits"
        assert rig.post(capped, CALL).json()["error"]["code"] == "key_budget_exceeded"


def test_changes_that_were_swept_unseen_are_not_missed(rig: Rig) -> None:
    """Cut off for longer than changes are kept, a process loads everything anew: P11 holds, and a grant is there."""
    account, other = rig.account("5"), rig.account()
    deleted, poor = rig.credit_key(account), rig.credit_key(other)
    assert rig.post(deleted, CALL).status_code == 200
    assert rig.post(poor, CALL).status_code == 402
    now_us = rig.clock.now_us()

    def change_and_sweep(conn: Connection) -> None:
        key_id = conn.execute(select(api_keys.c.id).where(api_keys.c.account_id == account)).scalar_one()
        delete_api_key(conn, account, key_id, actor="test", now_us=now_us)
        grant(conn, account_id=other, amount_nano=10**9, reference="late", reason="test", now_us=now_us)
        forget_before(conn, now_us + 1)

    rig.store.write_now(change_and_sweep)
    eventually(lambda: rig.post(deleted, CALL).status_code == 401)
    # The key is refused as soon as it is read anew, others are admitted when the feed has caught up: 503 until then.
    eventually(lambda: rig.post(poor, CALL).status_code == 200)
    rig.settled()
    assert balance(rig, other) == 10**9 - COST_NANO


def test_an_open_stream_keeps_nobody_out_when_changes_were_swept(
    scripts: Scripts, moody: MoodyStore, tmp_path: Path
) -> None:
    """An hour's outage while a stream is open: others are admitted at once, the stream is charged, money is exact."""
    upstream, url = scripts
    script = Script(
        (chunk(), chunk("abcd"), chunk(finish=True), chunk(usage=USAGE, choices=False), DONE), pause_before=2
    )
    quick = Script((answer(usage=USAGE),), content_type="application/json")
    with run_rig(moody, tmp_path, change_catalog=lambda catalog: with_routes(catalog, url)) as rig:
        account, other = rig.account("0.02"), rig.account()
        key, deleted, poor = rig.credit_key(account), rig.credit_key(account), rig.credit_key(other)
        assert rig.post(deleted, prompt(upstream.add(quick))).status_code == 200
        headers = {"authorization": f"Bearer {key}"}
        with rig.http.stream("POST", CHAT, json=prompt(upstream.add(script), stream=True), headers=headers) as stream:
            parts = stream.iter_text()
            next(parts)
            held_nano = rig.gateway.held_nano(account)
            now_us = rig.clock.now_us()

            def change_and_sweep(conn: Connection) -> None:
                key_id = conn.scalars(select(api_keys.c.id).where(api_keys.c.digest == digest(deleted))).one()
                delete_api_key(conn, account, key_id, actor="test", now_us=now_us)
                for who in (account, other):
                    grant(
                        conn, account_id=who, amount_nano=10**7, reference=f"late {who}", reason="test", now_us=now_us
                    )
                forget_before(conn, now_us + 1)

            rig.store.write_now(change_and_sweep)
            rig.settled()
            rig.sync()
            assert rig.post(poor, prompt(upstream.add(quick))).status_code == 200
            assert rig.post(deleted, prompt(upstream.add(quick))).status_code == 401
            # The open stream holds what it held, and what is free was counted anew.
            assert rig.gateway.held_nano(account) == held_nano > 0
            pool = rig.usage(key)
            script.proceed.set()
            assert "[DONE]" in "".join(parts)
        spent_nano = 2 * (100 * 270 + 7 * 1_100)
        rig.settled()
        assert pool["available"] == format_usd(3 * 10**7 - spent_nano // 2 - held_nano)
        assert balance(rig, account) == 3 * 10**7 - spent_nano
        assert rig.gateway.held_nano(account) == 0
        assert rig.usage(key)["available"] == format_usd(3 * 10**7 - spent_nano)
