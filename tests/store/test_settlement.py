"""A batch of charges: several pools, keys and hours at once, repetitions, and credit that was taken back meanwhile."""

from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import new_customer
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import MEMO_CONTRA, UNCOLLECTED, credit_of, key_spend, window_spend
from tokenbooth.store.audit import audit
from tokenbooth.store.engine import Store
from tokenbooth.store.keys import NewApiKey, create_api_key, list_api_keys
from tokenbooth.store.ledger import balances_nano, grant
from tokenbooth.store.settlement import Applied, apply_charges
from tokenbooth.store.usage_reports import GroupBy, Span, usage_by

NOW_US = MARCH_5_2026_US
HOUR_US = 3_600_000_000


def _charge(number: int, account_id: str, key_id: str, charged_nano: int, **changed: object) -> Charge:
    made = Charge(
        request_id=f"req_{number}",
        account_id=account_id,
        key_id=key_id,
        pool=PoolKind.CREDIT,
        subscription_id="",
        window_start_us=0,
        model="maker/model",
        endpoint="chat.completions",
        upstream="one",
        finished_at_us=NOW_US + number,
        prompt_tokens=10,
        cached_tokens=3,
        cache_write_tokens=0,
        completion_tokens=5,
        reasoning_tokens=0,
        input_price=1,
        cached_price=1,
        cache_write_price=1,
        output_price=1,
        per_request_nano=0,
        charged_nano=charged_nano,
        uncollected_nano=0,
        upstream_cost_nano=charged_nano // 2,
        estimated=False,
    )
    return made._replace(**changed)  # type: ignore[arg-type]  # names of its fields


def _credit(store: Store, email: str, amount_nano: int) -> str:
    account_id = new_customer(store, now_us=NOW_US, email=email).account_id
    store.write_now(
        grant,
        account_id=account_id,
        amount_nano=amount_nano,
        reference=f"grant:{email}",
        reason="a test",
        now_us=NOW_US,
    )
    return account_id


def test_one_batch_books_every_pool_and_cuts_only_what_is_overdrawn(store: Store) -> None:
    """Each pool pays its own charges; where credit was taken back the first are paid and the rest is uncollected."""
    ada, bob = _credit(store, "ada@example.com", 1_000), _credit(store, "bob@example.com", 100)
    window = {"pool": PoolKind.WINDOW, "subscription_id": "sub_ada", "window_start_us": 7}
    batch = [
        _charge(1, ada, "key_a", 300),
        _charge(2, bob, "key_b", 70),
        _charge(3, ada, "key_a", 40, **window),
        _charge(4, bob, "key_b", 50, uncollected_nano=4),
        _charge(5, bob, "key_c", 20),
        _charge(6, ada, "key_a", 200, finished_at_us=NOW_US + HOUR_US),
    ]

    applied = store.write_now(apply_charges, batch, now_us=NOW_US)

    assert applied == Applied(fresh=6, short_nano={"req_4": 20, "req_5": 20})
    expected = {
        credit_of(ada): 500,
        credit_of(bob): 0,
        window_spend("sub_ada", 7): 40,
        key_spend("key_a"): 540,
        key_spend("key_b"): 100,
        key_spend("key_c"): 0,
        UNCOLLECTED: -44,
    }
    assert store.read_now(balances_nano, expected) == expected
    assert store.read_now(audit).differences == ()
    by_key = store.read_now(usage_by, ada, Span(NOW_US - HOUR_US, NOW_US + 2 * HOUR_US), GroupBy.KEY)
    assert [(sums.requests, sums.charged_nano) for sums in by_key.values()] == [(3, 540)]


def test_a_batch_that_comes_again_changes_nothing(store: Store) -> None:
    """Charges that are known, or twice in one batch, count once; a batch of known ones makes no transfer."""
    ada = _credit(store, "ada@example.com", 1_000)
    first, second = _charge(1, ada, "key_a", 300), _charge(2, ada, "key_a", 200)

    fresh = [
        store.write_now(apply_charges, batch, now_us=NOW_US).fresh
        for batch in ([first, first], [second, first], [first, second], [])
    ]

    assert fresh == [1, 1, 0, 0]
    assert store.read_now(balances_nano, [credit_of(ada), MEMO_CONTRA]) == {credit_of(ada): 500, MEMO_CONTRA: -500}
    report = store.read_now(audit)
    assert (report.differences, report.transfers, report.usage_events) == ((), 3, 2)


def test_a_key_was_last_used_at_its_last_charge(store: Store) -> None:
    """The latest of a batch counts, in whatever order they come."""
    ada = _credit(store, "ada@example.com", 1_000)
    key = NewApiKey(id="key_a", account_id=ada, name="a", digest=bytes(32), prefix="sk_live_a")
    store.write_now(create_api_key, key, max_keys=10, grace_us=0, actor="test", now_us=NOW_US)
    batch = [_charge(number, ada, "key_a", 1, model=f"m{number % 2}") for number in (5, 9, 2, 8)]

    store.write_now(apply_charges, batch, now_us=NOW_US)

    assert [row.last_used_at_us for row in store.read_now(list_api_keys, ada, grace_us=0, now_us=NOW_US)] == [
        NOW_US + 9
    ]
