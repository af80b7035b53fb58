"""Deposit addresses: whose they are, when they were last shown, and how long ago a hash was first asked about.

An address belongs to one account for ever; no two accounts get one address.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select, update

from tokenbooth.kit.errors import Conflict
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import deposit_addresses as addresses
from tokenbooth.store.tables import deposit_hints as hints

_IN_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class DepositAddress:
    """An address (lower case) with its owner, and its place under the extended key with this fingerprint."""

    address: str
    account_id: str
    key_fingerprint: str
    child_index: int


@dataclass(frozen=True, slots=True)
class ShownAddress:
    """An address (lower case), and what was said will come there, in nano-USD; None when that came, or nothing was."""

    address: str
    announced_nano: int | None


def request_deposit(
    conn: Connection,
    account_id: str,
    *,
    key_fingerprint: str,
    derive: Callable[[int], str],
    amount_nano: int,
    now_us: int,
) -> str:
    """Note that a deposit is to come; returns the account's address, in lower case, which is scanned from now on.

    Args:
        account_id: whose deposit.
        key_fingerprint: of the extended key that addresses come from now; an account has one address of each.
        derive: the address of an index.
        amount_nano: what was said will come, in nano-USD.
        now_us: UTC microseconds.
    """
    same = (addresses.c.account_id == account_id) & (addresses.c.key_fingerprint == key_fingerprint)
    announced = {"announced_nano": amount_nano, "announced_at_us": now_us}
    known = conn.execute(select(addresses.c.address).where(same)).scalar()
    if known is not None:
        conn.execute(update(addresses).where(same).values(**announced))
        return str(known)
    highest = conn.execute(
        select(func.max(addresses.c.child_index)).where(addresses.c.key_fingerprint == key_fingerprint)
    ).scalar()
    index = 0 if highest is None else highest + 1
    address = derive(index)
    values: dict[str, object] = {
        "address": address,
        "account_id": account_id,
        "key_fingerprint": key_fingerprint,
        "child_index": index,
        "created_at_us": now_us,
        **announced,
    }
    # Another transaction that takes the same index meanwhile makes this one be repeated, not fail.
    inserted = insert_unless_there(conn, addresses, values)
    assert inserted, "the account had no address and the index was free"
    return address


def shown_to(conn: Connection, account_id: str, *, key_fingerprint: str) -> ShownAddress | None:
    """The address that an account was shown last, of the extended key with this fingerprint; None for none yet."""
    row = conn.execute(
        select(addresses.c.address, addresses.c.announced_nano).where(
            addresses.c.account_id == account_id, addresses.c.key_fingerprint == key_fingerprint
        )
    ).one_or_none()
    return None if row is None else ShownAddress(row.address, row.announced_nano)


def announced_since(conn: Connection, since_us: int) -> list[str]:
    """Addresses that were shown after `since_us` (UTC microseconds), the latest first."""
    return list(
        conn.execute(
            select(addresses.c.address)
            .where(addresses.c.announced_at_us > since_us)
            .order_by(addresses.c.announced_at_us.desc(), addresses.c.address)
        ).scalars()
    )


def every_address(conn: Connection) -> list[str]:
    """All addresses, the latest shown first."""
    return announced_since(conn, -1)


def of_account(conn: Connection, account_id: str) -> frozenset[str]:
    """The addresses of an account."""
    return frozenset(conn.execute(select(addresses.c.address).where(addresses.c.account_id == account_id)).scalars())


def owners(conn: Connection, of: Collection[str]) -> dict[str, DepositAddress]:
    """Those of some addresses (lower case) that are ours, by address."""
    found: dict[str, DepositAddress] = {}
    wanted = list(of)
    # A transaction may pay more addresses than a statement takes parameters.
    for start in range(0, len(wanted), _IN_AT_ONCE):
        rows = conn.execute(
            select(
                addresses.c.address, addresses.c.account_id, addresses.c.key_fingerprint, addresses.c.child_index
            ).where(addresses.c.address.in_(wanted[start : start + _IN_AT_ONCE]))
        )
        found.update((row.address, DepositAddress(*row)) for row in rows)
    return found


def first_created_us(conn: Connection) -> int | None:
    """When the first address was made (UTC microseconds); None when there is none."""
    found: int | None = conn.execute(select(func.min(addresses.c.created_at_us))).scalar_one()
    return found


def asked_first_us(conn: Connection, account_id: str, tx_hash: str, *, max_hashes: int, now_us: int) -> int:
    """When an account first asked about a transaction that is not there; noted when it is now.

    Raises:
        Conflict: `too_many_pending_hashes`: the account asks about `max_hashes` others already.
    """
    same = (hints.c.account_id == account_id) & (hints.c.tx_hash == tx_hash)
    known: int | None = conn.execute(select(hints.c.first_asked_at_us).where(same)).scalar()
    if known is not None:
        return known
    waiting = conn.execute(select(func.count()).where(hints.c.account_id == account_id)).scalar_one()
    if waiting >= max_hashes:
        raise Conflict(
            "too_many_pending_hashes",
            f"This account asks about {max_hashes} transactions that are not on the chain. Deposits are found without "
            "being asked about; unknown hashes are forgotten after a day.",
        )
    insert_unless_there(conn, hints, {"account_id": account_id, "tx_hash": tx_hash, "first_asked_at_us": now_us})
    return now_us
