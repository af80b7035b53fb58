"""Checkouts and the credit that a paid one brings."""

import pytest
from sqlalchemy import Connection, select

from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tests.support.stripe_state import PRO, TOP_UP, TOP_UP_NANO, new_checkout, paid_topup
from tokenbooth.domain.ledger import PROMOTION, TransferKind, credit_of
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.stripe_commands import CheckoutExpired, CheckoutFailed
from tokenbooth.errors import Conflict
from tokenbooth.store import billing, checkouts, ledger
from tokenbooth.store.checkouts import CheckoutStatus
from tokenbooth.store.engine import Store
from tokenbooth.store.tables import checkouts as rows

DAY_US = 86_400 * 1_000_000


@pytest.fixture
def ada(store: Store) -> Customer:
    """A customer."""
    return new_customer(store, now_us=NOW_US)


def status_of(store: Store, checkout_id: str) -> str:
    """A checkout's stored status."""

    def read(conn: Connection) -> str:
        return str(conn.execute(select(rows.c.status).where(rows.c.id == checkout_id)).scalar_one())

    return store.read_now(read)


def credit_nano(store: Store, account_id: str) -> int:
    """An account's credit."""
    return store.read_now(ledger.balance_nano, credit_of(account_id))


def test_a_paid_top_up_is_credited_once(store: Store, ada: Customer) -> None:
    """2: however many events tell of a paid session, its amount is credited once."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    command = paid_topup(ada.account_id, checkout_id)
    reasons = [store.write_now(billing.apply, command, now_us=NOW_US + i) for i in range(3)]
    assert reasons == [None, None, None]
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO
    assert status_of(store, checkout_id) == CheckoutStatus.PAID


def test_an_expiry_after_the_payment_takes_nothing_back(store: Store, ada: Customer) -> None:
    """4: a session that is said to have expired after it was paid stays paid."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(billing.apply, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    expired = CheckoutExpired(checkout_id, "cs_at_stripe", ada.account_id)
    assert store.write_now(billing.apply, expired, now_us=NOW_US) is None
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO
    assert status_of(store, checkout_id) == CheckoutStatus.PAID


def test_a_failed_payment_that_succeeds_later_is_credited(store: Store, ada: Customer) -> None:
    """3: a failed delayed payment brings nothing, a later success of the same session brings the credit."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(billing.apply, CheckoutFailed(checkout_id, "cs_at_stripe", ada.account_id), now_us=NOW_US)
    assert credit_nano(store, ada.account_id) == 0
    assert status_of(store, checkout_id) == CheckoutStatus.FAILED
    store.write_now(billing.apply, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO
    assert status_of(store, checkout_id) == CheckoutStatus.PAID


@pytest.mark.parametrize(
    ("amount_nano", "currency"),
    [(TOP_UP_NANO + 1, "usd"), (TOP_UP_NANO - 10_000_000, "usd"), (TOP_UP_NANO, "eur")],
)
def test_another_amount_or_currency_is_not_credited(
    store: Store, ada: Customer, amount_nano: int, currency: str
) -> None:
    """5: what differs from our own record is left to a person."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    command = paid_topup(ada.account_id, checkout_id, amount_nano=amount_nano, currency=currency)
    reason = store.write_now(billing.apply, command, now_us=NOW_US)
    assert reason == "The amount or the currency that was paid differs from what the checkout asked for."
    assert credit_nano(store, ada.account_id) == 0
    assert status_of(store, checkout_id) == CheckoutStatus.REVIEW


def test_a_payment_is_credited_only_to_the_account_of_the_checkout(store: Store, ada: Customer) -> None:
    """A payment that names another account than our record is left to a person."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    reason = store.write_now(billing.apply, paid_topup(bob.account_id, checkout_id), now_us=NOW_US)
    assert reason == "The checkout belongs to another account than the payment says."
    assert credit_nano(store, bob.account_id) == 0


def test_a_payment_of_another_session_is_not_credited(store: Store, ada: Customer) -> None:
    """A checkout pays for the session that was made for it and for no other."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(checkouts.set_session, checkout_id, "cs_ours", now_us=NOW_US)
    reason = store.write_now(billing.apply, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    assert reason == "The checkout belongs to another session than the payment says."
    assert credit_nano(store, ada.account_id) == 0


def test_a_top_up_of_a_plans_checkout_is_not_credited(store: Store, ada: Customer) -> None:
    """The money for a plan never becomes credit."""
    checkout_id = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    command = paid_topup(ada.account_id, checkout_id, amount_nano=PRO.amount_nano)
    reason = store.write_now(billing.apply, command, now_us=NOW_US)
    assert reason == "The checkout sells something else than the payment says."
    assert credit_nano(store, ada.account_id) == 0


def test_an_unknown_checkout_is_left_to_a_person(store: Store, ada: Customer) -> None:
    """A payment for a checkout that was never noted is not credited."""
    reason = store.write_now(billing.apply, paid_topup(ada.account_id, "chk_unknown"), now_us=NOW_US)
    assert reason == "There is no such checkout here."


def test_a_repeated_request_finds_what_the_first_one_noted(store: Store, ada: Customer) -> None:
    """21: the same checkout id gives the first record, with the price of that time."""
    checkout_id = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    dearer = checkouts.Offer(PRO.kind, PRO.plan_slug, PRO.amount_nano + NANO_PER_USD)
    noted = store.write_now(
        checkouts.create_checkout,
        checkout_id=checkout_id,
        account_id=ada.account_id,
        offer=dearer,
        max_pending=1,
        now_us=NOW_US,
    )
    assert noted == PRO


def test_pending_checkouts_are_bounded(store: Store, ada: Customer) -> None:
    """An account cannot pile up unpaid checkouts, but those of the day before don't count."""

    def create(checkout_id: str, now_us: int) -> None:
        store.write_now(
            checkouts.create_checkout,
            checkout_id=checkout_id,
            account_id=ada.account_id,
            offer=TOP_UP,
            max_pending=2,
            now_us=now_us,
        )

    create("chk_1", NOW_US)
    create("chk_2", NOW_US)
    with pytest.raises(Conflict) as refusal:
        create("chk_3", NOW_US)
    assert refusal.value.code == "too_many_pending_checkouts"
    create("chk_4", NOW_US + DAY_US)


def test_credits_count_a_top_up_that_paid_a_debt_whole(store: Store, ada: Customer) -> None:
    """What was topped up is told whole, also where a part of it went into a debt."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(
        ledger.take_back,
        account_id=ada.account_id,
        target=PROMOTION,
        amount_nano=5 * NANO_PER_USD,
        kind=TransferKind.REFUND,
        reference="refund:1",
        note="test",
        now_us=NOW_US,
    )
    store.write_now(billing.apply, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    assert store.read_now(billing.credits_view, ada.account_id) == billing.CreditsView(
        balance_nano=20 * NANO_PER_USD, total_topup_nano=TOP_UP_NANO, total_spent_nano=0
    )
