"""API keys, as their owner creates, sees and deletes them: only their digests are stored."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, func, insert, literal, select, update

from tokenbooth.domain.ledger import key_spend
from tokenbooth.domain.subscriptions import (
    SubscriptionStatus,
    access_ends_us,
    shown_status,
)
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.store import changes
from tokenbooth.store.accounts import audit_log, key_counts
from tokenbooth.store.accounts.key_counts import KeysOf
from tokenbooth.store.bulk import Lookup
from tokenbooth.store.payments.subscriptions import terms_of
from tokenbooth.store.tables import accounts, api_keys, ledger_accounts, subscriptions

_NAMES: Final = Lookup(select(api_keys.c.id, api_keys.c.name, api_keys.c.account_id), api_keys.c.id)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key to be stored; `digest` is all that is kept of the key itself.

    Attributes:
        id, account_id, name: its id, its owner, its name for people.
        digest: SHA-256 of the key.
        prefix: the first characters, to recognise it by.
        subscription_id: the subscription whose budget it spends; None for prepaid credit.
        max_budget_nano: what may be spent through it in its lifetime, nano-USD; None for no cap.
        rpm, tpm: requests and tokens per minute of this key; None for no limit of its own.
    """

    id: str
    account_id: str
    name: str
    digest: bytes
    prefix: str
    subscription_id: str | None = None
    max_budget_nano: int | None = None
    rpm: int | None = None
    tpm: int | None = None

    def __repr__(self) -> str:
        return f"NewApiKey({self.id!r})"


@dataclass(frozen=True, slots=True)
class ApiKeyView:
    """A key that was not deleted, as its owner sees it. Times are UTC microseconds, money is nano-USD.

    `is_active` says whether a request with it is let in now, as far as time and state decide that.
    """

    id: str
    name: str
    prefix: str
    is_active: bool
    subscription_id: str | None
    plan_slug: str | None
    subscription_status: SubscriptionStatus | None
    max_budget_nano: int | None
    spent_nano: int
    rpm: int | None
    tpm: int | None
    created_at_us: int
    last_used_at_us: int | None


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """What people find a key by."""

    id: str
    name: str
    prefix: str


def create_api_key(conn: Connection, new: NewApiKey, *, max_keys: int, grace_us: int, actor: str, now_us: int) -> None:
    """Store a new key.

    Args:
        conn: the transaction.
        new: the key.
        max_keys: how many an account may have.
        grace_us: the grace of an unpaid renewal, in microseconds.
        actor: the id of the management key that asked.
        now_us: UTC microseconds.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: the subscription has ended or was never paid, or the account has too many keys.
    """
    if new.subscription_id is not None:
        _check_subscription(conn, new.account_id, new.subscription_id, grace_us, now_us)
    key_counts.check_room(conn, KeysOf.API, new.account_id, max_keys=max_keys, name="API")
    conn.execute(
        insert(api_keys).values(
            id=new.id,
            account_id=new.account_id,
            name=new.name,
            digest=new.digest,
            prefix=new.prefix,
            subscription_id=new.subscription_id,
            max_budget_nano=new.max_budget_nano,
            rpm=new.rpm,
            tpm=new.tpm,
            created_at_us=now_us,
        )
    )
    key_counts.note_created(conn, KeysOf.API, new.account_id, new.subscription_id)
    changes.record(conn, changes.Topic.API_KEY_CREATED, new.id, now_us=now_us)
    _record(conn, new.account_id, new.id, actor=actor, action="api_key.created", now_us=now_us)


def delete_api_key(conn: Connection, account_id: str, key_id: str, *, actor: str, now_us: int) -> None:
    """Delete a key of an account; its row stays, for the usage that names it.

    Raises:
        NotFound: there is no such key, it is another account's, or it was deleted before.
    """
    live = and_(api_keys.c.id == key_id, api_keys.c.account_id == account_id, api_keys.c.deleted_at_us.is_(None))
    deleted = conn.execute(
        update(api_keys).where(live).values(deleted_at_us=now_us).returning(api_keys.c.subscription_id)
    ).first()
    if deleted is None:
        raise NotFound("key_not_found", "There is no API key with this id.")
    key_counts.note_deleted(conn, KeysOf.API, account_id, deleted.subscription_id)
    changes.record(conn, changes.Topic.API_KEY, key_id, now_us=now_us)
    _record(conn, account_id, key_id, actor=actor, action="api_key.deleted", now_us=now_us)


def has_api_key(conn: Connection, account_id: str, key_id: str) -> bool:
    """Whether the key is, or was before it was deleted, the account's."""
    owned = and_(api_keys.c.id == key_id, api_keys.c.account_id == account_id)
    return conn.execute(select(api_keys.c.id).where(owned)).first() is not None


def key_names(conn: Connection, account_id: str, key_ids: Collection[str]) -> dict[str, str]:
    """The names of those of an account's keys, also deleted ones, by id."""
    return {row.id: row.name for row in _NAMES.find(conn, [*key_ids]) if row.account_id == account_id}


