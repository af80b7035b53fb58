"""Deposits: every transfer that reached an address of ours, credited once, reversed when it left the chain after all.

A deposit is known by chain, transaction and the position of its event in the transaction, for ever. `settle` makes the
rows of one transaction say what the chain says, in one transaction of the database, whatever they said before; so it
may be repeated and run at once.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from tokenbooth.domain.deposits import BlockRef, TokenTransfer
from tokenbooth.domain.ledger import USDC_CLEARING, TransferKind
from tokenbooth.store import ledger
from tokenbooth.store.dialect import insert_unless_there
from tokenbooth.store.tables import deposit_addresses as addresses
from tokenbooth.store.tables import deposit_hints as hints
from tokenbooth.store.tables import deposits, ledger_transfers
from tokenbooth.store.usdc import deposit_addresses
from tokenbooth.store.usdc.deposit_addresses import DepositAddress

_Row = Row[tuple[object, ...]]
_IN_BOOKS: Final = ("credited", "final")
_IN_AT_ONCE: Final = 500


class DepositStatus(StrEnum):
    """Where a deposit stands."""

    CREDITED = "credited"
    """In the customer's credit; its block could still be reorganised away."""
    FINAL = "final"
    REVERSED = "reversed"
    """It left the chain after it was credited, and was taken back."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """A deposit. `announced_nano` is what was said would come; None when nothing was. Amounts in nano-USD."""

    account_id: str
    address: str
    tx_hash: str
    position: int
    amount_nano: int
    announced_nano: int | None
    block_number: int
    block_hash: str
    status: DepositStatus

    @property
    def is_in_books(self) -> bool:
        """Whether the customer has it now."""
        return self.status is not DepositStatus.REVERSED


@dataclass(frozen=True, slots=True)
class Settled:
    """What `settle` changed: deposits credited now, and those taken back. Both empty when all was as it should be."""

    credited: tuple[Deposit, ...]
    reversed: tuple[Deposit, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Deposits in the books, by status, and their sum in nano-USD; addresses that were given out."""

    rows_by_status: dict[str, int]
    amount_nano: int
    addresses: int


def settle(
    conn: Connection,
    *,
    chain_id: int,
    tx_hash: str,
    transfers: Sequence[TokenTransfer],
    block: BlockRef | None,
    now_us: int,
) -> Settled:
    """Make the books say of a transaction what the chain says.

    Args:
        chain_id: the chain.
        tx_hash: the transaction, in lower case.
        transfers: what it transferred, to whomever; those to addresses of ours count.
        block: the block that has it, which counts; None when the chain does not have it (any more).
        now_us: UTC microseconds.
    """
    ours = deposit_addresses.owners(conn, {transfer.recipient for transfer in transfers})
    found = {transfer.position: transfer for transfer in transfers if transfer.recipient in ours}
    rows: dict[int, _Row] = {row.position: row for row in conn.execute(select(deposits).where(_of(chain_id, tx_hash)))}
    credited: list[Deposit] = []
    taken: list[Deposit] = []
    for position, row in rows.items():
        if row.status in _IN_BOOKS and not _is_same(row, found.get(position)):
            taken.append(_reverse(conn, row, now_us))
    if block is None:
        return Settled((), tuple(taken))
    for position, transfer in found.items():
        known = rows.get(position)
        if known is not None and known.status in _IN_BOOKS and _is_same(known, transfer):
            _move(conn, known, block, now_us)
            continue
        owner, times = ours[transfer.recipient], 1 if known is None else known.times_credited + 1
        credited.append(_credit(conn, chain_id, tx_hash, transfer, owner, block, times, now_us))
    conn.execute(delete(hints).where(hints.c.tx_hash == tx_hash))
    return Settled(tuple(credited), tuple(taken))


def of_transaction(conn: Connection, chain_id: int, tx_hash: str) -> list[Deposit]:
    """The deposits of a transaction (hash in lower case), also reversed ones."""
    rows = conn.execute(select(deposits).where(_of(chain_id, tx_hash)).order_by(deposits.c.position))
    return [_deposit(row) for row in rows]


