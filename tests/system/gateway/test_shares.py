"""An account that has no place yet: it waits for one for a moment, before everybody who has some."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.gateway.crowd import Crowd, run_crowd
from tests.support.gateway.gateway_rig import CHAT, MoodyStore, eventually
from tests.support.gateway.scripted_upstream import Script, answer
from tokenbooth.config.settings import GatewaySettings
from tokenbooth.kit.places import Places
from tokenbooth.store.accounts.accounts import suspend


@contextmanager
def full(kind: str, store: MoodyStore, data_dir: Path) -> Iterator[tuple[Crowd, Places]]:
    """A gateway with two open requests, or two places at its upstream."""
    if kind == "open requests":
        with run_crowd(store, data_dir, settings=GatewaySettings(max_open_requests=2)) as crowd:
            yield crowd, crowd.rig.gateway._open_requests.places
    else:
        with run_crowd(store, data_dir, max_concurrent=2) as crowd:
            assert crowd.ask(crowd.key()).status_code == 200
            yield crowd, crowd.rig.gateway._routing._places["upstream-0"]


@pytest.fixture(params=["open requests", "places at an upstream"])
def crowd_and_places(
    request: pytest.FixtureRequest, moody: MoodyStore, tmp_path: Path
) -> Iterator[tuple[Crowd, Places]]:
    """Both kinds of bound that are waited for."""
    with full(request.param, moody, tmp_path / "data") as running:
        yield running


def test_a_newcomer_gets_the_next_place(crowd_and_places: tuple[Crowd, Places]) -> None:
    """Two accounts have one each; a third waits, and gets the one that ends first; who had it is refused at once."""
    crowd, places = crowd_and_places
    keys = [crowd.key() for _ in range(3)]
    first, second = crowd.open(keys[0])[0], crowd.open(keys[1])[0]
    waiting = crowd.begin(keys[2])
    eventually(lambda: len(places.waiting) == 1)
    assert crowd.open(keys[0])[0].end().status_code == 503
    assert first.end().status_code == 200
    eventually(lambda: waiting.is_open)
    assert [call.end().status_code for call in (waiting, second)] == [200, 200]
    eventually(lambda: places.shares.used == 0)
    assert places.shares.accounts == 0


@pytest.mark.parametrize(("path", "status"), [(CHAT, 503), ("/anthropic/v1/messages", 529)])
def test_a_newcomer_waits_for_a_second(crowd_and_places: tuple[Crowd, Places], path: str, status: int) -> None:
    """Then it is refused, for nothing, and told when to come again."""
    crowd, places = crowd_and_places
    open_now = [crowd.open(crowd.key())[0] for _ in range(2)]
    account = crowd.rig.account("5")
    key = crowd.rig.credit_key(account, rpm=1)
    headers = {"authorization": f"Bearer {key}"}
    refused = crowd.rig.http.post(path, json=crowd.body(Script()), headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert (places.refused, len(places.waiting)) == (1, 0)
    assert [call.end().status_code for call in open_now] == [200, 200]
    assert crowd.rig.charges(account) == []
    # It counted for no limit.
    assert [crowd.ask(key).status_code for _ in range(2)] == [200, 429]


def test_a_call_that_waited_for_a_place_is_asked_again(crowd_and_places: tuple[Crowd, Places]) -> None:
    """Its account is suspended meanwhile."""
    crowd, places = crowd_and_places
    first = crowd.open(crowd.key())[0]
    crowd.open(crowd.key())
    account = crowd.rig.account("5")
    key = crowd.rig.credit_key(account)
    waiting = crowd.begin(key)
    eventually(lambda: len(places.waiting) == 1)
    now_us = crowd.rig.clock.now_us()
    crowd.rig.store.write_now(suspend, account, actor="test", reason="test", now_us=now_us)
    crowd.rig.sync()
    first.end()
    assert (waiting.end().status_code, waiting.script.calls) == (403, 0)


def test_a_client_that_left_while_it_waited_is_asked_for_nothing(moody: MoodyStore, tmp_path: Path) -> None:
    """No upstream hears of its call, nothing is charged, and its place is free."""
    with full("places at an upstream", moody, tmp_path / "data") as (crowd, places):
        first = crowd.open(crowd.key())[0]
        crowd.open(crowd.key())
        account, script = crowd.rig.account("5"), Script(headless=True, ending="hang")
        crowd.hang_up(crowd.rig.credit_key(account), script, when=lambda: len(places.waiting) == 1)
        first.end()
        eventually(lambda: crowd.rig.gateway.open_requests == 1)
        assert (places.shares.used, script.calls) == (1, 0)
        assert crowd.rig.charges(account) == []


def test_a_key_at_its_limit_waits_for_no_place(moody: MoodyStore, tmp_path: Path) -> None:
    """It would be refused anyway, and is at once."""
    with full("places at an upstream", moody, tmp_path / "data") as (crowd, places):
        key = crowd.rig.credit_key(crowd.rig.account("5"), rpm=1)
        assert crowd.ask(key).status_code == 200
        for _ in range(2):
            crowd.open(crowd.key())
        assert (crowd.ask(key).status_code, places.refused) == (429, 0)


def test_accounts_without_money_take_one_turn_in_reading_large_bodies(moody: MoodyStore, tmp_path: Path) -> None:
    """Each account with money has its own, so that a hundred without it don't make anybody wait for all of them."""
    with run_crowd(moody, tmp_path / "data", is_free=True) as crowd:
        turns, takers = crowd.rig.gateway._handlers._turns, list[str]()
        wait = turns.next

        async def note(account_id: str) -> None:
            takers.append(account_id)
            await wait(account_id)

        turns.next = note  # type: ignore[method-assign]
        script = Script((answer(),), content_type="application/json")
        seen = []
        for credit_usd in (None, None, "5", "5"):
            account = crowd.rig.account(credit_usd)
            body = {**crowd.body(script), "user": "x" * 100_000}
            assert crowd.rig.post(crowd.rig.credit_key(account), body).status_code == 200
            seen.append((set(takers), {account}))
            takers.clear()
        poor, other_poor, *rich = seen
        assert poor[0] == other_poor[0] == {""}
        assert [taken for taken, _ in rich] == [own for _, own in rich]


def test_what_is_no_request_of_ours_takes_no_place(moody: MoodyStore, tmp_path: Path) -> None:
    """A wrong key, or none, is told so also when as many requests are open as may be."""
    with run_crowd(moody, tmp_path / "data", settings=GatewaySettings(max_open_requests=1)) as crowd:
        open_now = crowd.open(crowd.key())[0]
        answers: list[httpx.Response] = [crowd.ask("sk_live_wrong"), crowd.rig.http.get("/v1/nothing")]
        assert [answer.status_code for answer in answers] == [401, 404]
        assert open_now.end().status_code == 200
