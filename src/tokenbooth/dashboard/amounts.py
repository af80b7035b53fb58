"""The amount of a top-up as a form has it."""

from tokenbooth.config.settings import BillingSettings
from tokenbooth.dashboard.filters import price
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.services.topups import check_amount


def checked_amount_nano(limits: BillingSettings, amount_nano: int) -> int:
    """The amount, when that much can be bought, in nano-USD.

    Raises:
        InvalidRequest: it is too little or too much, in the words of a page.
    """
    try:
        check_amount(limits, amount_nano)
    except InvalidRequest as refused:
        least, most = price(limits.min_top_up_usd), price(limits.max_top_up_usd)
        raise InvalidRequest(refused.code, f"A top-up is from {least} to {most}.", param=refused.param) from None
    return amount_nano


def plain_amount(amount_nano: int) -> str:
    """An amount as it stands in a field; nothing for none."""
    return price(amount_nano)[1:].replace(",", "") if amount_nano else ""
