"""Bodies and paths of the reference's examples. They run: a test sends every one. Pure."""

import json
from collections.abc import Mapping
from typing import Final

_BODIES: Final[Mapping[str, object]] = {
    "/api/billing/checkout": {"planSlug": "pro"},
    "/api/billing/cancel": {"subscriptionId": "SUBSCRIPTION_ID"},
    "/api/billing/resume": {"subscriptionId": "SUBSCRIPTION_ID"},
    "/api/billing/change": {"subscriptionId": "SUBSCRIPTION_ID", "planSlug": "standard"},
    "/api/billing/auto-topup": {"enabled": False},
    "/api/billing/topup": {"amount": 50, "method": "stripe"},
    "/api/billing/verify-topup": {"txHash": "TX_HASH", "amount": 50},
    "/api/keys/subscription": {"name": "prod-api", "subscriptionId": "SUBSCRIPTION_ID"},
    "/api/keys/credit": {"name": "client-acme", "maxBudget": 25, "rpm": 100, "tpm": 50_000},
    "/api/keys/management": {"name": "ci", "scopes": ["keys:read", "keys:write"]},
}
_PLACES: Final[Mapping[str, str]] = {"{key_id}": "KEY_ID", "{model}": "MODEL", "{model_id}": "MODEL"}


def example_path(path: str) -> str:
    """A path with names in capitals where ids belong."""
    for place, name in _PLACES.items():
        path = path.replace(place, name)
    return path


def example_body(path: str, method: str, schema: Mapping[str, object]) -> str | None:
    """A body to try; None for a call without one."""
    if method not in ("post", "put"):
        return None
    body = _BODIES.get(path, schema.get("example"))
    if body is not None:
        return json.dumps(body)
    return json.dumps(_made(schema)) if schema else None


def _made(schema: Mapping[str, object]) -> dict[str, object]:
    """The required fields with the examples that the description gives."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return {}
    made: dict[str, object] = {}
    for name in required:
        given = properties[name].get("examples") if isinstance(properties.get(name), Mapping) else None
        made[name] = given[0] if isinstance(given, list) and given else name.upper()
    return made
