"""Posting transfers and reading balances. Entries and transfers are only ever inserted."""

from collections.abc import Iterable

from sqlalchemy import Connection, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tokenbooth.domain.ledger import (
    PROMOTION,
    STRIPE_CLEARING,
    TAX_DUE,
    Entry,
    LedgerAccount,
    Transfer,
    TransferKind,
    credit_entries,
    credit_of,
    debt_of,
    take_back_entries,
)
from tokenbooth.ids import IdPrefix, new_id
from tokenbooth.store import changes
from tokenbooth.store.tables import ledger_accounts, ledger_entries, ledger_transfers


def post(conn: Connection, transfer: Transfer, *, now_us: int) -> None:
    """Write a transfer and move the balances.

    Raises:
        IntegrityError: the reference was posted before, or a floor would be broken.
    """
    conn.execute(
        insert(ledger_transfers).values(
            id=transfer.id,
            kind=transfer.kind,
            reference=transfer.reference,
            note=transfer.note,
            corrects=transfer.corrects,
            created_at_us=now_us,
        )
    )
    _open_accounts(conn, {entry.account for entry in transfer.entries})
    conn.execute(
        insert(ledger_entries),
        [
            {
                "transfer_id": transfer.id,
                "line": line,
                "account_id": e.account.id,
                "amount_nano": e.amount_nano,
            }
            for line, e in enumerate(transfer.entries)
        ],
    )
    # In the order of ids, so that two transactions never wait for each other's rows.
    for account_id, amount_nano in sorted(_sums(transfer.entries).items()):
        conn.execute(
            update(ledger_accounts)
            .where(ledger_accounts.c.id == account_id)
            .values(balance_nano=ledger_accounts.c.balance_nano + literal(amount_nano))
        )


def is_posted(conn: Connection, reference: str) -> bool:
    """Whether a transfer with this business reference exists."""
    return (
        conn.execute(select(ledger_transfers.c.id).where(ledger_transfers.c.reference == reference)).first() is not None
    )


def find_transfer_id(conn: Connection, reference: str) -> str | None:
    """The id of the transfer with this business reference."""
    found: str | None = conn.execute(
        select(ledger_transfers.c.id).where(ledger_transfers.c.reference == reference)
    ).scalar()
    return found


def balance_nano(conn: Connection, account: LedgerAccount) -> int:
    """The balance of an account; 0 when nothing was ever posted to it."""
    found = conn.execute(select(ledger_accounts.c.balance_nano).where(ledger_accounts.c.id == account.id)).scalar()
    return found or 0


def balances_nano(conn: Connection, accounts: Iterable[LedgerAccount]) -> dict[LedgerAccount, int]:
    """The balances of several accounts, in one statement."""
    by_id = {account.id: account for account in accounts}
    rows = conn.execute(
        select(ledger_accounts.c.id, ledger_accounts.c.balance_nano).where(ledger_accounts.c.id.in_(by_id))
    )
    found = {by_id[row.id]: row.balance_nano for row in rows}
    return {account: found.get(account, 0) for account in by_id.values()}


def add_credit(
    conn: Connection,
    *,
    account_id: str,
    source: LedgerAccount,
    amount_nano: int,
    kind: TransferKind,
    reference: str,
    note: str,
    now_us: int,
    corrects: str | None = None,
) -> bool:
    """Credit a customer, whose open debt is paid first. Returns False when the reference was posted before."""
    if is_posted(conn, reference):
        return False
    owed_nano = -balance_nano(conn, debt_of(account_id))
    _post_to_customer(
        conn,
        account_id,
        kind,
        reference,
        note,
        credit_entries(account_id, source, amount_nano, owed_nano),
        now_us,
        corrects,
    )
    return True


def take_back(
    conn: Connection,
    *,
    account_id: str,
    target: LedgerAccount,
    amount_nano: int,
    kind: TransferKind,
    reference: str,
    note: str,
    now_us: int,
    corrects: str | None = None,
) -> bool:
    """Take money back from a customer, as a debt where the credit does not suffice. False: posted before.

    `corrects` is the transfer that is undone by it.
    """
    if is_posted(conn, reference):
        return False
    left_nano = balance_nano(conn, credit_of(account_id))
    _post_to_customer(
        conn,
        account_id,
        kind,
        reference,
        note,
        take_back_entries(account_id, target, amount_nano, left_nano),
        now_us,
        corrects,
    )
    return True


def add_tax(conn: Connection, *, reference: str, tax_nano: int, now_us: int) -> None:
    """Book the tax that came in beside the payment with this business reference; nothing when there is none."""
    if tax_nano == 0:
        return
    transfer = Transfer(
        id=new_id(IdPrefix.TRANSFER, now_us),
        kind=TransferKind.TAX,
        reference=f"{reference}:tax",
        entries=(Entry(STRIPE_CLEARING, -tax_nano), Entry(TAX_DUE, tax_nano)),
        note="Tax",
    )
    post(conn, transfer, now_us=now_us)


def grant(conn: Connection, *, account_id: str, amount_nano: int, reference: str, reason: str, now_us: int) -> bool:
    """Give a customer credit that nobody paid for. False: this reference was granted before."""
    return add_credit(
        conn,
        account_id=account_id,
        source=PROMOTION,
        amount_nano=amount_nano,
        kind=TransferKind.GRANT,
        reference=reference,
        note=reason,
        now_us=now_us,
    )


def total_nano(conn: Connection, account: LedgerAccount, kinds: Iterable[TransferKind]) -> int:
    """The sum of an account's entries in transfers of these kinds."""
    total = conn.execute(
        select(func.coalesce(func.sum(ledger_entries.c.amount_nano), 0))
        .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .where(
            ledger_entries.c.account_id == account.id,
            ledger_transfers.c.kind.in_([str(kind) for kind in kinds]),
        )
    ).scalar_one()
    return int(total)


def _post_to_customer(
    conn: Connection,
    account_id: str,
    kind: TransferKind,
    reference: str,
    note: str,
    entries: tuple[Entry, ...],
    now_us: int,
    corrects: str | None,
) -> None:
    transfer = Transfer(
        id=new_id(IdPrefix.TRANSFER, now_us),
        kind=kind,
        reference=reference,
        entries=entries,
        note=note,
        corrects=corrects,
    )
    post(conn, transfer, now_us=now_us)
    credit_delta_nano = _sums(entries).get(credit_of(account_id).id, 0)
    changes.record(conn, changes.Topic.CREDIT, account_id, delta_nano=credit_delta_nano, now_us=now_us)


def _sums(entries: Iterable[Entry]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.account.id] = sums.get(entry.account.id, 0) + entry.amount_nano
    return sums


def _open_accounts(conn: Connection, accounts: set[LedgerAccount]) -> None:
    insert_or_ignore = sqlite.insert if conn.dialect.name == "sqlite" else postgresql.insert
    conn.execute(
        insert_or_ignore(ledger_accounts).on_conflict_do_nothing(),
        [
            {"id": account.id, "kind": str(account.kind), "balance_nano": 0}
            for account in sorted(accounts, key=lambda account: account.id)
        ],
    )
