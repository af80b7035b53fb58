"""What every page needs: who is looking, forms that only our pages can send, and templates.

A handler behind `for_visitors` or `posted` is called with somebody who is logged in; one behind `posted` may change
things.
"""

import hashlib
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tokenbooth.dashboard.context import DashboardContext
from tokenbooth.dashboard.filters import FILTERS
from tokenbooth.kit.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    TokenboothError,
    UnsupportedMedia,
)
from tokenbooth.kit.request_body import read_raw
from tokenbooth.kit.request_models import M, names_of, validate
from tokenbooth.kit.texts import UnstorableText, is_storable
from tokenbooth.services.session import client_address, require_own_origin, session_owner
from tokenbooth.store.accounts.audit_log import Actor, Entry
from tokenbooth.store.accounts.idempotency import Claim
from tokenbooth.store.accounts.sessions import SessionOwner, is_due_to_touch, touch_session

STATIC_PATH: Final = "/dashboard/static"
ONCE_FIELD: Final = "once"
_HERE: Final = Path(__file__).parent
_MAX_FORM_BYTES: Final = 16 * 1024
_MAX_FIELDS: Final = 50
_ONCE_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in.

    Attributes:
        owner: who.
        address: of the client.
    """

    owner: SessionOwner
    address: str = ""

    @property
    def account_id(self) -> str:
        """The account."""
        return self.owner.account_id

    @property
    def actor(self) -> Actor:
        """Who the audit log says it was."""
        return Actor(self.account_id, self.address)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form as they were sent; empty ones count as missing."""

    values: Mapping[str, list[str]] = field(repr=False)

    def text(self, name: str) -> str:
        """A field; "" when it is missing."""
        return self.values.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        """All values of a field that may stand there several times."""
        return self.values.get(name, [])

    def read(self, model: type[M]) -> M:
        """The form as a model.

        Raises:
            InvalidRequest: a field is missing, or is not what belongs there.
        """
        texts = {name: self.text(name).strip() for name in names_of(model)}
        return validate(model, {name: text for name, text in texts.items() if text})

    def claim(self, request: Request, account_id: str) -> Claim | None:
        """What makes sending this form twice one thing; None for a form without its `once`."""
        key = self.text(ONCE_FIELD)
        if not 0 < len(key) <= _ONCE_MAX or not key.isascii():
            return None
        content = sorted((name, value) for name, values in self.values.items() for value in values)
        body = hashlib.sha256(repr(content).encode()).digest()
        return Claim(account_id=account_id, route=f"POST {request.url.path}", key=key, body_sha256=body)


Handler = Callable[[Request], Awaitable[Response]]
VisitorHandler = Callable[[Request, Visitor], Awaitable[Response]]
FormHandler = Callable[[Request, Visitor, Form], Awaitable[Response]]


