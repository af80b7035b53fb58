"""How far the chain has been scanned, by pass."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, select, update

from tokenbooth.domain.deposits import BlockRef
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import chain_cursors as cursors


class Pass(StrEnum):
    """The passes over the chain."""

    RECENT = "recent"
    """Follows the block that counts, with the addresses shown lately."""
    ALL = "all"
    """Follows the finalized block, with every address."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last block that a pass has looked at; `block_hash` is empty when it was set by hand."""

    block_number: int
    block_hash: str


def position(conn: Connection, chain_id: int, token: str, which: Pass) -> Cursor | None:
    """Where a pass stands; None before its first step."""
    row = conn.execute(select(cursors.c.block_number, cursors.c.block_hash).where(_is(chain_id, token, which))).first()
    return None if row is None else Cursor(row.block_number, row.block_hash)


def advance(
    conn: Connection, chain_id: int, token: str, which: Pass, *, seen: Cursor | None, to: BlockRef, now_us: int
) -> bool:
    """Move a pass that stands at `seen`; False when it stands elsewhere by now, and then nothing changes."""
    values = {"block_number": to.number, "block_hash": to.hash, "updated_at_us": now_us}
    if seen is None:
        key = {"chain_id": chain_id, "token": token, "pass": which}
        return insert_unless_there(conn, cursors, {**key, **values})
    standing = (cursors.c.block_number == seen.block_number) & (cursors.c.block_hash == seen.block_hash)
    return conn.execute(update(cursors).where(_is(chain_id, token, which), standing).values(**values)).rowcount == 1


def set_back(conn: Connection, chain_id: int, token: str, *, to_number: int, actor: str, now_us: int) -> int:
    """Let both passes look again at what comes after block `to_number`; returns how many were moved.

    `actor` is who asks, for the audit log.
    """
    moved = conn.execute(
        update(cursors)
        .where(cursors.c.chain_id == chain_id, cursors.c.token == token, cursors.c.block_number > to_number)
        .values(block_number=to_number, block_hash="", updated_at_us=now_us)
    )
    audit_log.record(
        conn,
        actor=actor,
        action="usdc.rescanned",
        account_id=None,
        detail=f"from block {to_number + 1}",
        now_us=now_us,
    )
    return moved.rowcount


def _is(chain_id: int, token: str, which: Pass) -> ColumnElement[bool]:
    return (cursors.c.chain_id == chain_id) & (cursors.c.token == token) & (cursors.c["pass"] == which)
