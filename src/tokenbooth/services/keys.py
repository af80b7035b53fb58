"""API keys and management keys: create, list, delete. A key is in the clear only in what its creation returns."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from sqlalchemy import Connection

from tokenbooth.domain.keys import KeyKind, Scope, digest, shown_prefix
from tokenbooth.kit.errors import Conflict, InvalidRequest, NotFound
from tokenbooth.kit.ids import IdPrefix, is_id, new_id, new_key
from tokenbooth.services.context import ServiceContext
from tokenbooth.services.idempotency import Outcome, raise_if_refused, refusal, run_idempotent_tx
from tokenbooth.store.accounts import key_counts, keys, management_keys
from tokenbooth.store.accounts.bounds import row_limit
from tokenbooth.store.accounts.idempotency import Answer, Claim
from tokenbooth.store.accounts.key_counts import KeysOf
from tokenbooth.store.accounts.keys import ApiKeyView, NewApiKey
from tokenbooth.store.accounts.management_keys import ManagementKey, NewManagementKey

KEYS_PER_PAGE: Final = 50
_CREATED: Final = Answer(status=200, body="")


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key; `key` is the key itself, to be shown this once."""

    id: str
    name: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A page of the API keys that match a search, of how many keys, and of how many pages."""

    keys: Sequence[ApiKeyView]
    matching: int
    total: int
    number: int
    last: int


@dataclass(frozen=True, slots=True)
class ManagementKeyPage:
    """A page of the management keys, of how many keys, and of how many pages."""

    keys: Sequence[ManagementKey]
    total: int
    number: int
    last: int


@dataclass(frozen=True, slots=True)
class WantedKey:
    """An API key that is asked for.

    Attributes:
        name: its name for people.
        subscription_id: the subscription that pays; None for prepaid credit.
        max_budget_nano: what it may spend in its lifetime, in nano-USD; None for no cap.
        rpm, tpm: requests and tokens per minute of this key; None for no limit of its own.
    """

    name: str
    subscription_id: str | None = None
    max_budget_nano: int | None = None
    rpm: int | None = None
    tpm: int | None = None


@dataclass(frozen=True, slots=True)
class WantedManagementKey:
    """A management key that is asked for; `expires_at_us` (UTC microseconds) None is never."""

    name: str
    scopes: Collection[Scope]
    expires_at_us: int | None


async def list_keys(context: ServiceContext, account_id: str) -> list[ApiKeyView]:
    """An account's API keys, newest first, with every finished charge in what they spent."""
    await context.live.flush()
    return await context.store.report(account_id, keys_of, context, account_id)


async def find_key(context: ServiceContext, account_id: str, key_id: str) -> ApiKeyView:
    """An account's API key.

    Raises:
        NotFound: there is none, it is another account's, or it was deleted.
    """
    found = None
    if is_id(key_id):
        found = await context.store.read(
            keys.find_api_key, account_id, key_id, grace_us=_grace_us(context), now_us=context.clock.now_us()
        )
    if found is None:
        raise NotFound("key_not_found", "There is no API key with this id.")
    return found


def keys_of(conn: Connection, context: ServiceContext, account_id: str) -> list[ApiKeyView]:
    """As `list_keys`, in the caller's transaction, without waiting for charges."""
    return keys.list_api_keys(conn, account_id, grace_us=_grace_us(context), now_us=context.clock.now_us())


def key_page(conn: Connection, context: ServiceContext, account_id: str, *, search: str, number: int) -> KeyPage:
    """A page of an account's API keys, in the caller's transaction; without waiting for charges.

    Args:
        conn: the snapshot.
        context: the clock and the grace.
        account_id: whose.
        search: only keys with this in their name, whatever its letter case, or with this beginning or id; "" for all.
        number: which page, from 1; one that is too high is the last one.
    """
    total = matching = key_counts.count(conn, KeysOf.API, account_id).live
    last, at = _pages(total, number)
    if search:
        found = _matching_ids(conn, account_id, search.lower())
        matching = len(found)
        last, at = _pages(matching, number)
        ids = found[(at - 1) * KEYS_PER_PAGE : at * KEYS_PER_PAGE]
    else:
        ids = keys.live_key_ids(conn, account_id, offset=(at - 1) * KEYS_PER_PAGE, limit=KEYS_PER_PAGE)
    now_us = context.clock.now_us()
    shown = keys.find_api_keys(conn, account_id, ids, grace_us=_grace_us(context), now_us=now_us)
    return KeyPage(shown, matching=matching, total=total, number=at, last=last)


