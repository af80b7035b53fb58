"""Changes of plan: a dearer one at once and paid, any other with the next period, wherever it is made.

The figures are those of an attack: standard has 0.14 USD a window for 20 USD, pro has 0.42 for 60. Who goes up, spends
and goes down again must have paid for the 0.42.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import cast

import pytest
from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from tests.support.billing.billing_rows import by_window, charge
from tests.support.billing.shop import DECLINED_CARD, FAILS_LATER_CARD, Json, Shop, running_shop
from tokenbooth.config.settings import PlanSettings
from tokenbooth.domain.ledger import SUBSCRIPTION_REVENUE
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.windows import window_at
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.subscriptions import settle_plans
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import audit_log
from tokenbooth.store.tables import inbox as inbox_rows
from tokenbooth.store.usage.admission import load_subscription
from tokenbooth.store.usage.settlement import apply_charges

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
MARCH_S = 31 * DAY_S
PERIOD_END = "2026-04-05T10:00:00.000Z"
NEXT_PERIOD_END = "2026-05-05T10:00:00.000Z"
WINDOW_US = 5 * HOUR_S * 1_000_000


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the books are audited and held against Stripe's afterwards."""
    with running_shop(store) as running:
        yield running
        settled(running)


def settled(shop: Shop) -> None:
    """Nothing waits for a person, and both books say the same."""
    shop.control("wait")
    assert shop.inbox_errors() == []
    report = shop.reconcile()
    assert (report.at_stripe_nano, report.differences) == (report.here_nano, [])
    assert shop.store.read_now(audit).differences == ()


def change(shop: Shop, plan: str) -> Json:
    """Move the newest subscription to a plan, which must succeed."""
    answer = shop.post("change", {"subscriptionId": shop.subscriptions()[0]["id"], "planSlug": plan})
    assert answer.status_code == 200, answer.text
    shop.control("wait")
    changed: Json = answer.json()["data"]
    return changed


def refused(shop: Shop, plan: str) -> tuple[int, str]:
    """The refusal of a change."""
    answer = shop.post("change", {"subscriptionId": shop.subscriptions()[0]["id"], "planSlug": plan})
    return answer.status_code, str(answer.json()["error"]["code"])


def shown(shop: Shop) -> tuple[object, object, object, object]:
    """The newest subscription: its plan, the limit of its window, the plan that follows, and when."""
    subscription = shop.subscriptions()[0]
    budget = cast("Json", subscription["budget"])
    return subscription["planSlug"], budget["limit"], subscription["pendingPlan"], subscription["changesAt"]


def spent(shop: Shop) -> object:
    """What the running window has spent."""
    return cast("Json", shop.subscriptions()[0]["budget"])["spent"]


def spend(shop: Shop, cost_nano: int) -> None:
    """Let the newest subscription spend in its running window."""
    now_us = shop.clock.now_us()
    key = shop.http.post("/api/keys/subscription", json={"name": "one", "subscriptionId": own_id(shop)}).json()["data"]
    made = charge(shop.ada.account_id, finished_at_us=now_us, key_id=key["id"], cost_nano=cost_nano)
    made = by_window(made, own_id(shop))
    made = made._replace(window_start_us=window_at(now_us, WINDOW_US).start_us, uncollected_nano=0)
    shop.store.write_now(apply_charges, [made], now_us=now_us)


def own_id(shop: Shop) -> str:
    """Our id of the newest subscription."""
    return str(shop.subscriptions()[0]["id"])


def price_id(shop: Shop, plan: str) -> str:
    """Stripe's id of a plan's price, which is made by a checkout of it."""
    shop.open_page("checkout", {"planSlug": plan})
    prices = cast("list[Json]", shop.stripe("prices?limit=100")["data"])
    return next(str(price["id"]) for price in prices if cast("Json", price["metadata"]).get("plan_slug") == plan)


def at_stripe(shop: Shop) -> Json:
    """The newest subscription as Stripe has it."""
    return shop.stripe(f"subscriptions/{shop.stripe_ids('subscriptions')[0]}")


