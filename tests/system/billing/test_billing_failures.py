"""Billing when Stripe fails, is late, or is not there at all."""

import asyncio
import threading

import httpx
import pytest
from sqlalchemy import Connection, select
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.billing.shop import Shop, running_shop
from tests.support.management import Plane
from tests.support.store import Customer, row_counts
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import checkouts

SESSIONS = "/v1/checkout/sessions"


class Unreliable:
    """Stands before the sandbox: lets a call to `path` have its effect, and loses its answer as long as told to.

    Attributes:
        path: the calls that are meant, by the end of their path.
        losing: "nothing", "answers" (a 500 comes instead), "requests" (a 400 comes and nothing happens), or "time"
            (no answer comes until `answered` is set).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.losing = "nothing"
        self.answered = threading.Event()
        self._app: ASGIApp | None = None

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Stand before `app`."""
        self._app = app
        return self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._app is not None
        meant = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(self.path)
        if not meant or self.losing == "nothing":
            await self._app(scope, receive, send)
            return
        if self.losing == "requests":
            error = {"error": {"type": "invalid_request_error", "message": "No such thing: secret detail"}}
            await JSONResponse(error, 400)(scope, receive, send)
            return
        await self._app(scope, receive, _swallow)
        if self.losing == "time":
            await asyncio.to_thread(self.answered.wait)
        await JSONResponse({"error": {"type": "api_error", "message": "secret detail"}}, 500)(scope, receive, send)


