"""The sandbox's webhooks, its memory, and its forms of mistreatment."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.support.billing.stripe_rig import (
    API_KEY,
    CARD,
    DAY_S,
    FAILS_LATER_CARD,
    PREFIX,
    WEBHOOK_SECRET,
    ManualClock,
    Rig,
    open_subscription_checkout,
    paid_subscription,
    running_sandbox,
    url_of,
)
from tokenbooth_sandbox.stripe import SandboxConfig, create_sandbox
from tokenbooth_sandbox.stripe.records import Event
from tokenbooth_sandbox.stripe.state import State


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A fresh sandbox."""
    with running_sandbox() as running:
        yield running


def attempts(rig: Rig) -> list[tuple[str, int, str]]:
    """Type, number and outcome of every delivery so far."""
    found = rig.raw_call("GET", "/_control/deliveries").json()["attempts"]
    return [(entry["type"], entry["attempt"], entry["outcome"]) for entry in found]


def test_events_have_stripes_form_and_a_good_signature(rig: Rig) -> None:
    """What arrives is what `/v1/events` lists, signed for our verifier."""
    paid_subscription(rig)
    listed = {event.id: event for event in rig.client.v1.events.list({"limit": 100}).data}
    for received in rig.webhooks:
        body = json.loads(received.raw)
        event = rig.verified(received)
        assert (body["object"], body["livemode"], body["api_version"]) == (
            "event",
            False,
            "2026-10-28.endive",
        )
        assert (event.type, event.object_id) == (listed[event.event_id].type, body["data"]["object"]["id"])
        assert set(body) - set(stripe.Event.__annotations__) == set()


def test_event_of_a_call_names_its_request(rig: Rig) -> None:
    """An API call's event carries its request id and idempotency key; a renewal's carries none."""
    answer = rig.raw_call("POST", "/v1/customers", "email=a@b.example", idempotency_key="k")
    rig.control("wait")
    body = json.loads(rig.webhooks[0].raw)
    assert body["request"] == {"id": answer.headers["request-id"], "idempotency_key": "k"}


def test_refused_webhook_is_tried_again(rig: Rig) -> None:
    """An answer other than 2xx brings the same event again, after a pause."""
    rig.answers = [200, 500, 302]
    paid_subscription(rig)
    while rig.types().count("customer.subscription.created") + rig.types().count("payment_method.attached") < 4:
        rig.control("wait")
    assert sorted(entry for entry in attempts(rig) if entry[1] > 1) == [
        ("customer.subscription.created", 2, "delivered"),
        ("payment_method.attached", 2, "delivered"),
    ]


def test_delivery_is_given_up_but_the_event_stays_listed(rig: Rig) -> None:
    """After the last attempt only `/v1/events` still has it, as not delivered."""
    rig.answers = [500] * 3
    rig.raw_call("POST", "/v1/customers", "email=a@b.example")
    while len(attempts(rig)) < 3:
        rig.control("wait")
    events = rig.client.v1.events.list({"delivery_success": False}).data
    assert [(event.type, event.pending_webhooks) for event in events] == [("customer.created", 1)]


def test_webhooks_are_duplicated_on_demand(rig: Rig) -> None:
    """Scenario 1: every event three times, and one twenty times at once."""
    rig.control("delivery", mode="normal", copies=3)
    rig.raw_call("POST", "/v1/customers", "email=a@b.example")
    rig.control("wait")
    rig.control("resend", event=rig.webhooks[0].id, copies=20)
    assert len(rig.webhooks) == 23
    assert len({received.id for received in rig.webhooks}) == 1


def test_webhooks_are_dropped_on_demand(rig: Rig) -> None:
    """Scenario 11: nothing arrives, everything is listed."""
    rig.control("delivery", mode="drop")
    paid_subscription(rig)
    assert rig.webhooks == []
    assert len(rig.client.v1.events.list({"type": "invoice.paid"}).data) == 1


def test_webhooks_are_held_and_released_in_any_order(rig: Rig) -> None:
    """Scenario 12: a permutation of one's own choice; what is not held cannot be released."""
    rig.control("delivery", mode="hold")
    paid_subscription(rig)
    held = rig.control("wait")["held"]
    assert isinstance(held, list)
    assert rig.webhooks == []
    rig.control("release", order=held[::-1])
    refused = rig.raw_call("POST", "/_control/release", json.dumps({"order": [held[0]]}))
    assert [received.id for received in rig.webhooks] == held[::-1]
    assert (refused.status_code, rig.control("wait")["held"]) == (400, [])


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("nothing", {}),
        ("advance", {"seconds": -1}),
        ("advance", {"seconds": "1"}),
        ("advance", {"minutes": 1}),
        ("delivery", {"mode": "lost"}),
        ("delivery", {"copies": 0}),
        ("card", {"payment_method": "pm_gone", "behaviour": "ok"}),
        ("settle", {"session": "cs_gone", "succeeds": True}),
    ],
)
def test_bad_control_calls_are_refused(rig: Rig, name: str, body: dict[str, object]) -> None:
    """A test's own mistake is told, not swallowed."""
    assert rig.raw_call("POST", f"/_control/{name}", json.dumps(body)).status_code in (400, 404)


