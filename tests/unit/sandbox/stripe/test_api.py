"""The sandbox's API as the official SDK sees it."""

from collections.abc import Iterator

import httpx
import pytest
import stripe

from tests.support.billing.stripe_rig import (
    API_KEY,
    DAY_S,
    JANUARY_31,
    Rig,
    open_subscription_checkout,
    open_topup_checkout,
    paid_subscription,
    running_sandbox,
    url_of,
)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


def test_unbuilt_resource_is_stripes_404(rig: Rig) -> None:
    """Nothing pretends to work: an address that is not built is unknown."""
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as raised:
        rig.client.v1.coupons.list()
    assert raised.value.http_status == 404


@pytest.mark.parametrize("authorization", ["", "Bearer sk_test_other", "Basic c2tfdGVzdDo=", "Basic a", "Bearer"])
def test_wrong_key_is_401(rig: Rig, authorization: str) -> None:
    """Only the configured key is let in."""
    assert rig.raw_call("GET", "/v1/balance", authorization=authorization).status_code == 401


def test_key_may_come_as_a_basic_user(rig: Rig) -> None:
    """`curl -u KEY:` is how Stripe's documents call the API."""
    assert httpx.get(f"{rig.base_url}/v1/balance", auth=(API_KEY, "")).status_code == 200


def test_every_answer_has_a_request_id(rig: Rig) -> None:
    """Successes and errors carry Stripe's header."""
    answers = [rig.raw_call("GET", "/v1/balance"), rig.raw_call("GET", "/v1/nothing")]
    assert [answer.headers["request-id"].startswith("req_") for answer in answers] == [True, True]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ("mode=payment", "parameter_missing", "line_items"),
        ("mode=surprise", None, "mode"),
        ("mode=setup", "parameter_missing", "success_url"),
        ("mode=setup&success_url=javascript:alert(1)", "url_invalid", "success_url"),
        ("mode=setup&success_url=https://a.example&colour=red", "parameter_unknown", "colour"),
        ("mode=setup&success_url=https://a.example&customer=cus_x", "resource_missing", "customer"),
        (
            "mode=payment&line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=x",
            "parameter_invalid_integer",
            "line_items[0][price_data][unit_amount]",
        ),
        ("mode[a][b]=1&mode=payment", None, "mode"),
        ("mode=%ff", None, None),
    ],
)
def test_bad_parameters_are_named(rig: Rig, body: str, code: str | None, param: str | None) -> None:
    """Errors are Stripe's objects with the parameter as Stripe writes it."""
    answer = rig.raw_call("POST", "/v1/checkout/sessions", body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)


def test_unknown_parameter_leaves_no_trace(rig: Rig) -> None:
    """A refused call changes nothing and tells of nothing."""
    answer = rig.raw_call("POST", "/v1/customers", "email=a@b.example&colour=red")
    rig.control("wait")
    assert answer.json()["error"]["message"] == "Received unknown parameter: colour"
    assert rig.raw_call("GET", "/v1/events").json()["data"] == []
    assert rig.webhooks == []


def test_idempotency_key_replays_and_refuses(rig: Rig) -> None:
    """Same key and parameters give the same answer; other parameters an idempotency error."""
    first = rig.raw_call("POST", "/v1/customers", "email=a@b.example", idempotency_key="k")
    again = rig.raw_call("POST", "/v1/customers", "email=a@b.example", idempotency_key="k")
    other = rig.raw_call("POST", "/v1/customers", "email=c@d.example", idempotency_key="k")
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["error"]["type"]) == (400, "idempotency_error")


def test_idempotency_key_is_forgotten_after_a_day(rig: Rig) -> None:
    """Stripe keeps keys for 24 hours."""
    first = rig.raw_call("POST", "/v1/customers", "email=a@b.example", idempotency_key="k")
    rig.clock.now_s += DAY_S + 1
    later = rig.raw_call("POST", "/v1/customers", "email=c@d.example", idempotency_key="k")
    assert (later.status_code, later.json()["id"] != first.json()["id"]) == (200, True)


