"""A batch of charges: several pools, keys and hours at once, repetitions, and credit that was taken back meanwhile."""

from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from tests.support.fakes import MARCH_5_2026_US
from tests.support.store import new_customer, open_empty_sqlite
from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import MEMO_CONTRA, UNCOLLECTED, credit_of, key_spend, window_spend
from tokenbooth.store import processes
from tokenbooth.store.accounts.keys import NewApiKey, create_api_key, list_api_keys
from tokenbooth.store.engine import Store
from tokenbooth.store.ledger import balances_nano, grant
from tokenbooth.store.processes import ClosedHow, NewProcess
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.tables import subscriptions
from tokenbooth.store.usage.settlement import Applied, apply_charges, apply_late_charges, book
from tokenbooth.store.usage.usage_reports import GroupBy, Span, usage_by

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

    assert applied == Applied(inserted=6, shortfall_nano={"req_4": 20, "req_5": 20})
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
        store.write_now(apply_charges, batch, now_us=NOW_US).inserted
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


def _window_of(store: Store, account_id: str, subscription_id: str) -> dict[str, object]:
    """A subscription to `standard`, and the fields of a charge to a window of it."""

    def subscribe(conn: Connection) -> None:
        conn.execute(
            insert(subscriptions).values(
                id=subscription_id,
                account_id=account_id,
                plan_slug="standard",
                price_nano=0,
                stripe_subscription_id=f"stripe_{subscription_id}",
                status="active",
                created_at_us=NOW_US,
                updated_at_us=NOW_US,
            )
        )

    store.write_now(subscribe)
    return {"pool": PoolKind.WINDOW, "subscription_id": subscription_id, "window_start_us": 7}


def _capped_key(store: Store, account_id: str, key_id: str, cap_nano: int) -> None:
    key = NewApiKey(
        id=key_id,
        account_id=account_id,
        name=key_id,
        digest=key_id.encode().ljust(32),
        prefix="sk",
        max_budget_nano=cap_nano,
    )
    store.write_now(create_api_key, key, max_keys=10, grace_us=0, actor="test", now_us=NOW_US)


def test_late_charges_get_what_is_left_everywhere(store: Store) -> None:
    """Of a run that is over: window, cap and credit pay what they have left, the first charge first."""
    ada = _credit(store, "ada@example.com", 1_000)
    window = _window_of(store, ada, "sub_ada")
    _capped_key(store, ada, "key_capped", 250)
    spent = [_charge(1, ada, "key_a", 900, **window), _charge(2, ada, "key_capped", 200)]
    store.write_now(apply_charges, spent, now_us=NOW_US)

    late = [
        _charge(3, ada, "key_a", 60, **window),
        _charge(4, ada, "key_a", 60, **window),
        _charge(5, ada, "key_capped", 70),
        _charge(6, ada, "key_b", 700),
        _charge(7, ada, "key_b", 100),
    ]
    applied = store.write_now(apply_late_charges, late, budgets_nano={"standard": 1_000}, now_us=NOW_US)

    assert applied == Applied(inserted=5, shortfall_nano={"req_4": 20, "req_5": 20, "req_7": 50})
    expected = {
        window_spend("sub_ada", 7): 1_000,
        key_spend("key_capped"): 250,
        credit_of(ada): 0,
        UNCOLLECTED: -90,
    }
    assert store.read_now(balances_nano, expected) == expected
    assert store.read_now(audit).differences == ()
    assert store.write_now(apply_late_charges, late, budgets_nano={"standard": 1_000}, now_us=NOW_US).inserted == 0


