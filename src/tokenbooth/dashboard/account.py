"""The account's own page: its password, and where it is logged in."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.views import Form, Pages, Visitor, see_other
from tokenbooth.kit.errors import Forbidden, TokenboothError
from tokenbooth.services.accounts import end_other_sessions, end_session, set_new_password
from tokenbooth.services.passwords import checked_password
from tokenbooth.store.accounts import accounts, sessions


class AccountPages(Pages):
    """An account's own page: its password and its sessions."""

    def routes(self) -> list[Route]:
        posted = self._web.posted
        return [
            Route("/dashboard/account", self._web.for_visitors(self.show), methods=["GET"]),
            Route("/dashboard/account/password", posted(self.change_password), methods=["POST"]),
            Route(
                "/dashboard/account/sessions/{session_id}/end",
                posted(self.end_session, while_suspended=True),
                methods=["POST"],
            ),
            Route("/dashboard/account/sessions/end", posted(self.end_others, while_suspended=True), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor)

    async def change_password(self, request: Request, visitor: Visitor, form: Form) -> Response:
        services, owner = self._services, visitor.owner
        try:
            # A stolen log-in must not be able to try passwords without end either.
            self._context.admit_account(owner.account_id)
            account = await services.store.read(accounts.find_account, owner.account_id)
            stored = None if account is None else account.password_hash
            if not await self._context.passwords.matches(form.text("current")[:1_000], stored):
                raise Forbidden("wrong_password", "The current password is wrong.")
            password = checked_password(form.text("password"), owner.email)
        except TokenboothError as error:
            return await self._page(request, visitor, status=error.status, problem=error.message)
        password_hash = await self._context.passwords.hash(password)
        await services.store.write(
            set_new_password,
            visitor.actor,
            password_hash,
            now_us=services.clock.now_us(),
            keep=owner.session_id,
        )
        return see_other("/dashboard/account?done=password")

    async def end_session(self, request: Request, visitor: Visitor, _: Form) -> Response:
        session_id, now_us = str(request.path_params["session_id"]), self._services.clock.now_us()
        await self._services.store.write(end_session, visitor.actor, session_id, now_us=now_us)
        return see_other("/dashboard/account?done=ended")

    async def end_others(self, _request: Request, visitor: Visitor, _: Form) -> Response:
        now_us = self._services.clock.now_us()
        await self._services.store.write(
            end_other_sessions, visitor.actor, keep=visitor.owner.session_id, now_us=now_us
        )
        return see_other("/dashboard/account?done=ended")

    async def _page(
        self, request: Request, visitor: Visitor, *, status: int = 200, problem: str | None = None
    ) -> Response:
        found = await self._services.store.report(
            visitor.account_id, sessions.list_sessions, visitor.account_id, now_us=self._services.clock.now_us()
        )
        return self._web.page(
            request, "account.html", visitor, status=status, sessions=found, problem=problem,
            done=request.query_params.get("done"),
        )  # fmt: skip