def _matching_ids(conn: Connection, account_id: str, wanted: str) -> list[str]:
    return [
        label.id
        for label in keys.key_labels(conn, account_id)
        if wanted in label.name.lower() or wanted in (label.prefix.lower(), label.id)
    ]


def insert_key(
    conn: Connection, context: ServiceContext, account_id: str, wanted: WantedKey, *, actor: str
) -> CreatedKey:
    """Create an API key.

    Args:
        conn: the transaction.
        context: the clock and the limits.
        account_id: whose key it becomes.
        wanted: the key.
        actor: the id of the key that asks, or what else asks.

    Raises:
        NotFound: the account has no such subscription.
        Conflict: the subscription has ended, or there are too many keys.
    """
    subscription_id = wanted.subscription_id
    if subscription_id is not None and not is_id(subscription_id):
        raise NotFound("subscription_not_found", "There is no subscription with this id.", param="subscriptionId")
    now_us, text = context.clock.now_us(), new_key(KeyKind.API)
    new = NewApiKey(
        id=new_id(IdPrefix.API_KEY, now_us),
        account_id=account_id,
        name=wanted.name,
        digest=digest(text),
        prefix=shown_prefix(text, KeyKind.API),
        subscription_id=subscription_id,
        max_budget_nano=wanted.max_budget_nano,
        rpm=wanted.rpm,
        tpm=wanted.tpm,
    )
    max_keys = row_limit(conn, account_id, context.settings.management.keys)
    keys.create_api_key(conn, new, max_keys=max_keys, grace_us=_grace_us(context), actor=actor, now_us=now_us)
    return CreatedKey(new.id, new.name, text)


async def create_key(
    context: ServiceContext, account_id: str, wanted: WantedKey, *, actor: str, claim: Claim | None
) -> CreatedKey:
    """Create an API key, once for a claim; errors as `insert_key` raises them.

    Raises:
        Conflict: the claim made a key before, which cannot be shown again, or it is used otherwise.
    """
    insert = partial(insert_key, context=context, account_id=account_id, wanted=wanted, actor=actor)
    return await _create_once(context, claim, insert)


async def delete_key(context: ServiceContext, account_id: str, key_id: str, *, actor: str) -> None:
    """Delete an API key; when this returns, this process refuses it.

    Raises:
        NotFound: there is no such key, it is another account's, or it was deleted before.
    """
    if not is_id(key_id):
        raise NotFound("key_not_found", "There is no API key with this id.")
    await context.store.write(keys.delete_api_key, account_id, key_id, actor=actor, now_us=context.clock.now_us())
    await context.live.refresh()


async def list_management_keys(context: ServiceContext, account_id: str) -> list[ManagementKey]:
    """An account's management keys, newest first."""
    return await context.store.report(account_id, management_keys.list_management_keys, account_id)


def management_key_page(conn: Connection, account_id: str, *, number: int) -> ManagementKeyPage:
    """A page of an account's management keys, in the caller's transaction; a number that is too high is the last's."""
    total = key_counts.count(conn, KeysOf.MANAGEMENT, account_id).live
    last, at = _pages(total, number)
    found = management_keys.list_management_keys(conn, account_id, offset=(at - 1) * KEYS_PER_PAGE, limit=KEYS_PER_PAGE)
    return ManagementKeyPage(found, total=total, number=at, last=last)