def test_restart_goes_on_with_the_same_state(tmp_path: Path) -> None:
    """The clock, the objects and the idempotency keys survive; ids stay valid."""
    clock, file = ManualClock(), tmp_path / "stripe.db"
    with running_sandbox(state_file=file, clock=clock) as first:
        subscription_id = paid_subscription(first, FAILS_LATER_CARD)
        first.control("advance", seconds=10 * DAY_S)
        made = first.raw_call("POST", "/v1/customers", "email=a@b.example", idempotency_key="k").json()
        events = [event.id for event in first.client.v1.events.list({"limit": 100}).data]
        now = first.control("wait")["now"]
    with running_sandbox(state_file=file, clock=clock) as second:
        again = second.raw_call("POST", "/v1/customers", "email=a@b.example", idempotency_key="k").json()
        assert second.client.v1.subscriptions.retrieve(subscription_id).status == "active"
        assert [event.id for event in second.client.v1.events.list({"limit": 100}).data] == events
        assert (again, second.control("wait")["now"]) == (made, now)


def test_restart_delivers_what_was_not_answered(tmp_path: Path) -> None:
    """An event whose webhook never got through before the end goes out after the start."""
    file = tmp_path / "stripe.db"
    with running_sandbox(state_file=file) as first:
        first.control("delivery", mode="hold")
        paid_subscription(first)
        held = first.control("delivery", mode="normal")["held"]
    with running_sandbox(state_file=file) as second:
        second.control("wait")
        assert [received.id for received in second.webhooks] == held


def test_answered_calls_are_on_disk_before_the_answer(tmp_path: Path) -> None:
    """What another process finds in the file while this one runs is what it would find after `kill -9`."""
    file = tmp_path / "stripe.db"
    with running_sandbox(state_file=file) as rig:
        paid_subscription(rig)
        listed = [event.id for event in rig.client.v1.events.list({"limit": 100}).data]
        survivor = State(file)
        found = [event.id for event in survivor.newest(Event)]
        survivor.close()
    assert found == listed


def test_no_card_number_is_kept(tmp_path: Path) -> None:
    """P12: neither memory nor disk holds a card number after a payment."""
    file = tmp_path / "stripe.db"
    with running_sandbox(state_file=file) as rig:
        paid_subscription(rig)
        rig.pay(url_of(open_subscription_checkout(rig)), "4000000000000002")
    connection = sqlite3.connect(file)
    bodies = b"".join(row[0] for row in connection.execute("SELECT body FROM record"))
    connection.close()
    assert b'"last4":"4242"' in bodies
    assert [number in bodies for number in (CARD.encode(), b"4000000000000002")] == [False, False]
    assert all(CARD.encode() not in received.raw for received in rig.webhooks)


@pytest.mark.parametrize(
    ("api_key", "secret"), [("", "whsec_x"), ("sk_test_x", ""), ("sk_live_x", "whsec_x"), ("rk_live_x", "w")]
)
def test_sandbox_refuses_live_and_empty_keys(api_key: str, secret: str) -> None:
    """A live key never meets the sandbox."""
    config = SandboxConfig(
        api_key=api_key, webhook_secret=secret, webhook_url="http://127.0.0.1/", public_url="http://127.0.0.1"
    )
    with pytest.raises(ValueError, match="sandbox"):
        create_sandbox(config)


def test_secrets_are_not_in_the_configurations_repr() -> None:
    """P12: a logged configuration tells no key."""
    shown = repr(SandboxConfig(API_KEY, WEBHOOK_SECRET, "http://127.0.0.1/hook", "http://127.0.0.1" + PREFIX))
    assert [secret in shown for secret in (API_KEY, WEBHOOK_SECRET)] == [False, False]


@pytest.mark.parametrize(
    ("path", "sdk_type"),
    [
        ("customers/{customer}", stripe.Customer),
        ("products/{product}", stripe.Product),
        ("prices/{price}", stripe.Price),
        ("checkout/sessions/{session}", stripe.checkout.Session),
        ("subscriptions/{subscription}", stripe.Subscription),
        ("invoices/{invoice}", stripe.Invoice),
        ("invoice_payments?limit=1", stripe.InvoicePayment),
        ("payment_intents?limit=1", stripe.PaymentIntent),
        ("charges?limit=1", stripe.Charge),
        ("payment_methods?limit=1&customer={customer}", stripe.PaymentMethod),
        ("refunds?limit=1", stripe.Refund),
        ("balance_transactions?limit=1", stripe.BalanceTransaction),
        ("balance", stripe.Balance),
    ],
)
def test_objects_have_only_fields_of_the_sdks_types(rig: Rig, path: str, sdk_type: type[stripe.StripeObject]) -> None:
    """Every field of the sandbox's objects is one that the pinned API version has."""
    subscription = rig.client.v1.subscriptions.retrieve(paid_subscription(rig))
    invoice = rig.client.v1.invoices.list().data[0]
    charge = rig.client.v1.charges.list().data[0]
    rig.client.v1.refunds.create({"charge": charge.id, "amount": 1})
    price = subscription.items.data[0].price
    names = {
        "customer": subscription.customer,
        "product": price.product,
        "price": price.id,
        "session": rig.client.v1.checkout.sessions.list().data[0].id,
        "subscription": subscription.id,
        "invoice": invoice.id,
    }
    shown = rig.raw_call("GET", "/v1/" + path.format(**names)).json()
    value = shown["data"][0] if shown["object"] == "list" else shown
    assert set(value) - set(sdk_type.__annotations__) == set()
