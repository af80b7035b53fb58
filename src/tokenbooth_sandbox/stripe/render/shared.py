"""What all renderings begin with. Pure."""

from tokenbooth_sandbox.stripe.http import JsonObject, JsonValue
from tokenbooth_sandbox.stripe.records import Record

NO_ADDRESS: JsonObject = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def copied(metadata: dict[str, str]) -> JsonObject:
    """Metadata as a JSON object."""
    return dict(metadata)


def head(record: Record, kind: str) -> JsonObject:
    """The fields that nearly every object begins with."""
    return {"id": record.id, "object": kind, "created": record.created, "livemode": False}


def listing(entries: list[JsonValue], url: str, *, has_more: bool = False) -> JsonObject:
    """A list object."""
    return {"object": "list", "data": entries, "has_more": has_more, "url": url}


def automatic_tax(is_taxed: bool) -> JsonObject:
    """Whether Stripe computes the tax, as sessions and invoices say it."""
    return {"enabled": is_taxed, "liability": None, "provider": "stripe" if is_taxed else None}
