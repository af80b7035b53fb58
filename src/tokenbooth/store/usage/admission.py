"""What the gateway reads to admit requests: a key with everything that decides about it, at one change number."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Row, Select, select

from tokenbooth.domain.ledger import credit_of, key_spend
from tokenbooth.domain.subscriptions import SubscriptionTerms
from tokenbooth.store.changes import Position, last, last_seq
from tokenbooth.store.ledger import balance_nano
from tokenbooth.store.payments.plan_rows import state_of
from tokenbooth.store.payments.subscriptions import terms_of
from tokenbooth.store.tables import accounts, api_keys, subscriptions
from tokenbooth.store.usage.settlement import stored_requests
from tokenbooth.store.usage.window_spend import window_spent_nano

NEVER_US: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key that is not deleted."""

    key_id: str
    account_id: str
    digest: bytes
    subscription_id: str | None
    max_budget_nano: int | None
    rpm: int | None
    tpm: int | None


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A customer, with the credit balance in nano-USD."""

    account_id: str
    suspended: bool
    balance_nano: int


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    """A subscription as admission needs it; from `plan_changes_at_us` on `next_plan_slug` counts."""

    subscription_id: str
    plan_slug: str
    terms: SubscriptionTerms
    next_plan_slug: str | None = None
    plan_changes_at_us: int = NEVER_US


@dataclass(frozen=True, slots=True)
class LoadedKey:
    """A key and all that belongs to it, as of change number `seq`; `spent_nano` is the key's lifetime spend."""

    seq: int
    key: KeyRow
    account: AccountRow
    subscription: SubscriptionRow | None
    spent_nano: int


def load_key(conn: Connection, digest: bytes) -> tuple[int, LoadedKey | None]:
    """The key with this digest (None when there is none any more), and the change number of this look-up."""
    seq = last_seq(conn)
    row = conn.execute(_select_key().where(api_keys.c.digest == digest)).one_or_none()
    if row is None:
        return seq, None
    key = _key_row(row)
    account = load_account(conn, key.account_id)
    if account is None:
        return seq, None
    subscription = None if key.subscription_id is None else load_subscription(conn, key.subscription_id)
    return seq, LoadedKey(seq, key, account, subscription, spent_nano=balance_nano(conn, key_spend(key.key_id)))


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What was asked for anew, by its id, as of one change; None for what is gone.

    Attributes:
        position: that change.
        stored: those of the named requests whose charges are stored.
    """

    position: Position
    accounts: Mapping[str, AccountRow | None]
    keys: Mapping[str, KeyRow | None]
    subscriptions: Mapping[str, SubscriptionRow | None]
    stored: frozenset[str]


def reload(
    conn: Connection,
    accounts: Iterable[str],
    keys: Iterable[str],
    subscriptions: Iterable[str],
    requests: Iterable[str],
) -> Reloaded:
    """Read these accounts, keys and subscriptions once more, and which of these requests are charged, at one change."""
    return Reloaded(
        last(conn),
        {account_id: load_account(conn, account_id) for account_id in accounts},
        {key_id: load_key_row(conn, key_id) for key_id in keys},
        {subscription_id: load_subscription(conn, subscription_id) for subscription_id in subscriptions},
        stored_requests(conn, requests),
    )


def load_key_row(conn: Connection, key_id: str) -> KeyRow | None:
    """The key with this id, or None when it is deleted."""
    row = conn.execute(_select_key().where(api_keys.c.id == key_id)).one_or_none()
    return None if row is None else _key_row(row)


def load_account(conn: Connection, account_id: str) -> AccountRow | None:
    """The account with its balance."""
    columns = accounts.c
    row = conn.execute(
        select(columns.suspended_at_us, columns.disputed_at_us).where(columns.id == account_id)
    ).one_or_none()
    if row is None:
        return None
    # A payment that its bank took back pauses the keys; the account itself can go on managing and paying.
    stopped = row.suspended_at_us is not None or row.disputed_at_us is not None
    return AccountRow(account_id, stopped, balance_nano(conn, credit_of(account_id)))


def load_subscription(conn: Connection, subscription_id: str) -> SubscriptionRow | None:
    """The subscription with what decides about access."""
    row = conn.execute(select(subscriptions).where(subscriptions.c.id == subscription_id)).one_or_none()
    if row is None:
        return None
    terms = terms_of(row)
    plans = state_of(row)
    pending = plans.pending
    if pending is None or pending.plan.is_upgrade_of(plans.present):
        return SubscriptionRow(subscription_id, plans.present.slug, terms)
    return SubscriptionRow(subscription_id, plans.present.slug, terms, pending.plan.slug, pending.at_us)


def load_window_spent_nano(conn: Connection, subscription_id: str, window_start_us: int) -> int:
    """What was charged in a window so far, in nano-USD."""
    return window_spent_nano(conn, {subscription_id: window_start_us})[subscription_id]


def _select_key() -> Select[tuple[str, str, bytes, str | None, int | None, int | None, int | None]]:
    columns = api_keys.c
    return select(
        columns.id,
        columns.account_id,
        columns.digest,
        columns.subscription_id,
        columns.max_budget_nano,
        columns.rpm,
        columns.tpm,
    ).where(columns.deleted_at_us.is_(None))


def _key_row(row: Row[tuple[str, str, bytes, str | None, int | None, int | None, int | None]]) -> KeyRow:
    return KeyRow(
        key_id=row.id,
        account_id=row.account_id,
        digest=bytes(row.digest),
        subscription_id=row.subscription_id,
        max_budget_nano=row.max_budget_nano,
        rpm=row.rpm,
        tpm=row.tpm,
    )
