"""Credit that the operator gives and takes by hand."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from tokenbooth.domain.ledger import (
    PROMOTION,
    LedgerAccount,
    TransferKind,
    credit_of,
    debt_of,
)
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.errors import Conflict, NotFound, Unprocessable
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.store import ledger
from tokenbooth.store.accounts import audit_log
from tokenbooth.store.accounts.accounts import Account, find_account, find_account_by_email
from tokenbooth.store.accounts.audit_log import OPERATOR
from tokenbooth.store.tables import ledger_entries, ledger_transfers

# Far below what 64 bits hold, so that no sum of a balance and an amount leaves them.
_MAX_BALANCE_NANO: Final = 4 * 10**18


@dataclass(frozen=True, slots=True)
class CreditChange:
    """The outcome of a grant or an adjustment.

    Attributes:
        account_id: whose.
        reference: the business reference; the same one again changes nothing.
        amount_nano: what was given (or, negative, taken), in nano-USD.
        balance_nano: the credit afterwards.
        debt_nano: what the customer owes afterwards, as a positive number.
        repeated: whether the reference was known, so that nothing was done now.
    """

    account_id: str
    reference: str
    amount_nano: int
    balance_nano: int
    debt_nano: int
    repeated: bool


def find_customer(conn: Connection, name: str) -> Account:
    """The account with this id or email.

    Raises:
        NotFound: there is none.
    """
    account = find_account(conn, name) or find_account_by_email(conn, name)
    if account is None:
        raise NotFound("account_not_found", f"there is no account with the id or email {name!r}")
    return account


def change_credit(
    conn: Connection,
    *,
    account: str,
    kind: TransferKind,
    amount_nano: int,
    reason: str,
    reference: str | None,
    now_us: int,
    actor: str = OPERATOR,
) -> CreditChange:
    """Give a customer credit, or take it (a negative amount), and write down why.

    What is taken beyond the balance becomes a debt, which the next credit pays first.

    Args:
        conn: the transaction.
        account: id or email.
        kind: GRANT or ADJUSTMENT.
        amount_nano: not zero, in nano-USD.
        reason: for people.
        reference: the operator's own; the same one again, with the same amount, changes nothing. None: every
            call counts.
        now_us: UTC microseconds.
        actor: who does it, for the audit log.

    Raises:
        NotFound: there is no such account.
        Conflict: the reference stands for something else.
        Unprocessable: the balance would leave the range that is kept exactly.
    """
    customer = find_customer(conn, account)
    full_reference = f"operator:{kind}:{reference or new_id(IdPrefix.TRANSFER, now_us)}"
    _refuse_out_of_range(conn, customer.id, amount_nano)
    move = ledger.add_credit if amount_nano > 0 else _take_back
    posted = move(
        conn,
        account_id=customer.id,
        source=PROMOTION,
        amount_nano=abs(amount_nano),
        kind=kind,
        reference=full_reference,
        note=reason,
        now_us=now_us,
    )
    if posted:
        detail = f"{format_usd(amount_nano)} USD: {reason} ({full_reference})"
        audit_log.record(
            conn,
            actor=actor,
            action=f"credit.{kind}",
            account_id=customer.id,
            detail=detail,
            now_us=now_us,
        )
    else:
        _refuse_other_use(conn, customer.id, full_reference, amount_nano)
    balances = ledger.balances_nano(conn, (credit_of(customer.id), debt_of(customer.id)))
    return CreditChange(
        account_id=customer.id,
        reference=full_reference,
        amount_nano=amount_nano,
        balance_nano=balances[credit_of(customer.id)],
        debt_nano=-balances[debt_of(customer.id)],
        repeated=not posted,
    )


def _take_back(
    conn: Connection,
    *,
    account_id: str,
    source: LedgerAccount,
    amount_nano: int,
    kind: TransferKind,
    reference: str,
    note: str,
    now_us: int,
) -> bool:
    return ledger.take_back(
        conn,
        account_id=account_id,
        target=source,
        amount_nano=amount_nano,
        kind=kind,
        reference=reference,
        note=note,
        now_us=now_us,
    )


def _refuse_out_of_range(conn: Connection, account_id: str, amount_nano: int) -> None:
    """SQLite would turn a sum beyond 64 bits into a float without a word."""
    balances = ledger.balances_nano(conn, (credit_of(account_id), debt_of(account_id), PROMOTION))
    if any(abs(balance_nano) + abs(amount_nano) > _MAX_BALANCE_NANO for balance_nano in balances.values()):
        raise Unprocessable("amount_out_of_range", "the balance would become larger than four billion USD")


def _refuse_other_use(conn: Connection, account_id: str, reference: str, amount_nano: int) -> None:
    given_nano = conn.execute(
        select(func.coalesce(func.sum(ledger_entries.c.amount_nano), 0))
        .join(ledger_transfers, ledger_transfers.c.id == ledger_entries.c.transfer_id)
        .where(
            ledger_transfers.c.reference == reference,
            ledger_entries.c.account_id.in_([credit_of(account_id).id, debt_of(account_id).id]),
        )
    ).scalar_one()
    if int(given_nano) != amount_nano:
        raise Conflict("reference_used", f"the reference {reference} was used for another account or amount")
