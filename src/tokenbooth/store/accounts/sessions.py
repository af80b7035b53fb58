"""Log-ins to the dashboard, and the links that are mailed to people: only digests of their secrets are stored.

A link works once, and only until it runs out.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from tokenbooth.domain.windows import HOUR_US
from tokenbooth.kit.errors import NotFound
from tokenbooth.store.tables import accounts, mail_links, sessions

_TOUCH_EVERY_US: Final = 60 * 1_000_000
MAX_PER_ACCOUNT: Final = 50
MAX_LINKS_PER_HOUR: Final = 3
"""So many links are made for one email in an hour, so that nobody's mailbox is flooded."""


class Purpose(StrEnum):
    """What a mailed link is for."""

    SIGN_UP = "sign_up"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class NewSession:
    """A log-in to be stored; `digest` is all that is kept of the cookie.

    Attributes:
        id, account_id: its id, whose it is.
        digest: SHA-256 of the cookie's value.
        expires_at_us: UTC microseconds.
        address, user_agent: what its owner recognises it by.
    """

    id: str
    account_id: str
    digest: bytes
    expires_at_us: int
    address: str
    user_agent: str

    def __repr__(self) -> str:
        return f"NewSession({self.id!r})"


@dataclass(frozen=True, slots=True)
class SessionOwner:
    """Who is logged in.

    Attributes:
        session_id: the log-in.
        account_id, email: the account.
        is_admin: whether the operator's pages are open to it.
        is_suspended: whether it may only look.
        last_seen_at_us: UTC microseconds.
    """

    session_id: str
    account_id: str
    email: str
    is_admin: bool
    is_suspended: bool
    last_seen_at_us: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """A log-in as its owner sees it. Times are UTC microseconds."""

    id: str
    created_at_us: int
    last_seen_at_us: int
    expires_at_us: int
    address: str
    user_agent: str


def secret_digest(secret: str) -> bytes:
    """What is stored instead of a cookie's or a link's secret; they are long and random."""
    return hashlib.sha256(secret.encode()).digest()


def create_session(conn: Connection, new: NewSession, *, now_us: int) -> None:
    """Store a log-in; with very many, the account's oldest ones end."""
    conn.execute(
        insert(sessions).values(
            id=new.id,
            account_id=new.account_id,
            digest=new.digest,
            created_at_us=now_us,
            last_seen_at_us=now_us,
            expires_at_us=new.expires_at_us,
            address=new.address,
            user_agent=new.user_agent,
        )
    )
    kept = (
        select(sessions.c.id)
        .where(sessions.c.account_id == new.account_id)
        .order_by(sessions.c.created_at_us.desc(), sessions.c.id.desc())
        .limit(MAX_PER_ACCOUNT)
    )
    conn.execute(delete(sessions).where(sessions.c.account_id == new.account_id, sessions.c.id.not_in(kept)))


def find_session(conn: Connection, digest: bytes, *, now_us: int) -> SessionOwner | None:
    """Who is logged in with this cookie; None when it ran out or was ended."""
    row = conn.execute(
        select(
            sessions.c.id,
            sessions.c.account_id,
            sessions.c.last_seen_at_us,
            accounts.c.email,
            accounts.c.is_admin,
            accounts.c.suspended_at_us,
        )
        .join(accounts, accounts.c.id == sessions.c.account_id)
        .where(sessions.c.digest == digest, sessions.c.expires_at_us > now_us)
    ).one_or_none()
    if row is None:
        return None
    return SessionOwner(
        session_id=row.id,
        account_id=row.account_id,
        email=row.email,
        is_admin=row.is_admin,
        is_suspended=row.suspended_at_us is not None,
        last_seen_at_us=row.last_seen_at_us,
    )


def is_due_to_touch(owner: SessionOwner, now_us: int) -> bool:
    """Whether it is time to note again that a log-in is used."""
    return now_us >= owner.last_seen_at_us + _TOUCH_EVERY_US


def touch_session(conn: Connection, session_id: str, *, now_us: int) -> None:
    """Note that a log-in is used."""
    conn.execute(update(sessions).where(sessions.c.id == session_id).values(last_seen_at_us=now_us))


def list_sessions(conn: Connection, account_id: str, *, now_us: int) -> list[SessionView]:
    """An account's log-ins that have not run out, the last used first."""
    columns = sessions.c
    rows = conn.execute(
        select(
            columns.id,
            columns.created_at_us,
            columns.last_seen_at_us,
            columns.expires_at_us,
            columns.address,
            columns.user_agent,
        )
        .where(columns.account_id == account_id, columns.expires_at_us > now_us)
        .order_by(columns.last_seen_at_us.desc(), columns.id.desc())
    )
    return [SessionView(*row) for row in rows]


def end_session(conn: Connection, account_id: str, session_id: str) -> None:
    """End a log-in.

    Raises:
        NotFound: there is none, or it is another account's.
    """
    mine = (sessions.c.id == session_id) & (sessions.c.account_id == account_id)
    if conn.execute(delete(sessions).where(mine)).rowcount == 0:
        raise NotFound("session_not_found", "There is no such log-in; it may have ended.")


def end_sessions(conn: Connection, account_id: str, *, but: str | None = None) -> int:
    """End every log-in of an account, but perhaps one; returns how many were ended."""
    mine = sessions.c.account_id == account_id
    return conn.execute(delete(sessions).where(mine if but is None else mine & (sessions.c.id != but))).rowcount


def create_link(
    conn: Connection, digest: bytes, *, purpose: Purpose, email: str, expires_at_us: int, now_us: int
) -> bool:
    """Store a link that is about to be mailed; False when this email got enough of them in the last hour."""
    made = conn.execute(
        select(func.count())
        .select_from(mail_links)
        .where(mail_links.c.email == email, mail_links.c.created_at_us > now_us - HOUR_US)
    ).scalar_one()
    if made >= MAX_LINKS_PER_HOUR:
        return False
    conn.execute(
        insert(mail_links).values(
            digest=digest, purpose=purpose, email=email, created_at_us=now_us, expires_at_us=expires_at_us
        )
    )
    return True


def find_link(conn: Connection, digest: bytes, *, purpose: Purpose, now_us: int) -> str | None:
    """The email that a link was mailed to; None when it is unknown, used, or ran out."""
    email: str | None = conn.execute(
        select(mail_links.c.email).where(
            mail_links.c.digest == digest, mail_links.c.purpose == purpose, mail_links.c.expires_at_us > now_us
        )
    ).scalar()
    return email


def use_link(conn: Connection, digest: bytes, *, purpose: Purpose, now_us: int) -> str:
    """Use a link up, together with all others of this purpose for its email; returns the email.

    Raises:
        NotFound: it is unknown, used, or ran out.
    """
    email = find_link(conn, digest, purpose=purpose, now_us=now_us)
    if email is None:
        raise NotFound("link_not_found", "This link was used already, or it has run out. Ask for a new one.")
    conn.execute(delete(mail_links).where(mail_links.c.email == email, mail_links.c.purpose == purpose))
    return email


def forget_expired(conn: Connection, *, now_us: int) -> int:
    """Delete log-ins and links that have run out; returns how many."""
    ended = conn.execute(delete(sessions).where(sessions.c.expires_at_us <= now_us)).rowcount
    # A link counts against the bound of its email for an hour, so it stays as long.
    unused = conn.execute(
        delete(mail_links).where(mail_links.c.expires_at_us <= now_us, mail_links.c.created_at_us <= now_us - HOUR_US)
    ).rowcount
    return ended + unused