class Web:
    """Templates and guards; one for the dashboard."""

    def __init__(self, context: DashboardContext) -> None:
        self.context = context
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals.update(
            static=_static_addresses().__getitem__,
            version=context.version,
            base_url=context.services.settings.server.base_url(),
            once=lambda: secrets.token_hex(12),
            plan_name=self._plan_name,
        )

    async def visitor(self, request: Request) -> Visitor | None:
        """Who is logged in; None for nobody."""
        services = self.context.services
        owner = await session_owner(services, request)
        return None if owner is None else Visitor(owner, client_address(request))

    def for_visitors(self, handler: VisitorHandler) -> Handler:
        """A page for people who are logged in; others are sent to log in, and back."""

        async def guarded(request: Request) -> Response:
            visitor = await self.visitor(request)
            if visitor is None:
                return _to_log_in(request)
            try:
                response = await handler(request, visitor)
            except TokenboothError as error:
                return self.failure(request, error, visitor)
            now_us = self.context.services.clock.now_us()
            if is_due_to_touch(visitor.owner, now_us):
                response.background = BackgroundTask(self._touch, visitor.owner.session_id, now_us)
            return response

        return guarded

    def for_admins(self, handler: VisitorHandler) -> Handler:
        """A page of the operator's; for everybody else it is not there."""

        async def checked(request: Request, visitor: Visitor) -> Response:
            _require_admin(visitor)
            return await handler(request, visitor)

        return self.for_visitors(checked)

    def posted(self, handler: FormHandler, *, while_suspended: bool = False) -> Handler:
        """A form of somebody who is logged in, sent by a page of ours.

        Args:
            handler: what to do.
            while_suspended: whether a suspended account may do it.
        """

        async def checked(request: Request, visitor: Visitor) -> Response:
            form = await self.read_form(request)
            if visitor.owner.is_suspended and not while_suspended:
                raise Forbidden("account_suspended", "This account is suspended. Contact the operator.")
            return await handler(request, visitor, form)

        return self.for_visitors(checked)

    def posted_by_admins(self, handler: FormHandler) -> Handler:
        """A form of the operator's pages."""

        async def checked(request: Request, visitor: Visitor, form: Form) -> Response:
            _require_admin(visitor)
            return await handler(request, visitor, form)

        return self.posted(checked)

    def entry(self, visitor: Visitor, action: str, detail: str) -> Entry:
        """What the audit log says when what a visitor asks for has succeeded."""
        return Entry(visitor.actor, action, visitor.account_id, detail, self.context.services.clock.now_us())

    async def read_form(self, request: Request) -> Form:
        """A form that a page of ours sent.

        Raises:
            Forbidden: it came from another site.
            UnsupportedMedia, TooLarge, InvalidRequest: it is no form of ours.
        """
        require_own_origin(self.context.services, request, writes=True)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            raise UnsupportedMedia("unsupported_media_type", "Send the form as a page does.")
        raw = await read_raw(request, max_bytes=_MAX_FORM_BYTES)
        try:
            pairs = parse_qsl(raw.decode("utf-8"), errors="strict", max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise InvalidRequest("invalid_form", "The form cannot be read.") from None
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            if not (is_storable(name) and is_storable(value)):
                raise UnstorableText("The form")
            values.setdefault(name, []).append(value)
        return Form(values)

    def page(
        self, request: Request, template: str, visitor: Visitor | None, *, status: int = 200, **values: object
    ) -> Response:
        """A page."""
        text = self.render(request, template, visitor, **values)
        return Response(text, status, {"cache-control": "no-store"}, media_type="text/html")

    def render(self, request: Request, template: str, visitor: Visitor | None, **values: object) -> str:
        """The text of a template."""
        services = self.context.services
        return self._templates.get_template(template).render(
            visitor=None if visitor is None else visitor.owner,
            path=request.url.path,
            now_us=services.clock.now_us(),
            registration=services.settings.dashboard.registration,
            **values,
        )

    def failure(self, request: Request, error: TokenboothError, visitor: Visitor | None) -> Response:
        """The page that tells an error."""
        template = "not_found.html" if error.status == 404 else "failure.html"
        response = self.page(request, template, visitor, status=error.status, error=error, message=error.message)
        if error.retry_after_s is not None:
            response.headers["retry-after"] = str(max(round(error.retry_after_s + 0.5), 1))
        return response

    def _plan_name(self, slug: str) -> str:
        plan = self.context.services.catalog().plans.get(slug)
        return slug if plan is None else plan.name

    async def _touch(self, session_id: str, now_us: int) -> None:
        await self.context.services.store.write(touch_session, session_id, now_us=now_us)


class Pages(ABC):
    """The pages about one thing."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._context = web.context
        self._services = web.context.services

    @abstractmethod
    def routes(self) -> list[Route]:
        """The pages by method and path."""


def see_other(path: str) -> Response:
    """Go on at a path of ours, after a form."""
    return RedirectResponse(path, 303, {"cache-control": "no-store"})


def safe_next(text: str) -> str:
    """Where to go after logging in: a path of the dashboard, never another site."""
    is_ours = text.startswith("/dashboard") and text.isascii() and text.isprintable() and "\\" not in text
    return text if is_ours else "/dashboard"


def labelled(message: str, labels: Mapping[str, str]) -> str:
    """A message of the API with the names of its fields as the page calls them."""
    for name, label in labels.items():
        message = message.replace(f"`{name}`", f"“{label}”")
    return message


def _require_admin(visitor: Visitor) -> None:
    if not visitor.owner.is_admin:
        raise NotFound("route_not_found", "There is nothing at this path.")


def _to_log_in(request: Request) -> Response:
    if request.headers.get("hx-request") == "true":
        # htmx would put the log-in page into the middle of this one.
        return Response(status_code=401, headers={"hx-redirect": "/login", "cache-control": "no-store"})
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    suffix = f"?next={quote(wanted)}" if request.method == "GET" and wanted != "/dashboard" else ""
    return see_other(f"/login{suffix}")


def _static_addresses() -> dict[str, str]:
    """The address of each static file, which changes with its content, so that browsers may keep it."""
    root = _HERE / "static"
    return {
        path.relative_to(root).as_posix(): (
            f"{STATIC_PATH}/{path.relative_to(root).as_posix()}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
