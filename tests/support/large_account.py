"""An account that did everything thousands of times, beside thousands of others. Only tests import it."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import Connection, insert, text

from tests.support.billing.billing_rows import DAY_US, HOUR_US, charge
from tokenbooth.domain.ledger import PROMOTION, TransferKind
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger, sales_days
from tokenbooth.store import tables as t
from tokenbooth.store.engine import Store
from tokenbooth.store.sales_days import SalesDimension, Sold
from tokenbooth.store.usage.settlement import apply_charges

DAYS: Final = 25
SUBSCRIPTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class LargeAccount:
    """What a request about it needs to name."""

    account_id: str
    key_id: str
    management_key_id: str
    subscription_id: str
    session_id: str


def fill(store: Store, account_id: str, rows: int, *, now_us: int) -> LargeAccount:
    """Give an account so many rows of each kind, most of a month old at most, and the installation as many accounts."""
    ids = {prefix: [new_id(prefix, now_us - n) for n in range(rows)] for prefix in IdPrefix}
    subscription_ids = ids[IdPrefix.SUBSCRIPTION][:SUBSCRIPTIONS]
    key_ids = ids[IdPrefix.API_KEY]
    others = ids[IdPrefix.ACCOUNT]

    def write(conn: Connection) -> None:
        def put(table: object, make: Callable[[int], dict[str, object]], many: int = rows) -> None:
            conn.execute(insert(table), [make(n) for n in range(many)])  # type: ignore[arg-type]  # a table

        put(t.accounts, lambda n: {"id": others[n], "email": f"{n}@other.example", "created_at_us": now_us - n})
        put(
            t.subscriptions,
            lambda n: {
                "id": ids[IdPrefix.SUBSCRIPTION][n],
                "account_id": account_id if n < SUBSCRIPTIONS else others[n],
                "plan_slug": "pro",
                "price_nano": 1,
                "stripe_subscription_id": f"stripe_{n}",
                "status": "active",
                "paid_until_us": now_us + DAY_US,
                "created_at_us": now_us - n,
                "updated_at_us": now_us,
            },
        )
        put(
            t.subscription_periods,
            lambda n: {
                "stripe_invoice_id": f"in_{n}",
                "subscription_id": ids[IdPrefix.SUBSCRIPTION][n],
                "start_us": now_us - DAY_US,
                "end_us": now_us + DAY_US,
                "amount_nano": 1,
                "granted_at_us": now_us,
            },
        )
        sales_days.add(conn, {(SalesDimension.SUBSCRIPTION_PAYMENTS, now_us - now_us % DAY_US, ""): Sold(rows, rows)})
        for deleted in (False, True):
            put(
                t.api_keys,
                lambda n, deleted=deleted: {  # type: ignore[misc]  # a default that binds
                    "id": new_id(IdPrefix.API_KEY, now_us) if deleted else key_ids[n],
                    "account_id": account_id,
                    "name": f"key {n}",
                    "digest": sha256(f"{n} {deleted}".encode()).digest(),
                    "prefix": "sk_live_",
                    "subscription_id": subscription_ids[n % SUBSCRIPTIONS] if n % 2 else None,
                    "created_at_us": now_us - n,
                    "deleted_at_us": now_us if deleted else None,
                },
            )
            put(
                t.management_keys,
                lambda n, deleted=deleted: {  # type: ignore[misc]  # a default that binds
                    "id": new_id(IdPrefix.MANAGEMENT_KEY, now_us) if deleted else ids[IdPrefix.MANAGEMENT_KEY][n],
                    "account_id": account_id,
                    "name": f"key {n}",
                    "digest": sha256(f"management {n} {deleted}".encode()).digest(),
                    "prefix": "mk_",
                    "scopes": "",
                    "created_at_us": now_us - n,
                    "deleted_at_us": now_us if deleted else None,
                },
            )
        conn.execute(
            text(
                "INSERT INTO key_counts (owner_id, kind, live, created) "
                "SELECT account_id, 'api_key', COUNT(*) FILTER (WHERE deleted_at_us IS NULL), COUNT(*) "
                "FROM api_keys GROUP BY account_id UNION ALL "
                "SELECT subscription_id, 'api_key', COUNT(*) FILTER (WHERE deleted_at_us IS NULL), COUNT(*) "
                "FROM api_keys WHERE subscription_id IS NOT NULL GROUP BY subscription_id UNION ALL "
                "SELECT account_id, 'management_key', COUNT(*) FILTER (WHERE deleted_at_us IS NULL), COUNT(*) "
                "FROM management_keys GROUP BY account_id "
                "ON CONFLICT (owner_id, kind) DO UPDATE SET live = excluded.live, created = excluded.created"
            )
        )
        put(
            t.sessions,
            lambda n: {
                "id": ids[IdPrefix.SESSION][n],
                "account_id": account_id if n < 50 else others[n],
                "digest": sha256(f"session {n}".encode()).digest(),
                "created_at_us": now_us,
                "last_seen_at_us": now_us,
                "expires_at_us": now_us + DAY_US,
                "address": "",
                "user_agent": "",
            },
        )
        put(
            t.idempotency_records,
            lambda n: {
                "account_id": account_id,
                "route": "POST /api/keys/credit",
                "key": f"key {n}",
                "body_sha256": bytes(32),
                "status_code": 200,
                "response": "{}",
                "created_at_us": now_us,
            },
        )
        put(
            t.checkouts,
            lambda n: {
                "id": ids[IdPrefix.CHECKOUT][n],
                "account_id": account_id,
                "kind": "top_up",
                "amount_nano": 1,
                "status": ("paid", "expired", "failed")[n % 3],
                "created_at_us": now_us - 2 * DAY_US - n,
                "updated_at_us": now_us - 2 * DAY_US - n,
            },
        )
        put(
            t.payments,
            lambda n: {
                "stripe_payment_intent_id": f"pi_{n}",
                "account_id": account_id,
                "kind": "top_up",
                "reference": f"stripe:pi:{n}",
                "paid_nano": 1,
                "credited_nano": 1,
                "created_at_us": now_us - n,
            },
        )
        put(
            t.deposit_addresses,
            lambda n: {
                "address": f"0x{n:040x}",
                "account_id": others[n],
                "key_fingerprint": "other",
                "child_index": n,
                "announced_at_us": now_us,
                "created_at_us": now_us,
            },
        )
        put(
            t.deposits,
            lambda n: {
                "chain_id": 8453,
                "tx_hash": f"0x{n:064x}",
                "position": 0,
                "address": f"0x{n:040x}",
                "account_id": account_id,
                "amount_nano": 1,
                "block_number": n,
                "block_hash": f"0x{n:064x}",
                "status": "final",
                "times_credited": 1,
                "created_at_us": now_us - n,
                "updated_at_us": now_us,
            },
        )
        put(
            t.audit_log,
            lambda n: {
                "id": ids[IdPrefix.AUDIT][n],
                "at_us": now_us - n,
                "actor": account_id,
                "action": "api_key.created" if n % 2 else "audit.ran",
                "account_id": account_id,
                "detail": "",
            },
        )
        put(
            t.inbox,
            lambda n: {
                "id": ids[IdPrefix.EVENT][n],
                "source": "stripe",
                "external_id": f"evt_{n}",
                "type": "invoice.paid",
                "payload": b"{}",
                "status": "parked" if n % 2 else "handled",
                "attempts": 1,
                "due_at_us": now_us,
                "received_at_us": now_us - n,
            },
        )

    store.write_now(write)
    store.write_now(_top_up, account_id, rows, now_us)
    for day in range(DAYS):
        at_us = now_us - day * DAY_US
        charges = [
            charge(
                account_id,
                finished_at_us=at_us - (n % 24) * HOUR_US - n,
                key_id=key_ids[(day * rows // DAYS + n) % rows],
                model=f"model {n % 3}",
            )
            for n in range(rows // DAYS)
        ]
        store.write_now(apply_charges, charges, now_us=at_us)
    return LargeAccount(
        account_id,
        key_ids[7],
        ids[IdPrefix.MANAGEMENT_KEY][7],
        subscription_ids[0],
        ids[IdPrefix.SESSION][7],
    )


def _top_up(conn: Connection, account_id: str, rows: int, now_us: int) -> None:
    """Many movements of credit, each a line of a statement; half of them of months ago."""
    for n in range(rows):
        ledger.add_credit(
            conn,
            account_id=account_id,
            source=PROMOTION,
            amount_nano=1_000_000,
            kind=TransferKind.TOP_UP,
            reference=f"test:{n}",
            note="",
            now_us=now_us - (n + 1 if n % 2 else 40 * DAY_US + n),
        )
