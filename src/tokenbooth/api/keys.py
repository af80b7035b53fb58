"""API keys: create for a subscription or for prepaid credit, list, delete. A key is shown only once."""

from typing import Self

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.openapi import CREDENTIAL, json_body, list_answer, object_answer
from tokenbooth.api.parsing import authenticated_body
from tokenbooth.api.responses import long_success, respond, success
from tokenbooth.api.schemas import Instant, Payload, Usd
from tokenbooth.domain.keys import Scope
from tokenbooth.kit.request_models import Label, PerMinute, RequestModel, Text, UsdNano
from tokenbooth.services import keys
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.keys import WantedKey
from tokenbooth.store.accounts.keys import ApiKeyView


class NewSubscriptionKey(RequestModel):
    """A key that spends a subscription's budget."""

    name: Label
    subscription_id: Text


class NewCreditKey(RequestModel):
    """A key that spends prepaid credit; `maxBudget` (USD) caps what it may spend in its lifetime."""

    name: Label
    max_budget: UsdNano | None = Field(None, examples=[25, "25.00"])
    rpm: PerMinute | None = None
    tpm: PerMinute | None = None


class CreatedKey(Payload):
    """A new key; `apiKey` is shown this once."""

    id: str
    name: str
    api_key: str

    @classmethod
    def of(cls, created: keys.CreatedKey) -> Self:
        """The one answer that shows the key."""
        return cls(id=created.id, name=created.name, api_key=created.key)


class KeyPayload(Payload):
    """A key."""

    id: str
    name: str
    key_type: str
    key_plan: str | None
    prefix: str
    is_active: bool
    subscription_id: str | None
    subscription_status: str | None
    max_budget: Usd | None
    spent: Usd
    rpm: int | None
    tpm: int | None
    created_at: Instant
    last_used_at: Instant | None

    @classmethod
    def of(cls, key: ApiKeyView) -> Self:
        """A key as an answer shows it."""
        return cls(
            id=key.id,
            name=key.name,
            key_type="credit" if key.subscription_id is None else "subscription",
            key_plan=key.plan_slug,
            prefix=key.prefix,
            is_active=key.is_active,
            subscription_id=key.subscription_id,
            subscription_status=key.subscription_status,
            max_budget=key.max_budget_nano,
            spent=key.spent_nano,
            rpm=key.rpm,
            tpm=key.tpm,
            created_at=key.created_at_us,
            last_used_at=key.last_used_at_us,
        )


class DeletedKey(Payload):
    """A key that is no longer accepted."""

    id: str
    deleted: bool


def router(context: ServiceContext) -> APIRouter:
    """API keys."""
    routes = APIRouter(tags=["keys"], dependencies=[CREDENTIAL])

    @routes.post(
        "/api/keys/subscription",
        responses=object_answer(CreatedKey, 404, body=True),
        openapi_extra=json_body(NewSubscriptionKey),
    )
    async def create_subscription_key(request: Request) -> Response:
        """Create a key that spends a subscription's budget. Scope `keys:write`."""
        caller, claim, asked = await authenticated_body(context, request, Scope.KEYS_WRITE, NewSubscriptionKey)
        wanted = WantedKey(asked.name, subscription_id=asked.subscription_id)
        created = await keys.create_key(context, caller.account_id, wanted, actor=caller.actor, claim=claim)
        return respond(success(CreatedKey.of(created)))

    @routes.post(
        "/api/keys/credit",
        responses=object_answer(CreatedKey, body=True),
        openapi_extra=json_body(NewCreditKey),
    )
    async def create_credit_key(request: Request) -> Response:
        """Create a key that spends prepaid credit. Scope `keys:write`."""
        caller, claim, asked = await authenticated_body(context, request, Scope.KEYS_WRITE, NewCreditKey)
        wanted = WantedKey(asked.name, max_budget_nano=asked.max_budget, rpm=asked.rpm, tpm=asked.tpm)
        created = await keys.create_key(context, caller.account_id, wanted, actor=caller.actor, claim=claim)
        return respond(success(CreatedKey.of(created)))

    @routes.get("/api/keys", responses=list_answer(KeyPayload))
    async def get_keys(request: Request) -> Response:
        """List the keys, newest first. Scope `keys:read`."""
        caller = await authenticate(context, request, Scope.KEYS_READ)
        found = await keys.list_keys(context, caller.account_id)
        return respond(await long_success(lambda: [KeyPayload.of(key) for key in found]))

    @routes.delete("/api/keys/{key_id}", responses=object_answer(DeletedKey, 404))
    async def remove_key(request: Request, key_id: str) -> Response:
        """Delete a key. Scope `keys:write`."""
        caller = await authenticate(context, request, Scope.KEYS_WRITE)
        await keys.delete_key(context, caller.account_id, key_id, actor=caller.actor)
        return respond(success(DeletedKey(id=key_id, deleted=True)))

    return routes
