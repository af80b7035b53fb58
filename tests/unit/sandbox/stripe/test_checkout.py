"""The hosted pages: paying, declining, saying what is closed."""

from collections.abc import Iterator

import httpx
import pytest
import stripe

from tests.support.billing.stripe_rig import (
    CARD,
    DAY_S,
    DECLINED_CARD,
    DELAYED_CARD,
    Rig,
    open_subscription_checkout,
    open_topup_checkout,
    paid_subscription,
    running_sandbox,
    url_of,
)
from tokenbooth_sandbox.stripe.forms import Params, parse_form


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


def test_page_shows_what_is_bought(rig: Rig) -> None:
    """The page names the plan and its price, has labelled fields, and loads nothing from elsewhere."""
    page = httpx.get(url_of(open_subscription_checkout(rig)))
    assert page.status_code == 200
    for part in ("Standard", "$20.00", "per month", 'for="card"', 'for="expiry"', 'for="cvc"', "Subscribe"):
        assert part in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "src=" not in page.text


def test_script_pays_and_webhooks_were_answered(rig: Rig) -> None:
    """A form post pays; when it answers, every webhook has been received."""
    session = open_subscription_checkout(rig)
    answer = rig.pay(url_of(session))
    assert (answer.status_code, answer.json()) == (200, {"status": "complete", "payment_status": "paid"})
    assert set(rig.types()) >= {
        "checkout.session.completed",
        "customer.subscription.created",
        "customer.subscription.updated",
        "invoice.paid",
        "payment_intent.succeeded",
    }


def test_browser_is_sent_to_the_success_url(rig: Rig) -> None:
    """The page's own form is answered by a redirect with the session's id filled in."""
    session = open_subscription_checkout(rig)
    form = {"card": "4242 4242 4242 4242", "expiry": "12/34", "cvc": "123", "from": "page"}
    answer = httpx.post(url_of(session), data=form)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"https://shop.example/done?session={session.id}",
    )


def test_declined_card_leaves_the_session_open(rig: Rig) -> None:
    """402 with Stripe's error; the customer can pay with another card afterwards."""
    session = open_topup_checkout(rig)
    declined = rig.pay(url_of(session), DECLINED_CARD)
    error = declined.json()["error"]
    between = rig.client.v1.checkout.sessions.retrieve(session.id)
    assert (declined.status_code, error["type"], error["code"]) == (402, "card_error", "card_declined")
    assert (between.status, between.payment_status) == ("open", "unpaid")
    assert rig.pay(url_of(session)).status_code == 200


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"card": DECLINED_CARD, "expiry": "12/34"}, "Your card was declined."),
        ({"card": "4000000000009995"}, "insufficient funds"),
        ({"card": "4111111111111111"}, "use the test number"),
        ({"card": "<script>alert(1)</script>"}, "Your card number is incorrect."),
        ({"card": CARD, "expiry": "13/34"}, "expiration month is invalid"),
        ({"card": CARD, "expiry": "12/20"}, "expiration year is invalid"),
        ({"card": CARD, "expiry": "²/34"}, "expiration month is invalid"),
        ({"expiry": "12/34"}, "Missing required param: card."),
    ],
)
def test_page_tells_why_a_card_is_refused(rig: Rig, form: dict[str, str], message: str) -> None:
    """The page comes again with the reason, and never shows what was typed."""
    answer = httpx.post(url_of(open_topup_checkout(rig)), data=form | {"from": "page"})
    assert (answer.status_code in (400, 402), message in answer.text) == (True, True)
    assert 'role="alert"' in answer.text
    assert form.get("card", "\0") not in answer.text


def test_paid_session_says_so(rig: Rig) -> None:
    """Paying twice is refused, by page and by script; nothing is charged again."""
    session = open_topup_checkout(rig)
    rig.pay(url_of(session))
    again = rig.pay(url_of(session))
    assert (again.status_code, again.json()["error"]["message"]) == (409, "This checkout session is complete.")
    assert "Payment complete" in httpx.get(url_of(session)).text
    assert len(rig.client.v1.charges.list().data) == 1


