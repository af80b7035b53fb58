"""The figures that Prometheus is shown of the store: a row for each day, whatever was ever used."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from tokenbooth.domain.ledger import UNCOLLECTED
from tokenbooth.store import ledger
from tokenbooth.store.payments import inbox
from tokenbooth.store.payments.inbox import InboxStatus
from tokenbooth.store.sales_days import SalesDimension
from tokenbooth.store.tables import sales_days

_MAX_WAITING: Final = 1_000


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What an operator watches."""

    requests: int
    charged_nano: int
    uncollected_nano: int
    inbox_due: int
    inbox_parked: int


def figures(conn: Connection) -> StoreFigures:
    """The figures as the store has them."""
    columns = sales_days.c
    used = conn.execute(
        select(
            func.coalesce(func.sum(columns.requests), 0),
            func.coalesce(func.sum(columns.charged_nano), 0),
        ).where(columns.dimension == SalesDimension.ALL)
    ).one()
    return StoreFigures(
        requests=int(used[0]),
        charged_nano=int(used[1]),
        uncollected_nano=-ledger.balance_nano(conn, UNCOLLECTED),
        inbox_due=inbox.count_up_to(conn, InboxStatus.DUE, _MAX_WAITING),
        inbox_parked=inbox.count_up_to(conn, InboxStatus.PARKED, _MAX_WAITING),
    )