def in_dashboard(shop: Shop, plan: str, proration: str) -> None:
    """Change the price in Stripe's dashboard."""
    subscription = at_stripe(shop)
    (item,) = cast("list[Json]", cast("Json", subscription["items"])["data"])
    form = {"items[0][id]": str(item["id"]), "items[0][price]": price_id(shop, plan), "proration_behavior": proration}
    shop.stripe_post(f"subscriptions/{subscription['id']}", **form)


def in_portal(shop: Shop, plan: str, at: str = "period_end") -> None:
    """Change the price in Stripe's portal."""
    shop.control("portal_change", subscription=at_stripe(shop)["id"], price=price_id(shop, plan), at=at)


def paid_usd(shop: Shop) -> float:
    """What subscriptions brought in, USD."""
    return shop.store.read_now(ledger.balance_nano, SUBSCRIPTION_REVENUE) / NANO_PER_USD


def audited(shop: Shop) -> list[tuple[str, str]]:
    """What was written down of changes that were made elsewhere."""

    def read(conn: Connection) -> list[tuple[str, str]]:
        rows = conn.execute(
            select(audit_log.c.action, audit_log.c.detail)
            .where(audit_log.c.action.like("plan.%"))
            .order_by(audit_log.c.id)
        )
        return [(row.action, row.detail) for row in rows]

    return shop.store.read_now(read)


def test_up_spend_down_pays_for_what_it_spends(shop: Shop) -> None:
    """The upgrade costs the whole difference and the downgrade gives nothing back: 0.42 a window was paid for."""
    shop.subscribe("standard")
    change(shop, "pro")
    spend(shop, 404_546_560)
    down = change(shop, "standard")
    assert (down["planSlug"], down["pendingPlan"], down["changesAt"]) == ("pro", "standard", PERIOD_END)
    assert (shown(shop), spent(shop)) == (("pro", "0.42", "standard", PERIOD_END), "0.40454656")
    assert (paid_usd(shop), shop.stripe(f"customers/{at_stripe(shop)['customer']}")["balance"]) == (60.0, 0)


def test_a_downgrade_waits_and_renews_at_its_price(shop: Shop) -> None:
    """The paid plan holds to its last microsecond, then the smaller one, by the clock alone; the renewal is 20 USD."""
    shop.subscribe("pro")
    shop.advance(10 * DAY_S)
    change(shop, "standard")
    shop.clock.advance(MARCH_S - 10 * DAY_S - 1)
    assert shown(shop) == ("pro", "0.42", "standard", PERIOD_END)
    shop.clock.advance(1)
    assert shown(shop) == ("standard", "0.14", None, None)
    shop.advance(2 * HOUR_S)
    (renewed,) = shop.subscriptions()
    assert (renewed["planSlug"], renewed["status"], renewed["currentPeriodEnd"]) == (
        "standard",
        "active",
        NEXT_PERIOD_END,
    )
    assert paid_usd(shop) == 80.0
    shop.advance(30 * DAY_S)
    assert (at_stripe(shop)["schedule"], paid_usd(shop)) == (None, 100.0)


def test_the_gateway_is_told_of_the_day_beforehand(shop: Shop) -> None:
    """What admission loads says which plan follows and when, so that no word is needed on the day."""
    shop.subscribe("pro")
    change(shop, "standard")
    loaded = shop.store.read_now(load_subscription, own_id(shop))
    assert loaded is not None
    assert (loaded.plan_slug, loaded.next_plan_slug) == ("pro", "standard")
    shop.clock.advance(MARCH_S)
    assert loaded.plan_changes_at_us == shop.clock.now_us()
    shop.store.write_now(settle_plans, now_us=shop.clock.now_us())
    written = shop.store.read_now(load_subscription, own_id(shop))
    assert written is not None
    assert (written.plan_slug, written.next_plan_slug) == ("standard", None)
    shop.advance(HOUR_S + 60)


def test_a_downgrade_is_taken_back(shop: Shop) -> None:
    """Changing to the plan that it has releases the schedule; the renewal is at the old price."""
    shop.subscribe("pro")
    change(shop, "standard")
    assert at_stripe(shop)["schedule"] is not None
    back = change(shop, "pro")
    assert (back["planSlug"], back["pendingPlan"], back["changesAt"]) == ("pro", None, None)
    assert at_stripe(shop)["schedule"] is None
    shop.advance(MARCH_S + 2 * HOUR_S)
    assert (shown(shop)[0], paid_usd(shop)) == ("pro", 120.0)


