"""The amount of a top-up as a form has it."""

from typing import Final

from tokenbooth.dashboard.filters import price
from tokenbooth.dashboard.views import Form
from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.services.context import ServiceContext

CARD_DECIMALS: Final = 2
USDC_DECIMALS: Final = 6


def top_up_amount_nano(management: ServiceContext, form: Form, *, max_decimals: int) -> int:
    """The `amount` of a form in nano-USD, when that much can be bought.

    Raises:
        InvalidRequest: it is no amount, has more than `max_decimals` decimals, or is too little or too much.
    """
    amount_nano = form.fields("amount").amount_nano("amount", max_decimals=max_decimals)
    limits = management.settings.billing
    if not limits.min_top_up_usd <= amount_nano <= limits.max_top_up_usd:
        least, most = price(limits.min_top_up_usd), price(limits.max_top_up_usd)
        raise InvalidRequest("amount_out_of_range", f"A top-up is from {least} to {most}.", param="amount")
    return amount_nano
