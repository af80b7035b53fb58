"""Accounts: who the customers are.

An email is stored normalised and belongs to one account.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, select, update

from tokenbooth.kit.email_addresses import normalise_address
from tokenbooth.kit.errors import Conflict, InvalidRequest, NotFound
from tokenbooth.store import changes
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import accounts


@dataclass(frozen=True, slots=True)
class Account:
    """One customer.

    Attributes:
        id: ours.
        email: normalised.
        password_hash: of the dashboard's login; None for none.
        suspended_at_us: since when nothing may be done; None while all is well. UTC microseconds.
        stripe_customer_id: Stripe's id of this customer, once there is one.
        created_at_us: UTC microseconds.
        is_admin: whether the operator's pages are open to it.
    """

    id: str
    email: str
    password_hash: str | None
    suspended_at_us: int | None
    stripe_customer_id: str | None
    created_at_us: int
    is_admin: bool = False

    def __repr__(self) -> str:
        return f"Account({self.id!r})"


def create_account(conn: Connection, account_id: str, email: str, password_hash: str | None, *, now_us: int) -> Account:
    """Create an account.

    Raises:
        InvalidRequest: `email` is no email address.
        Conflict: another account has this email.
    """
    account = Account(
        id=account_id,
        email=normalise_address(email),
        password_hash=password_hash,
        suspended_at_us=None,
        stripe_customer_id=None,
        created_at_us=now_us,
    )
    values = {
        "id": account.id,
        "email": account.email,
        "password_hash": account.password_hash,
        "created_at_us": account.created_at_us,
    }
    if not insert_unless_there(conn, accounts, values):
        raise Conflict("email_taken", "An account with this email exists already.", param="email")
    return account


def find_account(conn: Connection, account_id: str) -> Account | None:
    """The account with this id."""
    return _one(conn, _selection().where(accounts.c.id == account_id))


def is_disputed(conn: Connection, account_id: str) -> bool:
    """Whether a disputed payment pauses the account's keys."""
    query = select(accounts.c.disputed_at_us).where(accounts.c.id == account_id)
    return conn.execute(query).scalar() is not None


def find_account_by_email(conn: Connection, email: str) -> Account | None:
    """The account with this email, however it is written; None also for what is no email."""
    try:
        normalised = normalise_address(email)
    except InvalidRequest:
        # Earlier versions took more for an address, and who has one of these logs in with it all the same.
        normalised = email.strip().lower()
        if not normalised.isprintable():
            return None
    return _one(conn, _selection().where(accounts.c.email == normalised))


def set_stripe_customer(conn: Connection, account_id: str, stripe_customer_id: str) -> None:
    """Remember the account's customer at Stripe.

    Raises:
        NotFound: there is no such account.
    """
    _update(conn, account_id, stripe_customer_id=stripe_customer_id)


def set_password(conn: Connection, account_id: str, password_hash: str) -> None:
    """Set the hash of the dashboard's password.

    Raises:
        NotFound: there is no such account.
    """
    _update(conn, account_id, password_hash=password_hash)


def set_admin(conn: Connection, account_id: str, *, actor: str, now_us: int) -> None:
    """Open the operator's pages to an account.

    Raises:
        NotFound: there is no such account.
    """
    _update(conn, account_id, is_admin=True)
    audit_log.record(
        conn, actor=actor, action="account.made_admin", account_id=account_id, detail=account_id, now_us=now_us
    )


def suspend(conn: Connection, account_id: str, *, actor: str, reason: str, now_us: int) -> None:
    """Stop an account: its keys are refused from now on, its management keys may only read.

    Raises:
        NotFound: there is no such account.
    """
    _update(conn, account_id, suspended_at_us=now_us)
    _announce(conn, account_id, actor=actor, action="account.suspended", detail=reason, now_us=now_us)


def unsuspend(conn: Connection, account_id: str, *, actor: str, reason: str, now_us: int) -> None:
    """Let a suspended account go on.

    Raises:
        NotFound: there is no such account.
    """
    _update(conn, account_id, suspended_at_us=None)
    _announce(conn, account_id, actor=actor, action="account.unsuspended", detail=reason, now_us=now_us)


def _update(conn: Connection, account_id: str, **values: str | int | None) -> None:
    if conn.execute(update(accounts).where(accounts.c.id == account_id).values(**values)).rowcount == 0:
        raise NotFound("account_not_found", "There is no such account.")


def _announce(conn: Connection, account_id: str, *, actor: str, action: str, detail: str, now_us: int) -> None:
    changes.record(conn, changes.Topic.ACCOUNT, account_id, now_us=now_us)
    audit_log.record(conn, actor=actor, action=action, account_id=account_id, detail=detail, now_us=now_us)


_AccountRow = tuple[str, str, str | None, int | None, str | None, int, bool]


def _selection() -> Select[*_AccountRow]:
    return select(
        accounts.c.id,
        accounts.c.email,
        accounts.c.password_hash,
        accounts.c.suspended_at_us,
        accounts.c.stripe_customer_id,
        accounts.c.created_at_us,
        accounts.c.is_admin,
    )


def _one(conn: Connection, selection: Select[*_AccountRow]) -> Account | None:
    row: Row[*_AccountRow] | None = conn.execute(selection).one_or_none()
    return None if row is None else Account(*row)
