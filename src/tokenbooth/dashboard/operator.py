"""The operator's pages: accounts with spend and margin, what waits for a person, the audit, and who did what.

Every action is written down with who did it. For anybody else these pages are not there.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import PlainValidator
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.dashboard.polling import LivePart
from tokenbooth.dashboard.views import Form, Pages, Visitor, labelled, see_other
from tokenbooth.domain.ledger import TransferKind
from tokenbooth.domain.upstreams import UpstreamHealth
from tokenbooth.kit.email_addresses import normalise_address
from tokenbooth.kit.errors import Conflict, InvalidRequest, NotFound, RateLimited, TokenboothError
from tokenbooth.kit.ids import is_id
from tokenbooth.kit.pagination import page_number
from tokenbooth.kit.request_models import RequestModel, UsdNano, read_text, refuse_value
from tokenbooth.services.mailed_links import mail_invitation
from tokenbooth.services.usage import end_of_day_us, last_days
from tokenbooth.store.accounts import accounts, audit_log
from tokenbooth.store.accounts.credit import change_credit
from tokenbooth.store.accounts.keys import key_names
from tokenbooth.store.payments import inbox
from tokenbooth.store.reports import operator as reports
from tokenbooth.store.reports.audit import audit
from tokenbooth.store.reports.operator import AccountReport, AccountRow, Business, LogRow, ParkedRow
from tokenbooth.store.usage.usage_reports import Span

_DAYS: Final = 30
_PER_PAGE: Final = 50
_LAST_PAGE: Final = 200
_LABELS: Final = {"amount": "Amount", "reason": "Reason", "email": "Email"}
_UPSTREAMS: Final = LivePart("operator_upstreams_live.html", "/dashboard/operator/upstreams/live")


def _read_reason(value: object) -> str:
    text = read_text(value, max_length=200)
    if not text.isprintable():
        raise refuse_value("must be a line of text")
    return text


_Reason = Annotated[str, PlainValidator(_read_reason)]


class _Reasoned(RequestModel):
    """The form of an action that needs a reason."""

    reason: _Reason


class _Grant(RequestModel):
    """The form of credit that is given."""

    amount: UsdNano
    reason: _Reason


@dataclass(frozen=True, slots=True)
class _AccountPage:
    report: AccountReport
    key_names: dict[str, str]
    log: list[LogRow]


class OperatorPages(Pages):
    """Accounts, failed events, upstreams, and the integrity check."""

    def routes(self) -> list[Route]:
        page, posted = self._web.for_admins, self._web.posted_by_admins
        here, one = "/dashboard/operator", "/dashboard/operator/accounts/{account_id}"
        return [
            Route(here, page(self.show), methods=["GET"]),
            Route(f"{here}/invite", posted(self.invite), methods=["POST"]),
            Route(one, page(self.show_account), methods=["GET"]),
            Route(f"{one}/suspend", posted(self.suspend), methods=["POST"]),
            Route(f"{one}/unsuspend", posted(self.unsuspend), methods=["POST"]),
            Route(f"{one}/grant", posted(self.grant), methods=["POST"]),
            Route(f"{here}/inbox", page(self.show_inbox), methods=["GET"]),
            Route(f"{here}/inbox/{{row_id}}/retry", posted(self.retry), methods=["POST"]),
            Route(f"{here}/upstreams", page(self.show_upstreams), methods=["GET"]),
            Route(f"{here}/upstreams/live", page(self.live_upstreams), methods=["GET"]),
            Route(f"{here}/audit", page(self.show_audit), methods=["GET"]),
            Route(f"{here}/audit/run", posted(self.run_audit), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._accounts_page(request, visitor)

    async def invite(self, request: Request, visitor: Visitor, form: Form) -> Response:
        try:
            email = normalise_address(form.text("email"))
            if await self._services.store.read(accounts.find_account_by_email, email) is not None:
                raise Conflict("email_taken", "There is an account with this email already.")
            if not await mail_invitation(self._services, self._web.context.mailer, email):
                raise RateLimited("too_many_links", "This email got several links in the last hour. Wait a while.")
        except TokenboothError as error:
            return await self._accounts_page(request, visitor, error=error)
        await self._services.store.write(
            audit_log.record,
            actor=visitor.actor,
            action="account.invited",
            account_id=None,
            detail=email,
            now_us=self._now_us(),
        )
        return see_other("/dashboard/operator?done=invited")

    async def show_account(self, request: Request, visitor: Visitor) -> Response:
        return await self._account_page(request, visitor)

    async def suspend(self, request: Request, visitor: Visitor, form: Form) -> Response:
        account_id = _account_id(request)
        try:
            if account_id == visitor.account_id:
                raise Conflict("own_account", "You cannot suspend the account that you are logged in with.")
            reason = form.read(_Reasoned).reason
            await self._services.store.write(
                accounts.suspend, account_id, actor=visitor.actor, reason=reason, now_us=self._now_us()
            )
        except (InvalidRequest, Conflict) as error:
            return await self._account_page(request, visitor, error=error)
        await self._services.live.refresh()
        return see_other(f"/dashboard/operator/accounts/{account_id}?done=suspended")

    async def unsuspend(self, request: Request, visitor: Visitor, form: Form) -> Response:
        account_id = _account_id(request)
        try:
            reason = form.read(_Reasoned).reason
            await self._services.store.write(
                accounts.unsuspend, account_id, actor=visitor.actor, reason=reason, now_us=self._now_us()
            )
        except InvalidRequest as error:
            return await self._account_page(request, visitor, error=error)
        await self._services.live.refresh()
        return see_other(f"/dashboard/operator/accounts/{account_id}?done=unsuspended")

    async def grant(self, request: Request, visitor: Visitor, form: Form) -> Response:
        account_id = _account_id(request)
        try:
            grant, claim = form.read(_Grant), form.claim(request, visitor.account_id)
            await self._services.store.write(
                change_credit,
                account=account_id,
                kind=TransferKind.GRANT,
                amount_nano=grant.amount,
                reason=grant.reason,
                # The form sent twice is one grant.
                reference=None if claim is None else f"dashboard:{claim.key}",
                now_us=self._now_us(),
                actor=visitor.actor,
            )
        except NotFound:
            raise
        except TokenboothError as error:
            return await self._account_page(request, visitor, error=error)
        await self._services.live.refresh()
        return see_other(f"/dashboard/operator/accounts/{account_id}?done=granted")

    async def show_inbox(self, request: Request, visitor: Visitor) -> Response:
        parked: list[ParkedRow] = await self._services.store.report(visitor.account_id, reports.list_parked)
        return self._web.page(
            request, "operator_inbox.html", visitor, parked=parked, done=request.query_params.get("done")
        )

    async def retry(self, request: Request, visitor: Visitor, _: Form) -> Response:
        row_id = str(request.path_params["row_id"])
        await self._services.store.write(inbox.retry_parked, row_id, actor=visitor.actor, now_us=self._now_us())
        await self._services.handle_event(row_id)
        await self._services.live.refresh()
        return see_other("/dashboard/operator/inbox?done=retried")

    async def show_upstreams(self, request: Request, visitor: Visitor) -> Response:
        return _UPSTREAMS.show(self._web, request, "operator_upstreams.html", visitor, upstreams=self._upstreams())

    async def live_upstreams(self, request: Request, visitor: Visitor) -> Response:
        """How each upstream does, for a page that stays open."""
        return _UPSTREAMS.again(self._web, request, visitor, upstreams=self._upstreams())

    async def show_audit(self, request: Request, visitor: Visitor) -> Response:
        last, log = await self._services.store.report(visitor.account_id, _audit_and_log)
        return self._web.page(
            request, "operator_audit.html", visitor, last=last, log=log, done=request.query_params.get("done")
        )

    async def run_audit(self, _request: Request, visitor: Visitor, _: Form) -> Response:
        report = await self._services.store.read_all(audit)
        await self._services.store.write(reports.record_audit, report, actor=visitor.actor, now_us=self._now_us())
        return see_other("/dashboard/operator/audit?done=audited")

    async def _accounts_page(
        self, request: Request, visitor: Visitor, *, error: TokenboothError | None = None
    ) -> Response:
        search = request.query_params.get("q", "").strip()[:254]
        number = page_number(request.query_params.get("page", "1"), last=_LAST_PAGE)
        found, has_more, figures = await self._services.store.report(
            visitor.account_id, _look, search, self._span(), number
        )
        return self._web.page(
            request,
            "operator.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(error.message, _LABELS),
            accounts=found,
            has_more=has_more,
            number=number,
            search=search,
            figures=figures,
            days=_DAYS,
            unhealthy=[
                f"{one.name} ({one.model})" for one in self._services.live.upstream_health() if one.state != "up"
            ],
            max_counted=reports.MAX_COUNTED,
            last_page=_LAST_PAGE,
            done=request.query_params.get("done"),
        )

    async def _account_page(
        self, request: Request, visitor: Visitor, *, error: TokenboothError | None = None
    ) -> Response:
        account_id = _account_id(request)
        seen = await self._services.store.report(visitor.account_id, _look_at, account_id, self._span())
        return self._web.page(
            request,
            "operator_account.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(error.message, _LABELS),
            seen=seen,
            row=seen.report.row,
            days=_DAYS,
            done=request.query_params.get("done"),
        )

    def _upstreams(self) -> list[tuple[UpstreamHealth, list[str]]]:
        """How each model of each upstream does, with the names that it is sold under."""
        models = self._services.catalog().models.values()
        return [
            (
                health,
                [
                    model.name
                    for model in models
                    if any((health.name, health.model) == (route.upstream.name, route.model) for route in model.routes)
                ],
            )
            for health in self._services.live.upstream_health()
        ]

    def _span(self) -> Span:
        return last_days(end_of_day_us(self._now_us()), _DAYS)

    def _now_us(self) -> int:
        return self._services.clock.now_us()


def _look(conn: Connection, search: str, span: Span, number: int) -> tuple[list[AccountRow], bool, Business]:
    offset = (number - 1) * _PER_PAGE
    found, has_more = reports.list_accounts(conn, search, span, limit=_PER_PAGE, offset=offset)
    return found, has_more, reports.business(conn, span)


def _look_at(conn: Connection, account_id: str, span: Span) -> _AccountPage:
    report = reports.account_report(conn, account_id, span)
    return _AccountPage(
        report=report,
        key_names=key_names(conn, account_id, set(report.by_key)),
        log=reports.list_log(conn, account_id=account_id, limit=20),
    )


def _audit_and_log(conn: Connection) -> tuple[LogRow | None, list[LogRow]]:
    return reports.last_audit(conn), reports.list_log(conn)


def _account_id(request: Request) -> str:
    account_id = str(request.path_params["account_id"])
    if not is_id(account_id):
        raise NotFound("account_not_found", "There is no such account.")
    return account_id