def test_session_runs_out_after_a_day(rig: Rig) -> None:
    """An expired page says so and tells by event; it cannot be paid."""
    session = open_topup_checkout(rig)
    rig.clock.now_s += DAY_S
    assert "Checkout expired" in httpx.get(url_of(session)).text
    assert rig.pay(url_of(session)).status_code == 409
    assert rig.types()[-1] == "checkout.session.expired"


def test_names_are_escaped(rig: Rig) -> None:
    """A product's name cannot become markup."""
    customer = rig.client.v1.customers.create({"email": "ada@example.com"})
    session = rig.client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer": customer.id,
            "line_items": [
                {
                    "quantity": 2,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 500,
                        "product_data": {"name": '<img src=x onerror="alert(1)">'},
                    },
                }
            ],
            "success_url": 'https://shop.example/?a="><script>',
            "cancel_url": 'https://shop.example/?b="><script>',
        }
    )
    page = httpx.get(url_of(session)).text
    assert ("<img" in page, "<script" in page, "$10.00" in page) == (False, False, True)


def test_unknown_pages_are_404(rig: Rig) -> None:
    """An id that does not exist has no page."""
    statuses = [
        httpx.request(method, f"{rig.base_url}/{path}/nothing").status_code
        for method in ("GET", "POST")
        for path in ("c/pay", "p/session")
    ]
    assert statuses == [404] * 4


def test_delayed_payment_fails_and_then_succeeds(rig: Rig) -> None:
    """Scenario 3: complete but unpaid, then refused by the bank, then confirmed."""
    session = open_topup_checkout(rig)
    answer = rig.pay(url_of(session), DELAYED_CARD)
    rig.control("settle", session=session.id, succeeds=False)
    rig.control("settle", session=session.id, succeeds=True)
    done = rig.client.v1.checkout.sessions.retrieve(session.id)
    told = [kind for kind in rig.types() if kind.startswith("checkout.")]
    assert answer.json() == {"status": "complete", "payment_status": "unpaid"}
    assert done.payment_status == "paid"
    assert told == [
        "checkout.session.completed",
        "checkout.session.async_payment_failed",
        "checkout.session.async_payment_succeeded",
    ]


def test_card_is_set_up_without_a_payment(rig: Rig) -> None:
    """Setup mode keeps a card and charges nothing."""
    client = rig.client
    customer = client.v1.customers.create({"email": "ada@example.com"})
    session = client.v1.checkout.sessions.create(
        {"mode": "setup", "customer": customer.id, "success_url": "https://shop.example/"}
    )
    answer = rig.pay(url_of(session))
    cards = client.v1.customers.payment_methods.list(customer.id).data
    assert answer.json()["payment_status"] == "no_payment_required"
    assert [card.card.last4 for card in cards if card.card is not None] == ["4242"]
    assert client.v1.charges.list().data == []


def test_portal_cancels_and_takes_it_back(rig: Rig) -> None:
    """Scenario 14: the portal's buttons set and clear the date of the end."""
    client, subscription_id = rig.client, paid_subscription(rig)
    customer = client.v1.subscriptions.retrieve(subscription_id).customer
    assert isinstance(customer, str)
    portal = client.v1.billing_portal.sessions.create({"customer": customer, "return_url": "https://shop.example/"})
    seen: list[tuple[int, bool, bool]] = []
    for action in ("cancel", "renew"):
        answer = httpx.post(portal.url, data={"subscription": subscription_id, "action": action})
        now: stripe.Subscription = client.v1.subscriptions.retrieve(subscription_id)
        seen.append((answer.status_code, now.cancel_at is not None, now.cancel_at_period_end))
    foreign = httpx.post(portal.url, data={"subscription": "sub_other", "action": "cancel"})
    assert seen == [(303, True, False), (303, False, False)]
    assert foreign.status_code == 404
    assert "Renews on 2027-02-28" in httpx.get(portal.url).text


def test_brackets_become_a_tree() -> None:
    """Nested names, list indexes and appended entries, as the SDK and curl write them."""
    assert parse_form("a[0][b]=1&a[1][b]=2&c[]=x&c[]=y&d=") == {
        "a": {"0": {"b": "1"}, "1": {"b": "2"}},
        "c": {"0": "x", "1": "y"},
        "d": "",
    }


def test_empty_text_counts_as_absent() -> None:
    """Stripe clears a field by an empty text."""
    assert Params(parse_form("email=")).opt_text("email") is None
