"""The pages that Stripe hosts: checkout and customer portal.

A script posts the same form as the page does and gets a small JSON document; both are answered only after the
webhooks of the payment were. The typed card number is used and forgotten.
"""

from datetime import UTC, datetime

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from tokenbooth_sandbox.stripe import checkout, pages
from tokenbooth_sandbox.stripe.billing import schedules
from tokenbooth_sandbox.stripe.billing.passing_time import catch_up
from tokenbooth_sandbox.stripe.billing.records import Invoice, Subscription
from tokenbooth_sandbox.stripe.cards import read_card
from tokenbooth_sandbox.stripe.delivery import Postman
from tokenbooth_sandbox.stripe.forms import Params, parse_form
from tokenbooth_sandbox.stripe.http import StripeFailure, json_answer, read_body
from tokenbooth_sandbox.stripe.records import Customer, PortalSession, Session
from tokenbooth_sandbox.stripe.world import World

_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}
_DEFAULT_EXPIRY = "12/34"


class Hosted:
    """Answers the hosted pages of one sandbox."""

    def __init__(self, world: World, postman: Postman) -> None:
        self._world = world
        self._postman = postman

    def routes(self) -> list[Route]:
        """The pages' routes, relative to the sandbox's mount point."""
        return [
            Route("/c/pay/{id}", self._show_checkout, methods=["GET"]),
            Route("/c/pay/{id}", self._pay, methods=["POST"]),
            Route("/i/{id}", self._show_invoice, methods=["GET"]),
            Route("/i/{id}/pdf", self._show_invoice, methods=["GET"]),
            Route("/p/session/{id}", self._show_portal, methods=["GET"]),
            Route("/p/session/{id}", self._use_portal, methods=["POST"]),
        ]

    async def _catch_up(self) -> None:
        with self._world.transaction():
            catch_up(self._world)
        await self._postman.deliver(self._world.take_events())

    async def _show_checkout(self, http: HttpRequest) -> Response:
        await self._catch_up()
        session = self._world.state.find(Session, str(http.path_params["id"]))
        if session is None:
            return _not_found("There is no such checkout.")
        return _page(pages.checkout_page(session, self._world.state))

    async def _pay(self, http: HttpRequest) -> Response:
        await self._catch_up()
        session = self._world.state.find(Session, str(http.path_params["id"]))
        if session is None:
            return _not_found("There is no such checkout.")
        from_page = False
        try:
            params = await _read_params(http)
            from_page = params.opt_text("from") == "page"
            with self._world.transaction():
                paid = self._submit(session.id, params)
        except StripeFailure as failure:
            if not from_page:
                return json_answer(failure.body(), failure.status)
            now = self._world.state.get(Session, session.id)
            return _page(pages.checkout_page(now, self._world.state, failure.message), failure.status)
        await self._postman.deliver(self._world.take_events())
        if from_page:
            return RedirectResponse(pages.filled(paid.success_url, paid), 303, _PAGE_HEADERS)
        return json_answer({"status": paid.status, "payment_status": paid.payment_status})

    def _submit(self, session_id: str, params: Params) -> Session:
        card = read_card(params.text("card"))
        year = datetime.fromtimestamp(self._world.now(), UTC).year
        expiry = params.opt_text("expiry") or _DEFAULT_EXPIRY
        exp_month, exp_year = checkout.read_expiry(expiry, year)
        # Read after the body was awaited: another submission may have been faster.
        session = self._world.state.get(Session, session_id)
        with self._world.standing_with(session.customer):
            return checkout.pay(self._world, session, card, exp_month=exp_month, exp_year=exp_year)

    async def _show_portal(self, http: HttpRequest) -> Response:
        await self._catch_up()
        portal = self._world.state.find(PortalSession, str(http.path_params["id"]))
        if portal is None:
            return _not_found("There is no such portal session.")
        return _page(pages.portal_page(self._subscriptions(portal), self._world.state, portal.return_url))

    async def _show_invoice(self, http: HttpRequest) -> Response:
        invoice = self._world.state.find(Invoice, str(http.path_params["id"]))
        if invoice is None or invoice.number is None:
            return _not_found("There is no such invoice.")
        return _page(pages.invoice_page(invoice))

    def _subscriptions(self, portal: PortalSession) -> list[Subscription]:
        owner = self._world.state.get(Customer, portal.customer)
        everything = self._world.state.newest(Subscription)
        return [subscription for subscription in everything if subscription.customer == owner.id]

    async def _use_portal(self, http: HttpRequest) -> Response:
        await self._catch_up()
        portal = self._world.state.find(PortalSession, str(http.path_params["id"]))
        if portal is None:
            return _not_found("There is no such portal session.")
        try:
            params = await _read_params(http)
            action = params.choice("action", ("cancel", "renew"))
            wanted = params.text("subscription")
            with self._world.transaction():
                mine = {entry.id: entry for entry in self._subscriptions(portal)}
                if wanted not in mine:
                    raise StripeFailure("There is no such subscription.", status=404)
                with self._world.standing_with(portal.customer):
                    schedules.cancel_in_portal(self._world, mine[wanted], action == "cancel")
        except StripeFailure as failure:
            return _page(pages.message_page("Not possible", failure.message), failure.status)
        await self._postman.deliver(self._world.take_events())
        return RedirectResponse(http.url.path, 303, _PAGE_HEADERS)


async def _read_params(http: HttpRequest) -> Params:
    raw = await read_body(http)
    try:
        return Params(parse_form(raw.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise StripeFailure("The form is not UTF-8.") from error


def _page(content: str, status: int = 200) -> Response:
    return HTMLResponse(content, status, _PAGE_HEADERS)


def _not_found(text: str) -> Response:
    return _page(pages.message_page("Not found", text), 404)
