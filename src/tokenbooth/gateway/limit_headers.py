"""The headers that tell a client its limits: requests, tokens, money."""

from functools import lru_cache
from typing import Final

from tokenbooth.clock import iso_ms
from tokenbooth.domain.money import format_usd
from tokenbooth.gateway.admission import Pool, rates_of
from tokenbooth.gateway.refusals import Headers
from tokenbooth.gateway.state import KeyState

_REQUESTS: Final = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests")
_TOKENS: Final = (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens")


def limit_headers(key: KeyState, pool: Pool | None, monotonic_us: int) -> Headers:
    """The `x-ratelimit-…` and `x-budget-…` headers; one without a limit is absent.

    Args:
        key: who asks.
        pool: what pays, if that was looked up.
        monotonic_us: the time that rates go by, microseconds.
    """
    headers = _rate_headers(key, monotonic_us)
    if pool is not None:
        headers += _budget_headers(pool)
    return headers


def _rate_headers(key: KeyState, monotonic_us: int) -> Headers:
    requests, tokens, _ = rates_of(key)
    headers: Headers = []
    for rate, (limit_name, remaining_name, reset_name) in ((requests, _REQUESTS), (tokens, _TOKENS)):
        if rate is None:
            continue
        used, limit = rate.used(monotonic_us), rate.limit
        headers.append((limit_name, b"%d" % limit))
        headers.append((remaining_name, b"%d" % max(limit - used, 0)))
        headers.append((reset_name, duration(rate.reset_us(monotonic_us))))
    return headers


def _budget_headers(pool: Pool) -> Headers:
    headers: Headers = []
    allowance, cap, window = pool.allowance, pool.cap, pool.window
    limited = cap if window is None else allowance
    if limited is not None:
        headers.append((b"x-budget-limit", _limit(limited.limit_nano)))
    left_nano = allowance.unspent_nano()
    if cap is not None:
        left_nano = min(left_nano, cap.unspent_nano())
    headers.append((b"x-budget-remaining", format_usd(max(left_nano, 0)).encode()))
    if window is not None:
        headers.append((b"x-budget-reset", _reset(window.end_us)))
    return headers


# Many requests in a row have the same limit, and the same end of their window.
@lru_cache(maxsize=4_096)
def _limit(limit_nano: int) -> bytes:
    return format_usd(limit_nano).encode()


@lru_cache(maxsize=256)
def _reset(end_us: int) -> bytes:
    return iso_ms(end_us).encode()


def duration(wait_us: int) -> bytes:
    """A duration as OpenAI writes it: "0s", "20ms", "1.5s", "6m0s"."""
    milliseconds = -(-wait_us // 1_000)
    if milliseconds == 0:
        return b"0s"
    if milliseconds < 1_000:
        return b"%dms" % milliseconds
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds = (b"%d.%03d" % divmod(milliseconds, 1_000)).rstrip(b"0").rstrip(b".")
    return b"%dm%bs" % (minutes, seconds) if minutes else seconds + b"s"
