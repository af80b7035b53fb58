"""A year in the life of three accounts: whatever the webhooks do, the books agree at every month's end."""

import random
from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from tests.support.billing.shop import CARD, Shop, running_shop
from tests.support.fakes import FakeClock
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.subscriptions import access_ends_us
from tokenbooth.domain.windows import parse_duration
from tokenbooth.store.accounts.accounts import find_account
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.payments.subscriptions import find_own
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import checkouts

DAY_S = 86_400
MONTHS = 12
SEED = 20_260_305


class Life:
    """One of the accounts."""

    def __init__(self, shop: Shop, customer: Customer) -> None:
        self.shop = shop
        self.customer = customer
        self.bought = ""

    def call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """A call that must succeed."""
        answer = self.shop.bare.request(method, f"/api/billing/{path}", json=body, headers=self.customer.headers)
        assert answer.status_code == 200, answer.text
        data: dict[str, object] = answer.json()["data"]
        return data

    def buy(self, path: str, body: object, card: str = CARD) -> str:
        """Pay on a page; the payment."""
        url = str(self.call("POST", path, body)["sessionUrl"])
        assert self.shop.pay(url, card).status_code == 200
        return self.shop.paid_intent()

    def subscription(self) -> dict[str, object]:
        """The newest subscription."""
        listed = self.call("GET", "status")["subscriptions"]
        assert isinstance(listed, list)
        found: dict[str, object] = listed[0]
        return found

    def spend(self, usd: int) -> None:
        """Use up credit."""
        self.shop.store.write_now(
            change_credit,
            account=self.customer.account_id,
            kind=TransferKind.ADJUSTMENT,
            amount_nano=-usd * NANO_PER_USD,
            reason="used",
            reference=None,
            now_us=self.shop.clock.now_us(),
        )

    def card(self, behaviour: str) -> None:
        """Let every saved card behave so from now on."""
        account = self.shop.store.read_now(find_account, self.customer.account_id)
        assert account is not None
        for card_id in self.shop.stripe_ids(f"payment_methods?customer={account.stripe_customer_id}"):
            self.shop.control("card", payment_method=card_id, behaviour=behaviour)

    def is_let_in(self) -> bool:
        """Whether the gateway admits the subscription's keys now."""
        own = self.shop.store.read_now(find_own, self.customer.account_id, self.bought)
        return own is not None and self.shop.clock.now_us() < access_ends_us(own.terms, parse_duration("6h"))

    def has_paid(self) -> bool:
        """Whether Stripe has a paid invoice of the subscription for this moment."""
        own = self.shop.store.read_now(find_own, self.customer.account_id, self.bought)
        assert own is not None
        now_s = self.shop.clock.now_us() // 1_000_000
        listed = self.shop.stripe(f"invoices?status=paid&limit=100&subscription={own.stripe_subscription_id}")["data"]
        assert isinstance(listed, list)
        periods = [invoice["lines"]["data"][0]["period"] for invoice in listed]
        return any(period["start"] <= now_s < period["end"] for period in periods)


