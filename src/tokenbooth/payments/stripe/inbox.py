"""An event's form in the inbox: only what `parse_event` reads, so that nobody's personal data is stored.

No I/O.
"""

import json

from tokenbooth.domain.windows import SECOND_US
from tokenbooth.payments.stripe.webhooks import WebhookEvent, parse_event


def to_payload(event: WebhookEvent) -> bytes:
    """The bytes to store."""
    subject: dict[str, str] = {"object": event.object_type}
    if event.object_id is not None:
        subject["id"] = event.object_id
    stored = {
        "object": "event",
        "id": event.event_id,
        "type": event.type,
        "livemode": event.livemode,
        "created": event.created_at_us // SECOND_US,
        "data": {"object": subject},
    }
    return json.dumps(stored, separators=(",", ":")).encode()


def from_payload(payload: bytes) -> WebhookEvent:
    """The event that `to_payload` stored. Raises `UnexpectedShape` or ValueError for anything else."""
    return parse_event(json.loads(payload))
