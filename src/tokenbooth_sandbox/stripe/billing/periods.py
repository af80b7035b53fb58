"""When billing periods begin and end. Pure."""

from calendar import monthrange
from datetime import UTC, datetime

DAY_S = 86_400
_FIXED_S = {"day": DAY_S, "week": 7 * DAY_S}
_MONTHS = {"month": 1, "year": 12}


def period_start(anchor_s: int, interval: str, count: int, index: int) -> int:
    """The start of period `index` in UTC seconds, counted from the subscription's anchor.

    Months keep the anchor's day and clamp it to the month's last one; since each is computed from the
    anchor, a subscription of 31 January renews on 28 February and then on 31 March.
    """
    if interval in _FIXED_S:
        return anchor_s + _FIXED_S[interval] * count * index
    anchor = datetime.fromtimestamp(anchor_s, UTC)
    month = anchor.month - 1 + _MONTHS[interval] * count * index
    year, month = anchor.year + month // 12, month % 12 + 1
    day = min(anchor.day, monthrange(year, month)[1])
    return int(anchor.replace(year=year, month=month, day=day).timestamp())
