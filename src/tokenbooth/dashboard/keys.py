"""API keys and management keys: create, see once, list, delete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.api import keys, management_keys
from tokenbooth.api.parsing import Fields
from tokenbooth.api.timestamps import read_end
from tokenbooth.dashboard.overview import first_model
from tokenbooth.dashboard.views import Form, Visitor, Web, labelled, payload_of, see_other
from tokenbooth.domain.keys import DEFAULT_SCOPES, Scope
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import InvalidRequest, NotFound, TokenboothError
from tokenbooth.store.accounts.idempotency import Answer
from tokenbooth.store.accounts.keys import ApiKeyView, list_api_keys
from tokenbooth.store.accounts.management_keys import ManagementKey, list_management_keys
from tokenbooth.store.payments import billing
from tokenbooth.store.payments.billing import SubscriptionView

PER_PAGE: Final = 50
CREDIT: Final = "credit"
_LABELS: Final = {
    "name": "Name",
    "maxBudget": "Budget",
    "rpm": "Requests per minute",
    "tpm": "Tokens per minute",
    "pays": "Paid by",
    "subscriptionId": "Paid by",
    "expiresAt": "Expires on",
    "scopes": "Rights",
}
SCOPE_TEXTS: Final = {
    Scope.BILLING_READ: "See subscriptions, credit and invoices",
    Scope.BILLING_WRITE: "Subscribe, cancel, top up",
    Scope.KEYS_READ: "List API keys",
    Scope.KEYS_WRITE: "Create and delete API keys",
    Scope.USAGE_READ: "Read usage and costs",
    Scope.MANAGEMENT_KEYS: "Create and delete management keys",
}


@dataclass(frozen=True, slots=True)
class _KeyPage:
    """One page of the list."""

    keys: Sequence[ApiKeyView]
    matching: int
    total: int
    number: int
    last: int
    search: str


class KeyPages:
    """The pages of this module."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._management = web.context.management

    def routes(self) -> list[Route]:
        """Where they are."""
        seen, posted = self._web.for_visitors, self._web.posted
        return [
            Route("/dashboard/keys", seen(self.show), methods=["GET"]),
            Route("/dashboard/keys", posted(self.create), methods=["POST"]),
            Route("/dashboard/keys/management", seen(self.show_management), methods=["GET"]),
            Route("/dashboard/keys/management", posted(self.create_management), methods=["POST"]),
            Route("/dashboard/keys/management/{key_id}/delete", seen(self.ask_management), methods=["GET"]),
            Route("/dashboard/keys/management/{key_id}/delete", posted(self.delete_management), methods=["POST"]),
            Route("/dashboard/keys/{key_id}/delete", seen(self.ask), methods=["GET"]),
            Route("/dashboard/keys/{key_id}/delete", posted(self.delete), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor)

    async def create(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            created = payload_of(await self._create(request, visitor, form))
        except TokenboothError as error:
            problem = labelled(error.message, _LABELS)
            return await self._page(request, visitor, status=error.status, problem=problem, given=form)
        return self._shown_once(request, visitor, created, "apiKey")

    async def ask(self, request: Request, visitor: Visitor) -> Response:
        key = await self._own(visitor, str(request.path_params["key_id"]))
        return self._web.page(request, "key_delete.html", visitor, key=key, is_management=False)

    async def delete(self, request: Request, visitor: Visitor, _: Form) -> Response:
        await keys.delete_key(
            self._management,
            account_id=visitor.account_id,
            key_id=str(request.path_params["key_id"]),
            actor=visitor.actor,
        )
        return see_other("/dashboard/keys?done=deleted")

    async def show_management(self, request: Request, visitor: Visitor) -> Response:
        return await self._management_page(request, visitor)

    async def create_management(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            fields = form.fields("name", "expiresAt")
            answer = await management_keys.create_key(
                self._management,
                account_id=visitor.account_id,
                actor=visitor.actor,
                name=fields.label("name"),
                scopes=_scopes(form),
                expires_at_us=_expires_at_us(fields, self._management.clock.now_us()),
                claim=form.claim(request, visitor.account_id),
            )
            created = payload_of(answer)
        except TokenboothError as error:
            problem = labelled(error.message, _LABELS)
            return await self._management_page(request, visitor, status=error.status, problem=problem, given=form)
        return self._shown_once(request, visitor, created, "managementKey")

    async def ask_management(self, request: Request, visitor: Visitor) -> Response:
        key_id = str(request.path_params["key_id"])
        found = await self._management.store.read(list_management_keys, visitor.account_id)
        key = next((key for key in found if key.id == key_id), None)
        if key is None:
            raise NotFound("key_not_found", "There is no management key with this id.")
        return self._web.page(request, "key_delete.html", visitor, key=key, is_management=True)

    async def delete_management(self, request: Request, visitor: Visitor, _: Form) -> Response:
        await management_keys.delete_key(
            self._management,
            account_id=visitor.account_id,
            key_id=str(request.path_params["key_id"]),
            actor=visitor.actor,
        )
        return see_other("/dashboard/keys/management?done=deleted")

    async def _create(self, request: Request, visitor: Visitor, form: Form) -> Answer:
        fields = form.fields("name", "maxBudget", "pays", numbers=("rpm", "tpm"))
        name, pays = fields.label("name"), fields.text("pays", max_length=100)
        claim = form.claim(request, visitor.account_id)
        if pays != CREDIT:
            if any(field in fields.values for field in ("maxBudget", "rpm", "tpm")):
                raise InvalidRequest(
                    "invalid_value", "Budget and limits of its own are for keys that are paid by credit.", param="pays"
                )
            return await keys.create_key(
                self._management,
                account_id=visitor.account_id,
                actor=visitor.actor,
                name=name,
                claim=claim,
                subscription_id=pays,
            )
        return await keys.create_key(
            self._management,
            account_id=visitor.account_id,
            actor=visitor.actor,
            name=name,
            claim=claim,
            max_budget_nano=fields.optional_amount_nano("maxBudget"),
            rpm=fields.optional_integer("rpm", at_least=1),
            tpm=fields.optional_integer("tpm", at_least=1),
        )

    def _shown_once(self, request: Request, visitor: Visitor, created: Mapping[str, object], field: str) -> Response:
        """The one page on which the key stands."""
        return self._web.page(
            request,
            "key_created.html",
            visitor,
            name=created["name"],
            key=created[field],
            is_management=field == "managementKey",
            example_model=first_model(self._management),
        )

    async def _own(self, visitor: Visitor, key_id: str) -> ApiKeyView:
        found = await self._management.store.read(self._list, visitor.account_id)
        key = next((key for key in found if key.id == key_id), None)
        if key is None:
            raise NotFound("key_not_found", "There is no API key with this id.")
        return key

    def _list(self, conn: Connection, account_id: str) -> list[ApiKeyView]:
        management = self._management
        grace_us = management.settings.billing.renewal_grace_us
        return list_api_keys(conn, account_id, grace_us=grace_us, now_us=management.clock.now_us())

    async def _page(
        self,
        request: Request,
        visitor: Visitor,
        *,
        status: int = 200,
        problem: str | None = None,
        given: Form | None = None,
    ) -> Response:
        await self._management.live.flush()
        found, subscriptions = await self._management.store.read(self._look, visitor.account_id)
        return self._web.page(
            request,
            "keys.html",
            visitor,
            status=status,
            page=_paged(found, request.query_params.get("q", ""), request.query_params.get("page", "1")),
            subscriptions=subscriptions,
            problem=problem,
            given=given or Form({}),
            chosen=(given or Form({})).text("pays") or request.query_params.get("pays", ""),
            done=request.query_params.get("done"),
        )

    def _look(self, conn: Connection, account_id: str) -> tuple[list[ApiKeyView], list[SubscriptionView]]:
        management = self._management
        status = billing.billing_status(conn, account_id, management.catalog().plans, management.clock.now_us())
        usable = [view for view in status.subscriptions if view.status is not SubscriptionStatus.CANCELED]
        return self._list(conn, account_id), usable

    async def _management_page(
        self,
        request: Request,
        visitor: Visitor,
        *,
        status: int = 200,
        problem: str | None = None,
        given: Form | None = None,
    ) -> Response:
        found: list[ManagementKey] = await self._management.store.read(list_management_keys, visitor.account_id)
        return self._web.page(
            request,
            "management_keys.html",
            visitor,
            status=status,
            keys=found,
            scopes=[(str(scope), SCOPE_TEXTS[scope]) for scope in Scope],
            all_scopes=list(Scope),
            checked=(given.all("scopes") if given is not None else [str(scope) for scope in DEFAULT_SCOPES]),
            problem=problem,
            given=given or Form({}),
            done=request.query_params.get("done"),
        )


def _paged(found: Sequence[ApiKeyView], search: str, number: str) -> _KeyPage:
    wanted = search.strip().lower()[:100]
    matching = [key for key in found if wanted in key.name.lower() or wanted in (key.prefix.lower(), key.id)]
    last = max(-(-len(matching) // PER_PAGE), 1)
    at = min(int(number), last) if number.isascii() and number.isdigit() and 0 < len(number) < 6 else 1
    at = max(at, 1)
    return _KeyPage(
        keys=matching[(at - 1) * PER_PAGE : at * PER_PAGE],
        matching=len(matching),
        total=len(found),
        number=at,
        last=last,
        search=search.strip()[:100],
    )


def _scopes(form: Form) -> list[Scope]:
    given = form.all("scopes")
    if not given:
        raise InvalidRequest("missing_parameter", "Give the key at least one right.", param="scopes")
    try:
        return [Scope(name) for name in dict.fromkeys(given)]
    except ValueError:
        raise InvalidRequest("invalid_value", "There is no such right.", param="scopes") from None


def _expires_at_us(fields: Fields, now_us: int) -> int | None:
    """The end of the day that was chosen; None for never."""
    text = fields.optional_text("expiresAt", max_length=40)
    if text is None:
        return None
    expires_at_us = read_end(text, "expiresAt")
    if expires_at_us <= now_us:
        raise InvalidRequest("invalid_value", "`expiresAt` must be in the future.", param="expiresAt")
    return expires_at_us
