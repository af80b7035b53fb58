"""Who asks: the management key of a request (or the dashboard's log-in), what it may do, and how often.

A mistyped key is recognised by its checksum, without a look-up. No error and no log line shows a key.
"""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from tokenbooth.domain.keys import ALL_SCOPES, KeyKind, Scope, digest, is_well_formed, kind_of
from tokenbooth.kit.clock import iso_ms
from tokenbooth.kit.errors import Forbidden, RateLimited, Unauthenticated
from tokenbooth.kit.middleware import notes_of
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.session import client_address, require_own_origin, session_owner
from tokenbooth.store.accounts.audit_log import Actor, Entry
from tokenbooth.store.accounts.management_keys import ManagementKey, find_management_key, touch_management_key
from tokenbooth.store.accounts.sessions import SessionOwner

_TOUCH_EVERY_US: Final = 60 * 1_000_000
_READ_METHODS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that asks, and the management key that it asks with.

    Attributes:
        account_id: the account.
        key_id: the management key, or the log-in.
        scopes: what the key may do.
        expires_at_us: when the key ends, UTC microseconds; None for never.
        address: of the client.
    """

    account_id: str
    key_id: str
    scopes: frozenset[Scope]
    expires_at_us: int | None
    address: str

    @property
    def actor(self) -> Actor:
        """Who the audit log says it was."""
        return Actor(self.key_id, self.address)

    def entry(self, context: ServiceContext, action: str, detail: str) -> Entry:
        """What the audit log says when the call has succeeded."""
        return Entry(self.actor, action, self.account_id, detail, context.clock.now_us())


async def authenticate(context: ServiceContext, request: Request, scope: Scope) -> Caller:
    """Let a request in, or refuse it; called first by every route that needs a credential.

    Args:
        context: the dependencies.
        request: the request; a method other than GET or HEAD counts as a write.
        scope: what the route does.

    Raises:
        Unauthenticated: no management key, or not a valid one.
        RateLimited: the account asks too often.
        Forbidden: the account is suspended and this is a write, the key lacks the scope, or a log-in is used
            from another site.
    """
    owner = None if request.headers.getlist("authorization") else await session_owner(context, request)
    if owner is not None:
        return _logged_in(context, request, owner)
    key = await _valid_key(context, request)
    _note_use(context, request, key)
    _admit(context, request, key.account_id, key.id, is_suspended=key.account_suspended)
    if scope not in key.scopes:
        raise Forbidden("insufficient_scope", f"This management key lacks the scope `{scope}`.")
    return Caller(
        account_id=key.account_id,
        key_id=key.id,
        scopes=key.scopes,
        expires_at_us=key.expires_at_us,
        address=client_address(request),
    )


def _logged_in(context: ServiceContext, request: Request, owner: SessionOwner) -> Caller:
    """The dashboard's log-in may do everything, but only for pages of this site."""
    require_own_origin(context, request, writes=request.method not in _READ_METHODS)
    _admit(context, request, owner.account_id, owner.session_id, is_suspended=owner.is_suspended)
    return Caller(
        account_id=owner.account_id,
        key_id=owner.session_id,
        scopes=frozenset(ALL_SCOPES),
        expires_at_us=None,
        address=client_address(request),
    )


def _admit(
    context: ServiceContext, request: Request, account_id: str, credential_id: str, *, is_suspended: bool
) -> None:
    notes = notes_of(request)
    notes.account_id, notes.key_id = account_id, credential_id
    limit = context.settings.management.requests_per_minute
    wait_s = context.rates.admit(account_id, limit=limit, now_us=context.clock.monotonic_us())
    if wait_s:
        raise RateLimited(
            "rate_limit_exceeded",
            f"This account may make {limit} management requests per minute. Wait and try again.",
            retry_after_s=wait_s,
        )
    if is_suspended and request.method not in _READ_METHODS:
        raise Forbidden("account_suspended", "This account is suspended. Contact the operator.")


async def _valid_key(context: ServiceContext, request: Request) -> ManagementKey:
    text = _bearer(request)
    if kind_of(text) is KeyKind.API:
        raise _refused("This is an API key (sk_live_). Management calls need a management key (mk_).")
    if not is_well_formed(text, KeyKind.MANAGEMENT):
        raise _refused("The management key is mistyped or incomplete. A management key begins with mk_.")
    found = await context.store.read(find_management_key, digest(text))
    if found is None:
        raise _refused("There is no such management key; it may have been deleted.")
    if found.expires_at_us is not None and context.clock.now_us() >= found.expires_at_us:
        raise _refused(f"This management key expired at {iso_ms(found.expires_at_us)}. Create a new one.")
    return found


def _bearer(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    if not headers:
        raise _refused("No management key. Send `Authorization: Bearer mk_…`.")
    scheme, _, text = headers[0].strip().partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not text.strip():
        raise _refused("Send the management key as one header, `Authorization: Bearer mk_…`.")
    return text.strip()


def _note_use(context: ServiceContext, request: Request, key: ManagementKey) -> None:
    """Write down that the key was used, after the answer and not more than about once a minute."""
    now_us = context.clock.now_us()
    if key.last_used_at_us is not None and now_us < key.last_used_at_us + _TOUCH_EVERY_US:
        return

    async def touch() -> None:
        await context.store.write(touch_management_key, key.id, now_us=now_us)

    notes_of(request).after_answer.append(touch)


def _refused(message: str) -> Unauthenticated:
    return Unauthenticated("invalid_management_key", message)
