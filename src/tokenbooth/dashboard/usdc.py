"""Top-ups with USDC: where to pay, as text, link and QR code, and how the deposit stands."""

from functools import lru_cache, partial
from typing import Final

import segno
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tokenbooth.api import deposits
from tokenbooth.api.deposits import Progress
from tokenbooth.api.idempotency import guarded, once
from tokenbooth.config.chains import BASE, BASE_SEPOLIA
from tokenbooth.dashboard.amounts import USDC_DECIMALS, top_up_amount_nano
from tokenbooth.dashboard.filters import price
from tokenbooth.dashboard.polling import LivePart
from tokenbooth.dashboard.views import Form, Visitor, Web, labelled, payload_of, see_other
from tokenbooth.kit.errors import TokenboothError
from tokenbooth.services.context import UsdcDeps
from tokenbooth.store.accounts.idempotency import Answer, Attempt

_HERE: Final = "/dashboard/billing/usdc"
_PART: Final = LivePart("usdc_live.html", f"{_HERE}/live")
_LABELS: Final = {"amount": "Amount", "txHash": "Transaction hash"}
_HASH_MAX: Final = 100
_NETWORKS: Final = {BASE: "Base", BASE_SEPOLIA: "Base Sepolia"}
_QUIET_MODULES: Final = 4
"""The light frame that ISO/IEC 18004 asks for around a QR code."""


class UsdcPages:
    """The pages of this module."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._management = web.context.management

    def routes(self) -> list[Route]:
        """Where they are."""
        seen, posted = self._web.for_visitors, self._web.posted
        return [
            Route(_HERE, seen(self.show), methods=["GET"]),
            Route(_HERE, posted(self.announce), methods=["POST"]),
            Route(f"{_HERE}/live", seen(self.live), methods=["GET"]),
            Route(f"{_HERE}/look", posted(self.look), methods=["POST"]),
        ]

    async def show(self, request: Request, visitor: Visitor) -> Response:
        return await self._page(request, visitor, deposits.configured(self._management))

    async def live(self, request: Request, visitor: Visitor) -> Response:
        """What is to be paid, and how deposits stand; the chain is not asked, so that a page may ask often."""
        desk = deposits.configured(self._management)
        return _PART.again(self._web, request, visitor, **await self._look(visitor, desk))

    async def announce(self, request: Request, visitor: Visitor, form: Form) -> Response:
        """Say how much will come; from then on the account's address is watched."""
        desk = deposits.configured(self._management)
        try:
            effect = partial(
                deposits.announce,
                desk=desk,
                account_id=visitor.account_id,
                amount_nano=top_up_amount_nano(self._management, form, max_decimals=USDC_DECIMALS),
                now_us=self._management.clock.now_us(),
            )
            payload_of(await once(self._management, form.claim(request, visitor.account_id), effect))
        except TokenboothError as error:
            return await self._page(request, visitor, desk, error=error, amount=form.text("amount"))
        return see_other(_HERE)

    async def look(self, request: Request, visitor: Visitor, form: Form) -> Response:
        """Have a transaction looked up now; it is credited without this, too, a little later."""
        desk = deposits.configured(self._management)

        async def work(attempt: Attempt) -> Answer:
            tx_hash = form.fields("txHash").text("txHash", max_length=_HASH_MAX).strip()
            # What was meant to come does not matter: what came is credited.
            said = deposits.claimed(tx_hash, amount_nano=0)
            return await deposits.verify(self._management, desk, visitor.account_id, said, attempt)

        try:
            payload = payload_of(await guarded(self._management, form.claim(request, visitor.account_id), work))
        except TokenboothError as error:
            return await self._page(request, visitor, desk, error=error, tx_hash=form.text("txHash"))
        return see_other(f"{_HERE}?done={payload['status']}")

    async def _look(self, visitor: Visitor, desk: UsdcDeps) -> dict[str, object]:
        await self._management.live.flush()
        seen: Progress = await self._management.store.read(deposits.progress, desk=desk, account_id=visitor.account_id)
        chain_id = desk.node.chain_id
        return {
            "seen": seen,
            "qr": None if seen.payment is None else _qr_code(seen.payment.uri),
            "network": _NETWORKS.get(chain_id, f"chain {chain_id}"),
            "chain_id": chain_id,
            "typical_minutes": deposits.TYPICAL_S[desk.counts_at] // 60,
        }

    async def _page(
        self,
        request: Request,
        visitor: Visitor,
        desk: UsdcDeps,
        *,
        error: TokenboothError | None = None,
        amount: str = "",
        tx_hash: str = "",
    ) -> Response:
        limits = self._management.settings.billing
        return _PART.show(
            self._web,
            request,
            "usdc.html",
            visitor,
            status=200 if error is None else error.status,
            problem=None if error is None else labelled(error.message, _LABELS),
            done=request.query_params.get("done"),
            amount=amount or price(limits.min_top_up_nano)[1:].replace(",", ""),
            tx_hash=tx_hash,
            min_top_up_nano=limits.min_top_up_nano,
            max_top_up_nano=limits.max_top_up_nano,
            **await self._look(visitor, desk),
        )


@lru_cache(maxsize=256)
def _qr_code(text: str) -> Markup:
    """A QR code as an SVG that scales, black on white whatever the page's colours are: scanners need the contrast."""
    code = segno.make(text, error="m", micro=False)
    drawn = code.svg_inline(
        border=_QUIET_MODULES, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )
    # The encoder wrote it: numbers, no text of ours.
    return Markup(drawn)  # noqa: S704
