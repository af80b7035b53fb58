"""What the gateway knows in memory: loaded once, bounded, never forgotten while money is under way."""

from tokenbooth.domain.allowance import Allowance
from tokenbooth.domain.subscriptions import SubscriptionStatus, SubscriptionTerms
from tokenbooth.domain.windows import Window
from tokenbooth.gateway.access.cache import AccountCache, SubscriptionState
from tokenbooth.store.usage.admission import AccountRow, KeyRow, LoadedKey, SubscriptionRow

TERMS = SubscriptionTerms(SubscriptionStatus.ACTIVE, 10**18, None, None)
NOW_US = 1_000_000


def loaded(
    name: str, *, account: str = "acct_1", subscription: str | None = None, balance_nano: int = 100, seq: int = 1
) -> LoadedKey:
    """A key as the store hands it over."""
    row = KeyRow(
        key_id=f"key_{name}",
        account_id=account,
        digest=name.encode(),
        subscription_id=subscription,
        max_budget_nano=50 if subscription is None else None,
        rpm=5 if subscription is None else None,
        tpm=7 if subscription is None else None,
    )
    return LoadedKey(
        seq=seq,
        key=row,
        account=AccountRow(account, suspended=False, balance_nano=balance_nano),
        subscription=None if subscription is None else SubscriptionRow(subscription, "standard", TERMS),
        spent_nano=20,
    )


def test_a_key_brings_its_limits() -> None:
    """Cap with what was spent, rates, the account's credit."""
    state = AccountCache(10).add(loaded("a"))

    assert (state.cap, state.account.credit) == (Allowance(50, spent_nano=20), Allowance(100))
    assert state.requests is not None
    assert state.tokens is not None
    assert (state.requests.limit, state.tokens.limit, state.account.keys) == (5, 7, 1)


def test_keys_share_their_account_and_subscription() -> None:
    """What is in memory knows more than a later load: credit held stays held."""
    states = AccountCache(10)
    first, second = (
        states.add(loaded("a", subscription="sub_1")),
        states.add(loaded("b", subscription="sub_1", balance_nano=999)),
    )

    assert first.account is second.account
    assert first.subscription is second.subscription
    assert first.account.credit.limit_nano == 100
    assert states.add(loaded("a", subscription="sub_1")) is first


def test_a_deleted_key_is_not_found() -> None:
    """No new request finds it; its account stays, with what the store does not know yet."""
    states = AccountCache(10)
    states.add(loaded("a"))
    kept = states.add(loaded("b"))

    assert states.forget_key("key_a") is not None
    assert states.forget_key("key_a") is None
    assert (list(states.by_digest), states.accounts) == ([b"b"], {"acct_1": kept.account})
    states.forget_key("key_b")
    assert (states.accounts, states.keys) == ({"acct_1": kept.account}, {})


def test_an_account_with_calls_under_way_is_not_forgotten() -> None:
    """Its spending is not in the store yet, so a new key of it must meet the same state."""
    states = AccountCache(10)
    first = states.add(loaded("a", subscription="sub_1"))
    first.account.pins = 1
    states.forget_key("key_a")
    second = states.add(loaded("b", subscription="sub_1"))

    assert second.account is first.account
    assert second.subscription is first.subscription


def test_the_number_of_keys_is_bounded() -> None:
    """The oldest idle one makes room; one with calls under way stays."""
    states = AccountCache(2)
    busy = states.add(loaded("a", account="acct_a"))
    busy.account.pins = 1
    states.add(loaded("b", account="acct_b"))
    states.add(loaded("c", account="acct_c"))

    assert set(states.by_digest) == {b"a", b"c"}
    assert set(states.accounts) == {"acct_a", "acct_c"}


def test_a_key_is_not_dropped_by_its_own_arrival() -> None:
    """With all others busy the newest is about to be used; two states of one account would spend its credit twice."""
    states = AccountCache(1)
    states.add(loaded("a", account="acct_a")).account.pins = 1
    newest = states.add(loaded("b", account="acct_b"))

    assert states.add(loaded("b", account="acct_b")).account is newest.account


def test_a_new_key_does_not_reset_the_rates_of_its_subscription() -> None:
    """Deleting the only key and making a new one gives no second minute's worth of requests (34, P9)."""
    states = AccountCache(10)
    first = states.add(loaded("a", subscription="sub_1"))
    assert first.subscription is not None
    first.subscription.requests.limit = 1
    first.subscription.requests.admit(NOW_US)
    states.forget_key("key_a")
    second = states.add(loaded("b", subscription="sub_1"))

    assert second.subscription is not None
    assert second.subscription.requests.used(NOW_US) == 1


def test_refreshed_keys_take_over_new_limits() -> None:
    """What is spent and counted stays."""
    state = AccountCache(10).add(loaded("a"))
    row = loaded("a").key
    state.refresh(KeyRow(row.key_id, row.account_id, row.digest, None, max_budget_nano=500, rpm=50, tpm=70))

    assert state.cap == Allowance(500, spent_nano=20)
    assert state.requests is not None
    assert state.tokens is not None
    assert (state.requests.limit, state.tokens.limit) == (50, 70)
    state.refresh(KeyRow(row.key_id, row.account_id, row.digest, None, None, None, None))
    assert state.cap == Allowance(500, spent_nano=20)


def subscription() -> SubscriptionState:
    state = AccountCache(10).add(loaded("a", subscription="sub_1")).subscription
    assert state is not None
    return state


def test_the_first_window_is_asked_of_the_store() -> None:
    """Nothing is known of a window until it was loaded; a later one has nothing spent yet."""
    state, first, later = subscription(), Window(100, 200), Window(200, 300)

    assert state.known_window(first, 50) is None
    state.add_window(first.start_us, spent_nano=30)
    assert state.known_window(first, 50) == Allowance(50, spent_nano=30)
    assert state.known_window(later, 50) == Allowance(50)


def test_an_earlier_window_is_asked_of_the_store() -> None:
    """The clock went back: what was spent there is not known (47)."""
    state = subscription()
    state.add_window(200, spent_nano=0)

    assert state.known_window(Window(100, 200), 50) is None


def test_todays_budget_holds() -> None:
    """A changed plan counts from the next admission, with what is spent."""
    state, window = subscription(), Window(100, 200)
    state.add_window(100, spent_nano=30)
    state.known_window(window, 50)

    assert state.known_window(window, 20) == Allowance(20, spent_nano=30)
    assert state.add_window(100, spent_nano=0).spent_nano == 30


def test_old_windows_are_forgotten() -> None:
    """A few are kept for calls that end late."""
    state = subscription()
    for start in range(0, 1_000, 100):
        state.add_window(start, spent_nano=0)

    assert list(state.windows) == [600, 700, 800, 900]


def test_terms_follow_the_store() -> None:
    """A renewed or ended subscription is what the store says."""
    state = subscription()
    ended = SubscriptionTerms(SubscriptionStatus.CANCELED, 5, None, 5)
    state.refresh(SubscriptionRow("sub_1", "pro", ended))

    assert (state.plan_slug, state.terms) == ("pro", ended)


def test_a_plan_changes_at_its_moment() -> None:
    """By the clock alone; what is to follow is forgotten when the store says so."""
    state = subscription()
    state.refresh(SubscriptionRow("sub_1", "pro", TERMS, "standard", 100))
    assert (state.plan_at(99), state.plan_at(100)) == ("pro", "standard")
    state.refresh(SubscriptionRow("sub_1", "pro", TERMS))
    assert state.plan_at(10**18) == "pro"
