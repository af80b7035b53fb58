"""Stripe's webhook signature, and the few facts of an event that we use.

An event is a hint: of its payload only the type and the id of its object are kept, the object itself is fetched fresh.
Nothing unverified leaves this module. No I/O and no clock: the caller passes the time.

The scheme is that of Stripe's page "Verify webhook signatures".
"""

import hashlib
import hmac
import json
from dataclasses import dataclass

from tokenbooth.kit.errors import InvalidRequest
from tokenbooth.payments.stripe.object_reader import ObjectReader, UnexpectedShape

DEFAULT_TOLERANCE_S = 300
_MAX_SIGNATURES = 16


class WebhookRejected(InvalidRequest):
    """The delivery is not Stripe's, too old, or not an event."""

    def __init__(self, message: str) -> None:
        super().__init__("invalid_signature", message)


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """One event. `object_type` and `object_id` name what changed, not what it is now."""

    event_id: str
    type: str
    livemode: bool
    created_at_us: int
    object_type: str
    object_id: str | None


def parse_event(value: object) -> WebhookEvent:
    """Read an event object, from a verified body or from Stripe's event list. Raises `UnexpectedShape`."""
    fields = ObjectReader(value, "event")
    if fields.text("object") != "event":
        raise UnexpectedShape("event.object", "`event`")
    subject = fields.child("data").child("object")
    return WebhookEvent(
        event_id=fields.text("id"),
        type=fields.text("type"),
        livemode=fields.flag("livemode"),
        created_at_us=fields.time_us("created"),
        object_type=subject.text("object"),
        # Some objects (a balance, an upcoming invoice) have no id; none of them concerns us.
        object_id=subject.text("id") if subject.has("id") else None,
    )


class WebhookVerifier:
    """Checks deliveries against one secret, or two while they are being rotated."""

    def __init__(self, secrets: tuple[str, ...], *, tolerance_s: int = DEFAULT_TOLERANCE_S) -> None:
        """`tolerance_s`: the oldest accepted signature, in seconds. Raises ValueError for no or an empty
        secret."""
        if not secrets or any(not secret.strip() for secret in secrets):
            raise ValueError("a Stripe webhook secret must not be empty")
        self._secrets = tuple(secret.encode() for secret in secrets)
        self._tolerance_s = tolerance_s

    def verify(self, raw: bytes, signature_header: str | None, *, now_s: float) -> WebhookEvent:
        """The event in `raw`, the exact bytes of the request. `now_s` is UTC seconds. Raises
        `WebhookRejected`."""
        if not signature_header:
            raise WebhookRejected("The Stripe-Signature header is missing.")
        timestamp, signatures = _read_header(signature_header)
        signed = str(timestamp).encode() + b"." + raw
        expected = [hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in self._secrets]
        # Every pair is compared, so that the time taken does not tell which secret matched.
        matches = [hmac.compare_digest(good, given) for good in expected for given in signatures]
        if not any(matches):
            raise WebhookRejected("The Stripe-Signature header does not match the body.")
        if timestamp < now_s - self._tolerance_s:
            raise WebhookRejected("The Stripe-Signature header is too old.")
        return _decode(raw)


def _read_header(header: str) -> tuple[int, list[bytes]]:
    timestamp: int | None = None
    signatures: list[bytes] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t" and value.isascii() and value.isdigit() and len(value) <= 12:
            timestamp = int(value)
        if name == "v1" and len(signatures) < _MAX_SIGNATURES:
            signatures.append(value.encode())
    if timestamp is None or not signatures:
        raise WebhookRejected("The Stripe-Signature header is malformed.")
    return timestamp, signatures


def _decode(raw: bytes) -> WebhookEvent:
    try:
        return parse_event(json.loads(raw))
    except (ValueError, RecursionError, UnexpectedShape) as error:
        raise WebhookRejected("The body is not a Stripe event.") from error