def test_lists_are_paged_newest_first(rig: Rig) -> None:
    """`limit`, `starting_after`, `ending_before` and `has_more`, as the SDK's own paging uses them."""
    made = [rig.client.v1.products.create({"name": f"p{n}"}).id for n in range(5)]
    client = rig.client
    first = client.v1.products.list({"limit": 2})
    rest = client.v1.products.list({"limit": 10, "starting_after": first.data[-1].id})
    back = client.v1.products.list({"limit": 2, "ending_before": made[0]})
    walked = [product.id for product in client.v1.products.list({"limit": 2}).auto_paging_iter()]
    assert [product.id for product in first.data] == [made[4], made[3]]
    assert (first.has_more, rest.has_more, back.has_more) == (True, False, True)
    assert [product.id for product in back.data] == [made[2], made[1]]
    assert walked == made[::-1]


def test_expand_replaces_ids_by_objects(rig: Rig) -> None:
    """What is expanded is there in whole, nested and in lists; what cannot be is an error."""
    subscription_id = paid_subscription(rig)
    shown = rig.raw_call(
        "GET", f"/v1/subscriptions/{subscription_id}?expand[]=latest_invoice.payments&expand[]=customer"
    ).json()
    listed = rig.raw_call("GET", "/v1/subscriptions?expand[]=data.customer").json()
    wrong = rig.raw_call("GET", f"/v1/subscriptions/{subscription_id}?expand[]=status.more")
    assert shown["latest_invoice"]["payments"]["data"][0]["status"] == "paid"
    assert shown["customer"]["email"] == listed["data"][0]["customer"]["email"] == "ada@example.com"
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "expand")


def test_prices_are_found_by_lookup_key(rig: Rig) -> None:
    """A price with a key is made once and found again."""
    client = rig.client
    price = client.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 700,
            "lookup_key": "small",
            "recurring": {"interval": "month"},
            "product_data": {"name": "Small"},
        }
    )
    client.v1.prices.create({"currency": "usd", "unit_amount": 900, "product_data": {"name": "Once"}})
    found = client.v1.prices.list({"lookup_keys": ["small"]})
    assert [(entry.id, entry.unit_amount, entry.type) for entry in found.data] == [(price.id, 700, "recurring")]


def test_everything_of_a_paid_subscription_is_linked(rig: Rig) -> None:
    """Session, subscription, invoice, payment, intent, charge and balance agree with each other."""
    client, subscription_id = rig.client, paid_subscription(rig)
    invoice = client.v1.invoices.list({"subscription": subscription_id}).data[0]
    payment = client.v1.invoice_payments.list({"invoice": invoice.id or ""}).data[0]
    assert isinstance(payment.payment.payment_intent, str)
    intent = client.v1.payment_intents.retrieve(payment.payment.payment_intent)
    assert isinstance(intent.latest_charge, str)
    charge = client.v1.charges.retrieve(intent.latest_charge, {"expand": ["balance_transaction"]})
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == subscription_id
    assert (invoice.amount_paid, payment.amount_paid, intent.amount_received, charge.amount) == (2000,) * 4
    # 2.9 % of 20.00 is 58 cents, and 30 more.
    assert (charge.balance_transaction.fee, charge.balance_transaction.net) == (88, 1912)


def test_refunds_take_money_back_and_may_fail(rig: Rig) -> None:
    """Two partial refunds, a third that is too large, and one that bounces."""
    client = rig.client
    session = open_topup_checkout(rig)
    rig.pay(url_of(session))
    intent_id = client.v1.checkout.sessions.retrieve(session.id).payment_intent
    assert isinstance(intent_id, str)
    first = client.v1.refunds.create({"payment_intent": intent_id, "amount": 1000})
    client.v1.refunds.create({"payment_intent": intent_id, "amount": 1500})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        client.v1.refunds.create({"payment_intent": intent_id, "amount": 2501})
    charge_id = client.v1.payment_intents.retrieve(intent_id).latest_charge
    assert isinstance(charge_id, str)
    before = client.v1.charges.retrieve(charge_id).amount_refunded
    rig.control("fail_refund", refund=first.id)
    after = client.v1.charges.retrieve(charge_id).amount_refunded
    amounts = [(entry.type, entry.amount) for entry in client.v1.balance_transactions.list().data]
    assert (before, after, client.v1.refunds.retrieve(first.id).status) == (2500, 1500, "failed")
    assert amounts == [("refund_failure", 1000), ("refund", -1500), ("refund", -1000), ("charge", 5000)]
    balance = client.v1.balance.retrieve()
    assert (balance.available[0].amount, balance.pending[0].amount) == (-1500, 5000 - 175)


