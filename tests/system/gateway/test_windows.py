"""Windows and rates by the clock: nothing has to run for them to turn over."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from tests.support.fakes import MARCH_5_2026_US
from tests.support.gateway.gateway_rig import CHAT, JumpingClock, MoodyStore, Rig, prompt, run_rig
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.store.tables import subscriptions

HOUR_S = 3_600
HOUR_US = HOUR_S * 1_000_000
# 60,000 x 270 + 8,000 x 1,100 nano-dollars: six of them are more than the window's $0.14.
SPEND = prompt("[[write 1]] [[usage prompt=60000 completion=8000]]")


def subscriber(rig: Rig) -> tuple[str, str]:
    """An account with a key of a fresh standard subscription."""
    account = rig.account()
    return account, rig.subscription_key(rig.subscription(account), account)


def spend_window(rig: Rig, key: str) -> None:
    """Call until the window's budget refuses."""
    for _ in range(10):
        answer = rig.post(key, SPEND)
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "budget_exceeded"
            return
        assert answer.status_code == 200
    raise AssertionError("the budget never ended")


def test_a_spent_window_tells_when_it_resets_and_then_does(timed: Rig, clock: JumpingClock) -> None:
    """The refusal's time to wait is true to the second: one second before it is refused, then it passes (46)."""
    account, key = subscriber(timed)
    clock.advance(1.25)
    spend_window(timed, key)
    refused = timed.post(key, SPEND)
    wait_s = int(refused.headers["retry-after"])
    assert wait_s == 5 * HOUR_S - 1
    assert refused.headers["retry-after-ms"] == "17998750"
    assert refused.headers["x-should-retry"] == "false"
    assert "Budget has been exceeded" in refused.json()["error"]["message"]
    assert refused.headers["x-budget-reset"] == "2026-03-05T15:00:00.000Z"
    assert refused.headers["x-budget-limit"] == "0.14"
    clock.advance(wait_s - 1)
    timed.sync()
    assert timed.post(key, SPEND).status_code == 429
    clock.advance(1)
    timed.sync()
    assert timed.post(key, SPEND).status_code == 200
    assert timed.charged_nano(account) <= 2 * 140_000_000


@pytest.mark.parametrize(
    ("window", "resets_at"),
    [
        ("30m", "2026-03-05T10:30:00.000Z"),
        ("5h", "2026-03-05T15:00:00.000Z"),
        ("1d", "2026-03-06T00:00:00.000Z"),
        ("7d", "2026-03-09T00:00:00.000Z"),
        ("30d", "2026-03-12T00:00:00.000Z"),
    ],
)
def test_a_window_of_any_length_refuses_until_it_resets(
    moody: MoodyStore, tmp_path: Path, clock: JumpingClock, window: str, resets_at: str
) -> None:
    """From half an hour to thirty days: spent, refused until the instant that was told, and new from then on (46)."""
    plan = {"price_usd": "20", "rpm": 1_000, "budget_usd": "0.14", "window": window}
    with run_rig(moody, tmp_path, clock=clock, standard=plan) as rig:
        account, key = subscriber(rig)
        spend_window(rig, key)
        refused = rig.post(key, SPEND)
        wait_s = int(refused.headers["retry-after"])
        assert refused.headers["x-budget-reset"] == resets_at
        assert clock.now_us() + wait_s * 1_000_000 == int(datetime.fromisoformat(resets_at).timestamp()) * 1_000_000
        answers = []
        for step_s in (wait_s - 1, 1):
            clock.advance(step_s)
            rig.sync()
            answers.append(rig.post(key, SPEND).status_code)
        assert answers == [429, 200]
        by_window: dict[int, int] = {}
        for charge in rig.charges(account):
            by_window[charge.window_start_us] = by_window.get(charge.window_start_us, 0) + charge.charged_nano
        assert len(by_window) == 2
        assert max(by_window.values()) <= 140_000_000


def test_the_last_window_of_a_day_is_short(timed: Rig, clock: JumpingClock) -> None:
    """Windows of five hours begin anew at midnight UTC."""
    account, key = subscriber(timed)
    clock.advance(11 * HOUR_S)
    timed.sync()
    reset = timed.post(key, prompt("hello")).headers["x-budget-reset"]
    assert reset == "2026-03-06T00:00:00.000Z"
    midnight_us = int(datetime(2026, 3, 5, 20, tzinfo=UTC).timestamp()) * 1_000_000
    assert [charge.window_start_us for charge in timed.charges(account)] == [midnight_us]


def test_a_call_over_the_boundary_belongs_to_the_window_that_admitted_it(timed: Rig, clock: JumpingClock) -> None:
    """A stream that ends in the next window is charged to the one that it began in (46)."""
    account, key = subscriber(timed)
    body = prompt("[[write 4]] [[token-delay 0.1]]", stream=True)
    with timed.http.stream("POST", CHAT, json=body, headers={"authorization": f"Bearer {key}"}) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        clock.advance(5 * HOUR_S)
        timed.sync()
        assert b"[DONE]" in b"".join(pieces)
    timed.post(key, prompt("hello"))
    charges = timed.charges(account)
    assert [c.window_start_us for c in charges] == [MARCH_5_2026_US, MARCH_5_2026_US + 5 * HOUR_US]
    assert charges[0].finished_at_us == MARCH_5_2026_US + 5 * HOUR_US
    assert timed.usage(key)["spent"] == f"{charges[1].charged_nano / NANO_PER_USD:.9f}".rstrip("0")