def latest_of_account(conn: Connection, account_id: str, *, limit: int) -> list[tuple[Deposit, int]]:
    """An account's deposits in the books, the newest first, each with when it was credited first (UTC microseconds)."""
    rows = conn.execute(
        select(deposits)
        .where(deposits.c.account_id == account_id, deposits.c.status.in_(_IN_BOOKS))
        .order_by(deposits.c.created_at_us.desc(), deposits.c.tx_hash, deposits.c.position)
        .limit(limit)
    )
    return [(_deposit(row), int(row.created_at_us)) for row in rows]


def blocks_of(conn: Connection, chain_id: int, tx_hashes: Collection[str]) -> dict[str, str]:
    """The hashes of the blocks that have those of some transactions whose deposits are in the books."""
    found: dict[str, str] = {}
    hashes = list(tx_hashes)
    for start in range(0, len(hashes), _IN_AT_ONCE):
        rows = conn.execute(
            select(deposits.c.tx_hash, deposits.c.block_hash).where(
                deposits.c.chain_id == chain_id,
                deposits.c.tx_hash.in_(hashes[start : start + _IN_AT_ONCE]),
                deposits.c.status.in_(_IN_BOOKS),
            )
        )
        found.update((row.tx_hash, row.block_hash) for row in rows)
    return found


def not_final(conn: Connection, chain_id: int, *, limit: int) -> list[Deposit]:
    """Deposits in the books whose block may still go away, the oldest block first."""
    rows = conn.execute(
        select(deposits)
        .where(deposits.c.chain_id == chain_id, deposits.c.status == DepositStatus.CREDITED)
        .order_by(deposits.c.block_number, deposits.c.tx_hash, deposits.c.position)
        .limit(limit)
    )
    return [_deposit(row) for row in rows]


def make_final(conn: Connection, chain_id: int, block_hashes: Collection[str], *, now_us: int) -> None:
    """Note that blocks can no longer be reorganised away."""
    conn.execute(
        update(deposits)
        .where(
            deposits.c.chain_id == chain_id,
            deposits.c.status == DepositStatus.CREDITED,
            deposits.c.block_hash.in_(block_hashes),
        )
        .values(status=DepositStatus.FINAL, updated_at_us=now_us)
    )


def totals(conn: Connection, chain_id: int) -> Totals:
    """Counts and sum of a chain's deposits."""
    rows = conn.execute(
        select(deposits.c.status, func.count(), func.sum(deposits.c.amount_nano))
        .where(deposits.c.chain_id == chain_id)
        .group_by(deposits.c.status)
    ).all()
    return Totals(
        rows_by_status={status: count for status, count, _ in rows},
        amount_nano=sum(int(amount) for status, _, amount in rows if status in _IN_BOOKS),
        addresses=conn.execute(select(func.count()).select_from(addresses)).scalar_one(),
    )


def received_by_address(conn: Connection, chain_id: int) -> list[tuple[DepositAddress, int, int]]:
    """Addresses that ever received something, with how many deposits and their sum in nano-USD, by index."""
    rows = conn.execute(
        select(
            addresses.c.address,
            addresses.c.account_id,
            addresses.c.key_fingerprint,
            addresses.c.child_index,
            func.count(),
            func.sum(deposits.c.amount_nano),
        )
        .join(deposits, deposits.c.address == addresses.c.address)
        .where(deposits.c.chain_id == chain_id, deposits.c.status.in_(_IN_BOOKS))
        .group_by(addresses.c.address, addresses.c.account_id, addresses.c.key_fingerprint, addresses.c.child_index)
        .order_by(addresses.c.key_fingerprint, addresses.c.child_index)
    )
    return [(DepositAddress(*row[:4]), int(row[4]), int(row[5])) for row in rows]


def forget_hints_before(conn: Connection, at_us: int) -> int:
    """Delete questions about unknown transactions that were first asked before `at_us`; returns how many."""
    return conn.execute(delete(hints).where(hints.c.first_asked_at_us < at_us)).rowcount


def credit_reference(chain_id: int, tx_hash: str, position: int, times: int) -> str:
    """The ledger's reference of a deposit, credited for the `times`-th time."""
    again = "" if times == 1 else f":{times}"
    return f"usdc:{chain_id}:{tx_hash}:{position}{again}"