def test_an_upgrade_while_a_downgrade_waits(store: Store) -> None:
    """The waiting one is given up, and the dearer plan holds at once."""
    top = PlanSettings.model_validate({"price_usd": "100", "rpm": 500, "budget_usd": "0.80"})
    with running_shop(store, plans={"top": top}) as shop:
        shop.subscribe("pro")
        change(shop, "standard")
        up = change(shop, "top")
        assert (up["planSlug"], up["pendingPlan"]) == ("top", None)
        shop.advance(MARCH_S + 2 * HOUR_S)
        assert (shown(shop)[0], paid_usd(shop)) == ("top", 200.0)
        settled(shop)


def test_another_downgrade_takes_the_place_of_the_first(store: Store) -> None:
    """The later wish counts, and a repeated one changes nothing."""
    top = PlanSettings.model_validate({"price_usd": "100", "rpm": 500, "budget_usd": "0.80"})
    with running_shop(store, plans={"top": top}) as shop:
        shop.subscribe("top")
        change(shop, "pro")
        change(shop, "standard")
        assert change(shop, "standard")["pendingPlan"] == "standard"
        shop.advance(MARCH_S + 2 * HOUR_S)
        assert (shown(shop)[0], paid_usd(shop)) == ("standard", 120.0)
        settled(shop)


def test_a_cancel_gives_the_waiting_change_up(shop: Shop) -> None:
    """Stripe lets nobody cancel past a schedule; after a resume the present plan goes on."""
    shop.subscribe("pro")
    change(shop, "standard")
    wanted = {"subscriptionId": own_id(shop)}
    canceled = shop.post("cancel", wanted).json()["data"]
    assert (canceled["cancelAtPeriodEnd"], canceled["pendingPlan"], canceled["changesAt"]) == (True, None, None)
    resumed = shop.post("resume", wanted).json()["data"]
    assert (resumed["planSlug"], resumed["pendingPlan"]) == ("pro", None)
    shop.advance(MARCH_S + 2 * HOUR_S)
    assert shown(shop)[0] == "pro"


def test_three_changes_a_day(shop: Shop) -> None:
    """The fourth of a subscription in 24 hours is refused, one a day later is not; another has its own."""
    shop.subscribe("standard")
    for plan in ("pro", "standard", "pro"):
        change(shop, plan)
    assert refused(shop, "standard") == (422, "too_many_plan_changes")
    assert shown(shop)[0] == "pro"
    shop.advance(60)
    shop.subscribe("standard")
    change(shop, "pro")
    shop.advance(DAY_S)
    change(shop, "standard")


def test_many_changes_at_once_are_three(shop: Shop) -> None:
    """Whatever comes at the same moment, no more than three are carried out."""
    shop.subscribe("standard")
    wanted = own_id(shop)

    def ask(number: int) -> int:
        plan = ("pro", "standard")[number % 2]
        return shop.post("change", {"subscriptionId": wanted, "planSlug": plan}).status_code

    with ThreadPoolExecutor(6) as threads:
        codes = list(threads.map(ask, range(12)))
    shop.control("wait")
    assert set(codes) <= {200, 422, 502}
    shop.reconcile()
    assert refused(shop, "standard" if shown(shop)[2] is None else "pro")[1] == "too_many_plan_changes" or (
        codes.count(422) == 0
    )


def test_a_refused_card_is_no_change(shop: Shop) -> None:
    """It counts for nothing: plan, price and period stay, and the next attempts are not too many."""
    shop.subscribe("standard", card=FAILS_LATER_CARD)
    for _ in range(4):
        assert refused(shop, "pro") == (402, "card_declined")
    assert (shown(shop), paid_usd(shop)) == (("standard", "0.14", None, None), 20.0)


