"""The record of who did what, and from where: operators' and customers' actions, appended and never changed.

It never holds a key, a digest or a secret, and nothing that somebody typed who was not let in. What strangers can cause
is bounded, and is forgotten after a while. Anyone above `store` may write to it.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from tokenbooth.domain.windows import HOUR_US
from tokenbooth.kit.errors import RateLimited
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store.accounts.bounds import wait_for_row_s
from tokenbooth.store.tables import audit_log

OPERATOR: Final = "operator"
"""Who acts by a command."""
LOG_IN_FAILED: Final = "account.log_in_failed"
NOBODY: Final = "nobody"
"""The actor of what somebody does who is not logged in."""

NEVER_REFUSED: Final = frozenset({"subscription.canceled", "auto_top_up.switched_off"})
"""What an account may do however much it did: whoever stole a key must not be able to keep its owner from these."""
REPEATED_PER_ACCOUNT: Final = 60
"""The most that are noted in an hour of one action that an account may repeat as often as it likes."""
FAILED_PER_ACCOUNT: Final = 20
FAILED_OF_STRANGERS: Final = 60
FAILED_IN_ALL: Final = 1_000
"""The most failed log-ins that are noted in an hour: at one account, at none that exists, and of both together."""


class Actor(str):
    """Who acts: the id of a key or an account, or "operator"; with the address that it was asked from.

    Attributes:
        address: of the client; None for what no client asked.
    """

    __slots__ = ("address",)

    address: str | None

    def __new__(cls, name: str, address: str | None = None) -> "Actor":
        """Name the actor."""
        made = super().__new__(cls, name)
        made.address = address or None
        return made


@dataclass(frozen=True, slots=True)
class Entry:
    """An action that is noted when it succeeds, in the transaction that completes it.

    Attributes:
        actor: who asks; an `Actor` brings the address.
        action: what is done, such as "subscription.canceled".
        account_id: whose.
        detail: for people; usually an id.
        at_us: UTC microseconds.
    """

    actor: str
    action: str
    account_id: str
    detail: str
    at_us: int


def record(conn: Connection, *, actor: str, action: str, account_id: str | None, detail: str, now_us: int) -> None:
    """Note an action in the transaction that does it.

    Args:
        conn: the transaction.
        actor: the id of the key or the account that asked, or "operator"; an `Actor` brings the address.
        action: what was done, such as "api_key.created".
        account_id: whose; None when it is nobody's.
        detail: for people; usually an id.
        now_us: UTC microseconds.
    """
    conn.execute(
        insert(audit_log).values(
            id=new_id(IdPrefix.AUDIT, now_us),
            at_us=now_us,
            actor=str(actor),
            address=actor.address if isinstance(actor, Actor) else None,
            action=action,
            account_id=account_id,
            detail=detail,
        )
    )


def record_entry(conn: Connection, entry: Entry) -> None:
    """Note an action that has just succeeded."""
    note = record_repeatable if entry.action in NEVER_REFUSED else record
    note(
        conn,
        actor=entry.actor,
        action=entry.action,
        account_id=entry.account_id,
        detail=entry.detail,
        now_us=entry.at_us,
    )


def require_room(conn: Connection, account_id: str, max_entries: int, *, now_us: int) -> None:
    """Refuse an action, before it is carried out, of an account that did very much in the last day.

    For what is always noted and could be repeated without end; never for what ends a key, a log-in or a payment.

    Args:
        conn: the transaction.
        account_id: whose action.
        max_entries: how many entries an account may have caused in 24 hours.
        now_us: UTC microseconds.

    Raises:
        RateLimited: there are as many.
    """
    mine = audit_log.c.account_id == account_id
    if wait_s := wait_for_row_s(conn, mine, audit_log.c.at_us, max_entries, now_us=now_us):
        raise RateLimited(
            "too_many_actions",
            f"An account may do {max_entries} such things in 24 hours. Try again later.",
            retry_after_s=wait_s,
        )


def record_repeatable(conn: Connection, *, actor: str, action: str, account_id: str, detail: str, now_us: int) -> None:
    """Note an action that must not be refused and may be repeated without end, as logging in; arguments as those of
    `record`. Of each hour the first ones are noted, and the last of these says that there may be more."""
    same = (audit_log.c.action == action) & (audit_log.c.account_id == account_id)
    left = REPEATED_PER_ACCOUNT - _count(conn, same & (audit_log.c.at_us > now_us - HOUR_US))
    if left <= 0:
        return
    told = detail if left > 1 else f"{detail}; further ones of this hour are not noted"
    record(conn, actor=actor, action=action, account_id=account_id, detail=told, now_us=now_us)


def record_failed_log_in(conn: Connection, account_id: str | None, *, address: str, now_us: int) -> bool:
    """Note that somebody tried to log in and was not let in; False when too many were noted in the last hour.

    Args:
        conn: the transaction.
        account_id: whose password was wrong; None where no account has the email, which is not kept.
        address: of the client.
        now_us: UTC microseconds.
    """
    recent = (audit_log.c.action == LOG_IN_FAILED) & (audit_log.c.at_us > now_us - HOUR_US)
    if _count(conn, recent) >= FAILED_IN_ALL:
        return False
    of_account = audit_log.c.account_id.is_(None) if account_id is None else audit_log.c.account_id == account_id
    left = (FAILED_OF_STRANGERS if account_id is None else FAILED_PER_ACCOUNT) - _count(conn, recent & of_account)
    if left <= 0:
        return False
    what = "wrong password" if account_id is not None else "no account has this email"
    detail = what if left > 1 else f"{what}; further ones of this hour are not noted"
    actor = Actor(NOBODY, address)
    record(conn, actor=actor, action=LOG_IN_FAILED, account_id=account_id, detail=detail, now_us=now_us)
    return True


def forget_failed_log_ins(conn: Connection, before_us: int) -> int:
    """Delete failed log-ins from before an instant (UTC microseconds); returns how many."""
    old = (audit_log.c.action == LOG_IN_FAILED) & (audit_log.c.at_us < before_us)
    return conn.execute(delete(audit_log).where(old)).rowcount


def _count(conn: Connection, which: ColumnElement[bool]) -> int:
    return int(conn.execute(select(func.count()).select_from(audit_log).where(which)).scalar_one())