def _credit(
    conn: Connection,
    chain_id: int,
    tx_hash: str,
    transfer: TokenTransfer,
    owner: DepositAddress,
    block: BlockRef,
    times: int,
    now_us: int,
) -> Deposit:
    announced = conn.execute(
        select(addresses.c.announced_nano).where(addresses.c.address == transfer.recipient)
    ).scalar_one()
    # An announcement is for one deposit.
    conn.execute(update(addresses).where(addresses.c.address == transfer.recipient).values(announced_nano=None))
    values = {
        "address": transfer.recipient,
        "account_id": owner.account_id,
        "amount_nano": transfer.amount_nano,
        "announced_nano": announced,
        "block_number": block.number,
        "block_hash": block.hash,
        "status": DepositStatus.CREDITED,
        "times_credited": times,
        "updated_at_us": now_us,
    }
    key = {"chain_id": chain_id, "tx_hash": tx_hash, "position": transfer.position}
    if times == 1:
        # Another transaction that credits it meanwhile makes this one be repeated, not fail.
        inserted = insert_unless_there(conn, deposits, {**key, **values, "created_at_us": now_us})
        assert inserted, "the deposit was not there when this transaction began"
    else:
        conn.execute(
            update(deposits).where(_of(chain_id, tx_hash), deposits.c.position == transfer.position).values(**values)
        )
    posted = ledger.add_credit(
        conn,
        account_id=owner.account_id,
        source=USDC_CLEARING,
        amount_nano=transfer.amount_nano,
        kind=TransferKind.TOP_UP,
        reference=credit_reference(chain_id, tx_hash, transfer.position, times),
        note=f"USDC deposit, block {block.number}",
        now_us=now_us,
    )
    assert posted, "a deposit's row and its transfer are written together"
    return Deposit(
        owner.account_id,
        transfer.recipient,
        tx_hash,
        transfer.position,
        transfer.amount_nano,
        announced,
        block.number,
        block.hash,
        DepositStatus.CREDITED,
    )


def _reverse(conn: Connection, row: _Row, now_us: int) -> Deposit:
    reference = credit_reference(row.chain_id, row.tx_hash, row.position, row.times_credited)
    corrects = conn.execute(select(ledger_transfers.c.id).where(ledger_transfers.c.reference == reference)).scalar_one()
    ledger.take_back(
        conn,
        account_id=row.account_id,
        target=USDC_CLEARING,
        amount_nano=row.amount_nano,
        kind=TransferKind.REVERSAL,
        reference=f"reversal:{reference}",
        note=f"The chain was reorganised: block {row.block_number} is no longer in it",
        corrects=corrects,
        now_us=now_us,
    )
    conn.execute(
        update(deposits)
        .where(_of(row.chain_id, row.tx_hash), deposits.c.position == row.position)
        .values(status=DepositStatus.REVERSED, updated_at_us=now_us)
    )
    return _deposit(row)


def _move(conn: Connection, row: _Row, block: BlockRef, now_us: int) -> None:
    """Note the block that has a deposit now."""
    if row.block_hash == block.hash:
        return
    conn.execute(
        update(deposits)
        .where(_of(row.chain_id, row.tx_hash), deposits.c.position == row.position)
        .values(
            block_number=block.number,
            block_hash=block.hash,
            status=DepositStatus.CREDITED,
            updated_at_us=now_us,
        )
    )


def _is_same(row: _Row, transfer: TokenTransfer | None) -> bool:
    return transfer is not None and (row.address, row.amount_nano) == (transfer.recipient, transfer.amount_nano)


def _of(chain_id: int, tx_hash: str) -> ColumnElement[bool]:
    return (deposits.c.chain_id == chain_id) & (deposits.c.tx_hash == tx_hash)


def _deposit(row: _Row) -> Deposit:
    return Deposit(
        row.account_id,
        row.address,
        row.tx_hash,
        row.position,
        row.amount_nano,
        row.announced_nano,
        row.block_number,
        row.block_hash,
        DepositStatus(row.status),
    )