def test_the_difference_is_charged_from_the_windows_start(shop: Shop) -> None:
    """Who goes up an hour before the period ends gets a whole window of the larger budget, and pays for one."""
    shop.subscribe("standard")
    shop.advance(MARCH_S - HOUR_S)
    change(shop, "pro")
    change(shop, "standard")
    paid_for_s = 5 * HOUR_S
    assert round(paid_usd(shop) - 20, 2) == round(40 * paid_for_s / MARCH_S, 2)
    shop.advance(3 * HOUR_S)
    assert shown(shop)[0] == "standard"


def test_a_downgrade_in_the_portal_waits(shop: Shop) -> None:
    """As our configuration of the portal lets it: a schedule, which shows as one of ours does."""
    shop.subscribe("pro")
    in_portal(shop, "standard")
    assert shown(shop) == ("pro", "0.42", "standard", PERIOD_END)
    assert change(shop, "pro")["pendingPlan"] is None
    in_portal(shop, "standard")
    shop.advance(MARCH_S + 2 * HOUR_S)
    assert (shown(shop)[0], paid_usd(shop)) == ("standard", 80.0)


def test_a_downgrade_in_stripes_dashboard_without_proration_waits_here(shop: Shop) -> None:
    """Stripe bills the smaller plan from now on and gave nothing back: what was paid for holds until its end."""
    shop.subscribe("pro")
    in_dashboard(shop, "standard", "none")
    assert shown(shop) == ("pro", "0.42", "standard", PERIOD_END)
    shop.advance(MARCH_S + 2 * HOUR_S)
    assert (shown(shop)[0], paid_usd(shop)) == ("standard", 80.0)


def test_it_can_be_taken_back_here(shop: Shop) -> None:
    """The price at Stripe is put back without a charge, because the period is paid."""
    shop.subscribe("pro")
    in_dashboard(shop, "standard", "none")
    assert change(shop, "pro")["pendingPlan"] is None
    shop.advance(MARCH_S + 2 * HOUR_S)
    assert (shown(shop)[0], paid_usd(shop)) == ("pro", 120.0)


@pytest.mark.parametrize("proration", ["always_invoice", "create_prorations"])
def test_a_downgrade_that_is_paid_back_counts_at_once(shop: Shop, proration: str) -> None:
    """Stripe gave the rest of the period back, so no more of it is to be had: the smaller limit holds for what was
    spent already, the operator is told, and no dearer plan begins again before the period is over."""
    shop.subscribe("standard")
    change(shop, "pro")
    spend(shop, 404_546_560)
    with capture_logs() as lines:
        in_dashboard(shop, "standard", proration)
        shop.control("wait")
    assert (shown(shop), spent(shop)) == (("standard", "0.14", None, None), "0.40454656")
    assert {line["usd"] for line in lines if line["event"] == "plan_credited"} == {"40.00"}
    assert ("plan.changed_elsewhere", f"{own_id(shop)}: standard") in audited(shop)
    assert any(action == "plan.credited" and "40.00" in detail for action, detail in audited(shop))
    assert refused(shop, "pro") == (422, "plan_change_credited")


def test_an_upgrade_elsewhere_counts_once_it_is_paid(shop: Shop) -> None:
    """Without a payment it waits for the renewal that pays for it; with one it counts at once."""
    shop.subscribe("standard")
    in_dashboard(shop, "pro", "none")
    assert shown(shop) == ("standard", "0.14", "pro", PERIOD_END)
    shop.clock.advance(MARCH_S)
    assert shown(shop)[:2] == ("standard", "0.14")
    shop.advance(2 * HOUR_S)
    assert (shown(shop), paid_usd(shop)) == (("pro", "0.42", None, None), 80.0)
    shop.subscribe("standard")
    in_portal(shop, "pro", "now")
    assert shown(shop) == ("pro", "0.42", None, None)


def test_an_upgrade_elsewhere_that_was_never_paid_is_paid_here(shop: Shop) -> None:
    """Asked for here, it is charged as any other, although Stripe bills the price already."""
    shop.subscribe("standard")
    in_dashboard(shop, "pro", "none")
    assert change(shop, "pro")["planSlug"] == "pro"
    assert paid_usd(shop) == 60.0


