"""Stripe's webhook: a verified event is stored, then handled at once, then answered.

What is answered with 2xx is stored; what does not carry Stripe's signature leaves no trace. The event's own
words are never acted on.
"""

import asyncio
from typing import Final

import structlog
from fastapi import APIRouter
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.openapi import object_answer
from tokenbooth.api.responses import respond, success
from tokenbooth.api.schemas import Payload
from tokenbooth.domain.windows import SECOND_US
from tokenbooth.kit.errors import Unavailable
from tokenbooth.kit.request_body import read_raw
from tokenbooth.payments.stripe.inbox import to_payload
from tokenbooth.payments.stripe.webhooks import WebhookVerifier
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.payments import inbox

MAX_BODY_BYTES: Final = 1024 * 1024
HANDLE_WITHIN_S: Final = 2.0

_BODY: Final[dict[str, JsonValue]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "description": "A Stripe event."}}},
    },
    "parameters": [{"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}],
}

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class ReceivedPayload(Payload):
    """The event is stored."""

    received: bool


class _Handling:
    """Handles events in tasks that outlive the request."""

    def __init__(self, context: ServiceContext, within_s: float) -> None:
        self._context = context
        self._within_s = within_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, row_id: str) -> None:
        """Return when the event is handled, or after the bounded wait; the work goes on in either case."""
        task = asyncio.create_task(self._run(row_id), name=f"webhook {row_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=self._within_s)

    async def _run(self, row_id: str) -> None:
        try:
            await self._context.handle_event(row_id)
        except Exception as failure:
            # The row is stored and due; the inbox job takes it up.
            _log.error("webhook_handling_failed", row_id=row_id, error=type(failure).__name__)


def router(context: ServiceContext, *, handle_within_s: float = HANDLE_WITHIN_S) -> APIRouter:
    """The route; `handle_within_s` is how long an answer waits for the event's effects, in seconds."""
    routes = APIRouter(prefix="/api/webhooks", tags=["webhooks"])
    verifier = _verifier(context)
    handling = _Handling(context, handle_within_s)

    @routes.post("/stripe", responses=object_answer(ReceivedPayload, 400, 413, 503, public=True), openapi_extra=_BODY)
    async def stripe(request: Request) -> Response:
        """Stripe delivers its events here; any other sender is refused."""
        if verifier is None:
            raise Unavailable("stripe_not_configured", "Card payments are not set up on this server.")
        raw = await read_raw(request, max_bytes=MAX_BODY_BYTES)
        now_us = context.clock.now_us()
        event = verifier.verify(raw, request.headers.get("stripe-signature"), now_s=now_us / SECOND_US)
        row_id = await context.store.write(
            inbox.insert,
            source=inbox.STRIPE,
            external_id=event.event_id,
            event_type=event.type,
            payload=to_payload(event),
            now_us=now_us,
        )
        await handling.handle(row_id)
        await context.live.refresh()
        return respond(success(ReceivedPayload(received=True)))

    return routes


def _verifier(context: ServiceContext) -> WebhookVerifier | None:
    stripe = context.settings.stripe
    if stripe is None or context.stripe is None:
        return None
    return WebhookVerifier(tuple(secret.get_secret_value() for secret in stripe.webhook_secrets))