def test_a_late_charge_is_held_to_the_highest_limit_that_was_in_force(store: Store) -> None:
    """A budget that was lowered meanwhile was higher at the admission; a plan that is gone bounds nothing."""
    ada = _credit(store, "ada@example.com", 1_000)
    window, other = _window_of(store, ada, "sub_ada"), _window_of(store, ada, "sub_b")
    noted = {window_spend("sub_ada", 7).id: 1_000}
    first = [_charge(1, ada, "key_a", 900, **window)]
    _register(store, "gw_1")
    store.write_now(book, first, epoch="gw_1", limits_nano=noted, budgets_nano={"standard": 500}, now_us=NOW_US)

    late = [_charge(2, ada, "key_a", 150, **window), _charge(3, ada, "key_a", 800, **other)]
    applied = store.write_now(apply_late_charges, late, budgets_nano={"standard": 500}, now_us=NOW_US)

    assert applied.shortfall_nano == {"req_2": 50, "req_3": 300}
    unbounded = [_charge(4, ada, "key_a", 800, **{**other, "window_start_us": 8})]
    assert store.write_now(apply_late_charges, unbounded, budgets_nano={}, now_us=NOW_US).shortfall_nano == {}
    assert store.read_now(audit).differences == ()


def test_charges_of_a_closed_run_are_late(store: Store) -> None:
    """While its row is open a run's charges are booked as they are; from then on others may have spent the same."""
    ada = _credit(store, "ada@example.com", 1_000)
    _capped_key(store, ada, "key_capped", 100)
    _register(store, "gw_1")

    def booked(number: int) -> Applied:
        charges = [_charge(number, ada, "key_capped", 60)]
        return store.write_now(book, charges, epoch="gw_1", limits_nano={}, budgets_nano={}, now_us=NOW_US)

    assert booked(1) == Applied(inserted=1, shortfall_nano={})
    store.write_now(processes.close, "gw_1", ClosedHow.COMMAND, now_us=NOW_US)
    assert booked(2) == Applied(inserted=1, shortfall_nano={"req_2": 20}, late=True)
    assert booked(2) == Applied(inserted=0, shortfall_nano={}, late=True)
    assert store.read_now(balances_nano, [key_spend("key_capped")]) == {key_spend("key_capped"): 100}
    assert store.read_now(audit).differences == ()


amounts = st.integers(0, 60)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    credit=amounts.map(lambda amount: amount + 1),
    budget=amounts,
    cap=amounts.map(lambda amount: amount + 1),
    charges=st.lists(st.tuples(st.sampled_from(["credit", "window"]), st.booleans(), amounts), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 8), max_size=3),
)
def test_late_charges_break_no_limit_and_lose_no_cent(
    tmp_path_factory: pytest.TempPathFactory,
    credit: int,
    budget: int,
    cap: int,
    charges: list[tuple[str, bool, int]],
    cuts: list[int],
) -> None:
    """However they fall into batches: each is booked once, charged plus uncollected is its cost, and limits hold."""
    with closing(open_empty_sqlite(tmp_path_factory.mktemp("late") / "tokenbooth.db")) as store:
        ada = _credit(store, "ada@example.com", credit)
        window = _window_of(store, ada, "sub_ada")
        _capped_key(store, ada, "key_capped", cap)
        late = [
            _charge(number, ada, "key_capped" if capped else "key_free", nano, **(window if pool == "window" else {}))
            for number, (pool, capped, nano) in enumerate(charges)
        ]
        bounds = sorted({0, len(late), *(min(cut, len(late)) for cut in cuts)})
        # Each batch comes again together with the next one, as after an answer that was lost.
        for begin, end in zip([0, *bounds], bounds[1:], strict=False):
            store.write_now(apply_late_charges, late[begin:end], budgets_nano={"standard": budget}, now_us=NOW_US)
        balances = store.read_now(
            balances_nano, [credit_of(ada), window_spend("sub_ada", 7), key_spend("key_capped"), key_spend("key_free")]
        )
        left, in_window, of_capped, of_free = balances.values()
        uncollected = -store.read_now(balances_nano, [UNCOLLECTED])[UNCOLLECTED]
        assert store.read_now(audit).differences == ()
    assert (left >= 0, in_window <= budget, of_capped <= cap) == (True, True, True)
    assert of_capped + of_free == (credit - left) + in_window
    assert of_capped + of_free + uncollected == sum(charge.charged_nano for charge in late)


def _register(store: Store, epoch: str) -> None:
    new = NewProcess(epoch, "one", "/var/lib/one", "host", 42, "1.0", "hash")
    assert store.write_now(processes.register, new, now_us=NOW_US) is None
