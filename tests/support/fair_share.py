"""The hold of a call as admission decides it: the sure one where that fits, else one at the learned ratio."""

from tokenbooth.domain.fair_share import Demand, Share, TooLittle, learned_share, sure_share
from tokenbooth.domain.pricing import Price


def share(
    price: Price, demand: Demand, *, free_nano: int, hold_share_percent: int, tokens_per_byte_bp: int
) -> Share | TooLittle:
    """Decide a hold; arguments as those of `learned_share`."""
    sure = sure_share(price, demand, free_nano=free_nano, hold_share_percent=hold_share_percent)
    if sure is not None:
        return sure
    return learned_share(
        price,
        demand,
        free_nano=free_nano,
        hold_share_percent=hold_share_percent,
        tokens_per_byte_bp=tokens_per_byte_bp,
    )
