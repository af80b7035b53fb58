"""Checkouts and the credit that a paid one brings."""

import pytest
from sqlalchemy import Connection, select

from tests.support.billing.stripe_state import PRO, TOP_UP, TOP_UP_NANO, new_checkout, paid_topup
from tests.support.fakes import MARCH_5_2026_US as NOW_US
from tests.support.store import Customer, new_customer
from tokenbooth.domain.ledger import PROMOTION, TransferKind, credit_of
from tokenbooth.domain.money import NANO_PER_USD
from tokenbooth.domain.payment_commands import CheckoutExpired, CheckoutFailed, CreditDirect, DirectFailed
from tokenbooth.kit.errors import Conflict, RateLimited, Unprocessable
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger
from tokenbooth.store.engine import Store
from tokenbooth.store.payments import billing, checkouts, payments
from tokenbooth.store.payments.apply import apply_command
from tokenbooth.store.payments.checkouts import CheckoutStatus, PendingSession
from tokenbooth.store.tables import checkouts as rows

DAY_US = 86_400 * 1_000_000
CARD = checkouts.Offer(checkouts.CheckoutKind.DIRECT_TOP_UP, None, TOP_UP_NANO, card_id="pm_1")
CAPS = checkouts.TopUpCaps(young_us=DAY_US, young_daily_nano=2 * TOP_UP_NANO, max_declined=2)


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
    reasons = [store.write_now(apply_command, command, now_us=NOW_US + i) for i in range(3)]
    assert reasons == [None, None, None]
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO
    assert status_of(store, checkout_id) == CheckoutStatus.PAID


