"""Management keys: create, list, delete. A key never makes one that may more, or lives longer, than itself."""

from collections.abc import Collection
from typing import Annotated, Final, Self

from fastapi import APIRouter
from pydantic import Field, PlainValidator, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from tokenbooth.api.auth import Caller, authenticate
from tokenbooth.api.keys import DeletedKey
from tokenbooth.api.openapi import CREDENTIAL, json_body, list_answer, object_answer
from tokenbooth.api.parsing import authenticated_body
from tokenbooth.api.responses import long_success, respond, success
from tokenbooth.api.schemas import Instant, Payload
from tokenbooth.domain.keys import DEFAULT_SCOPES, Scope
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import Forbidden, InvalidRequest
from tokenbooth.kit.request_models import InstantUs, Label, RequestModel, refuse_type, refuse_value
from tokenbooth.services import keys
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.keys import CreatedKey, WantedManagementKey
from tokenbooth.store.accounts.management_keys import ManagementKey

_SCOPES: Final = ", ".join(Scope)


def _read_scopes(value: object) -> frozenset[Scope]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refuse_type("a list of strings")
    if not 1 <= len(value) <= len(Scope):
        raise refuse_value(f"must have 1 to {len(Scope)} entries")
    try:
        return frozenset(map(Scope, value))
    except ValueError:
        raise refuse_value(f"may hold: {_SCOPES}") from None


Scopes = Annotated[
    frozenset[Scope],
    PlainValidator(_read_scopes),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "enum": [str(scope) for scope in Scope]},
            "minItems": 1,
            "maxItems": len(Scope),
        }
    ),
]


class NewKeyBody(RequestModel):
    """A management key; without `scopes` it gets all of its creator's but `management-keys`."""

    name: Label
    scopes: Scopes | None = None
    expires_at: InstantUs | None = Field(None, description="ISO 8601 with a zone, in the future.")


class CreatedManagementKey(Payload):
    """A new key; `managementKey` is shown this once."""

    id: str
    name: str
    scopes: list[Scope]
    expires_at: Instant | None
    management_key: str

    @classmethod
    def of(cls, created: CreatedKey, wanted: WantedManagementKey) -> Self:
        """The one answer that shows the key."""
        return cls(
            id=created.id,
            name=created.name,
            scopes=_in_order(wanted.scopes),
            expires_at=wanted.expires_at_us,
            management_key=created.key,
        )


class ManagementKeyPayload(Payload):
    """A management key."""

    id: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None

    @classmethod
    def of(cls, key: ManagementKey) -> Self:
        """A management key as an answer shows it."""
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            scopes=_in_order(key.scopes),
            created_at=key.created_at_us,
            expires_at=key.expires_at_us,
            last_used_at=key.last_used_at_us,
        )


def router(context: ServiceContext) -> APIRouter:
    """Management keys."""
    routes = APIRouter(tags=["management keys"], dependencies=[CREDENTIAL])

    @routes.post(
        "/api/keys/management",
        responses=object_answer(CreatedManagementKey, body=True),
        openapi_extra=json_body(NewKeyBody),
    )
    async def create(request: Request) -> Response:
        """Create a management key. Scope `management-keys`."""
        caller, claim, asked = await authenticated_body(context, request, Scope.MANAGEMENT_KEYS, NewKeyBody)
        wanted = WantedManagementKey(
            asked.name,
            scopes=_permitted_scopes(asked.scopes, caller),
            expires_at_us=_permitted_end_us(context, caller, asked.expires_at),
        )
        created = await keys.create_management_key(context, caller.account_id, wanted, actor=caller.actor, claim=claim)
        return respond(success(CreatedManagementKey.of(created, wanted)))

    @routes.get("/api/keys/management", responses=list_answer(ManagementKeyPayload))
    async def show(request: Request) -> Response:
        """List the management keys, newest first. Scope `management-keys`."""
        caller = await authenticate(context, request, Scope.MANAGEMENT_KEYS)
        found = await keys.list_management_keys(context, caller.account_id)
        return respond(await long_success(lambda: [ManagementKeyPayload.of(key) for key in found]))

    @routes.delete("/api/keys/management/{key_id}", responses=object_answer(DeletedKey, 404))
    async def remove(request: Request, key_id: str) -> Response:
        """Delete a management key, also the one that asks. Scope `management-keys`."""
        caller = await authenticate(context, request, Scope.MANAGEMENT_KEYS)
        await keys.delete_management_key(context, caller.account_id, key_id, actor=caller.actor)
        return respond(success(DeletedKey(id=key_id, deleted=True)))

    return routes


def _permitted_scopes(asked: frozenset[Scope] | None, caller: Caller) -> Collection[Scope]:
    """The scopes asked for, or those of the default that the caller has."""
    if asked is None:
        scopes = [scope for scope in DEFAULT_SCOPES if scope in caller.scopes]
        if not scopes:
            raise InvalidRequest(
                "missing_parameter",
                "`scopes` is missing; your key has none of the default ones.",
                param="scopes",
            )
        return scopes
    beyond = _in_order(asked - caller.scopes)
    if beyond:
        raise Forbidden(
            "insufficient_scope",
            f"A key cannot give scopes that it lacks itself: {', '.join(beyond)}.",
            param="scopes",
        )
    return asked


def _permitted_end_us(context: ServiceContext, caller: Caller, asked_us: int | None) -> int | None:
    """When the new key ends: as asked, else when the caller ends."""
    if asked_us is None:
        return caller.expires_at_us
    keys.check_end(context, asked_us)
    if caller.expires_at_us is not None and asked_us > caller.expires_at_us:
        raise Forbidden(
            "lifetime_exceeded",
            f"A key cannot outlive the one that creates it, which expires at {iso_ms(caller.expires_at_us)}.",
            param="expiresAt",
        )
    return asked_us


def _in_order(scopes: Collection[Scope]) -> list[Scope]:
    return [scope for scope in Scope if scope in scopes]