def test_flips_in_the_portal_count_among_a_days_changes(shop: Shop) -> None:
    """Whoever went down and up elsewhere has fewer left here."""
    shop.subscribe("pro")
    for plan in ("standard", "pro", "standard"):
        in_dashboard(shop, plan, "none")
    change(shop, "pro")
    assert refused(shop, "standard") == (422, "too_many_plan_changes")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_webhooks_does_not_matter(shop: Shop, order: tuple[int, ...]) -> None:
    """P7: held, released in any order and twice, they lead to the same plan, pending change and payment."""
    shop.subscribe("pro")
    shop.control("delivery", mode="hold", copies=1)
    change(shop, "standard")
    held = cast("list[str]", shop.control("wait")["held"])
    for _ in range(2):
        for third in order:
            for event in held[third::3]:
                shop.control("resend", event=event, copies=2)
    shop.send_webhooks()
    assert shown(shop) == ("pro", "0.42", "standard", PERIOD_END)
    shop.control("delivery", mode="hold", copies=1)
    shop.clock.advance(MARCH_S + 2 * HOUR_S)
    held = cast("list[str]", shop.control("wait")["held"])
    for _ in range(2):
        for third in order:
            for event in held[third::3]:
                shop.control("resend", event=event, copies=2)
    shop.send_webhooks()
    assert (shown(shop), paid_usd(shop)) == (("standard", "0.14", None, None), 80.0)


@pytest.mark.parametrize("made_in", ["portal", "dashboard"])
def test_the_reconciler_sees_what_no_webhook_told(shop: Shop, made_in: str) -> None:
    """A change that was never told of is found, whichever way Stripe expresses it, and its undoing too."""
    shop.subscribe("pro")
    shop.lose_webhooks()
    if made_in == "portal":
        in_portal(shop, "standard")
    else:
        in_dashboard(shop, "standard", "none")
    assert shown(shop)[2] is None
    shop.reconcile()
    assert shown(shop) == ("pro", "0.42", "standard", PERIOD_END)
    assert shop.reconcile().differences == []
    if made_in == "portal":
        shop.stripe_post(f"subscription_schedules/{at_stripe(shop)['schedule']}/release")
    else:
        in_dashboard(shop, "pro", "none")
    shop.reconcile()
    assert shown(shop) == ("pro", "0.42", None, None)
    shop.send_webhooks()


def test_a_lost_answer_is_made_good_by_the_webhook(shop: Shop) -> None:
    """A schedule that Stripe made while its answer was lost shows as soon as Stripe tells of it."""
    shop.subscribe("pro")
    shop.lose_webhooks()
    change(shop, "standard")
    in_portal_events = [*shop.event_ids("subscription_schedule.updated")]
    shop.send_webhooks()
    for event in in_portal_events:
        shop.control("resend", event=event, copies=1)
    assert shown(shop) == ("pro", "0.42", "standard", PERIOD_END)


@pytest.mark.parametrize("quantity", [0, 2, 7])
def test_a_quantity_is_never_multiplied(shop: Shop, quantity: int) -> None:
    """The budget stays that of one, a person is told, and a quantity of nothing stops access until it is one again."""
    shop.subscribe("standard")
    subscription = at_stripe(shop)
    (item,) = cast("list[Json]", cast("Json", subscription["items"])["data"])

    def put(wanted: int) -> None:
        form = {
            "items[0][id]": str(item["id"]),
            "items[0][quantity]": str(wanted),
            "proration_behavior": "none",
        }
        shop.stripe_post(f"subscriptions/{subscription['id']}", **form)

    put(quantity)
    assert shown(shop)[:2] == ("standard", "0.14")
    (parked,) = shop.inbox_errors()
    assert f"bills the subscription {quantity} times" in parked
    stopped = shop.store.read_now(load_subscription, own_id(shop))
    assert stopped is not None
    assert (stopped.terms.cancel_at_us is not None) == (quantity == 0)
    put(1)
    again = shop.store.read_now(load_subscription, own_id(shop))
    assert again is not None
    assert again.terms.cancel_at_us is None
    retry(shop)


