"""The operator's commands about payments, against a running product and its sandbox."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.billing.shop import API_KEY, PREFIX, WEBHOOK_SECRET, Shop, running_shop
from tests.support.command import answer, tokenbooth
from tests.support.fakes import FakeClock
from tokenbooth.store.engine import open_store
from tokenbooth.store.migrate import migrate
from tokenbooth.store.reports.audit import audit

CONFIG = """
[server]
public_url = "{origin}"
[store]
url = "sqlite:///shop.db"
[stripe]
secret_key_file = "stripe-key"
webhook_secret_file = "stripe-webhook-secret"
api_base = "{origin}{prefix}"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A running product at the machine's time, and a configuration for commands beside it."""
    store = open_store(f"sqlite:///{tmp_path / 'shop.db'}")
    migrate(store.engine)
    with running_shop(store, FakeClock(time.time_ns() // 1_000)) as running:
        config = CONFIG.format(origin=running.origin, prefix=PREFIX)
        (tmp_path / "tokenbooth.toml").write_text(config, encoding="utf-8")
        (tmp_path / "stripe-key").write_text(API_KEY, encoding="utf-8")
        (tmp_path / "stripe-webhook-secret").write_text(WEBHOOK_SECRET, encoding="utf-8")
        yield running
        assert store.read_now(audit).differences == ()
    store.close()


def failure(*arguments: str, cwd: Path) -> tuple[int, str]:
    """Exit code and message of a command that must fail."""
    done = tokenbooth(*arguments, cwd=cwd)
    return done.returncode, done.stderr


def test_a_refund_takes_back_what_the_payment_brought(shop: Shop, tmp_path: Path) -> None:
    """In parts, then the rest; a payment that is given back whole, or unknown, is told."""
    intent = shop.top_up(50)
    part = answer("refund", intent, "--amount", "10", "--reason", "goodwill", cwd=tmp_path)
    assert (part["amount"], part["status"], part["accountId"]) == ("10.00", "succeeded", shop.ada.account_id)
    assert shop.credit() == "40.00"
    assert answer("refund", intent, "--reason", "all of it", cwd=tmp_path)["amount"] == "40.00"
    assert shop.credit() == "0.00"
    code, message = failure("refund", intent, "--reason", "again", cwd=tmp_path)
    assert (code, "charge_already_refunded" in message) == (1, True)
    assert failure("refund", "pi_unknown", "--reason", "x", cwd=tmp_path)[0] == 1
    assert failure("refund", intent, "--reason", "x", "--amount", "1.001", cwd=tmp_path)[0] == 2


def test_a_refunded_subscription_ends_only_when_told_to(shop: Shop, tmp_path: Path) -> None:
    """A refund of an invoice keeps the period; with --end, or by its own command, the subscription ends."""
    subscription = shop.subscribe("pro")
    intent = shop.paid_intent()
    answer("refund", intent, "--amount", "5", "--reason", "goodwill", cwd=tmp_path)
    assert shop.subscriptions()[0]["status"] == "active"
    answer("refund", intent, "--reason", "left", "--end", cwd=tmp_path)
    assert shop.subscriptions()[0]["status"] == "canceled"
    other = shop.subscribe("standard")
    ended = answer("subscription", "end", str(other["id"]), "--reason", "abuse", cwd=tmp_path)
    assert ended == {"subscriptionId": other["id"], "ended": True}
    assert {entry["status"] for entry in shop.subscriptions()} == {"canceled"}
    assert failure("subscription", "end", str(subscription["id"])[:-1] + "0", "--reason", "x", cwd=tmp_path)[0] == 1


def test_the_inbox_is_listed_shown_and_retried(shop: Shop, tmp_path: Path) -> None:
    """P6: a parked event is found with its reason, and retried once its cause is mended."""
    shop.top_up(20)
    assert answer("inbox", "list", cwd=tmp_path)["events"] == []
    shop.lose_webhooks()
    intent = shop.top_up(30)
    (event, *_) = shop.event_ids("checkout.session.completed")
    shop.send_webhooks()
    shop.control("resend", event=event, copies=1)
    handled = answer("inbox", "show", event, cwd=tmp_path)
    assert (handled["status"], handled["type"]) == ("handled", "checkout.session.completed")
    assert failure("inbox", "retry", event, cwd=tmp_path)[0] == 1
    assert failure("inbox", "show", "evt_none", cwd=tmp_path)[0] == 1
    assert failure("inbox", "list", "--status", "lost", cwd=tmp_path)[0] == 2
    listed = tokenbooth("inbox", "list", "--status", "handled", cwd=tmp_path)
    assert "checkout.session.completed" in listed.stdout
    assert intent not in listed.stdout


def test_a_disputes_pause_is_lifted(shop: Shop, tmp_path: Path) -> None:
    """The operator lets the keys go on; where nothing is paused, that is told."""
    shop.control("dispute", payment_intent=shop.top_up(20))
    done = answer("account", "unpause", "--account", "ada@example.com", "--reason", "settled", cwd=tmp_path)
    assert done == {"accountId": shop.ada.account_id, "disputesReleased": 1}
    assert failure("account", "unpause", "--account", "ada@example.com", "--reason", "x", cwd=tmp_path)[0] == 1


def test_reconcile_repairs_and_tells(shop: Shop, tmp_path: Path) -> None:
    """What a lost webhook left is repaired, and the sums of both books are printed."""
    shop.lose_webhooks()
    shop.top_up(50)
    done = answer("reconcile", cwd=tmp_path)
    assert (done["ok"], done["here"], done["atStripe"]) == (True, "48.25", "48.25")
    assert shop.credit() == "50.00"
    assert "48.25" in tokenbooth("reconcile", cwd=tmp_path).stdout


def test_setup_makes_everything_once(shop: Shop, tmp_path: Path) -> None:
    """Prices, portal and endpoint at the pinned version; the secret lands in a private file; again: the same."""
    (tmp_path / "stripe-webhook-secret").unlink()
    first = answer("stripe", "setup", "--secret-file", "stripe-webhook-secret", cwd=tmp_path)
    secret = tmp_path / "stripe-webhook-secret"
    assert (first["madeEndpoint"], first["webhookSecret"], first["apiVersion"]) == (True, None, "2026-10-28.endive")
    assert secret.read_text(encoding="utf-8").startswith("whsec_")
    assert secret.stat().st_mode & 0o777 == 0o600
    again = answer("stripe", "setup", cwd=tmp_path)
    assert {**again, "madeEndpoint": True} == first
    assert set(shop.stripe_ids("prices")) == set(json.loads(json.dumps(first["prices"])).values())
    shop.subscribe("pro")
    assert len(shop.stripe_ids("prices")) == 2


def test_doctor_looks_at_stripe(shop: Shop, tmp_path: Path) -> None:
    """Key, mode, clock and endpoint: what is missing is named, and what `stripe setup` mends is then fine."""

    def findings() -> dict[str, str]:
        done = tokenbooth("doctor", "--json", cwd=tmp_path)
        listed = json.loads(done.stdout)["findings"]
        return {found["check"]: found["level"] for found in listed if found["check"].startswith("stripe ")}

    assert findings() == {"stripe clock": "ok", "stripe key": "ok", "stripe endpoint": "warning"}
    answer("stripe", "setup", cwd=tmp_path)
    assert findings()["stripe endpoint"] == "ok"
    endpoint = shop.stripe_ids("webhook_endpoints")[0]
    shop.stripe_post(f"webhook_endpoints/{endpoint}", **{"enabled_events[0]": "invoice.paid"})
    assert findings()["stripe endpoint"] == "failed"
    (tmp_path / "stripe-key").write_text("sk_test_wrong", encoding="utf-8")
    assert findings() == {"stripe clock": "ok", "stripe key": "failed"}
