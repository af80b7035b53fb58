"""Getting in and out: sign-up, log-in, log-out, a forgotten password.

No page tells whether an email has an account: signing up and asking for a reset always answer the same, and what there
is to say goes to the mailbox; a wrong email takes as long as a wrong password.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import Connection
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.views import Form, Handler, Pages, Visitor, safe_next, see_other
from tokenbooth.domain.windows import DAY_US
from tokenbooth.kit.email_addresses import normalise_address
from tokenbooth.kit.errors import Forbidden, NotFound, TokenboothError
from tokenbooth.kit.ids import IdPrefix, new_id
from tokenbooth.services.accounts import end_session, set_new_password
from tokenbooth.services.mailed_links import mail_reset, mail_sign_up
from tokenbooth.services.passwords import checked_password
from tokenbooth.services.session import client_address, cookie_name
from tokenbooth.store.accounts import accounts, audit_log, sessions
from tokenbooth.store.accounts.accounts import Account
from tokenbooth.store.accounts.audit_log import Actor
from tokenbooth.store.accounts.sessions import NewSession, Purpose, secret_digest

PublicHandler = Callable[[Request, Form], Awaitable[Response]]

_SECRET_BYTES: Final = 32
_USER_AGENT_MAX: Final = 200
_WRONG_PASSWORD: Final = "wrong_password"  # noqa: S105 (a code of an error)
_WRONG: Final = "Email or password is wrong."


class LoginPages(Pages):
    """Sign-up, log-in, log-out and forgotten passwords."""

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.show_log_in, methods=["GET"]),
            Route("/login", self._public(self.log_in), methods=["POST"]),
            Route("/logout", self._web.posted(self.log_out, while_suspended=True), methods=["POST"]),
            Route("/signup", self.show_sign_up, methods=["GET"]),
            Route("/signup", self._public(self.sign_up), methods=["POST"]),
            Route("/signup/{secret}", self.show_confirm, methods=["GET"]),
            Route("/signup/{secret}", self._public(self.confirm), methods=["POST"]),
            Route("/reset", self.show_reset, methods=["GET"]),
            Route("/reset", self._public(self.reset), methods=["POST"]),
            Route("/reset/{secret}", self.show_choose, methods=["GET"]),
            Route("/reset/{secret}", self._public(self.choose), methods=["POST"]),
        ]

    async def show_log_in(self, request: Request) -> Response:
        wanted = safe_next(request.query_params.get("next", ""))
        if await self._web.visitor(request) is not None:
            return see_other(wanted)
        done = request.query_params.get("done")
        return self._web.page(request, "login.html", None, email="", next=wanted, problem=None, done=done)

    async def log_in(self, request: Request, form: Form) -> Response:
        email, wanted = form.text("email").strip(), safe_next(form.text("next"))
        try:
            account = await self._known(email, form.text("password"))
        except TokenboothError as error:
            response = self._web.page(
                request, "login.html", None, status=error.status, email=email, next=wanted, problem=error.message,
                done=None,
            )  # fmt: skip
            if error.code == _WRONG_PASSWORD:
                # Afterwards, so that the answer takes as long whether there is an account or not.
                response.background = BackgroundTask(self._note_failed, email, client_address(request))
            return response
        return await self._logged_in(request, account.id, wanted)

    async def log_out(self, request: Request, visitor: Visitor, _: Form) -> Response:
        now_us = self._services.clock.now_us()
        await self._services.store.write(end_session, visitor.actor, visitor.owner.session_id, now_us=now_us)
        response = see_other("/login?done=out")
        self._set_cookie(response, "", max_age_s=0)
        return response

    async def show_sign_up(self, request: Request) -> Response:
        return self._web.page(request, "signup.html", None, email="", problem=None)

    async def sign_up(self, request: Request, form: Form) -> Response:
        if self._services.settings.dashboard.registration != "open":
            raise Forbidden("registration_closed", "Signing up is not open on this server.")
        try:
            email = normalise_address(form.text("email"))
            self._context.admit_mail(client_address(request))
        except TokenboothError as error:
            return self._problem(request, "signup.html", error, form.text("email"))
        # Afterwards, so that the answer takes as long whether there is an account or not.
        return self._look_in_mailbox(
            request, email, BackgroundTask(mail_sign_up, self._services, self._context.mailer, email)
        )

    async def show_confirm(self, request: Request) -> Response:
        return await self._show_mailed(request, Purpose.SIGN_UP, "confirm.html")

    async def confirm(self, request: Request, form: Form) -> Response:
        email = await self._mailed_to(request, Purpose.SIGN_UP)
        if email is None:
            return self._dead_link(request)
        try:
            password = checked_password(form.text("password"), email)
        except TokenboothError as error:
            return self._problem(request, "confirm.html", error, email)
        password_hash, now_us = await self._context.passwords.hash(password), self._services.clock.now_us()
        digest, account_id = secret_digest(request.path_params["secret"]), new_id(IdPrefix.ACCOUNT, now_us)

        def create(conn: Connection) -> None:
            sessions.use_link(conn, digest, purpose=Purpose.SIGN_UP, now_us=now_us)
            accounts.create_account(conn, account_id, email, password_hash, now_us=now_us)
            audit_log.record(
                conn,
                actor=Actor(account_id, client_address(request)),
                action="account.signed_up",
                account_id=account_id,
                detail=account_id,
                now_us=now_us,
            )

        await self._services.store.write(create)
        return await self._logged_in(request, account_id, "/dashboard")

    async def show_reset(self, request: Request) -> Response:
        return self._web.page(request, "reset.html", None, email="", problem=None)

    async def reset(self, request: Request, form: Form) -> Response:
        try:
            email = normalise_address(form.text("email"))
            self._context.admit_mail(client_address(request))
        except TokenboothError as error:
            return self._problem(request, "reset.html", error, form.text("email"))
        task = BackgroundTask(mail_reset, self._services, self._context.mailer, email, client_address(request))
        return self._look_in_mailbox(request, email, task)

    async def show_choose(self, request: Request) -> Response:
        return await self._show_mailed(request, Purpose.RESET, "choose_password.html")

    async def choose(self, request: Request, form: Form) -> Response:
        email = await self._mailed_to(request, Purpose.RESET)
        if email is None:
            return self._dead_link(request)
        try:
            password = checked_password(form.text("password"), email)
        except TokenboothError as error:
            return self._problem(request, "choose_password.html", error, email)
        password_hash, now_us = await self._context.passwords.hash(password), self._services.clock.now_us()
        digest = secret_digest(request.path_params["secret"])

        def change(conn: Connection) -> None:
            sessions.use_link(conn, digest, purpose=Purpose.RESET, now_us=now_us)
            account = accounts.find_account_by_email(conn, email)
            if account is None:
                raise NotFound("link_not_found", "There is no such account any more.")
            actor = Actor(account.id, client_address(request))
            set_new_password(conn, actor, password_hash, now_us=now_us, keep=None)

        await self._services.store.write(change)
        return see_other("/login?done=password")

    def _public(self, handler: PublicHandler) -> Handler:
        """A form that needs no log-in: from our own pages, and not too often from one network."""

        async def checked(request: Request) -> Response:
            try:
                form = await self._web.read_form(request)
                self._context.admit_client(client_address(request))
                return await handler(request, form)
            except TokenboothError as error:
                return self._web.failure(request, error, None)

        return checked

    async def _known(self, email: str, password: str) -> Account:
        store, passwords = self._services.store, self._context.passwords
        account = await store.read(accounts.find_account_by_email, email)
        stored = None if account is None else account.password_hash
        if not await passwords.matches(password[:1_000], stored) or account is None or stored is None:
            raise Forbidden(_WRONG_PASSWORD, _WRONG)
        if passwords.needs_rehash(stored):
            await store.write(accounts.set_password, account.id, await passwords.hash(password))
        return account

    async def _logged_in(self, request: Request, account_id: str, path: str) -> Response:
        now_us = self._services.clock.now_us()
        life_us = self._services.settings.dashboard.session_days * DAY_US
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        agent = request.headers.get("user-agent", "")
        new = NewSession(
            id=new_id(IdPrefix.SESSION, now_us),
            account_id=account_id,
            digest=secret_digest(secret),
            expires_at_us=now_us + life_us,
            address=client_address(request),
            user_agent="".join(filter(str.isprintable, agent))[:_USER_AGENT_MAX],
        )

        def log_in(conn: Connection) -> None:
            sessions.create_session(conn, new, now_us=now_us)
            audit_log.record_repeatable(
                conn,
                actor=Actor(account_id, new.address),
                action="account.logged_in",
                account_id=account_id,
                detail=new.id,
                now_us=now_us,
            )

        await self._services.store.write(log_in)
        response = see_other(path)
        self._set_cookie(response, secret, max_age_s=life_us // 1_000_000)
        return response

    async def _note_failed(self, email: str, address: str) -> None:
        def note(conn: Connection) -> None:
            account = accounts.find_account_by_email(conn, email)
            audit_log.record_failed_log_in(
                conn,
                None if account is None else account.id,
                address=address,
                now_us=self._services.clock.now_us(),
            )

        await self._services.store.write(note)

    def _set_cookie(self, response: Response, secret: str, *, max_age_s: int) -> None:
        base_url = self._services.settings.server.base_url()
        response.set_cookie(
            cookie_name(base_url),
            secret,
            max_age=max_age_s,
            path="/",
            secure=base_url.startswith("https://"),
            httponly=True,
            samesite="lax",
        )

    async def _mailed_to(self, request: Request, purpose: Purpose) -> str | None:
        return await self._services.store.read(
            sessions.find_link,
            secret_digest(request.path_params["secret"]),
            purpose=purpose,
            now_us=self._services.clock.now_us(),
        )

    async def _show_mailed(self, request: Request, purpose: Purpose, template: str) -> Response:
        """The page that a mailed link opens."""
        email = await self._mailed_to(request, purpose)
        if email is None:
            return self._dead_link(request)
        return self._web.page(request, template, None, email=email, problem=None)

    def _problem(self, request: Request, template: str, error: TokenboothError, email: str) -> Response:
        """A form that was refused, with what to mend."""
        return self._web.page(request, template, None, status=error.status, email=email, problem=error.message)

    def _look_in_mailbox(self, request: Request, email: str, task: BackgroundTask) -> Response:
        response = self._web.page(request, "mailbox.html", None, email=email, is_mailed=self._context.mailer.is_mailed)
        # The page is the same: what a mailbox has got is nobody else's business.
        if self._context.admit_to_mailbox(email):
            response.background = task
        return response

    def _dead_link(self, request: Request) -> Response:
        return self._web.page(request, "dead_link.html", None, status=404)