def retry(shop: Shop) -> None:
    """What an operator does once the cause is mended: let parked events be handled again."""

    def mended(conn: Connection) -> None:
        for row_id in conn.execute(select(inbox_rows.c.id).where(inbox_rows.c.status == "parked")).scalars().all():
            inbox.retry(conn, row_id, actor="operator", now_us=shop.clock.now_us())

    shop.store.write_now(mended)
    shop.handle_due()


def test_a_price_of_nobodys_is_left_to_a_person(shop: Shop) -> None:
    """Another currency, a price without a plan, a plan of another window: nothing changes, and it is parked."""
    shop.subscribe("standard")
    subscription = at_stripe(shop)
    (item,) = cast("list[Json]", cast("Json", subscription["items"])["data"])
    for currency, cents in (("eur", "1"), ("usd", "1")):
        price = shop.stripe_post(
            "prices",
            **{
                "currency": currency,
                "unit_amount": cents,
                "recurring[interval]": "month",
                "product_data[name]": "Odd",
            },
        )
        form = {
            "items[0][id]": str(item["id"]),
            "items[0][price]": str(price["id"]),
            "proration_behavior": "none",
        }
        shop.stripe_post(f"subscriptions/{subscription['id']}", **form)
    assert shown(shop) == ("standard", "0.14", None, None)
    errors = " ".join(shop.inbox_errors())
    assert "in another currency than ours" in errors
    assert "at a price that is no plan's" in errors
    in_dashboard(shop, "standard", "none")
    retry(shop)


def test_a_plan_of_another_window_is_not_taken_over(store: Store) -> None:
    """What was spent could not carry over: the API refuses it, and a change elsewhere is left to a person."""
    weekly = PlanSettings.model_validate({"price_usd": "30", "rpm": 60, "budget_usd": "4.70", "window": "7d"})
    with running_shop(store, plans={"weekly": weekly}) as shop:
        shop.subscribe("standard")
        assert refused(shop, "weekly") == (422, "plan_not_comparable")
        in_dashboard(shop, "weekly", "none")
        assert shown(shop) == ("standard", "0.14", None, None)
        assert "another interval or budget window" in shop.inbox_errors()[0]
        in_dashboard(shop, "standard", "none")
        retry(shop)
        settled(shop)


def test_a_pause_and_an_unknown_status_bring_no_period(shop: Shop) -> None:
    """P8: what is not paid is not granted: a trial, a pause, a status of the future leave the paid period as it is."""
    shop.subscribe("standard")
    stripe_id = at_stripe(shop)["id"]
    for status in ("trialing", "paused", "mystery", "active"):
        shop.control("subscription_status", subscription=stripe_id, status=status)
        assert shop.subscriptions()[0]["currentPeriodEnd"] == PERIOD_END


@pytest.mark.parametrize("paid_back", [True, False])
def test_a_subscription_that_was_paid_back_leaves_its_window_behind(shop: Shop, paid_back: bool) -> None:
    """Ended early and paid back, it does not begin a fresh window as another one; ended for nothing, it does."""
    shop.subscribe("standard")
    spend(shop, 130_000_000)
    shop.advance(60)
    (former,) = shop.stripe_ids("subscriptions")
    answer = shop.bare.request(
        "DELETE",
        f"/_sandbox/stripe/v1/subscriptions/{former}?prorate={str(paid_back).lower()}",
        headers={"authorization": "Bearer sk_test_shop"},
    )
    assert answer.status_code == 200, answer.text
    shop.control("wait")
    shop.advance(60)
    shop.subscribe("standard")
    assert spent(shop) == ("0.13" if paid_back else "0.00")
    shop.advance(5 * HOUR_S)
    assert spent(shop) == "0.00"


def test_a_declined_checkout_after_a_cancel_begins_nothing(shop: Shop) -> None:
    """Only a payment makes a subscription; the canceled one keeps its window until its end."""
    shop.subscribe("standard")
    spend(shop, 130_000_000)
    shop.post("cancel", {"subscriptionId": own_id(shop)})
    url, _ = shop.open_page("checkout", {"planSlug": "standard"})
    assert shop.pay(url, DECLINED_CARD).status_code == 402
    assert (len(shop.subscriptions()), spent(shop)) == (1, "0.13")