def test_saved_card_is_charged_off_session(rig: Rig) -> None:
    """A card kept by a top-up pays again without the customer; a refused one leaves a failed charge."""
    client = rig.client
    session = open_topup_checkout(rig)
    rig.pay(url_of(session))
    customer_id = client.v1.checkout.sessions.retrieve(session.id).customer
    assert isinstance(customer_id, str)
    card = client.v1.customers.payment_methods.list(customer_id).data[0]
    params: stripe.params.PaymentIntentCreateParams = {
        "amount": 1000,
        "currency": "usd",
        "customer": customer_id,
        "payment_method": card.id,
        "off_session": True,
        "confirm": True,
    }
    assert client.v1.payment_intents.create(params).status == "succeeded"
    rig.control("card", payment_method=card.id, behaviour="fails_later")
    with pytest.raises(stripe.CardError) as raised:
        client.v1.payment_intents.create(params)
    assert raised.value.code == "card_declined"
    assert [charge.status for charge in client.v1.charges.list().data] == [
        "failed",
        "succeeded",
        "succeeded",
    ]


def test_card_is_kept_only_on_request(rig: Rig) -> None:
    """Without `setup_future_usage` a payment leaves no saved card."""
    client = rig.client
    session = open_topup_checkout(rig, saves_card=False)
    rig.pay(url_of(session))
    customer_id = client.v1.checkout.sessions.retrieve(session.id).customer
    assert isinstance(customer_id, str)
    assert client.v1.customers.payment_methods.list(customer_id).data == []


def test_session_without_a_customer_makes_one(rig: Rig) -> None:
    """A checkout by e-mail address alone; its items are listed and can be included."""
    client = rig.client
    price = client.v1.prices.create({"currency": "usd", "unit_amount": 700, "product_data": {"name": "Once"}})
    session = client.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "customer_email": "eve@example.com",
            "line_items": [{"price": price.id, "quantity": 3}],
            "success_url": "https://shop.example/",
        }
    )
    rig.pay(url_of(session))
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["customer", "line_items"]})
    assert isinstance(done.customer, stripe.Customer)
    assert done.line_items is not None
    listed = client.v1.checkout.sessions.line_items.list(session.id).data
    assert done.customer.email == "eve@example.com"
    assert [item.amount_total for item in done.line_items.data] == [2100]
    assert [item.id for item in listed] == [item.id for item in done.line_items.data]


def test_session_can_be_expired_once(rig: Rig) -> None:
    """An open session is closed on request; a closed one refuses."""
    client, session = rig.client, open_subscription_checkout(rig)
    assert client.v1.checkout.sessions.expire(session.id).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.checkout.sessions.expire(session.id)


def test_events_are_filtered_by_type_and_time(rig: Rig) -> None:
    """The reconciler's questions: since when, of which type."""
    paid_subscription(rig)
    rig.clock.now_s += 100
    paid_subscription(rig)
    client = rig.client
    since = client.v1.events.list({"created": {"gt": JANUARY_31}, "type": "invoice.*"})
    both = client.v1.events.list({"types": ["invoice.paid"]})
    assert {event.created for event in since.data} == {JANUARY_31 + 100}
    assert len(since.data) == 4
    assert [event.type for event in both.data] == ["invoice.paid"] * 2


def test_subscription_is_created_directly_and_canceled(rig: Rig) -> None:
    """The API's own way with a saved card, and its immediate end."""
    client, first_id = rig.client, paid_subscription(rig)
    first = client.v1.subscriptions.retrieve(first_id)
    assert isinstance(first.customer, str)
    second = client.v1.subscriptions.create(
        {"customer": first.customer, "items": [{"price": first.items.data[0].price.id}]}
    )
    assert (second.status, second.id != first.id) == ("active", True)
    assert client.v1.subscriptions.cancel(second.id).ended_at == JANUARY_31
    assert [entry.id for entry in client.v1.subscriptions.list().data] == [first.id]
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        client.v1.subscriptions.cancel(second.id)