def test_an_expiry_after_the_payment_takes_nothing_back(store: Store, ada: Customer) -> None:
    """4: a session that is said to have expired after it was paid stays paid."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(apply_command, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    expired = CheckoutExpired(checkout_id, "cs_at_stripe", ada.account_id)
    assert store.write_now(apply_command, expired, now_us=NOW_US) is None
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO
    assert status_of(store, checkout_id) == CheckoutStatus.PAID


def test_a_failed_payment_that_succeeds_later_is_credited(store: Store, ada: Customer) -> None:
    """3: a failed delayed payment brings nothing, a later success of the same session brings the credit."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(apply_command, CheckoutFailed(checkout_id, "cs_at_stripe", ada.account_id), now_us=NOW_US)
    assert credit_nano(store, ada.account_id) == 0
    assert status_of(store, checkout_id) == CheckoutStatus.FAILED
    store.write_now(apply_command, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
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
    reason = store.write_now(apply_command, command, now_us=NOW_US)
    assert reason == "The amount or the currency that was paid differs from what the checkout asked for."
    assert credit_nano(store, ada.account_id) == 0
    assert status_of(store, checkout_id) == CheckoutStatus.REVIEW


def test_a_payment_is_credited_only_to_the_account_of_the_checkout(store: Store, ada: Customer) -> None:
    """A payment that names another account than our record is left to a person."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    reason = store.write_now(apply_command, paid_topup(bob.account_id, checkout_id), now_us=NOW_US)
    assert reason == "The checkout belongs to another account than the payment says."
    assert credit_nano(store, bob.account_id) == 0


def test_a_payment_of_another_session_is_not_credited(store: Store, ada: Customer) -> None:
    """A checkout pays for the session that was made for it and for no other."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(checkouts.set_session, checkout_id, "cs_ours", now_us=NOW_US)
    reason = store.write_now(apply_command, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    assert reason == "The checkout belongs to another session than the payment says."
    assert credit_nano(store, ada.account_id) == 0


def test_a_top_up_of_a_plans_checkout_is_not_credited(store: Store, ada: Customer) -> None:
    """The money for a plan never becomes credit."""
    checkout_id = new_checkout(store, ada.account_id, PRO, now_us=NOW_US)
    command = paid_topup(ada.account_id, checkout_id, amount_nano=PRO.amount_nano)
    reason = store.write_now(apply_command, command, now_us=NOW_US)
    assert reason == "The checkout sells something else than the payment says."
    assert credit_nano(store, ada.account_id) == 0


def test_an_unknown_checkout_is_left_to_a_person(store: Store, ada: Customer) -> None:
    """A payment for a checkout that was never noted is not credited."""
    reason = store.write_now(apply_command, paid_topup(ada.account_id, "chk_unknown"), now_us=NOW_US)
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
    store.write_now(apply_command, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    assert store.read_now(billing.credits_view, ada.account_id) == billing.CreditsView(
        balance_nano=20 * NANO_PER_USD, total_topup_nano=TOP_UP_NANO, total_spent_nano=0
    )


def ask(store: Store, customer: Customer, offer: checkouts.Offer, *, now_us: int = NOW_US) -> str:
    """Note a checkout under caps; returns its id."""
    checkout_id = new_id(IdPrefix.CHECKOUT, now_us)
    store.write_now(
        checkouts.create_checkout,
        checkout_id=checkout_id,
        account_id=customer.account_id,
        offer=offer,
        max_pending=100,
        now_us=now_us,
        caps=CAPS,
    )
    return checkout_id


def direct(customer: Customer, checkout_id: str, *, intent: str = "pi_1", currency: str = "usd") -> CreditDirect:
    """The saved card was charged."""
    return CreditDirect(checkout_id, customer.account_id, intent, TOP_UP_NANO, currency)


def test_a_young_account_tops_up_so_much_a_day(store: Store, ada: Customer) -> None:
    """Unpaid pages count, plans don't, and after a day, or its youth, there is more."""
    for _ in range(2):
        ask(store, ada, TOP_UP)
    with pytest.raises(Unprocessable) as refusal:
        ask(store, ada, TOP_UP)
    assert refusal.value.code == "top_up_cap_exceeded"
    ask(store, ada, PRO)
    ask(store, ada, TOP_UP, now_us=NOW_US + DAY_US)


def test_a_card_is_not_tried_again_and_again(store: Store, ada: Customer) -> None:
    """After two declined cards no saved one is charged that day; a page may still be paid."""
    for _ in range(2):
        store.write_now(checkouts.refuse, ask(store, ada, CARD), "declined", now_us=NOW_US)
    with pytest.raises(RateLimited) as refusal:
        ask(store, ada, CARD)
    assert refusal.value.code == "too_many_declined_cards"
    ask(store, ada, TOP_UP)
    ask(store, ada, CARD, now_us=NOW_US + DAY_US)


def test_a_charged_card_is_credited_once(store: Store, ada: Customer) -> None:
    """2: repeated, also after a failure that was told late; the failure changes nothing."""
    checkout_id = ask(store, ada, CARD)
    failed = DirectFailed(checkout_id, ada.account_id, "pi_1", "declined")
    for command in (direct(ada, checkout_id), failed, direct(ada, checkout_id)):
        assert store.write_now(apply_command, command, now_us=NOW_US) is None
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO
    assert status_of(store, checkout_id) == CheckoutStatus.PAID


def test_a_charge_that_fails_brings_nothing_and_a_later_success_does(store: Store, ada: Customer) -> None:
    """3: failed first, then charged after all."""
    checkout_id = ask(store, ada, CARD)
    failed = DirectFailed(checkout_id, ada.account_id, "pi_1", "declined")
    assert store.write_now(apply_command, failed, now_us=NOW_US) is None
    assert (credit_nano(store, ada.account_id), status_of(store, checkout_id)) == (0, CheckoutStatus.FAILED)
    assert store.write_now(apply_command, direct(ada, checkout_id), now_us=NOW_US) is None
    assert credit_nano(store, ada.account_id) == TOP_UP_NANO


def test_a_charge_that_differs_from_our_record_is_left_to_a_person(store: Store, ada: Customer) -> None:
    """5: an unknown one, another account's, another kind's, another payment's, another currency's."""
    bob = new_customer(store, now_us=NOW_US, email="bob@example.com")
    checkout_id, page_id, paid_id = ask(store, ada, CARD), ask(store, ada, TOP_UP), ask(store, bob, CARD)
    store.write_now(apply_command, direct(bob, paid_id, intent="pi_bob"), now_us=NOW_US)

    def said(command: CreditDirect | DirectFailed) -> str | None:
        return store.write_now(apply_command, command, now_us=NOW_US)

    other = "The top-up belongs to another account or is of another kind than the payment says."
    assert said(direct(ada, "chk_unknown")) == "There is no such top-up here."
    assert said(DirectFailed("chk_unknown", ada.account_id, None, "x")) == "There is no such top-up here."
    assert said(direct(bob, checkout_id)) == other
    assert said(direct(ada, page_id)) == other
    assert said(direct(bob, paid_id, intent="pi_2")) == "The top-up belongs to another payment than this one."
    differs = "The amount or the currency that was charged differs from what the top-up asked for."
    assert said(direct(ada, checkout_id, currency="eur")) == differs
    assert (credit_nano(store, ada.account_id), status_of(store, checkout_id)) == (0, CheckoutStatus.REVIEW)


def test_an_unknown_checkout_does_not_expire(store: Store, ada: Customer) -> None:
    """Nor does another account's."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    expired = [CheckoutExpired("chk_unknown", "cs_1", ada.account_id), CheckoutExpired(checkout_id, "cs_1", "acct_2")]
    assert all(store.write_now(apply_command, command, now_us=NOW_US) for command in expired)
    assert status_of(store, checkout_id) == CheckoutStatus.PENDING


def test_sessions_that_nobody_told_of_are_found(store: Store, ada: Customer) -> None:
    """The reconciler asks Stripe about unpaid ones of a span of time."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(checkouts.set_session, checkout_id, "cs_1", now_us=NOW_US)
    found = [
        store.read_now(checkouts.pending_sessions, before_us=before_us, since_us=since_us)
        for before_us, since_us in ((NOW_US + 1, NOW_US), (NOW_US, NOW_US - 1), (NOW_US + 2, NOW_US + 1))
    ]
    assert found == [[PendingSession(checkout_id, ada.account_id, "cs_1")], [], []]


def test_a_payment_is_found_by_each_of_its_names(store: Store, ada: Customer) -> None:
    """By payment intent and by our checkout; an unknown name is none."""
    checkout_id = new_checkout(store, ada.account_id, TOP_UP, now_us=NOW_US)
    store.write_now(apply_command, paid_topup(ada.account_id, checkout_id), now_us=NOW_US)
    found = [store.read_now(payments.find, name) for name in ("pi_of_cs_at_stripe", checkout_id, "pi_unknown")]
    assert found[0] is not None
    assert found == [found[0], found[0], None]
    assert (found[0].paid_nano, found[0].credited_nano) == (TOP_UP_NANO, TOP_UP_NANO)
