"""API keys, as their owner creates, sees and deletes them: only their digests are stored."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

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

_SUBSCRIPTIONS: Final = Lookup(
    select(
        subscriptions.c.id,
        subscriptions.c.plan_slug,
        subscriptions.c.status,
        subscriptions.c.paid_until_us,
        subscriptions.c.cancel_at_us,
        subscriptions.c.ended_at_us,
    ),
    subscriptions.c.id,
)
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


class ApiKeyView(NamedTuple):
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


def live_key_ids(conn: Connection, account_id: str, *, offset: int, limit: int) -> list[str]:
    """The ids of a part of an account's keys that were not deleted, newest first."""
    rows = conn.execute(
        select(api_keys.c.id)
        .where(api_keys.c.account_id == account_id, api_keys.c.deleted_at_us.is_(None))
        .order_by(api_keys.c.created_at_us.desc(), api_keys.c.id.desc())
        .offset(offset)
        .limit(limit)
    )
    return list(rows.scalars())


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
    return next(iter(_views(conn, account_id, query, grace_us, now_us)), None)


def find_api_keys(
    conn: Connection, account_id: str, key_ids: Collection[str], *, grace_us: int, now_us: int
) -> list[ApiKeyView]:
    """Some keys of an account that were not deleted, newest first."""
    # Joined to nothing, so that SQLite looks for the ids and not through all keys of the account.
    owned = api_keys.c.account_id.concat("") == account_id
    query = _all_live_keys().where(owned, api_keys.c.id.in_(key_ids))
    return _views(conn, account_id, query, grace_us, now_us)


def list_api_keys(conn: Connection, account_id: str, *, grace_us: int, now_us: int) -> list[ApiKeyView]:
    """An account's keys that were not deleted, newest first, in a statement for them and one for what pays for them.

    Args:
        conn: the snapshot.
        account_id: whose.
        grace_us: the grace of an unpaid renewal, in microseconds.
        now_us: UTC microseconds.
    """
    return _views(conn, account_id, _live_keys(account_id), grace_us, now_us)


_KeyRow = tuple[str, str, str, str | None, int | None, int | None, int | None, int, int | None, int]


def _live_keys(account_id: str) -> Select[*_KeyRow]:
    return _all_live_keys().where(api_keys.c.account_id == account_id)


def _all_live_keys() -> Select[*_KeyRow]:
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
            func.coalesce(ledger_accounts.c.balance_nano, 0),
        )
        .outerjoin(ledger_accounts, ledger_accounts.c.id == literal(key_spend("").id) + api_keys.c.id)
        .where(api_keys.c.deleted_at_us.is_(None))
        .order_by(api_keys.c.created_at_us.desc(), api_keys.c.id.desc())
    )


class _Payer(NamedTuple):
    """What pays for keys, and whether it lets them in; prepaid credit has no plan and no status."""

    plan_slug: str | None
    status: SubscriptionStatus | None
    is_active: bool


def _views(conn: Connection, account_id: str, query: Select[*_KeyRow], grace_us: int, now_us: int) -> list[ApiKeyView]:
    rows = conn.execute(query).all()
    payers = _payers(conn, account_id, {row[3] for row in rows if row[3] is not None}, grace_us, now_us)
    views = []
    for key_id, name, prefix, subscription_id, max_budget_nano, rpm, tpm, created_at_us, last_used_at_us, spent in rows:
        payer = payers[subscription_id]
        views.append(
            ApiKeyView(
                key_id,
                name,
                prefix,
                payer.is_active,
                subscription_id,
                payer.plan_slug,
                payer.status,
                max_budget_nano,
                spent,
                rpm,
                tpm,
                created_at_us,
                last_used_at_us,
            )
        )
    return views


def _payers(
    conn: Connection, account_id: str, subscription_ids: Collection[str], grace_us: int, now_us: int
) -> dict[str | None, _Payer]:
    """What pays for an account's keys, by the subscription's id; None is prepaid credit."""
    account = conn.execute(
        select(accounts.c.suspended_at_us, accounts.c.disputed_at_us).where(accounts.c.id == account_id)
    ).one_or_none()
    goes_on = account is not None and account.suspended_at_us is None and account.disputed_at_us is None
    payers: dict[str | None, _Payer] = {None: _Payer(None, None, goes_on)}
    for row in _SUBSCRIPTIONS.find(conn, [*subscription_ids]):
        terms = terms_of(row)
        has_access = now_us < access_ends_us(terms, grace_us)
        payers[row.id] = _Payer(row.plan_slug, shown_status(terms, now_us), goes_on and has_access)
    return payers


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
