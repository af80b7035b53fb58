"""API keys and management keys: create, see once, list, delete."""

from typing import Annotated, Final

from pydantic import PlainValidator
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.overview import first_model
from tokenbooth.dashboard.views import Form, Pages, Visitor, labelled, see_other
from tokenbooth.domain.keys import DEFAULT_SCOPES, Scope
from tokenbooth.domain.subscriptions import SubscriptionStatus
from tokenbooth.kit.errors import InvalidRequest, TokenboothError
from tokenbooth.kit.pagination import page_number
from tokenbooth.kit.request_models import EndUs, Id, Label, RequestModel, UsdNano, read_integer
from tokenbooth.services import keys
from tokenbooth.services.keys import CreatedKey, KeyPage, WantedKey, WantedManagementKey
from tokenbooth.store.payments import billing
from tokenbooth.store.payments.billing import SubscriptionView

CREDIT: Final = "credit"
_SEARCH_MAX: Final = 100
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


def _read_typed(value: object) -> int:
    """A whole number above zero, as people type it."""
    text = str(value).replace(",", "")
    is_number = text.isascii() and text.isdigit() and len(text) < 20
    return read_integer(int(text) if is_number else text, at_least=1)


_TypedPerMinute = Annotated[int, PlainValidator(_read_typed)]


class _NewKey(RequestModel):
    """The form of a new API key; `pays` is a subscription's id, or `credit`."""

    name: Label
    pays: Id
    max_budget: UsdNano | None = None
    rpm: _TypedPerMinute | None = None
    tpm: _TypedPerMinute | None = None

    def wanted(self) -> WantedKey:
        """The key that is asked for.

        Raises:
            InvalidRequest: a subscription pays, and the key is to have limits of its own.
        """
        if self.pays == CREDIT:
            return WantedKey(self.name, max_budget_nano=self.max_budget, rpm=self.rpm, tpm=self.tpm)
        if (self.max_budget, self.rpm, self.tpm) != (None, None, None):
            raise InvalidRequest(
                "invalid_value", "Budget and limits of its own are for keys that are paid by credit.", param="pays"
            )
        return WantedKey(self.name, subscription_id=self.pays)


class _NewManagementKey(RequestModel):
    """The form of a new management key, without its scopes."""

    name: Label
    expires_at: EndUs | None = None


