"""Posting transfers and reading balances. Entries and transfers are only ever inserted."""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, Insert, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tokenbooth.domain.ledger import (
    PROMOTION,
    STRIPE_CLEARING,
    TAX_DUE,
    USAGE_REVENUE,
    AccountKind,
    Entry,
    LedgerAccount,
    Transfer,
    TransferKind,
    credit_entries,
    credit_of,
    debt_of,
    take_back_entries,
)
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import changes, statement_lines
from tokenbooth.store.bulk import Bulk, Lookup
from tokenbooth.store.tables import ledger_accounts, ledger_entries, ledger_transfers


def _opening(dialect: str) -> Insert:
    upsert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return upsert(ledger_accounts).on_conflict_do_nothing()


_ADD_TRANSFERS: Final = Bulk(lambda _dialect: insert(ledger_transfers))
_OPEN_ACCOUNTS: Final = Bulk(_opening)
_ADD_ENTRIES: Final = Bulk(lambda _dialect: insert(ledger_entries))
_MOVE_BALANCES: Final = Bulk(
    lambda _dialect: (
        update(ledger_accounts)
        .values(balance_nano=ledger_accounts.c.balance_nano + bindparam("amount_nano"))
        .where(ledger_accounts.c.id == bindparam("account_id"))
    )
)
_BALANCES: Final = Lookup(select(ledger_accounts.c.id, ledger_accounts.c.balance_nano), ledger_accounts.c.id)


def post(conn: Connection, transfer: Transfer, *, now_us: int) -> None:
    """Write a transfer and move the balances.

    Raises:
        IntegrityError: the reference was posted before, or a floor would be broken.
    """
    post_all(conn, (transfer,), now_us=now_us)


def post_all(conn: Connection, transfers: Sequence[Transfer], *, now_us: int) -> None:
    """Write transfers, at least one, move the balances, and add to the projections; with as many statements as for one
    of them.

    Raises:
        IntegrityError: a reference was posted before, or a floor would be broken.
    """
    headers: list[tuple[object, ...]] = []
    lines: list[tuple[object, ...]] = []
    kinds: dict[str, AccountKind] = {}
    moves_nano: dict[str, int] = {}
    for made in transfers:
        headers.append((made.id, str(made.kind), made.reference, made.note, made.corrects, now_us))
        for line, entry in enumerate(made.entries):
            account_id = entry.account.id
            lines.append((made.id, line, account_id, entry.amount_nano))
            kinds[account_id] = entry.account.kind
            moves_nano[account_id] = moves_nano.get(account_id, 0) + entry.amount_nano
    _ADD_TRANSFERS.run(conn, headers)
    # In the order of ids, so that two transactions never wait for each other's rows.
    ordered = sorted(kinds)
    _OPEN_ACCOUNTS.run(conn, [(account_id, str(kinds[account_id]), 0) for account_id in ordered])
    _ADD_ENTRIES.run(conn, lines)
    _MOVE_BALANCES.run(conn, [(moves_nano[account_id], account_id) for account_id in ordered])
    statement_lines.keep(conn, transfers, now_us=now_us)


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
    found = {row.id: row.balance_nano for row in _BALANCES.find(conn, [*by_id])}
    return {account: found.get(account_id, 0) for account_id, account in by_id.items()}


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


def set_tax_aside(conn: Connection, *, reference: str, tax_nano: int, now_us: int) -> None:
    """Book the tax that was inside the payment with this business reference: the customer has credit for the whole of
    it, so the tax is the operator's cost of that credit; nothing when there is none."""
    if tax_nano == 0:
        return
    transfer = Transfer(
        id=new_id(IdPrefix.TRANSFER, now_us),
        kind=TransferKind.TAX,
        reference=f"{reference}:tax-included",
        entries=(Entry(USAGE_REVENUE, -tax_nano), Entry(TAX_DUE, tax_nano)),
        note="Tax inside the price",
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
