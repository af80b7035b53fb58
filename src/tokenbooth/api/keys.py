"""API keys: create for a subscription or for prepaid credit, list, delete. A key is shown only once."""

import re
from typing import Annotated, Final

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import authenticate
from tokenbooth.api.idempotency import Outcome, once, read_claim
from tokenbooth.api.openapi import CREDENTIAL, Payload, RequestBody, json_body, list_answer, object_answer
from tokenbooth.api.parsing import INT32_MAX, Body, read_body
from tokenbooth.api.responses import Json, refusal, respond, success
from tokenbooth.domain.keys import KeyKind, Scope, digest, shown_prefix
from tokenbooth.domain.money import format_usd
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import Conflict, NotFound
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.idempotency import Answer, Claim
from tokenbooth.store.accounts.keys import ApiKeyView, NewApiKey, create_api_key, delete_api_key, list_api_keys

_ID: Final = re.compile(r"[a-z]{2,8}_[0-9a-f]{26}", re.ASCII)

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\\]+$",
        description="Printable characters, not only spaces, no backslash.",
        examples=["prod-api"],
    ),
]
Amount = Annotated[float, Field(gt=0, lt=1e9)] | Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")]
PerMinute = Annotated[int, Field(ge=1, le=INT32_MAX)]


class NewSubscriptionKey(RequestBody):
    """A key that spends a subscription's budget."""

    name: Name
    subscription_id: str


class NewCreditKey(RequestBody):
    """A key that spends prepaid credit; `maxBudget` (USD) caps what it may spend in its lifetime."""

    name: Name
    max_budget: Amount | None = Field(None, examples=[25, "25.00"])
    rpm: PerMinute | None = None
    tpm: PerMinute | None = None


class CreatedKey(Payload):
    """A new key; `apiKey` is shown this once."""

    id: str
    name: str
    api_key: str


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
    max_budget: str | None
    spent: str
    rpm: int | None
    tpm: int | None
    created_at: str
    last_used_at: str | None


class DeletedKey(Payload):
    """A key that is no longer accepted."""

    id: str
    deleted: bool


def is_id(text: str) -> bool:
    """Whether this is an id of ours at all; nothing else needs a look-up."""
    return _ID.fullmatch(text) is not None


def key_payload(key: ApiKeyView) -> dict[str, Json]:
    """A key as an answer shows it."""
    return {
        "id": key.id,
        "name": key.name,
        "keyType": "credit" if key.subscription_id is None else "subscription",
        "keyPlan": key.plan_slug,
        "prefix": key.prefix,
        "isActive": key.is_active,
        "subscriptionId": key.subscription_id,
        "subscriptionStatus": None if key.subscription_status is None else str(key.subscription_status),
        "maxBudget": None if key.max_budget_nano is None else format_usd(key.max_budget_nano),
        "spent": format_usd(key.spent_nano),
        "rpm": key.rpm,
        "tpm": key.tpm,
        "createdAt": iso_ms(key.created_at_us),
        "lastUsedAt": None if key.last_used_at_us is None else iso_ms(key.last_used_at_us),
    }


async def list_keys(context: ServiceContext, account_id: str) -> list[Json]:
    """The payload of an account's keys, newest first, with every finished charge in it."""
    await context.live.flush()
    found = await context.store.read(
        list_api_keys, account_id, grace_us=_grace_us(context), now_us=context.clock.now_us()
    )
    return [key_payload(key) for key in found]


async def create_key(
    context: ServiceContext,
    *,
    account_id: str,
    actor: str,
    name: str,
    claim: Claim | None = None,
    subscription_id: str | None = None,
    max_budget_nano: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
) -> Answer:
    """Create an API key.

    Args:
        context: the dependencies.
        account_id: whose key it becomes.
        actor: the id of the key that asks, or what else asks.
        name: its name for people.
        claim: the request's `Idempotency-Key`; a repetition cannot show the key again.
        subscription_id: the subscription that pays; None for prepaid credit.
        max_budget_nano: the lifetime cap in nano-USD.
        rpm, tpm: limits of this key, per minute.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: the subscription has ended, there are too many keys, or the claim is used otherwise.
    """
    now_us = context.clock.now_us()
    key = new_key(KeyKind.API)
    new = NewApiKey(
        id=new_id(IdPrefix.API_KEY, now_us),
        account_id=account_id,
        name=name,
        digest=digest(key),
        prefix=shown_prefix(key, KeyKind.API),
        subscription_id=subscription_id,
        max_budget_nano=max_budget_nano,
        rpm=rpm,
        tpm=tpm,
    )

    def effect(conn: Connection) -> Outcome:
        if subscription_id is not None and not is_id(subscription_id):
            raise NotFound("subscription_not_found", "There is no subscription with this id.", param="subscriptionId")
        create_api_key(
            conn,
            new,
            max_keys=context.settings.management.max_keys,
            grace_us=_grace_us(context),
            actor=actor,
            now_us=now_us,
        )
        return shown_once(success({"id": new.id, "name": new.name, "apiKey": key}), new.id)

    return await once(context, claim, effect)