class KeyPages(Pages):
    """Lists, creates and deletes keys."""

    def routes(self) -> list[Route]:
        page, posted = self._web.for_visitors, self._web.posted
        return [
            Route("/dashboard/keys", page(self.show), methods=["GET"]),
            Route("/dashboard/keys", posted(self.create), methods=["POST"]),
            Route("/dashboard/keys/management", page(self.show_management), methods=["GET"]),
            Route("/dashboard/keys/management", posted(self.create_management), methods=["POST"]),
            Route("/dashboard/keys/management/{key_id}/delete", page(self.ask_management), methods=["GET"]),
            Route("/dashboard/keys/management/{key_id}/delete", posted(self.delete_management), methods=["POST"]),
            Route("/dashboard/keys/{key_id}/delete", page(self.ask), methods=["GET"]),
            Route("/dashboard/keys/{key_id}/delete", posted(self.delete), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor)

    async def create(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            wanted, claim = form.read(_NewKey).wanted(), form.claim(request, visitor.account_id)
            created = await keys.create_key(
                self._services, visitor.account_id, wanted, actor=visitor.actor, claim=claim
            )
        except TokenboothError as error:
            problem = labelled(error.message, _LABELS)
            return await self._page(request, visitor, status=error.status, problem=problem, given=form)
        return self._shown_once(request, visitor, created, is_management=False)

    async def ask(self, request: Request, visitor: Visitor) -> Response:
        key = await keys.find_key(self._services, visitor.account_id, str(request.path_params["key_id"]))
        return self._web.page(request, "key_delete.html", visitor, key=key, is_management=False)

    async def delete(self, request: Request, visitor: Visitor, _: Form) -> Response:
        key_id = str(request.path_params["key_id"])
        await keys.delete_key(self._services, visitor.account_id, key_id, actor=visitor.actor)
        return see_other("/dashboard/keys?done=deleted")

    async def show_management(self, request: Request, visitor: Visitor) -> Response:
        return await self._management_page(request, visitor)

    async def create_management(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            asked, claim = form.read(_NewManagementKey), form.claim(request, visitor.account_id)
            wanted = WantedManagementKey(asked.name, _scopes(form), asked.expires_at)
            keys.check_end(self._services, asked.expires_at)
            created = await keys.create_management_key(
                self._services, visitor.account_id, wanted, actor=visitor.actor, claim=claim
            )
        except TokenboothError as error:
            problem = labelled(error.message, _LABELS)
            return await self._management_page(request, visitor, status=error.status, problem=problem, given=form)
        return self._shown_once(request, visitor, created, is_management=True)

    async def ask_management(self, request: Request, visitor: Visitor) -> Response:
        key_id = str(request.path_params["key_id"])
        key = await keys.find_management_key(self._services, visitor.account_id, key_id)
        return self._web.page(request, "key_delete.html", visitor, key=key, is_management=True)

    async def delete_management(self, request: Request, visitor: Visitor, _: Form) -> Response:
        key_id = str(request.path_params["key_id"])
        await keys.delete_management_key(self._services, visitor.account_id, key_id, actor=visitor.actor)
        return see_other("/dashboard/keys/management?done=deleted")

    def _shown_once(self, request: Request, visitor: Visitor, created: CreatedKey, *, is_management: bool) -> Response:
        """The one page on which the key stands."""
        return self._web.page(
            request,
            "key_created.html",
            visitor,
            name=created.name,
            key=created.key,
            is_management=is_management,
            example_model=first_model(self._services),
        )

    async def _page(
        self,
        request: Request,
        visitor: Visitor,
        *,
        status: int = 200,
        problem: str | None = None,
        given: Form | None = None,
    ) -> Response:
        await self._services.live.flush()
        account_id, asked = visitor.account_id, request.query_params
        search, number = asked.get("q", "").strip()[:_SEARCH_MAX], page_number(asked.get("page", "1"))
        found, subscriptions = await self._services.store.report(account_id, self._look, account_id, search, number)
        return self._web.page(
            request,
            "keys.html",
            visitor,
            status=status,
            page=found,
            search=search,
            subscriptions=subscriptions,
            problem=problem,
            given=given or Form({}),
            chosen=(given or Form({})).text("pays") or asked.get("pays", ""),
            done=asked.get("done"),
        )

    def _look(
        self, conn: Connection, account_id: str, search: str, number: int
    ) -> tuple[KeyPage, list[SubscriptionView]]:
        services = self._services
        plans, now_us = services.catalog().plans, services.clock.now_us()
        status = billing.billing_status(conn, account_id, plans, now_us, with_keys=False)
        usable = [view for view in status.subscriptions if view.status is not SubscriptionStatus.CANCELED]
        return keys.key_page(conn, services, account_id, search=search, number=number), usable

    async def _management_page(
        self,
        request: Request,
        visitor: Visitor,
        *,
        status: int = 200,
        problem: str | None = None,
        given: Form | None = None,
    ) -> Response:
        number = page_number(request.query_params.get("page", "1"))
        account_id = visitor.account_id
        found = await self._services.store.report(account_id, keys.management_key_page, account_id, number=number)
        return self._web.page(
            request,
            "management_keys.html",
            visitor,
            status=status,
            page=found,
            scopes=[(str(scope), SCOPE_TEXTS[scope]) for scope in Scope],
            all_scopes=list(Scope),
            checked=(given.all("scopes") if given is not None else [str(scope) for scope in DEFAULT_SCOPES]),
            problem=problem,
            given=given or Form({}),
            done=request.query_params.get("done"),
        )


def _scopes(form: Form) -> list[Scope]:
    given = form.all("scopes")
    if not given:
        raise InvalidRequest("missing_parameter", "Give the key at least one right.", param="scopes")
    try:
        return [Scope(name) for name in dict.fromkeys(given)]
    except ValueError:
        raise InvalidRequest("invalid_value", "There is no such right.", param="scopes") from None
