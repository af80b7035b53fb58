"""Rows that other parts of the program write, for tests of what reads them. Only tests import it."""

from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from tokenbooth.domain.charges import Charge, PoolKind
from tokenbooth.domain.ledger import MEMO_CONTRA, Entry, Transfer, TransferKind, key_spend
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import sales_days
from tokenbooth.store.accounts.key_counts import KeysOf, note_created
from tokenbooth.store.ledger import post
from tokenbooth.store.sales_days import Sold
from tokenbooth.store.tables import api_keys, subscriptions, usage_days, usage_events, usage_hours

HOUR_US: Final = 3_600 * 1_000_000
DAY_US: Final = 24 * HOUR_US


def add_subscription(
    conn: Connection,
    account_id: str,
    *,
    now_us: int,
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE,
    paid_until_us: int | None = None,
    cancel_at_us: int | None = None,
    ended_at_us: int | None = None,
) -> str:
    """A subscription to the plan "pro", paid until `paid_until_us`; returns its id."""
    subscription_id = new_id(IdPrefix.SUBSCRIPTION, now_us)
    conn.execute(
        insert(subscriptions).values(
            id=subscription_id,
            account_id=account_id,
            plan_slug="pro",
            price_nano=60_000_000_000,
            stripe_subscription_id=f"test-{subscription_id}",
            status=status,
            paid_until_us=paid_until_us,
            cancel_at_us=cancel_at_us,
            ended_at_us=ended_at_us,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
    )
    return subscription_id


def add_key(conn: Connection, account_id: str, key_id: str, *, subscription_id: str | None, now_us: int) -> None:
    """A key of an account, paid by a subscription or by credit."""
    conn.execute(
        insert(api_keys).values(
            id=key_id,
            account_id=account_id,
            name=f"name of {key_id}",
            digest=sha256(key_id.encode()).digest(),
            prefix="sk_live_",
            subscription_id=subscription_id,
            created_at_us=now_us,
        )
    )
    note_created(conn, KeysOf.API, account_id, subscription_id)


def spend_by_key(conn: Connection, key_id: str, amount_nano: int, *, now_us: int) -> None:
    """Note in the ledger that a key spent this much."""
    transfer = Transfer(
        id=new_id(IdPrefix.TRANSFER, now_us),
        kind=TransferKind.USAGE,
        reference=f"test:{new_id(IdPrefix.REQUEST, now_us)}",
        entries=(Entry(key_spend(key_id), amount_nano), Entry(MEMO_CONTRA, -amount_nano)),
    )
    post(conn, transfer, now_us=now_us)


def charge(
    account_id: str, *, finished_at_us: int, key_id: str = "key_a", model: str = "small", cost_nano: int = 1_000
) -> Charge:
    """A finished request of 100 prompt tokens, of which 40 were cached, and 10 of an answer."""
    return Charge(
        request_id=new_id(IdPrefix.REQUEST, finished_at_us),
        account_id=account_id,
        key_id=key_id,
        pool=PoolKind.CREDIT,
        subscription_id="",
        window_start_us=0,
        model=model,
        endpoint="chat.completions",
        upstream="demo",
        finished_at_us=finished_at_us,
        prompt_tokens=100,
        cached_tokens=40,
        cache_write_tokens=0,
        completion_tokens=10,
        reasoning_tokens=0,
        input_price=270_000_000,
        cached_price=70_000_000,
        cache_write_price=270_000_000,
        output_price=1_100_000_000,
        per_request_nano=0,
        charged_nano=cost_nano,
        uncollected_nano=5,
        upstream_cost_nano=7,
        estimated=False,
    )


def by_window(made: Charge, subscription_id: str) -> Charge:
    """The same request, paid by a subscription."""
    return made._replace(pool=PoolKind.WINDOW, subscription_id=subscription_id)


def add_usage(conn: Connection, *charges: Charge) -> None:
    """Write single requests and their hourly and daily sums, as settlement does."""
    for made in charges:
        conn.execute(insert(usage_events).values(**made._asdict(), transfer_id="tr_test"))
        sums = {
            "requests": 1,
            "prompt_tokens": made.prompt_tokens,
            "cached_tokens": made.cached_tokens,
            "completion_tokens": made.completion_tokens,
            "charged_nano": made.charged_nano,
            "uncollected_nano": made.uncollected_nano,
            "upstream_cost_nano": made.upstream_cost_nano,
        }
        hour_us = made.finished_at_us - made.finished_at_us % HOUR_US
        hour: dict[str, str | int] = {
            "account_id": made.account_id,
            "hour_us": hour_us,
            "key_id": made.key_id,
            "model": made.model,
        }
        _add_up(conn, usage_hours, hour, sums)
        day_us = made.finished_at_us - made.finished_at_us % DAY_US
        names = {"all": "", "key": made.key_id, "model": made.model, "subscription": made.subscription_id}
        for dimension, name in names.items():
            day: dict[str, str | int] = {
                "account_id": made.account_id,
                "dimension": dimension,
                "day_us": day_us,
                "name": name,
            }
            _add_up(conn, usage_days, day, sums)
        plan = select(subscriptions.c.plan_slug).where(subscriptions.c.id == made.subscription_id)
        sold = Sold(1, made.charged_nano, made.uncollected_nano, made.upstream_cost_nano)
        slug = conn.execute(plan).scalar() or made.subscription_id
        sales_days.add(
            conn, {("all", day_us, ""): sold, ("model", day_us, made.model): sold, ("plan", day_us, slug): sold}
        )


def _add_up(conn: Connection, table: Table, place: dict[str, str | int], sums: dict[str, int]) -> None:
    upsert = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    row = upsert(table).values(**place, **sums)
    added = {name: table.c[name] + row.excluded[name] for name in sums}
    conn.execute(row.on_conflict_do_update(index_elements=list(place), set_=added))