def key_labels(conn: Connection, account_id: str) -> list[KeyLabel]:
    """By what people find an account's keys that were not deleted, newest first."""
    rows = conn.execute(
        select(api_keys.c.id, api_keys.c.name, api_keys.c.prefix)
        .where(api_keys.c.account_id == account_id, api_keys.c.deleted_at_us.is_(None))
        .order_by(api_keys.c.created_at_us.desc(), api_keys.c.id.desc())
    )
    return [KeyLabel(*row) for row in rows]


def find_api_key(conn: Connection, account_id: str, key_id: str, *, grace_us: int, now_us: int) -> ApiKeyView | None:
    """One key of an account; None when there is none, it is another account's, or it was deleted."""
    query = _live_keys(account_id).where(api_keys.c.id == key_id)
    return next(iter(_views(conn, query, grace_us, now_us)), None)


def find_api_keys(
    conn: Connection, account_id: str, key_ids: Collection[str], *, grace_us: int, now_us: int
) -> list[ApiKeyView]:
    """Some keys of an account that were not deleted, newest first."""
    return _views(conn, _live_keys(account_id).where(api_keys.c.id.in_(key_ids)), grace_us, now_us)


def list_api_keys(
    conn: Connection, account_id: str, *, grace_us: int, now_us: int, offset: int = 0, limit: int | None = None
) -> list[ApiKeyView]:
    """An account's keys that were not deleted, newest first, in one statement.

    Args:
        conn: the snapshot.
        account_id: whose.
        grace_us: the grace of an unpaid renewal, in microseconds.
        now_us: UTC microseconds.
        offset, limit: which part of the list; None for all behind `offset`.
    """
    return _views(conn, _live_keys(account_id).offset(offset).limit(limit), grace_us, now_us)


def _live_keys(account_id: str) -> Select[*tuple[Any, ...]]:
    return (
        select(
            api_keys.c.id,
            api_keys.c.name,
            api_keys.c.prefix,
            api_keys.c.subscription_id,
            api_keys.c.max_budget_nano,
            api_keys.c.rpm,
            api_keys.c.tpm,
            api_keys.c.created_at_us,
            api_keys.c.last_used_at_us,
            accounts.c.suspended_at_us,
            accounts.c.disputed_at_us,
            subscriptions.c.plan_slug,
            subscriptions.c.status,
            subscriptions.c.paid_until_us,
            subscriptions.c.cancel_at_us,
            subscriptions.c.ended_at_us,
            func.coalesce(ledger_accounts.c.balance_nano, 0).label("spent_nano"),
        )
        .join(accounts, accounts.c.id == api_keys.c.account_id)
        .outerjoin(subscriptions, subscriptions.c.id == api_keys.c.subscription_id)
        .outerjoin(ledger_accounts, ledger_accounts.c.id == literal(key_spend("").id) + api_keys.c.id)
        .where(api_keys.c.account_id == account_id, api_keys.c.deleted_at_us.is_(None))
        .order_by(api_keys.c.created_at_us.desc(), api_keys.c.id.desc())
    )


def _views(conn: Connection, query: Select[*tuple[Any, ...]], grace_us: int, now_us: int) -> list[ApiKeyView]:
    views = []
    for row in conn.execute(query):
        terms = None if row.status is None else terms_of(row)
        has_access = terms is None or now_us < access_ends_us(terms, grace_us)
        views.append(
            ApiKeyView(
                id=row.id,
                name=row.name,
                prefix=row.prefix,
                is_active=has_access and row.suspended_at_us is None and row.disputed_at_us is None,
                subscription_id=row.subscription_id,
                plan_slug=row.plan_slug,
                subscription_status=None if terms is None else shown_status(terms, now_us),
                max_budget_nano=row.max_budget_nano,
                spent_nano=row.spent_nano,
                rpm=row.rpm,
                tpm=row.tpm,
                created_at_us=row.created_at_us,
                last_used_at_us=row.last_used_at_us,
            )
        )
    return views


def _check_subscription(conn: Connection, account_id: str, subscription_id: str, grace_us: int, now_us: int) -> None:
    row = conn.execute(
        select(
            subscriptions.c.status,
            subscriptions.c.paid_until_us,
            subscriptions.c.cancel_at_us,
            subscriptions.c.ended_at_us,
        ).where(subscriptions.c.id == subscription_id, subscriptions.c.account_id == account_id)
    ).one_or_none()
    if row is None:
        raise NotFound("subscription_not_found", "There is no subscription with this id.", param="subscriptionId")
    if now_us >= access_ends_us(terms_of(row), grace_us):
        raise Conflict(
            "subscription_inactive",
            "This subscription has ended or is not paid yet, so it takes no new keys.",
            param="subscriptionId",
        )


def _record(conn: Connection, account_id: str, key_id: str, *, actor: str, action: str, now_us: int) -> None:
    audit_log.record(conn, actor=actor, action=action, account_id=account_id, detail=key_id, now_us=now_us)
