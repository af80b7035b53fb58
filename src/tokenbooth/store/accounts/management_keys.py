"""Management keys: only their digests are stored."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, insert, or_, select, update

from tokenbooth.domain.keys import Scope
from tokenbooth.domain.windows import MINUTE_US
from tokenbooth.kit.errors import NotFound
from tokenbooth.store import changes
from tokenbooth.store.accounts import audit_log, key_counts
from tokenbooth.store.accounts.key_counts import KeysOf
from tokenbooth.store.tables import accounts, management_keys

_TOUCH_EVERY_US: Final = MINUTE_US


@dataclass(frozen=True, slots=True)
class NewManagementKey:
    """A management key to be stored; `digest` is all that is kept of the key itself.

    Attributes:
        id, account_id, name: its id, its owner, its name for people.
        digest: SHA-256 of the key.
        prefix: the first characters, to recognise it by.
        scopes: what it may do.
        expires_at_us: when it ends, UTC microseconds; None for never.
    """

    id: str
    account_id: str
    name: str
    digest: bytes
    prefix: str
    scopes: tuple[Scope, ...]
    expires_at_us: int | None

    def __repr__(self) -> str:
        return f"NewManagementKey({self.id!r})"


@dataclass(frozen=True, slots=True)
class ManagementKey:
    """A management key that was not deleted. Times are UTC microseconds."""

    id: str
    account_id: str
    name: str
    prefix: str
    scopes: frozenset[Scope]
    created_at_us: int
    expires_at_us: int | None
    last_used_at_us: int | None
    account_suspended: bool


def create_management_key(conn: Connection, new: NewManagementKey, *, max_keys: int, actor: str, now_us: int) -> None:
    """Store a new management key.

    Args:
        conn: the transaction.
        new: the key.
        max_keys: how many an account may have.
        actor: the id of the key that asked, or "operator"; a management key must not be deleted by now.
        now_us: UTC microseconds.

    Raises:
        NotFound: there is no such account, or the key that asked is gone.
        Conflict: the account has too many keys.
    """
    key_counts.check_room(conn, KeysOf.MANAGEMENT, new.account_id, max_keys=max_keys, name="management")
    conn.execute(
        insert(management_keys).values(
            id=new.id,
            account_id=new.account_id,
            name=new.name,
            digest=new.digest,
            prefix=new.prefix,
            scopes=write_scopes(new.scopes),
            created_at_us=now_us,
            expires_at_us=new.expires_at_us,
        )
    )
    key_counts.note_created(conn, KeysOf.MANAGEMENT, new.account_id)
    _record(conn, new.account_id, new.id, actor=actor, action="management_key.created", now_us=now_us)


def find_management_key(conn: Connection, digest: bytes) -> ManagementKey | None:
    """The key with this digest, unless it was deleted; an expired one is found."""
    found = _keys(conn, management_keys.c.digest == digest)
    return found[0] if found else None


def find_own_management_key(conn: Connection, account_id: str, key_id: str) -> ManagementKey | None:
    """The account's key with this id, unless it was deleted; None as well when it is another account's."""
    found = _keys(conn, and_(management_keys.c.id == key_id, management_keys.c.account_id == account_id))
    return found[0] if found else None


def list_management_keys(
    conn: Connection, account_id: str, *, offset: int = 0, limit: int | None = None
) -> list[ManagementKey]:
    """An account's keys that were not deleted, newest first: at most `limit` (None: all), from `offset`."""
    return _keys(conn, management_keys.c.account_id == account_id, offset=offset, limit=limit)


def delete_management_key(conn: Connection, account_id: str, key_id: str, *, actor: str, now_us: int) -> None:
    """Delete a key of an account.

    Raises:
        NotFound: there is no such key, it is another account's, or it was deleted before.
    """
    live = and_(
        management_keys.c.id == key_id,
        management_keys.c.account_id == account_id,
        management_keys.c.deleted_at_us.is_(None),
    )
    if conn.execute(update(management_keys).where(live).values(deleted_at_us=now_us)).rowcount == 0:
        raise NotFound("key_not_found", "There is no management key with this id.")
    key_counts.note_deleted(conn, KeysOf.MANAGEMENT, account_id)
    _record(conn, account_id, key_id, actor=actor, action="management_key.deleted", now_us=now_us)


def touch_management_key(conn: Connection, key_id: str, *, now_us: int) -> None:
    """Note that a key was used; at most once a minute."""
    last_used = management_keys.c.last_used_at_us
    due = or_(last_used.is_(None), last_used <= now_us - _TOUCH_EVERY_US)
    conn.execute(update(management_keys).where(management_keys.c.id == key_id, due).values(last_used_at_us=now_us))


def write_scopes(scopes: Iterable[Scope]) -> str:
    """The stored form of scopes."""
    return " ".join(sorted(scopes))


def _keys(
    conn: Connection, condition: ColumnElement[bool], *, offset: int = 0, limit: int | None = None
) -> list[ManagementKey]:
    columns = management_keys.c
    rows = conn.execute(
        select(
            columns.id,
            columns.account_id,
            columns.name,
            columns.prefix,
            columns.scopes,
            columns.created_at_us,
            columns.expires_at_us,
            columns.last_used_at_us,
            accounts.c.suspended_at_us,
        )
        .join(accounts, accounts.c.id == columns.account_id)
        .where(columns.deleted_at_us.is_(None), condition)
        .order_by(columns.created_at_us.desc(), columns.id.desc())
        .offset(offset)
        .limit(limit)
    )
    return [
        ManagementKey(
            id=row.id,
            account_id=row.account_id,
            name=row.name,
            prefix=row.prefix,
            scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
            created_at_us=row.created_at_us,
            expires_at_us=row.expires_at_us,
            last_used_at_us=row.last_used_at_us,
            account_suspended=row.suspended_at_us is not None,
        )
        for row in rows
    ]


def _record(conn: Connection, account_id: str, key_id: str, *, actor: str, action: str, now_us: int) -> None:
    changes.record(conn, changes.Topic.MANAGEMENT_KEY, key_id, now_us=now_us)
    audit_log.record(conn, actor=actor, action=action, account_id=account_id, detail=key_id, now_us=now_us)
