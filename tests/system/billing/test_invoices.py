"""Stripe's invoices with their pages, and statements that add up."""

import csv
import io
from collections.abc import Iterator

import pytest

from tests.support.billing.billing_rows import charge
from tests.support.billing.shop import Json, Shop, running_shop
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.money import NANO_PER_USD, parse_usd
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.engine import Store
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.usage.settlement import apply_charges

DAY_S = 86_400


@pytest.fixture
def shop(store: Store) -> Iterator[Shop]:
    """A running product; the ledger is audited afterwards."""
    with running_shop(store) as running:
        yield running
        assert store.read_now(audit).differences == ()


def use(shop: Shop, key_id: str, cost_nano: int) -> None:
    """A finished request that a key paid from credit."""
    now_us = shop.clock.now_us()
    made = charge(shop.ada.account_id, finished_at_us=now_us, key_id=key_id, cost_nano=cost_nano)
    shop.store.write_now(apply_charges, [made], now_us=now_us)


def statement(shop: Shop, query: str = "") -> Json:
    """A month's statement."""
    return shop.data(f"statement{query}")


def lines(found: Json) -> list[tuple[str, str]]:
    """Kind and amount of each line."""
    listed = found["lines"]
    assert isinstance(listed, list)
    return [(line["kind"], line["amount"]) for line in listed]


def test_an_unknown_invoice_is_the_callers_mistake(shop: Shop) -> None:
    """Not Stripe's failure: the page after an invoice that does not exist is refused by the parameter's name (P14)."""
    shop.subscribe()
    refused = shop.http.get("/api/billing/invoices?after=in_unknown")

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "after")


def test_invoices_have_stripes_pages(shop: Shop) -> None:
    """Newest first, each with a page that opens; another account has none."""
    assert shop.http.get("/api/billing/invoices").json()["data"] == []
    shop.subscribe("standard")
    shop.subscribe("pro")
    newest, oldest = shop.http.get("/api/billing/invoices").json()["data"]
    assert (newest["paid"], oldest["paid"], oldest["status"]) == ("60.00", "20.00", "paid")
    assert shop.bare.get(newest["hostedUrl"]).status_code == 200
    (rest,) = shop.http.get(f"/api/billing/invoices?after={newest['id']}").json()["data"]
    assert rest["id"] == oldest["id"]


def test_a_statement_leads_from_one_balance_to_the_next(shop: Shop) -> None:
    """Top-ups, charges per day and key, refunds and adjustments: opening plus lines is closing, month after month."""
    intent = shop.top_up(50)
    key = shop.http.post("/api/keys/credit", json={"name": "agent"}).json()["data"]["id"]
    use(shop, key, 1_500)
    use(shop, key, 2_500)
    shop.clock.advance(DAY_S)
    use(shop, key, 3_000)
    shop.stripe_post("refunds", payment_intent=intent, amount="1000")
    shop.subscribe("standard")
    march = statement(shop)
    assert (march["month"], march["openingBalance"], march["closingBalance"]) == ("2026-03", "0.00", "39.999993")
    assert lines(march) == [
        ("usage", "-0.000004"),
        ("top_up", "50.00"),
        ("usage", "-0.000003"),
        ("refund", "-10.00"),
    ]
    payments = march["subscriptionPayments"]
    assert isinstance(payments, list)
    (paid,) = payments
    assert (paid["planSlug"], paid["amount"]) == ("standard", "20.00")
    shop.clock.advance(31 * DAY_S)
    shop.store.write_now(
        change_credit,
        account=shop.ada.account_id,
        kind=TransferKind.ADJUSTMENT,
        amount_nano=-50 * NANO_PER_USD,
        reason="correction",
        reference=None,
        now_us=shop.clock.now_us(),
    )
    april = statement(shop)
    assert (april["openingBalance"], april["closingBalance"]) == ("39.999993", "-10.000007")
    assert lines(april) == [("adjustment", "-50.00")]
    assert statement(shop, "?month=2026-03") == march


def test_a_statement_as_csv(shop: Shop) -> None:
    """The same lines with a running balance; a note cannot become a spreadsheet's formula."""
    shop.top_up(50)
    shop.store.write_now(
        change_credit,
        account=shop.ada.account_id,
        kind=TransferKind.GRANT,
        amount_nano=NANO_PER_USD,
        reason="=HYPERLINK(1)",
        reference="r1",
        now_us=shop.clock.now_us() + 1,
    )
    answer = shop.http.get("/api/billing/statement?month=2026-03&format=csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="statement-2026-03.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["kind"], row["amount"], row["balance"]) for row in rows] == [
        ("opening_balance", "", "0.00"),
        ("top_up", "50.00", "50.00"),
        ("grant", "1.00", "51.00"),
        ("closing_balance", "", "51.00"),
    ]
    assert rows[2]["note"] == "'=HYPERLINK(1)"
    assert parse_usd(rows[-1]["balance"]) == 51 * NANO_PER_USD


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("month=2026-13", 400, "invalid_value"),
        ("month=March", 400, "invalid_value"),
        ("month=2026-04", 404, "month_not_begun"),
        ("format=pdf", 400, "invalid_value"),
        ("year=2026", 400, "unknown_parameter"),
    ],
)
def test_a_statement_of_no_month_is_refused(shop: Shop, query: str, status: int, code: str) -> None:
    """A malformed month, a future one, or another form is told."""
    answer = shop.http.get(f"/api/billing/statement?{query}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
