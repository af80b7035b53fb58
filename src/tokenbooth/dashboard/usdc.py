"""Top-ups with USDC: where to pay, as text, link and QR code, and how the deposit stands."""

from functools import lru_cache
from typing import Final

import segno
from markupsafe import Markup
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.config.chains import BASE, BASE_SEPOLIA
from tokenbooth.dashboard.billing import checked_amount_nano
from tokenbooth.dashboard.filters import plain_amount
from tokenbooth.dashboard.polling import LivePart
from tokenbooth.dashboard.views import Form, Pages, Visitor, labelled, see_other
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.kit.request_models import Id, RequestModel, UsdcUsdNano
from tokenbooth.services import usdc
from tokenbooth.services.context import UsdcDeps
from tokenbooth.services.idempotency import (
    IdempotentAttempt,
    Outcome,
    raise_if_refused,
    replayed,
    run_idempotent,
    run_idempotent_tx,
)
from tokenbooth.services.usdc import CheckedDeposit, CreditedDeposit
from tokenbooth.store.accounts.idempotency import Answer

_PATH: Final = "/dashboard/billing/usdc"
_PART: Final = LivePart("usdc_live.html", f"{_PATH}/live")
_LABELS: Final = {"amount": "Amount", "txHash": "Transaction hash"}
_NETWORKS: Final = {BASE: "Base", BASE_SEPOLIA: "Base Sepolia"}
_QUIET_MODULES: Final = 4
"""The light frame that ISO/IEC 18004 asks for around a QR code."""
_CREDITED: Final = replayed(Answer(200, "credited"))
_REQUESTED: Final = replayed(Answer(200, "requested"))
# It is not kept: the same form sent again checks again.
_PENDING: Final = Outcome(Answer(200, "pending"), replay=None)


class _Amount(RequestModel):
    amount: UsdcUsdNano


class _Transaction(RequestModel):
    tx_hash: Id


class UsdcPages(Pages):
    """Top-ups with USDC."""

    def routes(self) -> list[Route]:
        page, posted = self._web.for_visitors, self._web.posted
        return [
            Route(_PATH, page(self.show), methods=["GET"]),
            Route(_PATH, posted(self.request_deposit), methods=["POST"]),
            Route(f"{_PATH}/live", page(self.live), methods=["GET"]),
            Route(f"{_PATH}/look", posted(self.check_deposit), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor, usdc.configured_usdc(self._services))

    async def live(self, request: Request, visitor: Visitor) -> Response:
        """What is to be paid, and how deposits stand; the chain is not asked, so that a page may ask often."""
        chain = usdc.configured_usdc(self._services)
        return _PART.again(self._web, request, visitor, **await self._progress(visitor, chain))

    async def request_deposit(self, request: Request, visitor: Visitor, form: Form) -> Response:
        """Say how much will come; from then on the account's address is watched."""
        services, chain = self._services, usdc.configured_usdc(self._services)
        now_us = services.clock.now_us()
        try:
            amount_nano = checked_amount_nano(services.settings.billing, form.read(_Amount).amount)

            def effect(conn: Connection) -> Outcome:
                usdc.request_deposit(
                    conn, usdc=chain, account_id=visitor.account_id, amount_nano=amount_nano, now_us=now_us
                )
                return _REQUESTED

            claim = form.claim(request, visitor.account_id)
            raise_if_refused(await run_idempotent_tx(services, claim, effect))
        except TokenboothError as error:
            return await self._page(request, visitor, chain, error=error, amount=form.text("amount"))
        return see_other(_PATH)

    async def check_deposit(self, request: Request, visitor: Visitor, form: Form) -> Response:
        """Have a transaction checked now; it is credited without this, too, a little later."""
        chain = usdc.configured_usdc(self._services)

        async def work(attempt: IdempotentAttempt[CheckedDeposit]) -> CheckedDeposit:
            # What was meant to come does not matter: what came is credited.
            claimed = usdc.claimed_deposit(form.read(_Transaction).tx_hash, amount_nano=0)
            return await usdc.check_deposit(self._services, chain, visitor.account_id, claimed, attempt)

        try:
            claim = form.claim(request, visitor.account_id)
            answer = await run_idempotent(self._services, claim, work, _outcome)
            raise_if_refused(answer)
        except TokenboothError as error:
            return await self._page(request, visitor, chain, error=error, tx_hash=form.text("txHash"))
        return see_other(f"{_PATH}?done={answer.body}")

    async def _progress(self, visitor: Visitor, chain: UsdcDeps) -> dict[str, object]:
        await self._services.live.flush()
        seen = await self._services.store.report(
            visitor.account_id, usdc.deposit_progress, usdc=chain, account_id=visitor.account_id
        )
        chain_id = chain.node.chain_id
        return {
            "seen": seen,
            "qr": None if seen.payment is None else _qr_code(seen.payment.uri),
            "network": _NETWORKS.get(chain_id, f"chain {chain_id}"),
            "chain_id": chain_id,
            "typical_minutes": usdc.TYPICAL_S[chain.counts_at] // 60,
        }

    async def _page(
        self,
        request: Request,
        visitor: Visitor,
        chain: UsdcDeps,
        *,
        error: TokenboothError | None = None,
        amount: str = "",
        tx_hash: str = "",
    ) -> Response:
        limits = self._services.settings.billing
        return _PART.show(
            self._web,
            request,
            "usdc.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(error.message, _LABELS),
            done=request.query_params.get("done"),
            amount=amount or plain_amount(limits.min_top_up_nano),
            tx_hash=tx_hash,
            min_top_up_nano=limits.min_top_up_nano,
            max_top_up_nano=limits.max_top_up_nano,
            **await self._progress(visitor, chain),
        )


def _outcome(checked: CheckedDeposit) -> Outcome:
    return _CREDITED if isinstance(checked, CreditedDeposit) else _PENDING


@lru_cache(maxsize=256)
def _qr_code(text: str) -> Markup:
    """A QR code as an SVG that scales, black on white whatever the page's colours are: scanners need the contrast."""
    code = segno.make(text, error="m", micro=False)
    drawn = code.svg_inline(
        border=_QUIET_MODULES, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
    # The encoder wrote it: numbers, no text of ours.
    return Markup(drawn)  # noqa: S704
