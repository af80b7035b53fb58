"""`GET /v1/usage`: what the key that asks has left."""

import msgspec

from tokenbooth.domain.money import format_usd
from tokenbooth.domain.rates import RequestRate, TokenRate
from tokenbooth.gateway.access.cache import KeyState
from tokenbooth.gateway.access.pool import Pool
from tokenbooth.kit.clock import iso_ms


def usage_answer(key: KeyState, pool: Pool, monotonic_us: int) -> bytes:
    """The body of the answer: amounts in USD as exact decimal strings, rates per minute."""
    requests, tokens, scope = key.rates()
    allowance = pool.allowance
    return msgspec.json.encode(
        {
            "object": "usage",
            "key": {"id": key.key_id, "spent": _spent(key), "maxBudget": _limit(key)},
            "pool": {
                "type": pool.kind,
                "plan": None if pool.plan is None else pool.plan.slug,
                "limit": None if pool.window is None else format_usd(allowance.limit_nano),
                "spent": None if pool.window is None else format_usd(allowance.spent_nano),
                "held": format_usd(allowance.held_nano),
                "available": format_usd(max(allowance.free_nano(), 0)),
                "resetsAt": None if pool.window is None else iso_ms(pool.window.end_us),
            },
            "rateLimits": {
                "scope": scope,
                "requests": _rate(requests, monotonic_us),
                "tokens": _rate(tokens, monotonic_us),
            },
        }
    )


def _spent(key: KeyState) -> str | None:
    return None if key.cap is None else format_usd(key.cap.spent_nano)


def _limit(key: KeyState) -> str | None:
    return None if key.cap is None else format_usd(key.cap.limit_nano)


def _rate(rate: RequestRate | TokenRate | None, monotonic_us: int) -> dict[str, int] | None:
    if rate is None:
        return None
    return {"limit": rate.limit, "used": rate.used(monotonic_us)}