async def find_management_key(context: ServiceContext, account_id: str, key_id: str) -> ManagementKey:
    """An account's management key.

    Raises:
        NotFound: there is none, it is another account's, or it was deleted.
    """
    found = None
    if is_id(key_id):
        found = await context.store.read(management_keys.find_own_management_key, account_id, key_id)
    if found is None:
        raise NotFound("key_not_found", "There is no management key with this id.")
    return found


def insert_management_key(
    conn: Connection, context: ServiceContext, account_id: str, wanted: WantedManagementKey, *, actor: str
) -> CreatedKey:
    """Create a management key with exactly these scopes; whether they may be given is the caller's to check.

    Raises:
        Conflict: the account has too many.
    """
    now_us, text = context.clock.now_us(), new_key(KeyKind.MANAGEMENT)
    new = NewManagementKey(
        id=new_id(IdPrefix.MANAGEMENT_KEY, now_us),
        account_id=account_id,
        name=wanted.name,
        digest=digest(text),
        prefix=shown_prefix(text, KeyKind.MANAGEMENT),
        scopes=tuple(wanted.scopes),
        expires_at_us=wanted.expires_at_us,
    )
    max_keys = row_limit(conn, account_id, context.settings.management.keys)
    management_keys.create_management_key(conn, new, max_keys=max_keys, actor=actor, now_us=now_us)
    return CreatedKey(new.id, new.name, text)


async def create_management_key(
    context: ServiceContext, account_id: str, wanted: WantedManagementKey, *, actor: str, claim: Claim | None
) -> CreatedKey:
    """Create a management key, once for a claim; errors as `insert_management_key` raises them.

    Raises:
        Conflict: the claim made a key before, which cannot be shown again, or it is used otherwise.
    """
    insert = partial(insert_management_key, context=context, account_id=account_id, wanted=wanted, actor=actor)
    return await _create_once(context, claim, insert)


def already_created(key_id: str) -> Conflict:
    """What a repetition of a key's creation is told."""
    return Conflict(
        "key_already_created",
        "This request created the key named by `id` before. A key is shown only once: if it is lost, "
        "delete it and create another with a new Idempotency-Key.",
        param="Idempotency-Key",
        details={"id": key_id},
    )


def check_end(context: ServiceContext, expires_at_us: int | None) -> None:
    """Refuse an end of a new management key (UTC microseconds) that has passed.

    Raises:
        InvalidRequest: it has passed.
    """
    if expires_at_us is not None and expires_at_us <= context.clock.now_us():
        raise InvalidRequest("invalid_value", "`expiresAt` must be in the future.", param="expiresAt")


async def delete_management_key(context: ServiceContext, account_id: str, key_id: str, *, actor: str) -> None:
    """Delete a management key.

    Raises:
        NotFound: there is no such key, it is another account's, or it was deleted before.
    """
    if not is_id(key_id):
        raise NotFound("key_not_found", "There is no management key with this id.")
    now_us = context.clock.now_us()
    await context.store.write(management_keys.delete_management_key, account_id, key_id, actor=actor, now_us=now_us)
    await context.live.refresh()


async def _create_once(
    context: ServiceContext, claim: Claim | None, insert: Callable[[Connection], CreatedKey]
) -> CreatedKey:
    created: CreatedKey | None = None

    def effect(conn: Connection) -> Outcome:
        nonlocal created
        created = insert(conn)
        # The key goes to the caller alone: no record of the request holds it.
        return Outcome(_CREATED, replay=refusal(already_created(created.id)))

    raise_if_refused(await run_idempotent_tx(context, claim, effect))
    assert created is not None, "a repetition is always refused"
    return created


def _pages(rows: int, number: int) -> tuple[int, int]:
    """How many pages so many rows make, and the one of them that is meant by a number."""
    last = max(-(-rows // KEYS_PER_PAGE), 1)
    return last, max(min(number, last), 1)


def _grace_us(context: ServiceContext) -> int:
    return context.settings.billing.renewal_grace_us
