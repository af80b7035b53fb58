"""Accounts: create one with its first management key, change its password, end its sessions.

The password is kept as an Argon2 hash only, the key as its digest only.
"""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from tokenbooth.domain.keys import ALL_SCOPES, KeyKind, digest, shown_prefix
from tokenbooth.kit.clock import Clock
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.store.accounts import accounts, audit_log, sessions
from tokenbooth.store.accounts.accounts import create_account, set_admin
from tokenbooth.store.accounts.audit_log import OPERATOR, Actor
from tokenbooth.store.accounts.management_keys import NewManagementKey, create_management_key
from tokenbooth.store.engine import Store

_FIRST_KEY_NAME: Final = "first key"
_MAX_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """A customer just made; the key is shown this once."""

    account_id: str
    management_key: str = field(repr=False)


def create_customer(
    store: Store, *, email: str, password: str | None, clock: Clock, is_admin: bool = False
) -> NewCustomer:
    """Create an account and its first management key, which has every scope.

    Args:
        store: the database.
        email: the customer's address.
        password: of the dashboard; None for an account that gets one by a reset.
        clock: the time.
        is_admin: whether the operator's pages are open to it.

    Raises:
        InvalidRequest: `email` is no email address.
        Conflict: another account has it.
        StoreUnavailable: the database does not answer.
    """
    now_us = clock.now_us()
    account_id = new_id(IdPrefix.ACCOUNT, now_us)
    key, row = _new_key(account_id, now_us)
    password_hash = None if password is None else hash_password(password)

    def create(conn: Connection) -> None:
        create_account(conn, account_id, email, password_hash, now_us=now_us)
        audit_log.record(
            conn,
            actor=OPERATOR,
            action="account.created",
            account_id=account_id,
            detail=account_id,
            now_us=now_us,
        )
        create_management_key(conn, row, max_keys=_MAX_KEYS, actor=OPERATOR, now_us=now_us)
        if is_admin:
            set_admin(conn, account_id, actor=OPERATOR, now_us=now_us)

    store.write_now(create)
    return NewCustomer(account_id=account_id, management_key=key)


def add_management_key(store: Store, account_id: str, *, clock: Clock) -> str:
    """A further management key with every scope, in the clear.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    now_us = clock.now_us()
    key, row = _new_key(account_id, now_us)
    store.write_now(create_management_key, row, max_keys=_MAX_KEYS, actor=OPERATOR, now_us=now_us)
    return key


def hash_password(password: str) -> str:
    """The Argon2id hash to store, with the parameters of RFC 9106's second choice (64 MiB)."""
    # Imported here: few commands have a password.
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def _new_key(account_id: str, now_us: int) -> tuple[str, NewManagementKey]:
    key = new_key(KeyKind.MANAGEMENT)
    return key, NewManagementKey(
        id=new_id(IdPrefix.MANAGEMENT_KEY, now_us),
        account_id=account_id,
        name=_FIRST_KEY_NAME,
        digest=digest(key),
        prefix=shown_prefix(key, KeyKind.MANAGEMENT),
        scopes=ALL_SCOPES,
        expires_at_us=None,
    )


def set_new_password(conn: Connection, actor: Actor, password_hash: str, *, now_us: int, keep: str | None) -> None:
    """Change the password of the account that acts, and end every session but `keep`."""
    accounts.set_password(conn, actor, password_hash)
    sessions.end_sessions(conn, actor, but=keep)
    audit_log.record_repeatable(
        conn, actor=actor, action="account.password_changed", account_id=actor, detail=actor, now_us=now_us
    )


def end_session(conn: Connection, actor: Actor, session_id: str, *, now_us: int) -> None:
    """End a session of the account that acts, perhaps the one that it acts in.

    Raises:
        NotFound: there is none, or it is another account's.
    """
    sessions.end_session(conn, actor, session_id)
    _record_ended(conn, actor, session_id, now_us)


def end_other_sessions(conn: Connection, actor: Actor, *, keep: str, now_us: int) -> None:
    """End all sessions of the account that acts but `keep`."""
    if sessions.end_sessions(conn, actor, but=keep):
        _record_ended(conn, actor, f"all but {keep}", now_us)


def _record_ended(conn: Connection, actor: Actor, detail: str, now_us: int) -> None:
    audit_log.record_repeatable(
        conn, actor=actor, action="account.log_in_ended", account_id=actor, detail=detail, now_us=now_us
    )