async def _swallow(_message: object) -> None:
    """Take a message of the answer and keep it."""


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """An error's status, code and message."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


def statuses(store: Store) -> list[str]:
    """The status of every checkout."""

    def read(conn: Connection) -> list[str]:
        return list(conn.execute(select(checkouts.c.status)).scalars())

    return store.read_now(read)


def check_out(shop: Shop, key: str = "k1") -> httpx.Response:
    """Ask for a page for the plan pro."""
    return shop.post("checkout", {"planSlug": "pro"}, idempotency_key=key)


def test_a_lost_answer_is_502_and_the_retry_makes_one_session(store: Store) -> None:
    """21: Stripe made the session but we never heard; the same request again finds that one session."""
    stripe = Unreliable(SESSIONS)
    with running_shop(store, around_stripe=stripe) as shop:
        stripe.losing = "answers"
        assert error_of(check_out(shop)) == (
            502,
            "stripe_error",
            "The payment provider cannot be reached. Please try again.",
        )
        stripe.losing = "nothing"
        answer = check_out(shop)
        assert answer.status_code == 200
        assert shop.stripe_ids("checkout/sessions") == [answer.json()["sessionId"]]
        assert row_counts(store)["checkouts"] == 1
        shop.pay(answer.json()["sessionUrl"])
        assert [entry["status"] for entry in shop.subscriptions()] == ["active"]


def test_a_session_whose_answer_was_lost_can_still_be_paid(store: Store) -> None:
    """21: a page that was made although we never heard of it brings its credit when it is paid."""
    stripe = Unreliable(SESSIONS)
    with running_shop(store, around_stripe=stripe) as shop:
        stripe.losing = "answers"
        assert shop.post("topup", {"amount": 20, "method": "stripe"}).status_code == 502
        (session_id,) = shop.stripe_ids("checkout/sessions")
        shop.pay(str(shop.stripe(f"checkout/sessions/{session_id}")["url"]))
        assert shop.data("credits")["balance"] == "20.00"


def test_a_lost_answer_of_a_charge_is_credited_once(store: Store) -> None:
    """The card was charged but we never heard: the same request again, the webhook and the reconciler agree on one
    credit."""
    stripe = Unreliable("/v1/payment_intents")
    with running_shop(store, around_stripe=stripe) as shop:
        shop.top_up(20)
        stripe.losing = "answers"
        body = {"amount": 30, "method": "stripe_direct"}
        assert error_of(shop.post("topup", body, idempotency_key="d1"))[:2] == (502, "stripe_error")
        shop.control("wait")
        stripe.losing = "nothing"
        assert shop.post("topup", body, idempotency_key="d1").json()["data"]["balance"] == "50.00"
        shop.clock.advance(3_600)
        assert shop.reconcile().differences == []
        assert (shop.credit(), len(shop.stripe_ids("charges"))) == ("50.00", 2)
        assert store.read_now(audit).differences == ()


def test_a_lost_charge_that_nothing_tells_of_is_read_back(store: Store) -> None:
    """Neither answer nor event: what became of the charge is read back by our mark in its metadata."""
    stripe = Unreliable("/v1/payment_intents")
    with running_shop(store, around_stripe=stripe) as shop:
        shop.top_up(20)
        shop.lose_webhooks()
        stripe.losing = "answers"
        assert shop.post("topup", {"amount": 30, "method": "stripe_direct"}).status_code == 502
        assert shop.credit() == "20.00"
        shop.clock.advance(31 * 86_400)
        assert [(found.kind, found.repaired) for found in shop.reconcile().differences] == [("charge", True)]
        assert (shop.credit(), len(shop.stripe_ids("charges"))) == ("50.00", 2)


def test_an_automatic_top_up_waits_for_a_lost_answer(store: Store) -> None:
    """While nobody knows what came of a charge, no other one begins; the reconciler finds out."""
    stripe = Unreliable("/v1/payment_intents")
    with running_shop(store, around_stripe=stripe) as shop:
        shop.top_up(20)
        rule = {"enabled": True, "threshold": 100, "amount": 25, "monthlyLimit": 1000}
        assert shop.http.put("/api/billing/auto-topup", json=rule).status_code == 200
        shop.lose_webhooks()
        stripe.losing = "answers"
        shop.top_up_automatically()
        stripe.losing = "nothing"
        shop.top_up_automatically()
        assert (shop.credit(), len(shop.stripe_ids("charges"))) == ("20.00", 2)
        shop.clock.advance(120)
        shop.reconcile()
        assert shop.credit() == "45.00"
        shop.top_up_automatically()
        assert shop.credit() == "70.00"


def test_a_lost_answer_of_a_direct_subscription_makes_one(store: Store) -> None:
    """The same request again finds the subscription that Stripe began, and brings the key."""
    stripe = Unreliable("/v1/subscriptions")
    with running_shop(store, around_stripe=stripe) as shop:
        shop.top_up(20)
        stripe.losing = "answers"
        body = {"planSlug": "pro", "createKey": True}
        assert shop.post("subscribe", body, idempotency_key="s1").status_code == 502
        stripe.losing = "nothing"
        answer = shop.post("subscribe", body, idempotency_key="s1")
        assert answer.json()["data"]["key"]["apiKey"].startswith("sk_live_")
        assert [entry["keyCount"] for entry in shop.subscriptions()] == [1]
        assert len(shop.stripe_ids("subscriptions")) == 1


def test_an_answer_that_does_not_come_is_504(store: Store) -> None:
    """21: who waits too long is told so, and the same request again makes no second session."""
    stripe = Unreliable(SESSIONS)
    with running_shop(store, around_stripe=stripe, stripe_timeout_s=0.2) as shop:
        stripe.losing = "time"
        status, code, _ = error_of(check_out(shop))
        assert (status, code) == (504, "stripe_timeout")
        stripe.losing = "nothing"
        stripe.answered.set()
        assert row_counts(store)["checkouts"] == 1
        assert len(shop.stripe_ids("checkout/sessions")) == 1


def test_what_stripe_refuses_is_502_without_its_words(store: Store) -> None:
    """A call that Stripe does not accept is our problem; its details stay with us, and no page is pending."""
    stripe = Unreliable(SESSIONS)
    with running_shop(store, around_stripe=stripe) as shop:
        stripe.losing = "requests"
        answer = check_out(shop)
        assert error_of(answer) == (502, "stripe_error", "The payment provider did not accept the request.")
        assert "secret detail" not in answer.text
        assert statuses(store) == ["failed"]


def test_a_cancellation_that_stripe_did_not_note_is_not_shown(store: Store) -> None:
    """Nothing is shown as canceling that would renew at Stripe."""
    stripe = Unreliable("/v1/subscriptions/x")
    with running_shop(store, around_stripe=stripe) as shop:
        subscription = shop.subscribe()
        (stripe_id,) = shop.stripe_ids("subscriptions")
        stripe.path, stripe.losing = f"/v1/subscriptions/{stripe_id}", "requests"
        answer = shop.post("cancel", {"subscriptionId": subscription["id"]})
        assert answer.status_code == 502
        assert shop.subscriptions()[0]["cancelAtPeriodEnd"] is False
        stripe.losing = "nothing"
        assert shop.post("cancel", {"subscriptionId": subscription["id"]}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"), [("checkout", {"planSlug": "pro"}), ("topup", {"amount": 20, "method": "stripe"})]
)
async def test_without_stripe_nothing_is_sold(
    plane: Plane, customer: Customer, path: str, body: dict[str, object]
) -> None:
    """Without [stripe] selling answers that it is not configured, and reading works."""
    answer = await plane.client.post(f"/api/billing/{path}", json=body, headers=customer.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stripe_not_configured")
    status = await plane.client.get("/api/billing/status", headers=customer.headers)
    assert status.json()["data"] == {"subscriptions": [], "creditBalance": "0.00"}
