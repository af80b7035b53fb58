"""What the whole installation sold on each day, by model and by plan: a projection of the accounts' daily sums.

So the operator's page and the figures for Prometheus read a row for each day, however many accounts there are. Kept in
the transaction that books charges or grants a paid period; the audit compares it with the accounts' own rows.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import Connection

from tokenbooth.domain.windows import DAY_US
from tokenbooth.store.bulk import adding
from tokenbooth.store.tables import sales_days


class SalesDimension(StrEnum):
    """By what sales are summed; the name of a row is a model or a plan, of prepaid credit "", of the other two "" as
    well."""

    ALL = "all"
    MODEL = "model"
    PLAN = "plan"
    SUBSCRIPTION_PAYMENTS = "subscription_payments"
    """What was paid for periods of subscriptions, as `charged_nano`."""


class Sold(NamedTuple):
    """How many requests, and their figures in nano-USD; in the order of the columns."""

    requests: int
    charged_nano: int
    uncollected_nano: int = 0
    upstream_cost_nano: int = 0


_ADD: Final = adding(sales_days)


def add(conn: Connection, sales: Mapping[tuple[str, int, str], Sold]) -> None:
    """Add to the sums of dimensions, days (their first microsecond, UTC) and names."""
    # In the order of the key, so that two transactions never wait for each other's rows.
    _ADD.run(conn, [key + sold for key, sold in sorted(sales.items())])


def add_subscription_payment(conn: Connection, amount_nano: int, *, now_us: int) -> None:
    """Add what was paid for a period of a subscription, in nano-USD."""
    day_us = now_us - now_us % DAY_US
    add(conn, {(SalesDimension.SUBSCRIPTION_PAYMENTS, day_us, ""): Sold(1, amount_nano)})