async def delete_key(context: ServiceContext, *, account_id: str, key_id: str, actor: str) -> None:
    """Delete an API key; when this returns, this process refuses it.

    Raises:
        NotFound: there is no such key, it is another account's, or it was deleted before.
    """
    if not is_id(key_id):
        raise NotFound("key_not_found", "There is no API key with this id.")
    await context.store.write(delete_api_key, account_id, key_id, actor=actor, now_us=context.clock.now_us())
    await context.live.refresh()


def shown_once(answer: Answer, key_id: str) -> Outcome:
    """The outcome of a key's creation: a repetition is told that the key exists, and cannot see it again."""
    repeated = Conflict(
        "key_already_created",
        "This request created the key named by `id` before. A key is shown only once: if it is lost, "
        "delete it and create another with a new Idempotency-Key.",
        param="Idempotency-Key",
    )
    return Outcome(answer=answer, kept=refusal(repeated, id=key_id))


def router(context: ServiceContext) -> APIRouter:
    """The routes of this module."""
    routes = APIRouter(tags=["keys"], dependencies=[CREDENTIAL])

    @routes.post(
        "/api/keys/subscription",
        responses=object_answer(CreatedKey, 404, body=True),
        openapi_extra=json_body(NewSubscriptionKey),
    )
    async def create_subscription_key(request: Request) -> Response:
        """Create a key that spends a subscription's budget. Scope `keys:write`."""
        caller = await authenticate(context, request, Scope.KEYS_WRITE)
        body = await _body(request)
        fields = body.only("name", "subscriptionId")
        name, subscription_id = fields.label("name"), fields.text("subscriptionId")
        return respond(
            await create_key(
                context,
                account_id=caller.account_id,
                actor=caller.actor,
                claim=read_claim(request, caller.account_id, body.raw),
                name=name,
                subscription_id=subscription_id,
            )
        )

    @routes.post(
        "/api/keys/credit",
        responses=object_answer(CreatedKey, body=True),
        openapi_extra=json_body(NewCreditKey),
    )
    async def create_credit_key(request: Request) -> Response:
        """Create a key that spends prepaid credit. Scope `keys:write`."""
        caller = await authenticate(context, request, Scope.KEYS_WRITE)
        body = await _body(request)
        fields = body.only("name", "maxBudget", "rpm", "tpm")
        return respond(
            await create_key(
                context,
                account_id=caller.account_id,
                actor=caller.actor,
                claim=read_claim(request, caller.account_id, body.raw),
                name=fields.label("name"),
                max_budget_nano=fields.optional_amount_nano("maxBudget"),
                rpm=fields.optional_integer("rpm", at_least=1),
                tpm=fields.optional_integer("tpm", at_least=1),
            )
        )

    @routes.get("/api/keys", responses=list_answer(KeyPayload))
    async def get_keys(request: Request) -> Response:
        """List the keys, newest first. Scope `keys:read`."""
        caller = await authenticate(context, request, Scope.KEYS_READ)
        return respond(success(await list_keys(context, caller.account_id)))

    @routes.delete("/api/keys/{key_id}", responses=object_answer(DeletedKey, 404))
    async def remove_key(request: Request, key_id: str) -> Response:
        """Delete a key. Scope `keys:write`."""
        caller = await authenticate(context, request, Scope.KEYS_WRITE)
        await delete_key(context, account_id=caller.account_id, key_id=key_id, actor=caller.actor)
        return respond(success({"id": key_id, "deleted": True}))

    async def _body(request: Request) -> Body:
        return await read_body(request, max_bytes=context.settings.management.max_body_bytes)

    return routes


def _grace_us(context: ServiceContext) -> int:
    return context.settings.billing.renewal_grace_us