def test_a_clock_that_jumps_back_and_forward_gives_no_second_budget(timed: Rig, clock: JumpingClock) -> None:
    """A window keeps what was spent in it, however the wall clock jumps (47)."""
    account, key = subscriber(timed)
    spend_window(timed, key)
    clock.jump(5 * HOUR_S)
    spend_window(timed, key)
    for back_s in (-5 * HOUR_S, 5 * HOUR_S, -2 * HOUR_S, 2 * HOUR_S):
        clock.jump(back_s)
        assert timed.post(key, SPEND).status_code == 429
    # Further back than anything that was ever asked for: a fresh window, whose spend is asked of the store.
    clock.jump(-24 * HOUR_S)
    assert timed.post(key, SPEND).status_code == 200
    by_window: dict[int, int] = {}
    for charge in timed.charges(account):
        by_window[charge.window_start_us] = by_window.get(charge.window_start_us, 0) + charge.charged_nano
    assert len(by_window) == 3
    assert all(spent_nano <= 140_000_000 for spent_nano in by_window.values())


def test_the_sixty_first_request_waits_for_a_true_time(timed: Rig, clock: JumpingClock) -> None:
    """Standard's sixty requests a minute: the next one is told how long, and after that long it passes."""
    _, key = subscriber(timed)
    body = prompt("[[write 1]]", max_tokens=1)
    for number in range(60):
        answer = timed.post(key, body)
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-remaining-requests"] == str(59 - number)
        clock.advance(0.5)
    refused = timed.post(key, body)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert "60 of 60 requests" in refused.json()["error"]["message"]
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("30", "30000")
    assert refused.headers["x-ratelimit-reset-requests"] == "59.5s"
    clock.advance(29.999)
    assert timed.post(key, body).headers["retry-after"] == "1"
    clock.advance(0.001)
    assert timed.post(key, body).status_code == 200
    assert timed.post(key, body).status_code == 429


def test_a_wall_clock_that_jumps_does_not_free_the_rate(timed: Rig, clock: JumpingClock) -> None:
    """Rates go by the monotonic clock: setting the wall clock an hour ahead admits nothing (47)."""
    account = timed.account("5")
    key = timed.credit_key(account, rpm=1)
    assert timed.post(key, prompt("hello")).status_code == 200
    clock.jump(HOUR_S)
    assert timed.post(key, prompt("hello")).status_code == 429


def test_two_subscriptions_are_two_pools(timed: Rig) -> None:
    """A spent window of one subscription leaves the account's other one untouched."""
    account = timed.account()
    first, second = (timed.subscription_key(timed.subscription(account), account) for _ in range(2))
    spend_window(timed, first)
    assert timed.post(second, SPEND).status_code == 200


def test_a_restart_after_a_clock_that_was_ahead_gives_no_second_budget(
    moody: MoodyStore, tmp_path: Path, clock: JumpingClock
) -> None:
    """A window that was spent while the clock was ahead is still spent when its time comes, after a restart (47)."""
    with run_rig(moody, tmp_path, clock=clock) as rig:
        _, key = subscriber(rig)
        clock.jump(5 * HOUR_S)
        spend_window(rig, key)
    clock.jump(-5 * HOUR_S)
    with run_rig(moody, tmp_path, clock=clock) as rig:
        assert rig.post(key, SPEND).status_code == 200
        clock.jump(5 * HOUR_S)
        assert rig.post(key, SPEND).status_code == 429


def test_a_smaller_plan_begins_by_the_clock(timed: Rig, clock: JumpingClock) -> None:
    """No word of the store or of Stripe is needed: what the larger plan's window spent counts against the smaller limit
    from the moment on, and the next window has the smaller budget."""
    account = timed.account()
    own_id = timed.subscription(account, plan="pro")
    key = timed.subscription_key(own_id, account)
    at_us = MARCH_5_2026_US + HOUR_US
    timed.store.write_now(_follow_with, own_id, "standard", at_us)
    timed.sync()
    assert [timed.post(key, SPEND).status_code for _ in range(12)] == [200] * 12
    assert timed.charged_nano(account) > 2 * 140_000_000
    clock.advance(HOUR_S)
    timed.sync()
    refused = timed.post(key, SPEND)
    assert (refused.status_code, refused.headers["x-budget-limit"]) == (429, "0.14")
    before_nano = timed.charged_nano(account)
    clock.advance(4 * HOUR_S)
    timed.sync()
    spend_window(timed, key)
    assert timed.charged_nano(account) - before_nano <= 140_000_000


def _follow_with(conn: Connection, subscription_id: str, plan: str, at_us: int) -> None:
    conn.execute(
        update(subscriptions)
        .where(subscriptions.c.id == subscription_id)
        .values(price_nano=60 * NANO_PER_USD, pending_plan_slug=plan, pending_price_nano=20 * NANO_PER_USD)
        .values(plan_changes_at_us=at_us)
    )