class Weather:
    """Loses, doubles and reorders webhooks at random."""

    def __init__(self, shop: Shop, chance: random.Random) -> None:
        self.shop = shop
        self.chance = chance

    def change(self) -> None:
        """Let what is held go, shuffled and some of it doubled or lost; then choose how the next days are."""
        self.shop.control("delivery", mode="normal")
        held = self.shop.control("wait")["held"]
        assert isinstance(held, list)
        order = [str(event_id) for event_id in held if self.chance.random() > 0.2]
        self.chance.shuffle(order)
        self.shop.control("release", order=order)
        for event_id in self.chance.sample(order, len(order) // 4):
            self.shop.control("resend", event=event_id, copies=2)
        mode = self.chance.choice(["normal", "normal", "hold", "drop"])
        self.shop.control("delivery", mode=mode, copies=self.chance.choice([1, 1, 2]))

    def calm(self) -> None:
        """Everything arrives again."""
        self.change()
        self.shop.control("delivery", mode="normal", copies=1)


def test_a_year_in_the_life(store: Store) -> None:
    """P5, P7, P8: whatever happens and however it is told, the books agree and no paid time is refused.

    Renewals, a card that fails twice and recovers, an upgrade, a cancel and a resume, a refund, a dispute,
    automatic top-ups, with webhooks lost, doubled and reordered: the clearing account equals Stripe's balance to the
    cent at every month's end.
    """
    chance = random.Random(SEED)
    clock = FakeClock()
    with running_shop(store, clock) as shop:
        ada = Life(shop, shop.ada)
        bob = Life(shop, new_customer(store, now_us=clock.now_us(), email="bob@example.com"))
        eve = Life(shop, new_customer(store, now_us=clock.now_us(), email="eve@example.com"))
        lives = (ada, bob, eve)
        weather = Weather(shop, chance)
        for life, plan in ((ada, "standard"), (bob, "pro"), (eve, "standard")):
            life.buy("checkout", {"planSlug": plan})
        credit_of_bob = bob.buy("topup", {"amount": 50, "method": "stripe"})
        rule = {"enabled": True, "threshold": 10, "amount": 25, "monthlyLimit": 75}
        bob.call("PUT", "auto-topup", rule)
        for life in lives:
            life.bought = str(life.subscription()["id"])
        # Months end here two days after the renewals, far from the hour in which a renewal is still a draft.
        shop.advance(2 * DAY_S)
        for month in range(1, MONTHS + 1):
            weather.calm()
            shop.reconcile()
            happen(shop, month, ada, bob, eve, credit_of_bob)
            bob.spend(20)
            month_s = 31 * DAY_S if month in (1, 3, 5, 6, 8, 10) else 30 * DAY_S
            for step_s in steps(chance, month_s):
                weather.change()
                shop.advance(step_s)
                shop.reconcile()
                shop.top_up_automatically()
                if ada.subscription()["cancelAtPeriodEnd"] and chance.random() < 0.3:
                    ada.call("POST", "resume", {"subscriptionId": ada.bought})
                if eve.subscription()["status"] == "past_due" and failed_twice(shop):
                    eve.card("ok")
                for life in lives:
                    assert life.is_let_in() >= life.has_paid()
            if ada.subscription()["cancelAtPeriodEnd"]:
                ada.call("POST", "resume", {"subscriptionId": ada.bought})
            report = shop.reconcile()
            assert report.here_nano == report.at_stripe_nano == shop.balance_nano(), month
            assert report.clean, month
            assert store.read_now(audit).differences == (), month
        weather.calm()
        assert ada.subscription()["planSlug"] == "standard"
        assert [life.subscription()["status"] for life in lives] == ["active"] * 3
        assert {status for _, status in shop.inbox_rows()} == {"handled"}
        assert failed_twice(shop)
        assert charges_made(store, "auto_top_up") >= 3


def steps(chance: random.Random, month_s: int) -> Iterator[int]:
    """A month in steps of a few days, in seconds."""
    while month_s > 0:
        step_s = min(chance.choice([1, 3, 5]) * DAY_S, month_s)
        yield step_s
        month_s -= step_s


def happen(shop: Shop, month: int, ada: Life, bob: Life, eve: Life, credit_of_bob: str) -> None:
    """What a month begins with."""
    match month:
        case 2:
            ada.call("POST", "change", {"subscriptionId": ada.bought, "planSlug": "pro"})
        case 3:
            ada.call("POST", "cancel", {"subscriptionId": ada.bought})
        case 4:
            shop.stripe_post("refunds", payment_intent=credit_of_bob, amount="2000")
        case 5:
            eve.card("fails_later")
        case 7:
            shop.control("dispute", payment_intent=bob.buy("topup", {"amount": 30, "method": "stripe"}))
        case 8:
            shop.control("close_dispute", dispute=shop.stripe_ids("disputes")[0], won=True)
        case 9:
            ada.call("POST", "change", {"subscriptionId": ada.bought, "planSlug": "standard"})
        case _:
            pass


def failed_twice(shop: Shop) -> bool:
    """Whether a renewal was refused two times."""
    return len(shop.event_ids("invoice.payment_failed")) >= 2


def charges_made(store: Store, kind: str) -> int:
    """How many checkouts of a kind were paid."""

    def count(conn: Connection) -> int:
        paid = (checkouts.c.kind == kind, checkouts.c.status == "paid")
        return conn.execute(select(func.count()).select_from(checkouts).where(*paid)).scalar_one()

    return store.read_now(count)
