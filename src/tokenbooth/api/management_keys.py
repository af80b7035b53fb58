"""Management keys: create, list, delete. A key never makes one that may more, or lives longer, than itself."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import Caller, authenticate
from tokenbooth.api.idempotency import Outcome, once, read_claim
from tokenbooth.api.keys import DeletedKey, Name, is_id, shown_once
from tokenbooth.api.openapi import CREDENTIAL, Payload, RequestBody, json_body, list_answer, object_answer
from tokenbooth.api.parsing import Fields, read_body
from tokenbooth.api.responses import Json, respond, success
from tokenbooth.api.timestamps import read_instant
from tokenbooth.domain.keys import DEFAULT_SCOPES, KeyKind, Scope, digest, shown_prefix
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import Forbidden, InvalidRequest, NotFound
from tokenbooth.kit.ids import IdPrefix, new_id, new_key
from tokenbooth.services.context import ServiceContext
from tokenbooth.store.accounts.idempotency import Answer, Claim
from tokenbooth.store.accounts.management_keys import (
    ManagementKey,
    NewManagementKey,
    create_management_key,
    delete_management_key,
    list_management_keys,
)


class NewKeyBody(RequestBody):
    """A management key; without `scopes` it gets all of its creator's but `management-keys`."""

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] | None = None
    expires_at: str | None = Field(
        None,
        description="ISO 8601 with a zone, in the future.",
        json_schema_extra={"format": "date-time"},
    )


class CreatedManagementKey(Payload):
    """A new key; `managementKey` is shown this once."""

    id: str
    name: str
    scopes: list[str]
    expires_at: str | None
    management_key: str


class ManagementKeyPayload(Payload):
    """A management key."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None


def management_key_payload(key: ManagementKey) -> dict[str, Json]:
    """A management key as an answer shows it."""
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": _in_order(key.scopes),
        "createdAt": iso_ms(key.created_at_us),
        "expiresAt": _optional_iso(key.expires_at_us),
        "lastUsedAt": _optional_iso(key.last_used_at_us),
    }


async def create_key(
    context: ServiceContext,
    *,
    account_id: str,
    actor: str,
    name: str,
    scopes: Sequence[Scope],
    expires_at_us: int | None,
    claim: Claim | None = None,
) -> Answer:
    """Create a management key with exactly these rights; whether they may be given is the caller's to check.

    Raises:
        Conflict: the account has too many, or the claim is used otherwise.
    """
    now_us = context.clock.now_us()
    key = new_key(KeyKind.MANAGEMENT)
    new = NewManagementKey(
        id=new_id(IdPrefix.MANAGEMENT_KEY, now_us),
        account_id=account_id,
        name=name,
        digest=digest(key),
        prefix=shown_prefix(key, KeyKind.MANAGEMENT),
        scopes=tuple(scopes),
        expires_at_us=expires_at_us,
    )
    payload: dict[str, Json] = {
        "id": new.id,
        "name": new.name,
        "scopes": _in_order(new.scopes),
        "expiresAt": _optional_iso(new.expires_at_us),
        "managementKey": key,
    }

    def effect(conn: Connection) -> Outcome:
        max_keys = context.settings.management.max_keys
        create_management_key(conn, new, max_keys=max_keys, actor=actor, now_us=now_us)
        return shown_once(success(payload), new.id)

    return await once(context, claim, effect)


async def delete_key(context: ServiceContext, *, account_id: str, key_id: str, actor: str) -> None:
    """Delete a management key.

    Raises:
        NotFound: there is no such key, it is another account's, or it was deleted before.
    """
    if not is_id(key_id):
        raise NotFound("key_not_found", "There is no management key with this id.")
    await context.store.write(delete_management_key, account_id, key_id, actor=actor, now_us=context.clock.now_us())
    await context.live.refresh()


def router(context: ServiceContext) -> APIRouter:
    """The routes of this module."""
    routes = APIRouter(tags=["management keys"], dependencies=[CREDENTIAL])

    @routes.post(
        "/api/keys/management",
        responses=object_answer(CreatedManagementKey, body=True),
        openapi_extra=json_body(NewKeyBody),
    )
    async def create(request: Request) -> Response:
        """Create a management key. Scope `management-keys`."""
        caller = await authenticate(context, request, Scope.MANAGEMENT_KEYS)
        body = await read_body(request, max_bytes=context.settings.management.max_body_bytes)
        fields = body.only("name", "scopes", "expiresAt")
        return respond(
            await create_key(
                context,
                account_id=caller.account_id,
                actor=caller.actor,
                claim=read_claim(request, caller.account_id, body.raw),
                name=fields.label("name"),
                scopes=_scopes(fields, caller),
                expires_at_us=_expires_at_us(fields, caller, context.clock.now_us()),
            )
        )

    @routes.get("/api/keys/management", responses=list_answer(ManagementKeyPayload))
    async def show(request: Request) -> Response:
        """List the management keys, newest first. Scope `management-keys`."""
        caller = await authenticate(context, request, Scope.MANAGEMENT_KEYS)
        found = await context.store.read(list_management_keys, caller.account_id)
        return respond(success([management_key_payload(key) for key in found]))

    @routes.delete("/api/keys/management/{key_id}", responses=object_answer(DeletedKey, 404))
    async def remove(request: Request, key_id: str) -> Response:
        """Delete a management key, also the one that asks. Scope `management-keys`."""
        caller = await authenticate(context, request, Scope.MANAGEMENT_KEYS)
        await delete_key(context, account_id=caller.account_id, key_id=key_id, actor=caller.actor)
        return respond(success({"id": key_id, "deleted": True}))

    return routes


def _scopes(fields: Fields, caller: Caller) -> list[Scope]:
    """The scopes asked for, or those of the default that the caller has."""
    names = fields.optional_texts("scopes", max_items=len(Scope))
    if names is None:
        scopes: list[Scope] = [scope for scope in DEFAULT_SCOPES if scope in caller.scopes]
        if not scopes:
            raise InvalidRequest(
                "missing_parameter",
                "`scopes` is missing; your key has none of the default ones.",
                param="scopes",
            )
        return scopes
    try:
        asked = {Scope(name) for name in names}
    except ValueError:
        known = ", ".join(Scope)
        raise InvalidRequest("invalid_value", f"`scopes` may hold: {known}.", param="scopes") from None
    beyond = _in_order(asked - caller.scopes)
    if beyond:
        raise Forbidden(
            "insufficient_scope",
            f"A key cannot give scopes that it lacks itself: {', '.join(map(str, beyond))}.",
            param="scopes",
        )
    return list(asked)


def _expires_at_us(fields: Fields, caller: Caller, now_us: int) -> int | None:
    """When the new key ends: as asked, else when the caller ends."""
    text = fields.optional_text("expiresAt", max_length=40)
    if text is None:
        return caller.expires_at_us
    expires_at_us = read_instant(text, "expiresAt")
    if expires_at_us <= now_us:
        raise InvalidRequest("invalid_value", "`expiresAt` must be in the future.", param="expiresAt")
    if caller.expires_at_us is not None and expires_at_us > caller.expires_at_us:
        raise Forbidden(
            "lifetime_exceeded",
            f"A key cannot outlive the one that creates it, which expires at {iso_ms(caller.expires_at_us)}.",
            param="expiresAt",
        )
    return expires_at_us


def _in_order(scopes: Sequence[Scope] | set[Scope] | frozenset[Scope]) -> list[Json]:
    return [str(scope) for scope in Scope if scope in scopes]


def _optional_iso(at_us: int | None) -> str | None:
    return None if at_us is None else iso_ms(at_us)
