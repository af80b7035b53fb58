"""What moved each customer's credit: projections of the ledger that statements and totals read.

`statement_lines` has a row for each movement, and one for what a key spent of the credit on a day; `credit_months` adds
them up by kind and month. Amounts are credit and debt together. `ledger.post_all` keeps both in the transaction that
writes the transfers, and the audit compares them with the entries.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection

from tokenbooth.domain.ledger import AccountKind, Transfer, TransferKind
from tokenbooth.domain.windows import DAY_US, month_start_us
from tokenbooth.store.bulk import adding
from tokenbooth.store.tables import credit_months, statement_lines

_OWN: Final = frozenset({AccountKind.CREDIT, AccountKind.DEBT})
_ADD_TO_LINES: Final = adding(statement_lines)
_ADD_TO_MONTHS: Final = adding(credit_months)

_Line = tuple[str, int, str, str]
_Month = tuple[str, str, int]


def keep(conn: Connection, transfers: Iterable[Transfer], *, now_us: int) -> None:
    """Add what transfers moved of customers' credit; two statements whatever their number, none when they moved none.

    Args:
        conn: the transaction that writes the transfers.
        transfers: those.
        now_us: when they are booked, UTC microseconds.
    """
    lines: dict[_Line, int] = {}
    months: dict[_Month, int] = {}
    for made in transfers:
        moved_nano: dict[str, int] = {}
        for entry in made.entries:
            if entry.account.kind in _OWN:
                owner = entry.account.owner
                moved_nano[owner] = moved_nano.get(owner, 0) + entry.amount_nano
        for account_id, amount_nano in moved_nano.items():
            month = (account_id, str(made.kind), month_start_us(now_us))
            months[month] = months.get(month, 0) + amount_nano
            for line, line_nano in _lines(made, account_id, amount_nano, now_us):
                lines[line] = lines.get(line, 0) + line_nano
    if not lines:
        return
    # In the order of the key, so that two transactions never wait for each other's rows.
    _ADD_TO_LINES.run(conn, [(*line, amount_nano) for line, amount_nano in sorted(lines.items())])
    _ADD_TO_MONTHS.run(conn, [(*month, amount_nano) for month, amount_nano in sorted(months.items())])


def _lines(made: Transfer, account_id: str, amount_nano: int, now_us: int) -> Sequence[tuple[_Line, int]]:
    """A transfer's lines: of usage one for each key, on its day."""
    kind = str(made.kind)
    if made.kind is not TransferKind.USAGE:
        return [((account_id, now_us, made.id, kind), amount_nano)]
    day_us = now_us - now_us % DAY_US
    return [
        ((account_id, day_us, entry.account.owner, kind), -entry.amount_nano)
        for entry in made.entries
        if entry.account.kind is AccountKind.KEY_SPEND
    ]
